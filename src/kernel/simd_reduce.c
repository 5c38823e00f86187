/* Sums over many elements: a few in f32, the rest in f64. */
#ifndef RT_SELF
#define RT_SELF "kernel/simd_reduce.c"
#include "kernel/simd_isa.h"

enum { LANES = 16 };

/* Partial sums are added up in an order of our own, whatever the vector length. */
static inline double sum_of_lanes(const double *lane) {
  double s = 0;
  for (int i = 0; i < LANES; i++) s += lane[i];
  return s;
}

#include "kernel/simd_each.h"
#else

void RT_EACH(sum)(const void *xp, int64_t n, double *sum) {
  const element *x = xp;
  double lane[LANES] = {0};
  int64_t i = 0;
  for (; i + 4 * LANES <= n; i += 4 * LANES, x += 4 * LANES) {
#pragma omp simd
    for (int64_t j = 0; j < LANES; j++)
      lane[j] += (double)((get(x, j) + get(x, j + LANES)) + (get(x, j + 2 * LANES) + get(x, j + 3 * LANES)));
  }
  *sum = sum_of_lanes(lane);
  for (; i < n; i++, x++) *sum += (double)get(x, 0);
}

void RT_EACH(column_sums)(const void *xp, int64_t rows, int64_t c, double *sums) {
  const element *x = xp;
  for (int64_t i = 0; i < c; i++) sums[i] = 0;
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4, x += 4 * c) {
#pragma omp simd
    for (int64_t i = 0; i < c; i++)
      sums[i] += (double)((get(x, i) + get(x, c + i)) + (get(x, 2 * c + i) + get(x, 3 * c + i)));
  }
  for (; r < rows; r++, x += c) {
#pragma omp simd
    for (int64_t i = 0; i < c; i++) sums[i] += (double)get(x, i);
  }
}

void RT_EACH(squared_distance)(const void *xp, const void *yp, int64_t n, double *sum) {
  const element *x = xp, *y = yp;
  double lane[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
#pragma omp simd
    for (int64_t j = 0; j < LANES; j++) {
      float d = get(x, i + j) - get(y, i + j);
      lane[j] += (double)(d * d);
    }
  }
  *sum = sum_of_lanes(lane);
  for (; i < n; i++) {
    float d = get(x, i) - get(y, i);
    *sum += (double)(d * d);
  }
}

void RT_EACH(scaled_difference)(const void *xp, const void *yp, void *dp, int64_t n, float scale) {
  const element *x = xp, *y = yp;
  element *d = dp;
  float buffer[512];
  for (int64_t from = 0; from < n; from += 512) {
    int64_t some = n - from < 512 ? n - from : 512;
    float *out = out_begin(d + from, buffer);
#pragma omp simd
    for (int64_t i = 0; i < some; i++) out[i] = scale * (get(x, from + i) - get(y, from + i));
    out_end(out, d + from, some);
  }
}

#endif
