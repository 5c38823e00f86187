/* rt_uniform, many at a time: the same Philox4x32-10 as base/rng.c, blocks of four side by side. */
#include "kernel/simd_isa.h"

void RT_NAME(uniforms)(uint64_t seed, uint64_t stream, uint64_t high, uint64_t block, float *out, int64_t blocks) {
  uint64_t top = high ^ (stream * 0x9E3779B97F4A7C15u);
#pragma omp simd
  for (int64_t i = 0; i < blocks; i++) {
    uint64_t low = block + (uint64_t)i;
    uint32_t c0 = (uint32_t)low, c1 = (uint32_t)(low >> 32), c2 = (uint32_t)top, c3 = (uint32_t)(top >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
      uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
      c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
      c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
      c1 = (uint32_t)p1;
      c3 = (uint32_t)p0;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    out[4 * i] = (float)(int32_t)(c0 >> 8) * 0x1p-24f;
    out[4 * i + 1] = (float)(int32_t)(c1 >> 8) * 0x1p-24f;
    out[4 * i + 2] = (float)(int32_t)(c2 >> 8) * 0x1p-24f;
    out[4 * i + 3] = (float)(int32_t)(c3 >> 8) * 0x1p-24f;
  }
}

void RT_NAME(dropout)(const float *x, const float *draw, float *y, int64_t n, float rate, float scale) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float kept = x[i] * scale;
    y[i] = draw[i] >= rate ? kept : 0;
  }
}
