// The scheduler: fibers of one block, in one of three orders; and the launch, with cuLaunchKernel's shape.
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <vector>

#include "cuda.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulator {
thread_local uint3 thread_index, block_index, block_extent, grid_extent;
thread_local unsigned thread;
thread_local uint64_t block_number;
thread_local void* dynamic_shared;

namespace {
constexpr size_t STACK = 64 * 1024;
// The smallest of the devices that kernels are compiled for (sm_86, sm_89, sm_120): what runs here runs on all.
constexpr unsigned LARGEST_SHARED = 99 * 1024;

enum class Waits : uint8_t { no, for_block, for_warp, ended };

#if defined(__x86_64__)
// Saves the callee-saved registers on this stack and continues on the other: what swapcontext does, less two system calls.
extern "C" void brenier_emulator_switch(void** save, void* to);
asm(R"(
.text
.type brenier_emulator_switch,@function
brenier_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size brenier_emulator_switch,.-brenier_emulator_switch
)");
struct Context {
    void* top = nullptr;
    void start(char* stack, void (*entry)()) {
        void** at = reinterpret_cast<void**>(stack + STACK);
        *--at = nullptr; // entry never returns; the stack is aligned as after a call
        *--at = reinterpret_cast<void*>(entry);
        for (int saved = 0; saved < 6; ++saved) *--at = nullptr;
        top = at;
    }
    void to(Context& other) { brenier_emulator_switch(&top, other.top); }
};
#else
struct Context {
    ucontext_t saved;
    void start(char* stack, void (*entry)()) {
        getcontext(&saved);
        saved.uc_stack.ss_sp = stack;
        saved.uc_stack.ss_size = STACK;
        saved.uc_link = nullptr;
        makecontext(&saved, entry, 0);
    }
    void to(Context& other) { swapcontext(&saved, &other.saved); }
};
#endif

// A copy under way, in the group that was open when it began.
struct Copy {
    void* to;
    const void* from;
    unsigned size, bytes, group;
};

struct Fiber {
    Context context;
    Waits waits = Waits::no;
    unsigned mask = 0;
    void* fake_stack = nullptr;
    std::vector<Copy> copies;
    unsigned groups = 0; // closed
};

struct Scheduler {
    Fiber fibers[1024];
    Context home;
    void* home_fake_stack = nullptr;
    const void* home_stack = nullptr;
    size_t home_size = 0;
    uint64_t slots[1024];
    char* stacks = nullptr;
    const Kernel* kernel = nullptr;
    void** params = nullptr;
    unsigned order = 0;
    const char* failure = nullptr;
    bool any = false; // of the votes at a barrier
    ~Scheduler() {
        if (stacks) munmap(stacks, 1024 * STACK);
    }
};
thread_local Scheduler scheduler;

// The i-th of n in the order of this launch: forward, reverse, shuffled.
uint64_t pick(uint64_t i, uint64_t n) {
    switch (scheduler.order) {
        case 0: return i;
        case 1: return n - 1 - i;
        default: return (i * 2654435761u + 17) % n; // a permutation: the factor is a prime above n
    }
}

void set_thread(unsigned number) {
    thread = number;
    thread_index = {number % block_extent.x, number / block_extent.x % block_extent.y, number / (block_extent.x * block_extent.y)};
}

void leave(Waits why, unsigned mask) {
    unsigned me = thread;
    Fiber& fiber = scheduler.fibers[me];
    fiber.waits = why;
    fiber.mask = mask;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(why == Waits::ended ? nullptr : &fiber.fake_stack, scheduler.home_stack, scheduler.home_size);
#endif
    fiber.context.to(scheduler.home);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr);
#endif
}

void entry() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler.home_stack, &scheduler.home_size);
#endif
    scheduler.kernel->run(scheduler.params);
    leave(Waits::ended, 0);
}

void enter(unsigned number) {
    set_thread(number);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&scheduler.home_fake_stack, scheduler.stacks + number * STACK, STACK);
#endif
    scheduler.home.to(scheduler.fibers[number].context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(scheduler.home_fake_stack, nullptr, nullptr);
#endif
}

// Runs the lanes of warp `w` until all have ended, stand at a barrier of the block, or wait for lanes that will not come.
void run_warp(unsigned w, unsigned threads) {
    unsigned first = 32 * w, lanes = threads - first < 32 ? threads - first : 32;
    for (bool ran = true; ran;) {
        ran = false;
        unsigned waiting = 0;
        for (unsigned i = 0; i < lanes; ++i) {
            unsigned lane = static_cast<unsigned>(pick(i, lanes));
            Fiber& fiber = scheduler.fibers[first + lane];
            if (fiber.waits == Waits::no) {
                enter(first + lane);
                ran = true;
            }
            if (fiber.waits == Waits::for_warp) waiting |= 1u << lane;
        }
        unsigned exist = lanes == 32 ? ~0u : (1u << lanes) - 1;
        for (unsigned lane = 0; lane < lanes; ++lane) {
            Fiber& fiber = scheduler.fibers[first + lane];
            if (fiber.waits == Waits::for_warp && (fiber.mask & exist & ~waiting) == 0) {
                fiber.waits = Waits::no;
                ran = true;
            }
        }
    }
}

const char* run_block(unsigned threads) {
    ++block_number;
    for (unsigned t = 0; t < threads; ++t) {
        Fiber& fiber = scheduler.fibers[t];
        fiber.waits = Waits::no;
        fiber.copies.clear();
        fiber.groups = 0;
        fiber.context.start(scheduler.stacks + t * STACK, entry);
    }
    unsigned warps = (threads + 31) / 32;
    for (;;) {
        for (unsigned i = 0; i < warps; ++i) run_warp(static_cast<unsigned>(pick(i, warps)), threads);
        unsigned ended = 0, at_barrier = 0;
        for (unsigned t = 0; t < threads; ++t) {
            ended += scheduler.fibers[t].waits == Waits::ended;
            at_barrier += scheduler.fibers[t].waits == Waits::for_block;
        }
        if (scheduler.failure) return scheduler.failure;
        if (ended == threads) return nullptr;
        if (ended + at_barrier < threads) return "a warp barrier is not reached by every lane of its mask";
        if (at_barrier < threads) return "a barrier is not reached by every thread of the block";
        for (unsigned t = 0; t < threads; ++t) scheduler.fibers[t].waits = Waits::no;
    }
}

const Kernel* find(const char* name) {
    for (const Kernel& candidate : KERNELS) {
        if (!strcmp(candidate.name, name)) return &candidate;
    }
    return nullptr;
}

const char* launch(const char* name, const unsigned grid[3], const unsigned block[3], unsigned shared, void** params, unsigned order) {
    const Kernel* kernel = find(name);
    if (!kernel) return "there is no such kernel";
    uint64_t threads = static_cast<uint64_t>(block[0]) * block[1] * block[2];
    if (threads == 0 || threads > kernel->largest_block) return "more threads a block than the kernel is compiled for, or none";
    if (block[2] > 64) return "more than 64 threads in z";
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0) return "no blocks";
    if (grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535) return "more blocks than a grid holds";
    if (shared > LARGEST_SHARED) return "more dynamic shared memory than every device has";
    if (!scheduler.stacks) {
        void* stacks = mmap(nullptr, 1024 * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stacks == MAP_FAILED) return "no memory for the stacks";
        scheduler.stacks = static_cast<char*>(stacks);
    }
    scheduler.kernel = kernel;
    scheduler.params = params;
    scheduler.order = order;
    scheduler.failure = nullptr;
    grid_extent = {grid[0], grid[1], grid[2]};
    block_extent = {block[0], block[1], block[2]};
    // Of the very size, so that the sanitizer sees what lies beyond; and aligned to no more than is asked for.
    void* dynamic = nullptr;
    if (shared && posix_memalign(&dynamic, 2 * SHARED_ALIGNMENT, SHARED_ALIGNMENT + shared)) return "no memory for dynamic shared memory";
    dynamic_shared = shared ? static_cast<char*>(dynamic) + SHARED_ALIGNMENT : nullptr;
    uint64_t blocks = static_cast<uint64_t>(grid[0]) * grid[1] * grid[2];
    const char* error = nullptr;
    for (uint64_t i = 0; i < blocks && !error; ++i) {
        uint64_t at = pick(i, blocks);
        block_index = {static_cast<unsigned>(at % grid[0]), static_cast<unsigned>(at / grid[0] % grid[1]),
                       static_cast<unsigned>(at / grid[0] / grid[1])};
        if (shared) memset(dynamic_shared, POISON, shared);
        error = run_block(static_cast<unsigned>(threads));
    }
    free(dynamic);
    dynamic_shared = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    // Fibers that an error left where they stood must not leave their frames marked.
    if (error) __asan_unpoison_memory_region(scheduler.stacks, 1024 * STACK);
#endif
    return error;
}
} // namespace

void fail(const char* why) {
    scheduler.failure = why;
    leave(Waits::ended, 0);
}

void copy_async(void* to, const void* from, unsigned size, unsigned bytes) {
    if (reinterpret_cast<uintptr_t>(to) % size || reinterpret_cast<uintptr_t>(from) % size) {
        fail("a copy in the background has an end that is not aligned to its size");
    }
    if (bytes > size) fail("a copy in the background reads more than it writes");
    Fiber& fiber = scheduler.fibers[thread];
    memset(to, POISON, size);
    fiber.copies.push_back({to, from, size, bytes, fiber.groups});
}

void copy_commit() { ++scheduler.fibers[thread].groups; }

void copy_wait(unsigned pending) {
    Fiber& fiber = scheduler.fibers[thread];
    auto done = [&](const Copy& copy) { return copy.group + pending < fiber.groups; };
    for (const Copy& copy : fiber.copies) {
        if (!done(copy)) continue;
        memset(copy.to, 0, copy.size);
        memcpy(copy.to, copy.from, copy.bytes);
    }
    fiber.copies.erase(std::remove_if(fiber.copies.begin(), fiber.copies.end(), done), fiber.copies.end());
}

bool block_any(bool predicate) {
    block_barrier();
    scheduler.any = false;
    block_barrier();
    scheduler.any |= predicate;
    block_barrier();
    return scheduler.any;
}

void block_barrier() { leave(Waits::for_block, 0); }
void warp_barrier(unsigned mask) { leave(Waits::for_warp, mask); }
uint64_t* lanes() { return scheduler.slots + thread / 32 * 32; }
} // namespace emulator

extern "C" const char* brenier_emulator_launch(const char* name, const unsigned grid[3], const unsigned block[3], unsigned shared,
                                               void** params, unsigned order) {
    return emulator::launch(name, grid, block, shared, params, order);
}

// Bytes of each argument of a kernel, and how many it has; none where there is no such kernel.
extern "C" const unsigned* brenier_emulator_arguments(const char* name, unsigned* count) {
    const emulator::Kernel* kernel = emulator::find(name);
    *count = kernel ? kernel->arguments : 0;
    return kernel ? kernel->sizes : nullptr;
}
