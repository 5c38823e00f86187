/* One window of a channels-last image; vectors run along the channels. */
#ifndef RT_SELF
#define RT_SELF "kernel/simd_pool.c"
#include "kernel/simd_isa.h"

enum { TILE = 512 };

void RT_NAME(max_window_u8)(const uint8_t *x, int64_t rows, int64_t cols, int64_t pitch, int64_t c, uint8_t *y) {
  for (int64_t i = 0; i < c; i++) y[i] = 0;
  for (int64_t h = 0; h < rows; h++)
    for (int64_t w = 0; w < cols; w++) {
      const uint8_t *restrict pixel = x + h * pitch + w * c;
#pragma omp simd
      for (int64_t i = 0; i < c; i++) y[i] = pixel[i] > y[i] ? pixel[i] : y[i];
    }
}

void RT_NAME(mean_window_u8)(const uint8_t *x, int64_t rows, int64_t cols, int64_t pitch, int64_t c, int32_t least,
                             float step, const rt_fake_grid *to, uint8_t *y) {
  float zero = to->zero, high = to->high;
  for (int64_t from = 0; from < c; from += TILE) {
    int64_t n = c - from < TILE ? c - from : TILE;
    int32_t sum[TILE];
    for (int64_t i = 0; i < n; i++) sum[i] = -least;
    for (int64_t h = 0; h < rows; h++)
      for (int64_t w = 0; w < cols; w++) {
        const uint8_t *restrict pixel = x + h * pitch + w * c + from;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) sum[i] += pixel[i];
      }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
      float v = __builtin_rintf((float)sum[i] * step) + zero;
      v = v > 0 ? v : 0;
      y[from + i] = (uint8_t)(int32_t)(v < high ? v : high);
    }
  }
}

#include "kernel/simd_each.h"
#else

/* The first of the largest, and its place in a plane `width` wide; a NaN is never lost. `place` is the window's first. */
void RT_EACH(max_window)(const void *xp, int64_t rows, int64_t cols, int64_t pitch, int64_t c, int32_t place,
                         int32_t width, void *yp, int32_t *index) {
  const element *x = xp;
  element *y = yp;
  float buffer[TILE];
  for (int64_t from = 0; from < c; from += TILE) {
    int64_t n = c - from < TILE ? c - from : TILE;
    float *most = out_begin(y + from, buffer);
    int32_t *at = index + from;
    for (int64_t i = 0; i < n; i++) {
      most[i] = -__builtin_inff();
      at[i] = place;
    }
    for (int64_t h = 0; h < rows; h++)
      for (int64_t w = 0; w < cols; w++) {
        const element *pixel = x + h * pitch + w * c + from;
        int32_t here = place + (int32_t)h * width + (int32_t)w;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
          float v = get(pixel, i);
          bool take = v > most[i] || v != v;
          most[i] = take ? v : most[i];
          at[i] = take ? here : at[i];
        }
      }
    out_end(most, y + from, n);
  }
}

void RT_EACH(mean_window)(const void *xp, int64_t rows, int64_t cols, int64_t pitch, int64_t c, float share, void *yp) {
  const element *x = xp;
  element *y = yp;
  float buffer[TILE], line[TILE];
  for (int64_t from = 0; from < c; from += TILE) {
    int64_t n = c - from < TILE ? c - from : TILE;
    float *sum = out_begin(y + from, buffer);
    for (int64_t i = 0; i < n; i++) sum[i] = 0;
    for (int64_t h = 0; h < rows; h++) {
      for (int64_t i = 0; i < n; i++) line[i] = 0;
      for (int64_t w = 0; w < cols; w++) {
        const element *pixel = x + h * pitch + w * c + from;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) line[i] += get(pixel, i);
      }
#pragma omp simd
      for (int64_t i = 0; i < n; i++) sum[i] += line[i];
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) sum[i] *= share;
    out_end(sum, y + from, n);
  }
}

void RT_EACH(accumulate)(const void *xp, int64_t n, float scale, float *sum) {
  const element *x = xp;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) sum[i] += scale * get(x, i);
}

void RT_EACH(accumulate_chosen)(const void *xp, const int32_t *index, int32_t place, int64_t n, float *sum) {
  const element *x = xp;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) sum[i] += index[i] == place ? get(x, i) : 0;
}

#endif
