/* The transforms of F(4×4, 3×3) and F(3×3, 4×4), f32 only: 36 products for a tile of 4×4 results, where a direct
 * convolution needs 144. Interpolation at 0, ±a, ±b and ∞ with a = 5/8, b = 8/5: being close to 1 and each other's
 * inverse they cost 2 times the rounding error of a direct sum, where the usual 1 and 2 cost 4 (Barabasz, Anderson,
 * Soodhalter, Gregg 2020 on the choice of points). Along one axis, with s = a² + b²:
 *   Bᵀ = 1  0  −s  0  1  0     G = 1    0     0          Aᵀ = 1  1  1   1  1   0     H, C as G, Aᵀ with four and
 *        0 −b  −b² a  1  0         f  fa  fa²                 0  a −a   b −b   0     three powers
 *        0  b  −b² −a 1  0         f −fa  fa²                 0  a² a²  b² b²  0
 *        0 −a  −a² b  1  0         g  gb  gb²                 0  a³ −a³ b³ −b³ 1
 *        0  a  −a² −b 1  0         g −gb  gb²
 *        0  1  0  −s  0  1         0  0   1        f = 1/(2a²(a² − b²)), g = 1/(2b²(b² − a²)) */
#include "kernel/simd_vec.h"

enum { SIDE = 6, PLANES = 36 };

#define A 0.625f
#define B 1.6f
static const float a = A, a2 = A * A, a3 = A * A * A, b = B, b2 = B * B, b3 = B * B * B, s = A * A + B * B;
static const float f = 1 / (2 * A * A * (A * A - B * B)), g = 1 / (2 * B * B * (B * B - A * A));

INLINE vec some(const float *p, int64_t n) { return n >= LANES ? f32_load(p) : f32_load_some(p, n); }
INLINE void put(float *p, vec v, int64_t n) {
  if (n >= LANES)
    f32_store(p, v);
  else
    f32_store_some(p, v, n);
}

/* Bᵀ times the column in d, every `step`-th. */
INLINE void times_b(vec *d, const int step) {
  vec d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
  vec even = d4 - b2 * d2, odd = a * d3 - b * d1, even2 = d4 - a2 * d2, odd2 = b * d3 - a * d1;
  d[0] = d0 + d4 - s * d2;
  d[step] = even + odd;
  d[2 * step] = even - odd;
  d[3 * step] = even2 + odd2;
  d[4 * step] = even2 - odd2;
  d[5 * step] = d1 + d5 - s * d3;
}

INLINE void input_tile(const void *const *pixel, int64_t c, int64_t n, vec d[PLANES]) {
#pragma GCC unroll 6
  for (int j = 0; j < SIDE; j++) {
#pragma GCC unroll 6
    for (int i = 0; i < SIDE; i++) d[SIDE * i + j] = some((const float *)pixel[SIDE * i + j] + c, n);
    times_b(d + j, SIDE);
  }
#pragma GCC unroll 6
  for (int i = 0; i < SIDE; i++) times_b(d + SIDE * i, 1);
}

void RT_NAME(winograd4_input)(const void *const *pixel, int64_t c, void *v, int64_t plane) {
  for (int64_t i = 0; i < c; i += LANES) {
    vec d[PLANES];
    input_tile(pixel, i, c - i, d);
#pragma GCC unroll 36
    for (int j = 0; j < PLANES; j++) f32_store((float *)v + j * plane + i, d[j]);
  }
}

/* Aᵀ times six values: four. */
INLINE void times_a(const vec m[SIDE], vec y[4]) {
  vec sum = m[1] + m[2], difference = m[1] - m[2], sum2 = m[3] + m[4], difference2 = m[3] - m[4];
  y[0] = m[0] + sum + sum2;
  y[1] = a * difference + b * difference2;
  y[2] = a2 * sum + b2 * sum2;
  y[3] = m[5] + a3 * difference + b3 * difference2;
}

void RT_NAME(winograd4_output)(const float *m, int64_t plane, int64_t c, void *const *y, const float *bias,
                               const void *const *residual, bool relu) {
  for (int64_t i = 0; i < c; i += LANES) {
    vec t[4][SIDE], shift = {0};
    if (bias) shift = some(bias + i, c - i);
#pragma GCC unroll 6
    for (int j = 0; j < SIDE; j++) {
      vec column[SIDE], out[4];
#pragma GCC unroll 6
      for (int k = 0; k < SIDE; k++) column[k] = f32_load(m + (SIDE * k + j) * plane + i);
      times_a(column, out);
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) t[k][j] = out[k];
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      vec out[4];
      times_a(t[k], out);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
        float *to = y[4 * k + j];
        if (!to) continue;
        vec v = out[j] + shift;
        if (residual) v += some((const float *)residual[4 * k + j] + i, c - i);
        put(to + i, relu ? rectified(v) : v, c - i);
      }
    }
  }
}

/* G times three values: six. */
INLINE void times_g(vec w0, vec w1, vec w2, vec *out, const int step) {
  vec even = f * (w0 + a2 * w2), odd = f * a * w1, even2 = g * (w0 + b2 * w2), odd2 = g * b * w1;
  out[0] = w0;
  out[step] = even + odd;
  out[2 * step] = even - odd;
  out[3 * step] = even2 + odd2;
  out[4 * step] = even2 - odd2;
  out[5 * step] = w2;
}

void RT_NAME(winograd4_filter)(const void *w, int64_t step, int64_t stride, bool turned, int64_t n, bool pairs,
                               bool single, void *out, int64_t plane) {
  float taps[9][LANES] = {{0}};
  vec t[18], u[PLANES];
  (void)step, (void)pairs, (void)single;
  for (int64_t i = 0; i < n; i++)
    for (int tap = 0; tap < 9; tap++) taps[turned ? 8 - tap : tap][i] = ((const float *)w)[i * stride + tap];
#pragma GCC unroll 3
  for (int j = 0; j < 3; j++) times_g(f32_load(taps[j]), f32_load(taps[3 + j]), f32_load(taps[6 + j]), t + j, 3);
#pragma GCC unroll 6
  for (int i = 0; i < SIDE; i++) times_g(t[3 * i], t[3 * i + 1], t[3 * i + 2], u + SIDE * i, 1);
#pragma GCC unroll 36
  for (int j = 0; j < PLANES; j++) f32_store((float *)out + j * plane, u[j]);
}

/* ---- gradient by weights: one row of planes, or (row SIDE) all six ---- */

INLINE vec row_of_b(int row, vec d0, vec d1, vec d2, vec d3, vec d4, vec d5) {
  switch (row) {
  case 0: return d0 + d4 - s * d2;
  case 1: return d4 - b2 * d2 + (a * d3 - b * d1);
  case 2: return d4 - b2 * d2 - (a * d3 - b * d1);
  case 3: return d4 - a2 * d2 + (b * d3 - a * d1);
  case 4: return d4 - a2 * d2 - (b * d3 - a * d1);
  default: return d1 + d5 - s * d3;
  }
}

void RT_NAME(winograd4_image)(const void *const *pixel, int row, int64_t c, void *v, int64_t plane, int64_t width,
                              int64_t panel) {
  for (int64_t i = 0; i < c; i += LANES) {
    float *out = (float *)v + i / width * panel + i % width;
    vec d[PLANES], t[SIDE];
    if (row == SIDE) {
      input_tile(pixel, i, c - i, d);
#pragma GCC unroll 36
      for (int j = 0; j < PLANES; j++) f32_store(out + j * plane, d[j]);
      continue;
    }
#pragma GCC unroll 6
    for (int j = 0; j < SIDE; j++) {
      vec column[SIDE];
#pragma GCC unroll 6
      for (int k = 0; k < SIDE; k++) column[k] = some((const float *)pixel[SIDE * k + j] + i, c - i);
      t[j] = row_of_b(row, column[0], column[1], column[2], column[3], column[4], column[5]);
    }
    times_b(t, 1);
#pragma GCC unroll 6
    for (int j = 0; j < SIDE; j++) f32_store(out + j * plane, t[j]);
  }
}

INLINE void times_h(const vec y[4], vec *out, const int step) {
  vec even = f * (y[0] + a2 * y[2]), odd = f * (a * y[1] + a3 * y[3]);
  vec even2 = g * (y[0] + b2 * y[2]), odd2 = g * (b * y[1] + b3 * y[3]);
  out[0] = y[0];
  out[step] = even + odd;
  out[2 * step] = even - odd;
  out[3 * step] = even2 + odd2;
  out[4 * step] = even2 - odd2;
  out[5 * step] = y[3];
}

void RT_NAME(winograd4_gradient)(const void *const *pixel, int row, int64_t c, void *v, int64_t plane) {
  for (int64_t i = 0; i < c; i += LANES) {
    vec t[4 * SIDE];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      vec column[4];
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) column[k] = some((const float *)pixel[4 * k + j] + i, c - i);
      times_h(column, t + j, 4);
    }
    float *out = (float *)v + i;
    for (int k = row == SIDE ? 0 : row; k < (row == SIDE ? SIDE : row + 1); k++) {
      vec d[SIDE];
      times_h(t + 4 * k, d, 1);
#pragma GCC unroll 6
      for (int j = 0; j < SIDE; j++, out += plane) f32_store(out, d[j]);
    }
  }
}

/* Cᵀ times six values: three. */
INLINE void times_c(const vec u[SIDE], vec w[3]) {
  vec sum = u[1] + u[2], sum2 = u[3] + u[4];
  w[0] = u[0] + sum + sum2;
  w[1] = a * (u[1] - u[2]) + b * (u[3] - u[4]);
  w[2] = u[5] + a2 * sum + b2 * sum2;
}

void RT_NAME(winograd4_weight_gradient)(const float *u, int64_t plane, int64_t n, float *w) {
  for (int64_t i = 0; i < n; i += LANES) {
    vec t[3][SIDE], out[9];
#pragma GCC unroll 6
    for (int j = 0; j < SIDE; j++) {
      vec column[SIDE], three[3];
#pragma GCC unroll 6
      for (int k = 0; k < SIDE; k++) column[k] = f32_load(u + (SIDE * k + j) * plane + i);
      times_c(column, three);
#pragma GCC unroll 3
      for (int k = 0; k < 3; k++) t[k][j] = three[k];
    }
#pragma GCC unroll 3
    for (int k = 0; k < 3; k++) times_c(t[k], out + 3 * k);
    int64_t lanes = n - i < LANES ? n - i : LANES;
    for (int64_t k = 0; k < lanes; k++)
      for (int tap = 0; tap < 9; tap++) w[(i + k) * 9 + tap] = out[tap][k];
  }
}
