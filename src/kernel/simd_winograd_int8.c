/* Transforms of conv2d_winograd_int8 (formulas in op/conv2d_winograd_int8.c). With AVX-512 32 pixels' channels are 16-bit
 * numbers of one vector; results are 16 floats. */
#include "kernel/simd_vec.h"

enum { TAPS = 16, SUM = 5 };

#if defined __AVX512F__

INLINE __m512i pixels(const void *pixel, int64_t i, __mmask32 some) {
  return _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(some, (const uint8_t *)pixel + i));
}

INLINE void put_level(__m512i v, int tap, const int16_t *multiplier, uint8_t *out, __mmask32 some) {
  __m512i level = _mm512_mulhrs_epi16(v, _mm512_set1_epi16(multiplier[tap]));
  __m256i byte = _mm256_xor_si256(_mm512_cvtsepi16_epi8(level), _mm256_set1_epi8((char)0x80));
  _mm256_mask_storeu_epi8(out, some, byte);
}

void RT_NAME(winograd_int8_input)(const void *const *pixel, int64_t c, const int16_t *multiplier, int16_t centre,
                                  uint8_t *v, int64_t plane) {
  const __m512i middle = _mm512_set1_epi16(centre);
  for (int64_t i = 0; i < c; i += 32) {
    __mmask32 some = c - i >= 32 ? 0xFFFFFFFFu : (1u << (c - i)) - 1;
    __m512i t[TAPS];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      __m512i d0 = pixels(pixel[j], i, some), d1 = pixels(pixel[4 + j], i, some), d2 = pixels(pixel[8 + j], i, some),
              d3 = pixels(pixel[12 + j], i, some);
      t[j] = _mm512_sub_epi16(d0, d2);
      t[4 + j] = _mm512_add_epi16(d1, d2);
      t[8 + j] = _mm512_sub_epi16(d2, d1);
      t[12 + j] = _mm512_sub_epi16(d1, d3);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
      const __m512i *row = t + 4 * r;
      __m512i second = _mm512_add_epi16(row[1], row[2]);
      if (r == 1) second = _mm512_sub_epi16(second, middle);
      uint8_t *out = v + 4 * r * plane + i;
      put_level(_mm512_sub_epi16(row[0], row[2]), 4 * r, multiplier, out, some);
      put_level(second, 4 * r + 1, multiplier, out + plane, some);
      put_level(_mm512_sub_epi16(row[2], row[1]), 4 * r + 2, multiplier, out + 2 * plane, some);
      put_level(_mm512_sub_epi16(row[1], row[3]), 4 * r + 3, multiplier, out + 3 * plane, some);
    }
  }
}

INLINE void put_result(__m512 v, const rt_winograd_int8_end *e, void *y, const void *residual, int64_t i,
                       __mmask16 some) {
  if (residual) {
    __m512 r =
        e->f32 ? _mm512_maskz_loadu_ps(some, (const float *)residual + i)
               : _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(some, (const uint8_t *)residual + i)));
    v = _mm512_fmadd_ps(_mm512_set1_ps(e->residual_scale), r, v);
  }
  if (e->f32) {
    _mm512_mask_storeu_ps((float *)y + i, some, e->relu ? _mm512_max_ps(v, _mm512_setzero_ps()) : v);
    return;
  }
  __m512i level = _mm512_cvtps_epi32(_mm512_min_ps(v, _mm512_set1_ps(e->high)));
  level = _mm512_max_epi32(level, _mm512_setzero_si512()); /* relu too */
  _mm_mask_storeu_epi8((uint8_t *)y + i, some, _mm512_cvtepi32_epi8(level));
}

INLINE void output(const int32_t *m, int64_t plane, int64_t c, const rt_winograd_int8_end *e, void *const *y,
                   const void *const *residual) {
  for (int64_t i = 0; i < c; i += 16) {
    __mmask16 some = (__mmask16)(c - i >= 16 ? 0xFFFFu : (1u << (c - i)) - 1);
    __m512 even[4], odd[4], k = _mm512_maskz_loadu_ps(some, e->constant + i);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      __m512 f[4], s[4];
#pragma GCC unroll 4
      for (int r = 0; r < 4; r++) {
        f[r] = _mm512_cvtepi32_ps(_mm512_loadu_si512(m + (4 * r + j) * plane + i));
        s[r] = _mm512_loadu_ps(e->factor + (4 * r + j) * e->plane + i);
      }
      __m512 last = _mm512_mul_ps(f[3], s[3]), third = _mm512_mul_ps(f[2], s[2]);
      if (j == 1) {
        last = _mm512_fmsub_ps(f[3], s[3], k);
        third = _mm512_fmadd_ps(f[2], s[2], k);
      }
      even[j] = _mm512_fmadd_ps(f[0], s[0], _mm512_fmadd_ps(f[1], s[1], third));
      odd[j] = _mm512_fmsub_ps(f[1], s[1], _mm512_fmadd_ps(f[2], s[2], last));
    }
    __m512 scale = _mm512_maskz_loadu_ps(some, e->scale + i), bias = _mm512_maskz_loadu_ps(some, e->bias + i);
    __m512 r[4] = {_mm512_add_ps(_mm512_add_ps(even[0], even[1]), even[2]),
                   _mm512_sub_ps(_mm512_sub_ps(even[1], even[2]), even[3]),
                   _mm512_add_ps(_mm512_add_ps(odd[0], odd[1]), odd[2]),
                   _mm512_sub_ps(_mm512_sub_ps(odd[1], odd[2]), odd[3])};
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
      if (y[j]) put_result(_mm512_fmadd_ps(r[j], scale, bias), e, y[j], residual ? residual[j] : NULL, i, some);
  }
}

#else

void RT_NAME(winograd_int8_input)(const void *const *pixel, int64_t c, const int16_t *multiplier, int16_t centre,
                                  uint8_t *v, int64_t plane) {
  for (int64_t i = 0; i < c; i++) {
    int32_t t[TAPS], u[TAPS];
    for (int j = 0; j < 4; j++) {
      int32_t d[4];
      for (int r = 0; r < 4; r++) d[r] = ((const uint8_t *)pixel[4 * r + j])[i];
      t[j] = d[0] - d[2];
      t[4 + j] = d[1] + d[2];
      t[8 + j] = d[2] - d[1];
      t[12 + j] = d[1] - d[3];
    }
    for (int r = 0; r < 4; r++) {
      const int32_t *row = t + 4 * r;
      u[4 * r] = row[0] - row[2];
      u[4 * r + 1] = row[1] + row[2];
      u[4 * r + 2] = row[2] - row[1];
      u[4 * r + 3] = row[1] - row[3];
    }
    u[SUM] -= centre;
    for (int tap = 0; tap < TAPS; tap++) {
      int32_t level = (u[tap] * multiplier[tap] + (1 << 14)) >> 15;
      v[tap * plane + i] = (uint8_t)((level < -128 ? -128 : level > 127 ? 127 : level) + 128);
    }
  }
}

INLINE void put_result(float v, const rt_winograd_int8_end *e, void *y, const void *residual, int64_t i) {
  if (residual)
    v = __builtin_fmaf(e->residual_scale, e->f32 ? ((const float *)residual)[i] : (float)((const uint8_t *)residual)[i],
                       v);
  if (e->relu && v < 0) v = 0;
  if (e->f32) {
    ((float *)y)[i] = v;
    return;
  }
  v = __builtin_rintf(v < e->high ? v : e->high);
  ((uint8_t *)y)[i] = (uint8_t)(v > 0 ? v : 0);
}

INLINE void output(const int32_t *m, int64_t plane, int64_t c, const rt_winograd_int8_end *e, void *const *y,
                   const void *const *residual) {
  for (int64_t i = 0; i < c; i++) {
    float even[4], odd[4];
    for (int j = 0; j < 4; j++) {
      float f[4], s[4], k = j == 1 ? e->constant[i] : 0;
      for (int r = 0; r < 4; r++) {
        f[r] = (float)m[(4 * r + j) * plane + i];
        s[r] = e->factor[(4 * r + j) * e->plane + i];
      }
      even[j] = __builtin_fmaf(f[0], s[0], __builtin_fmaf(f[1], s[1], __builtin_fmaf(f[2], s[2], k)));
      odd[j] = __builtin_fmaf(f[1], s[1], -__builtin_fmaf(f[2], s[2], __builtin_fmaf(f[3], s[3], -k)));
    }
    float r[4] = {even[0] + even[1] + even[2], even[1] - even[2] - even[3], odd[0] + odd[1] + odd[2],
                  odd[1] - odd[2] - odd[3]};
    for (int j = 0; j < 4; j++)
      if (y[j]) put_result(__builtin_fmaf(r[j], e->scale[i], e->bias[i]), e, y[j], residual ? residual[j] : NULL, i);
  }
}

#endif

void RT_NAME(winograd_int8_output)(const int32_t *m, int64_t plane, int64_t c, const rt_winograd_int8_end *end,
                                   void *const *y, const void *const *residual) {
  output(m, plane, c, end, y, residual);
}
