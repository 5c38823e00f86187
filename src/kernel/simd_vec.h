/* For simd_*.c that name their vectors: a vec is as many floats as the instruction set has lanes; a word is what one lane
 * multiplies, a float or two bf16 whose products are summed. */
#ifndef RT_KERNEL_SIMD_VEC_H
#define RT_KERNEL_SIMD_VEC_H

#include "kernel/simd_isa.h"

#if defined __AVX512F__
enum { LANES = 16 };
#elif defined __AVX2__
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef float vec_anywhere __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t words_anywhere __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef uint16_t halves_anywhere __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vec f32_load(const float *p) { return *(const vec_anywhere *)p; }
INLINE void f32_store(float *p, vec v) { *(vec_anywhere *)p = v; }
INLINE words words_load(const void *p) { return *(const words_anywhere *)p; }
INLINE void words_store(void *p, words w) { *(words_anywhere *)p = w; }

INLINE vec bf16_load(const uint16_t *p) {
  halves h = *(const halves_anywhere *)p;
  return (vec)(__builtin_convertvector(h, words) << 16);
}

/* bf16 in the low half of each lane, to nearest even. */
INLINE words bf16_round(vec v) {
  words u = (words)v, nan = (words)(v != v);
  return ((u + 0x7FFFu + (u >> 16 & 1u)) >> 16 & ~nan) | (nan & 0x7FC0u);
}

INLINE void bf16_store(uint16_t *p, vec v) {
#if defined __AVX512BF16__
  _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
  *(halves_anywhere *)p = __builtin_convertvector(bf16_round(v), halves);
#endif
}

/* Fewer than LANES elements; what is missing reads as 0. */
INLINE vec f32_load_some(const float *p, int64_t n) {
#if defined __AVX512F__
  return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
  float buffer[LANES] = {0};
  memcpy(buffer, p, (size_t)n * sizeof *p);
  return f32_load(buffer);
#endif
}

INLINE void f32_store_some(float *p, vec v, int64_t n) {
#if defined __AVX512F__
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
  memcpy(p, &v, (size_t)n * sizeof *p);
#endif
}

INLINE vec bf16_load_some(const uint16_t *p, int64_t n) {
#if defined __AVX512F__
  __m256i h = _mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p);
  return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
#else
  uint16_t buffer[LANES] = {0};
  memcpy(buffer, p, (size_t)n * sizeof *p);
  return bf16_load(buffer);
#endif
}

INLINE void bf16_store_some(uint16_t *p, vec v, int64_t n) {
  uint16_t buffer[LANES];
  bf16_store(buffer, v);
  memcpy(p, buffer, (size_t)n * sizeof *p);
}

/* What is below 0 becomes 0; a NaN stays. */
INLINE vec rectified(vec v) { return (vec)((words)v & ~(words)(v < 0)); }

/* Lane i holds low[i] and high[i] as bf16: two steps of a sum side by side. */
INLINE words words_zip(vec low, vec high) {
#if defined __AVX512BF16__
  __m512i low_half = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)low));
  __m512i high_half = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)high));
  return (words)_mm512_or_si512(low_half, _mm512_slli_epi32(high_half, 16));
#else
  return bf16_round(low) | bf16_round(high) << 16;
#endif
}

/* sum + a·b, both of a word's bf16. */
INLINE vec f32_multiply_add(vec sum, words a, words b) { return sum + (vec)a * (vec)b; }
INLINE vec bf16_multiply_add(vec sum, words a, words b) {
#if defined __AVX512BF16__
  return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  const words high = (words){0} + 0xFFFF0000u;
  sum += (vec)(a << 16) * (vec)(b << 16);
  return sum + (vec)(a & high) * (vec)(b & high);
#endif
}

#endif
