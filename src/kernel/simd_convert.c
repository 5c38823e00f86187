/* f32 and bf16, flat. */
#include "kernel/simd_isa.h"

void RT_NAME(widen)(const uint16_t *x, float *y, int64_t n) { bf16_widen(x, y, n); }
void RT_NAME(narrow)(const float *x, uint16_t *y, int64_t n) { bf16_narrow(x, y, n); }
