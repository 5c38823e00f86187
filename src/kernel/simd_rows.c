/* Softmax and layer norm of one row. Sums in f64: rows are short, and the loads are what takes time. */
#ifndef RT_SELF
#define RT_SELF "kernel/simd_rows.c"
#include "kernel/simd_isa.h"
#include "kernel/simd_math.h"

#include <math.h>

enum { TILE = 512 };

static float largest(const float *x, int64_t n) {
  float most = -__builtin_inff();
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
  return most;
}

static double sum_of_exp(const float *x, int64_t n, float most) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += (double)simd_exp(x[i] - most);
  return sum;
}

void RT_NAME(log_sum_exp)(const float *x, int64_t n, double *most, double *log_sum) {
  float m = largest(x, n);
  *most = (double)m;
  *log_sum = log(sum_of_exp(x, n, m));
}

void RT_NAME(softmax)(const float *x, float *y, int64_t n, bool log_form) {
  float m = largest(x, n);
  if (log_form) {
    double log_sum = log(sum_of_exp(x, n, m));
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = (float)((double)(x[i] - m) - log_sum);
    return;
  }
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) {
    float e = simd_exp(x[i] - m);
    y[i] = e;
    sum += (double)e;
  }
  float share = (float)(1 / sum);
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] *= share;
}

void RT_NAME(softmax_backward)(const float *dy, const float *y, float *dx, int64_t n, bool log_form) {
  double sum = 0;
  if (log_form) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)dy[i];
    float s = (float)sum;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dx[i] = dy[i] - simd_exp(y[i]) * s;
    return;
  }
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += (double)dy[i] * (double)y[i];
  float s = (float)sum;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) dx[i] = y[i] * (dy[i] - s);
}

#include "kernel/simd_each.h"
#else

void RT_EACH(layer_norm)(const void *xp, const float *weight, const float *bias, void *yp, int64_t n, float eps,
                         float *mean, float *invstd) {
  const element *x = xp;
  element *y = yp;
  double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += (double)get(x, i);
  double m = sum / (double)n;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; i++) {
    double d = (double)get(x, i) - m;
    squares += d * d;
  }
  double scale = 1 / sqrt(squares / (double)n + (double)eps);
  float buffer[TILE], fm = (float)m, fs = (float)scale;
  for (int64_t from = 0; from < n; from += TILE) {
    int64_t some = n - from < TILE ? n - from : TILE;
    float *out = out_begin(y + from, buffer);
#pragma omp simd
    for (int64_t i = 0; i < some; i++) {
      float v = (get(x, from + i) - fm) * fs;
      out[i] = weight ? v * weight[from + i] : v;
    }
    if (bias) {
#pragma omp simd
      for (int64_t i = 0; i < some; i++) out[i] += bias[from + i];
    }
    out_end(out, y + from, some);
  }
  *mean = fm;
  *invstd = fs;
}

/* x^ = (x - mean) invstd, g = dy weight: dx = invstd (g - mean(g) - x^ mean(g x^)); adds to dbias and dweight. */
void RT_EACH(layer_norm_backward)(const void *dyp, const void *xp, const float *weight, void *dxp, int64_t n,
                                  float mean, float invstd, float *dbias, float *dweight) {
  const element *dy = dyp, *x = xp;
  element *dx = dxp;
  double sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
  for (int64_t i = 0; i < n; i++) {
    float v = get(dy, i), hat = (get(x, i) - mean) * invstd, g = weight ? v * weight[i] : v;
    sum += (double)g;
    dot += (double)(g * hat);
    dbias[i] += v;
    dweight[i] += v * hat;
  }
  float a = (float)(sum / (double)n), b = (float)(dot / (double)n), buffer[TILE];
  for (int64_t from = 0; from < n; from += TILE) {
    int64_t some = n - from < TILE ? n - from : TILE;
    float *out = out_begin(dx + from, buffer);
#pragma omp simd
    for (int64_t i = 0; i < some; i++) {
      float v = get(dy, from + i), hat = (get(x, from + i) - mean) * invstd;
      out[i] = invstd * ((weight ? v * weight[from + i] : v) - a - hat * b);
    }
    out_end(out, dx + from, some);
  }
}

#endif
