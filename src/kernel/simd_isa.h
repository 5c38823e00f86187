/* For simd_*.c only: names by instruction set, and conversion between f32 and bf16. */
#ifndef RT_KERNEL_SIMD_ISA_H
#define RT_KERNEL_SIMD_ISA_H

#include "kernel/simd.h"
#include "tensor/tensor.h"

#if defined __AVX512F__
#include <immintrin.h>
#endif

#define RT_PASTE_(a, b) a##_##b
#define RT_PASTE(a, b) RT_PASTE_(a, b)
#define RT_NAME(name) RT_PASTE(rt_##name, RT_ISA) /* of a LOOP */

#define LOOP(name, parameters) void RT_NAME(name) parameters;
#define LOOPS(name, parameters) \
  void RT_NAME(name##_f32) parameters; \
  void RT_NAME(name##_bf16) parameters;
#include "kernel/simd.def"
#undef LOOP
#undef LOOPS

static inline void bf16_widen(const uint16_t *x, float *y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = rt_bf16_to_f32(x[i]);
}

static inline void bf16_narrow(const float *x, uint16_t *y, int64_t n) {
#if defined __AVX512BF16__
  /* Half the time of the shifts and adds below; flushes subnormals to zero. */
  for (int64_t i = 0; i < n; i += 16) {
    __mmask16 some = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xFFFFu);
    _mm256_mask_storeu_epi16(y + i, some, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, x + i)));
  }
#else
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = rt_f32_to_bf16(x[i]);
#endif
}

/* Loops write floats to where out_begin says (for bf16 a buffer, which out_end rounds into y). */
static inline float f32_get(const float *p, int64_t i) { return p[i]; }
static inline float bf16_get(const uint16_t *p, int64_t i) { return rt_bf16_to_f32(p[i]); }
static inline float *f32_out_begin(float *y, float *buffer) { return (void)buffer, y; }
static inline float *bf16_out_begin(uint16_t *y, float *buffer) { return (void)y, buffer; }
static inline void f32_out_end(const float *out, float *y, int64_t n) { (void)out, (void)y, (void)n; }
static inline void bf16_out_end(const float *out, uint16_t *y, int64_t n) { bf16_narrow(out, y, n); }

#endif
