/* The transforms of Winograd's F(2×2, 3×3) and F(3×3, 2×2) (Winograd 1980; Lavin, Gray 2016), vectors along channels.
 *   forward  y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ x B)]A     x 4×4, w 3×3, y 2×2: 16 products for 36
 *   weights  w = Cᵀ[(H y Hᵀ) ⊙ (Bᵀ x B)]C     the same, transposed
 * Bᵀ = 1  0 −1  0    G = 1  0  0    Aᵀ = 1 1  1  0    H = 1  0    Cᵀ = 1 1  1  0
 *      0  1  1  0        ½  ½  ½         0 1 −1 −1        ½  ½         0 1 −1  0
 *      0 −1  1  0        ½ −½  ½                          ½ −½         0 1  1 −1
 *      0  1  0 −1        0  0  1                          0  1
 * With a stride of 2, phases: along one axis y0 = w0 d0 + w1 d1 + w2 d2 and y1 = w0 d2 + w1 d3 + w2 d4 are
 *   y0 = [(d0 − d2) w0 + d1 w1] + [d2 (w0 + w2)],  y1 = [d2 (w0 + w2)] + [d3 w1 + (d4 − d2) w2]
 * 5 products for 6, in both axes 25 for 36, summed to 3×3 brackets before anything is transformed back.
 * Transforms and sums are f32; what is multiplied is rounded to the dtype. Pixels outside of the image point to zeros. */
#include "kernel/simd_vec.h"

INLINE vec pixel_at(const bool bf16, const void *p, int64_t c, int64_t n) {
  if (n >= LANES) return bf16 ? bf16_load((const uint16_t *)p + c) : f32_load((const float *)p + c);
  return bf16 ? bf16_load_some((const uint16_t *)p + c, n) : f32_load_some((const float *)p + c, n);
}

/* One row i of Bᵀ times a column's four values. */
INLINE vec b_row(const int i, vec d0, vec d1, vec d2, vec d3) {
  switch (i) {
  case 0: return d0 - d2;
  case 1: return d1 + d2;
  case 2: return d2 - d1;
  default: return d1 - d3;
  }
}

INLINE void input_tile(const bool bf16, const int first, const int last, const void *const *pixel, int64_t c, int64_t n,
                       vec out[16]) {
  vec d[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) d[i] = pixel_at(bf16, pixel[i], c, n);
#pragma GCC unroll 4
  for (int i = first; i < last; i++) {
    vec t[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) t[j] = b_row(i, d[j], d[4 + j], d[8 + j], d[12 + j]);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) out[(i - first) * 4 + j] = b_row(j, t[0], t[1], t[2], t[3]);
  }
}

/* The 25 planes of a stride of 2. */
INLINE void strided_tile(const bool bf16, const void *const *pixel, int64_t c, int64_t n, vec d[25]) {
#pragma GCC unroll 25
  for (int i = 0; i < 25; i++) d[i] = pixel_at(bf16, pixel[i], c, n);
#pragma GCC unroll 5
  for (int j = 0; j < 5; j++) {
    d[j] -= d[10 + j];
    d[20 + j] -= d[10 + j];
  }
#pragma GCC unroll 5
  for (int i = 0; i < 25; i += 5) {
    d[i] -= d[i + 2];
    d[i + 4] -= d[i + 2];
  }
}

/* ---- forward: words along the channels ---- */

/* A row of V is whole vectors of words; what is past the channels is 0. */
INLINE void input(const bool bf16, const bool strided, const void *const *pixel, int64_t c, void *v, int64_t plane) {
  int64_t vectors = bf16 ? (c + 2 * LANES - 1) / (2 * LANES) * 2 : (c + LANES - 1) / LANES;
  for (int64_t i = 0; i < vectors; i++) {
    vec t[25];
    const int planes = strided ? 25 : 16;
    int64_t left = c - i * LANES;
    if (strided)
      strided_tile(bf16, pixel, i * LANES, left < 0 ? 0 : left, t);
    else
      input_tile(bf16, 0, 4, pixel, i * LANES, left < 0 ? 0 : left, t);
#pragma GCC unroll 25
    for (int j = 0; j < planes; j++) {
      if (bf16)
        bf16_store((uint16_t *)v + 2 * j * plane + i * LANES, t[j]);
      else
        f32_store((float *)v + j * plane + i * LANES, t[j]);
    }
  }
}

INLINE void put(const bool bf16, void *y, int64_t c, vec v, int64_t n) {
  if (n >= LANES) {
    if (bf16)
      bf16_store((uint16_t *)y + c, v);
    else
      f32_store((float *)y + c, v);
  } else if (bf16) {
    bf16_store_some((uint16_t *)y + c, v, n);
  } else {
    f32_store_some((float *)y + c, v, n);
  }
}

INLINE void output_tile(const float *m, int64_t plane, vec r[4]) {
  vec t[8];
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    vec m0 = f32_load(m + j * plane), m1 = f32_load(m + (4 + j) * plane), m2 = f32_load(m + (8 + j) * plane),
        m3 = f32_load(m + (12 + j) * plane);
    t[j] = m0 + m1 + m2;
    t[4 + j] = m1 - m2 - m3;
  }
  r[0] = t[0] + t[1] + t[2];
  r[1] = t[1] - t[2] - t[3];
  r[2] = t[4] + t[5] + t[6];
  r[3] = t[5] - t[6] - t[7];
}

INLINE void strided_output_tile(const float *m, int64_t plane, vec r[4]) {
  vec t[6];
#pragma GCC unroll 3
  for (int j = 0; j < 3; j++) {
    vec m1 = f32_load(m + (3 + j) * plane);
    t[j] = f32_load(m + j * plane) + m1;
    t[3 + j] = m1 + f32_load(m + (6 + j) * plane);
  }
  r[0] = t[0] + t[1];
  r[1] = t[1] + t[2];
  r[2] = t[3] + t[4];
  r[3] = t[4] + t[5];
}

INLINE void output(const bool bf16, const bool strided, const float *m, int64_t plane, int64_t c, void *const *y,
                   const float *bias, const void *const *residual, bool relu) {
  for (int64_t i = 0; i < c; i += LANES) {
    vec r[4], b = {0};
    if (strided)
      strided_output_tile(m + i, plane, r);
    else
      output_tile(m + i, plane, r);
    if (bias) b = c - i >= LANES ? f32_load(bias + i) : f32_load_some(bias + i, c - i);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      if (!y[j]) continue;
      r[j] += b;
      if (residual) r[j] += pixel_at(bf16, residual[j], i, c - i);
      put(bf16, y[j], i, relu ? rectified(r[j]) : r[j], c - i);
    }
  }
}

/* G w Gᵀ; w(tap) as vectors. */
INLINE void filter_tile(const vec w[9], vec out[16]) {
  vec t[12];
#pragma GCC unroll 3
  for (int j = 0; j < 3; j++) {
    vec even = (w[j] + w[6 + j]) * 0.5f, odd = w[3 + j] * 0.5f;
    t[j] = w[j];
    t[3 + j] = even + odd;
    t[6 + j] = even - odd;
    t[9 + j] = w[6 + j];
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    vec even = (t[3 * i] + t[3 * i + 2]) * 0.5f, odd = t[3 * i + 1] * 0.5f;
    out[4 * i] = t[3 * i];
    out[4 * i + 1] = even + odd;
    out[4 * i + 2] = even - odd;
    out[4 * i + 3] = t[3 * i + 2];
  }
}

INLINE void strided_filter_tile(const vec w[9], vec out[25]) {
  vec t[15];
#pragma GCC unroll 3
  for (int j = 0; j < 3; j++) {
    t[j] = w[j];
    t[3 + j] = t[9 + j] = w[3 + j];
    t[6 + j] = w[j] + w[6 + j];
    t[12 + j] = w[6 + j];
  }
#pragma GCC unroll 5
  for (int i = 0; i < 5; i++) {
    out[5 * i] = t[3 * i];
    out[5 * i + 1] = out[5 * i + 3] = t[3 * i + 1];
    out[5 * i + 2] = t[3 * i] + t[3 * i + 2];
    out[5 * i + 4] = t[3 * i + 2];
  }
}

INLINE void filter_taps(const bool bf16, const void *w, int64_t stride, bool turned, int64_t n, vec taps[9]) {
  float t[9][LANES] = {0};
  for (int64_t i = 0; i < n; i++)
    for (int tap = 0; tap < 9; tap++)
      t[turned ? 8 - tap : tap][i] =
          bf16 ? rt_bf16_to_f32(((const uint16_t *)w)[i * stride + tap]) : ((const float *)w)[i * stride + tap];
#pragma GCC unroll 9
  for (int tap = 0; tap < 9; tap++) taps[tap] = f32_load(t[tap]);
}

/* LANES columns of the weights' words for one step of k: element (k, column i, tap) is at w[k·step + i·stride + tap].
 * `pairs`: words of two bf16, from k and k + 1 (missing where `single`). */
INLINE void filter(const bool bf16, const bool strided, const void *w, int64_t step, int64_t stride, bool turned,
                   int64_t n, bool pairs, bool single, void *out, int64_t plane) {
  vec taps[9], low[25], high[25] = {{0}};
  const int planes = strided ? 25 : 16;
  filter_taps(bf16, w, stride, turned, n, taps);
  if (strided)
    strided_filter_tile(taps, low);
  else
    filter_tile(taps, low);
  if (pairs && !single) {
    filter_taps(bf16, (const char *)w + step * (bf16 ? 2 : 4), stride, turned, n, taps);
    if (strided)
      strided_filter_tile(taps, high);
    else
      filter_tile(taps, high);
  }
#pragma GCC unroll 25
  for (int j = 0; j < planes; j++) {
    if (pairs)
      words_store((uint32_t *)out + j * plane, words_zip(low[j], high[j]));
    else
      f32_store((float *)out + j * plane, low[j]);
  }
}

/* ---- gradient by weights: words along the tiles ---- */

/* Rows first to last of the transformed tile; bf16: of two tiles, zipped. Channel c is at out[c / width · panel + c % width]. */
INLINE void place(const bool bf16, const vec *low, const vec *high, const int n, uint32_t *out, int64_t plane) {
#pragma GCC unroll 16
  for (int j = 0; j < n; j++) {
    if (bf16)
      words_store(out + j * plane, words_zip(low[j], high[j]));
    else
      f32_store((float *)out + j * plane, low[j]);
  }
}

INLINE void image_rows(const bool bf16, const int first, const int last, const void *const *pixel, int64_t c, void *v,
                       int64_t plane, int64_t width, int64_t panel) {
  vec low[16], high[16];
  for (int64_t i = 0; i < c; i += LANES) {
    uint32_t *out = (uint32_t *)v + i / width * panel + i % width;
    input_tile(bf16, first, last, pixel, i, c - i, low);
    if (bf16) input_tile(bf16, first, last, pixel + 16, i, c - i, high);
    place(bf16, low, high, 4 * (last - first), out, plane);
  }
}

/* Row i of H times two values. */
INLINE vec h_row(const int i, vec y0, vec y1) {
  switch (i) {
  case 0: return y0;
  case 1: return (y0 + y1) * 0.5f;
  case 2: return (y0 - y1) * 0.5f;
  default: return y1;
  }
}

INLINE void gradient_tile(const bool bf16, const int first, const int last, const void *const *pixel, int64_t c,
                          int64_t n, vec out[16]) {
  vec d[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) d[i] = pixel_at(bf16, pixel[i], c, n);
#pragma GCC unroll 4
  for (int i = first; i < last; i++) {
    vec t0 = h_row(i, d[0], d[2]), t1 = h_row(i, d[1], d[3]);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) out[(i - first) * 4 + j] = h_row(j, t0, t1);
  }
}

INLINE void gradient_rows(const bool bf16, const int first, const int last, const void *const *pixel, int64_t c,
                          void *v, int64_t plane) {
  vec low[16], high[16];
  for (int64_t i = 0; i < c; i += LANES) {
    gradient_tile(bf16, first, last, pixel, i, c - i, low);
    if (bf16) gradient_tile(bf16, first, last, pixel + 4, i, c - i, high);
    place(bf16, low, high, 4 * (last - first), (uint32_t *)v + i, plane);
  }
}

#define BY_ROWS(call) \
  switch (row) { \
  case 0: call(0, 1); break; \
  case 1: call(1, 2); break; \
  case 2: call(2, 3); break; \
  case 3: call(3, 4); break; \
  default: call(0, 4); break; \
  }

/* Cᵀ u C of n channels into w: n × 9. */
void RT_NAME(winograd2_weight_gradient)(const float *u, int64_t plane, int64_t n, float *w) {
  for (int64_t i = 0; i < n; i += LANES) {
    vec t[12], out[9];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      vec u0 = f32_load(u + j * plane + i), u1 = f32_load(u + (4 + j) * plane + i),
          u2 = f32_load(u + (8 + j) * plane + i), u3 = f32_load(u + (12 + j) * plane + i);
      t[j] = u0 + u1 + u2;
      t[4 + j] = u1 - u2;
      t[8 + j] = u1 + u2 - u3;
    }
#pragma GCC unroll 3
    for (int j = 0; j < 3; j++) {
      const vec *r = t + 4 * j;
      out[3 * j] = r[0] + r[1] + r[2];
      out[3 * j + 1] = r[1] - r[2];
      out[3 * j + 2] = r[1] + r[2] - r[3];
    }
    int64_t some = n - i < LANES ? n - i : LANES;
    for (int64_t k = 0; k < some; k++)
      for (int tap = 0; tap < 9; tap++) w[(i + k) * 9 + tap] = out[tap][k];
  }
}

#define FORWARD(name, dtype, bf16, strided) \
  void RT_NAME(name##_input_##dtype)(const void *const *pixel, int64_t c, void *v, int64_t plane) { \
    input(bf16, strided, pixel, c, v, plane); \
  } \
  void RT_NAME(name##_output_##dtype)(const float *m, int64_t plane, int64_t c, void *const *y, const float *bias, \
                                      const void *const *residual, bool relu) { \
    output(bf16, strided, m, plane, c, y, bias, residual, relu); \
  } \
  void RT_NAME(name##_filter_##dtype)(const void *w, int64_t step, int64_t stride, bool turned, int64_t n, bool pairs, \
                                      bool single, void *out, int64_t plane) { \
    filter(bf16, strided, w, step, stride, turned, n, pairs, single, out, plane); \
  }
FORWARD(winograd2, f32, false, false)
FORWARD(winograd2, bf16, true, false)
FORWARD(winograd_strided, f32, false, true)
FORWARD(winograd_strided, bf16, true, true)

#define BY_WEIGHT(dtype, bf16) \
  void RT_NAME(winograd2_image_##dtype)(const void *const *pixel, int row, int64_t c, void *v, int64_t plane, \
                                        int64_t width, int64_t panel) { \
    BY_ROWS(IMAGE_##dtype) \
  } \
  void RT_NAME(winograd2_gradient_##dtype)(const void *const *pixel, int row, int64_t c, void *v, int64_t plane) { \
    BY_ROWS(GRADIENT_##dtype) \
  }
#define IMAGE_f32(first, last) image_rows(false, first, last, pixel, c, v, plane, width, panel)
#define IMAGE_bf16(first, last) image_rows(true, first, last, pixel, c, v, plane, width, panel)
#define GRADIENT_f32(first, last) gradient_rows(false, first, last, pixel, c, v, plane)
#define GRADIENT_bf16(first, last) gradient_rows(true, first, last, pixel, c, v, plane)
BY_WEIGHT(f32, false)
BY_WEIGHT(bf16, true)
