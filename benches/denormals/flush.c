/* Preloaded: every result below the normal numbers is zero, and so is every such operand. New threads inherit it. */
#include <immintrin.h>

__attribute__((constructor)) static void flush(void) { _mm_setcsr(_mm_getcsr() | 0x8040); }
