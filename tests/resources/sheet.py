#!/usr/bin/env python3
"""What the kernels cost, from the machine code, without a GPU: tests/resources/sheet.txt.

    python3 -m venv venv && venv/bin/pip install nvidia-cuda-nvrtc-cu12==12.9.86 nvidia-cuda-nvdisasm
    venv/bin/python tests/resources/sheet.py            # compares with sheet.txt; exit 1 where they differ
    venv/bin/python tests/resources/sheet.py --write    # writes it

A build with NVRTC leaves the machine code and the logs that this reads; where none is newer than the kernels, it compiles them.
Registers, stack and spills come from NVRTC's log, occupancy from them and the launchers' block and shared sizes. The slots of an
inner loop are counted in the disassembly of sm_90: the shortest way round through the block with most exponentials or matrix
products, so a branch that is rarely taken is not in it. In units of 1/128 clock of a multiprocessor for each pair or
particle-step, as a warp instruction costs one issue slot: `issue` all instructions, `mufu` 8 times the exp unit's, `alu` twice
those of the half-rate integer and compare pipe, `tensor` 4 times the matrix products. The largest binds.
"""
import collections
import ctypes
import difflib
import glob
import heapq
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHEET = os.path.join(ROOT, "tests", "resources", "sheet.txt")
ARCHS = [80, 86, 89, 90, 100, 120]
# Of a multiprocessor: threads, and bytes of shared memory (one KiB a block is the system's).
THREADS = {80: 2048, 86: 1536, 89: 1536, 90: 2048, 100: 2048, 120: 1536}
SHARED = {80: 164 << 10, 86: 100 << 10, 89: 100 << 10, 90: 228 << 10, 100: 228 << 10, 120: 100 << 10}
CUBINS = 8 << 20  # bytes of machine code that the binary may carry
HALF_RATE = {"FMNMX", "FSETP", "FSEL", "ISETP", "IADD3", "LOP3", "SHF", "LEA", "VIADD", "VIMNMX", "SEL", "PRMT", "PLOP3", "MOV"}


def launch(kernel):
    """Threads and dynamic shared bytes of a full block, as the launchers choose them."""
    if m := re.fullmatch(r"soft_min_(?:max_)?d(\d)_p(\d+)", kernel):
        d, p = int(m[1]), int(m[2])
        return 128, 2 * 128 * (d + 1 + p) * 4
    if m := re.fullmatch(r"soft_min_(?:max_)?tensor_p(\d+)", kernel):
        p = int(m[1])
        return 128, 2 * 20480 + (32 * (336 + 8 * (p + 4)) if p else 64 * 336)
    if m := re.fullmatch(r"integrate_(\w+)_d(\d)_k\d", kernel):  # two registers
        return 128, 2 * int(m[2]) * 4 * (4 if m[1] == "isotropic" else 2) * 128
    if kernel.startswith(("soft_min_tiles", "perceptron")) or kernel in ("sample_plan", "top_k"):
        return 128, 0
    return (128, 4 * 8 * 64) if kernel.startswith("integrate") else (256, 0)


# Kernel, the instruction that marks its hottest block, pairs or particle-steps of a thread in one way round, whether the way
# leads out of the innermost loop, and the bound that it must keep.
LOOPS = [
    ("soft_min_d1_p0", "MUFU", 8 * 8 * 2, False, None),
    ("soft_min_d2_p0", "MUFU", 8 * 8 * 2, False, None),
    ("soft_min_d3_p0", "MUFU", 8 * 8 * 2, False, 7.4),
    ("soft_min_d4_p0", "MUFU", 8 * 8, False, 8.2),
    ("soft_min_d8_p0", "MUFU", 8 * 4, False, None),
    ("soft_min_d3_p4", "MUFU", 8 * 4, False, None),
    ("soft_min_max_d3_p0", "MUFU", 4 * 4, False, None),
    ("soft_min_tensor_p0", "HMMA", 64, False, None),
    ("soft_min_tensor_p0", "HMMA 16", 64, False, None),  # points in half precision: one part
    ("soft_min_tensor_p0", "MUFU", 64, False, None),
    ("soft_min_tiles_d3_p0", "MUFU", 8, False, 8.2),
    ("soft_min_tiles_d3_p4", "MUFU", 4, False, None),
    ("tile_maximum", "FFMA", 16, False, None),
    ("perceptron_layer", "HMMA", 64, False, None),
    ("integrate_isotropic_d2_k8", "MUFU", 4, True, 1.3 * 90),
    ("integrate_isotropic_d3_k8", "MUFU", 4, True, None),
]


def find(pattern):
    found = sorted(glob.glob(os.path.join(sys.prefix, "lib", "python*", "site-packages", "nvidia", "*", pattern)))
    return found[0] if found else None


def load_nvrtc():
    folder = os.environ.get("NVRTC_DIR")
    library = (glob.glob(f"{folder}/libnvrtc.so.*") if folder else [find("lib/libnvrtc.so.*")])[0]
    if library is None:
        return None
    for builtins in glob.glob(os.path.join(os.path.dirname(library), "libnvrtc-builtins.so*")):
        ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(library)


def options():
    """The build's options, from the one place that states them."""
    with open(os.path.join(ROOT, "src", "backend", "cuda", "nvrtc.rs")) as source:
        listed = re.search(r"OPTIONS: \[&str; \d+\] =\s*\[(.*?)\];", source.read(), re.S)[1]
    return re.findall(r'"(.*?)"', listed)


def built():
    """The folder in which the last build left its machine code, if that is newer than all it was made from."""
    made = glob.glob(os.path.join(ROOT, "target", "*", "build", "brenier-*", "out", "*.sm_*.cubin.log"))
    sources = glob.glob(os.path.join(ROOT, "kernels", "*")) + [os.path.join(ROOT, "src", "backend", "cuda", "nvrtc.rs")]
    if not made:
        return None
    newest = max(made, key=os.path.getmtime)
    return os.path.dirname(newest) if os.path.getmtime(newest) > max(map(os.path.getmtime, sources)) else None


def machine_code(nvrtc, path, arch):
    """Machine code and log, from the last build or compiled here."""
    if folder := built():
        name = os.path.join(folder, f"{os.path.splitext(os.path.basename(path))[0]}.sm_{arch}.cubin")
        with open(name, "rb") as cubin, open(name + ".log") as log:
            return cubin.read(), log.read()
    return compile_file(nvrtc, path, arch)


def compile_file(nvrtc, path, arch):
    """Machine code and log."""
    with open(path, "rb") as file:
        source = file.read()
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, os.path.basename(path).encode(), 0, None, None)
    listed = [f"--gpu-architecture=sm_{arch}", f"--include-path={ROOT}/kernels", "--ptxas-options=-v", *options()]
    failed = nvrtc.nvrtcCompileProgram(program, len(listed), (ctypes.c_char_p * len(listed))(*[o.encode() for o in listed]))
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if failed:
        sys.exit(f"{path}, sm_{arch}:\n{log.value.decode()}")
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return cubin.raw, log.value.decode()


def resources(log):
    """Kernel: registers, static shared bytes, stack bytes, spilled bytes."""
    found, kernel, frame = {}, None, (0, 0)
    for line in log.splitlines():
        if m := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = m[1]
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            frame = (int(m[1]), int(m[2]) + int(m[3]))
        elif m := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            found[kernel] = (int(m[1]), int(shared[1]) if shared else 0, *frame)
    return found


def occupancy(arch, registers, static, kernel):
    """Warps of a multiprocessor that fit, of those it can have."""
    threads, dynamic = launch(kernel)
    warps = threads // 32
    by_registers = 65536 // (-(-registers * 32 // 256) * 256) // warps
    by_shared = SHARED[arch] // (static + dynamic + 1024)
    return min(by_registers, by_shared, THREADS[arch] // threads, 32) * warps, THREADS[arch] // 32


def blocks(cubin, kernel, nvdisasm):
    """Basic blocks of a kernel: lists of instructions, and for each the blocks that may follow."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([nvdisasm, "-c", file.name], check=True, capture_output=True, text=True).stdout
    body = re.search(rf"\.text\.{kernel}:\n(.*?)(?=\n\t?\.section|\Z)", text, re.S)[1]
    made, label_of = [[]], {}
    for line in body.splitlines():
        if m := re.match(r"\s*(\.L_x_\d+):", line):
            if made[-1]:
                made.append([])
            label_of[m[1]] = len(made) - 1
        elif m := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line):
            made[-1].append(m[1])
            if re.search(r"\b(BRA|EXIT|RET)\b", m[1]):
                made.append([])
    follow = []
    for index, block in enumerate(made):
        last = block[-1] if block else ""
        target = re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", last)
        ends = re.search(r"\b(BRA|EXIT|RET)\b", last) and not re.match(r"@|BRA (U?P|!U?P)|BRA\.\w+ !?U?P", last)
        nexts = [label_of[target[1]]] if target else []
        follow.append(nexts if ends or index + 1 == len(made) else nexts + [index + 1])
    return made, follow


def count(block):
    return collections.Counter(re.sub(r"^@!?U?P\d+ ", "", instruction).split()[0].split(".")[0] for instruction in block)


def way_round(made, follow, mark, leave):
    """Instructions on the shortest way from the block with most `mark`, or so many, back to itself; `leave` takes the innermost loop once."""
    mark, *many = mark.split()
    heat = [count(block)[mark] for block in made]
    hot = heat.index(int(many[0]) if many else max(heat))

    def shortest(edges):
        best, queue = {}, [(len(made[n]), n, (n,)) for n in edges[hot]]
        heapq.heapify(queue)
        while queue:
            length, at, path = heapq.heappop(queue)
            if at in best:
                continue
            best[at] = length
            if at == hot:
                return path
            for n in edges[at]:
                heapq.heappush(queue, (length + len(made[n]), n, path + (n,)))
        return ()

    edges = [list(f) for f in follow]
    path = shortest(edges)
    if leave:
        head = min(path)  # the innermost loop is left where it would begin again
        for at in path:
            edges[at] = [n for n in edges[at] if not (n == head and at >= n)]
        path = shortest(edges)
    return sum((count(made[n]) for n in path), collections.Counter())


def sheet(nvrtc, nvdisasm):
    files = sorted(glob.glob(os.path.join(ROOT, "kernels", "*.cu")))
    jobs = [(path, arch) for path in files for arch in ARCHS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = dict(zip(jobs, pool.map(lambda job: machine_code(nvrtc, *job), jobs)))
    total = sum(len(cubin) for cubin, _ in made.values())
    wrong = [] if total < CUBINS else [f"the cubins are {total} bytes, more than {CUBINS}"]
    lines = ["kernel: for each of sm_" + " ".join(map(str, ARCHS)) + ": registers, warps resident / at most; shared bytes of a block"]
    for path in files:
        by_arch = [resources(made[path, arch][1]) for arch in ARCHS]
        for kernel in sorted(by_arch[0]):
            cells = []
            for arch, found in zip(ARCHS, by_arch):
                registers, static, stack, spilled = found[kernel]
                if spilled:
                    wrong.append(f"{kernel}, sm_{arch}: {spilled} bytes spilled")
                cells.append("{} {}/{}".format(registers, *occupancy(arch, registers, static, kernel)) + (f" stack {stack}" if stack else ""))
            lines.append(f"{kernel}: " + " | ".join(cells) + f"; {by_arch[0][kernel][1] + launch(kernel)[1]}")
    lines += ["", "slots a pair or particle-step on sm_90 (tensor: a pair and 16 coordinates)"]
    for path in files:
        cubin, log = made[path, 90]
        for kernel, mark, pairs, leave, bound in LOOPS:
            if kernel in resources(log):
                c = way_round(*blocks(cubin, kernel, nvdisasm), mark, leave)
                slots = {
                    "issue": sum(c.values()) / pairs,
                    "mufu": 8 * c["MUFU"] / pairs,
                    "alu": 2 * sum(c[i] for i in HALF_RATE) / pairs,
                    "tensor": 4 * c["HMMA"] / pairs,
                }
                binding = max(slots, key=slots.get)
                if bound and slots[binding] > bound:
                    wrong.append(f"{kernel}: {slots[binding]:.2f} slots ({binding}), more than {bound:.1f}")
                stated = ", ".join(f"{name} {slots[name]:.2f}" for name in slots if slots[name])
                by_class = " ".join(f"{name} {c[name]}" for name in sorted(c, key=lambda i: (-c[i], i)) if c[name] * 50 > sum(c.values()))
                lines.append(f"{kernel}, {mark}: {binding} binds; {stated}; of {pairs}: {by_class}")
    return "\n".join(lines) + "\n", wrong, total


def main():
    nvrtc, nvdisasm = load_nvrtc(), find("bin/nvdisasm")
    if nvrtc is None or nvdisasm is None:
        print("RESOURCE SHEET NOT CHECKED: no NVRTC or no nvdisasm beside this Python (see the head of this file)")
        return 1 if os.environ.get("REQUIRE_KERNELS", "0") not in ("", "0") else 0
    text, wrong, total = sheet(nvrtc, nvdisasm)
    for line in wrong:
        print("error:", line)
    if "--write" in sys.argv:
        with open(SHEET, "w") as file:
            file.write(text)
        return int(bool(wrong))
    with open(SHEET) as file:
        known = file.read()
    for line in difflib.unified_diff(known.splitlines(), text.splitlines(), "sheet.txt", "now", lineterm="", n=0):
        print(line)
    if text != known:
        print("the kernels cost something else than tests/resources/sheet.txt says; if that is meant: sheet.py --write")
    print(f"{text.count(': ')} lines, machine code {total / 2**20:.1f} MiB")
    return int(bool(wrong) or text != known)


sys.exit(main())
