/* Rounding to a grid of levels, flat; see op/quantize.c and op/fake_quant.c. */
#include "kernel/simd_isa.h"

#define RINT __builtin_rintf

void RT_NAME(quantize)(const float *x, uint8_t *q, int64_t n, float inverse, float zero, float high) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float v = RINT(x[i] * inverse) + zero;
    v = v > 0 ? v : 0;
    q[i] = (uint8_t)(int32_t)(v < high ? v : high);
  }
}

void RT_NAME(dequantize)(const uint8_t *q, float *y, int64_t n, float scale, float zero) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = scale * ((float)q[i] - zero);
}

void RT_NAME(regrid)(const uint8_t *a, const uint8_t *b, uint8_t *q, int64_t n, const rt_fake_grid from[2],
                     const rt_fake_grid *to) {
  float scale_a = from[0].scale, zero_a = from[0].zero, scale_b = from[1].scale, zero_b = from[1].zero;
  float zero = to->zero, high = to->high;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float more = b ? ((float)b[i] - zero_b) * scale_b : 0;
    float v = RINT(__builtin_fmaf((float)a[i] - zero_a, scale_a, more)) + zero;
    v = v > 0 ? v : 0;
    q[i] = (uint8_t)(int32_t)(v < high ? v : high);
  }
}

void RT_NAME(fake_quant)(const float *x, float *y, int64_t n, const rt_fake_grid *g) {
  float inverse = 1 / g->scale, scale = g->scale, zero = g->zero, low = g->low, high = g->high;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float q = RINT(x[i] * inverse) + zero;
    q = q < low ? low : q;
    q = q > high ? high : q;
    y[i] = (q - zero) * scale;
  }
}

/* sum += the gradient of the scale. */
void RT_NAME(fake_quant_backward)(const float *dy, const float *x, float *dx, int64_t n, const rt_fake_grid *g,
                                  double *sum) {
  float inverse = 1 / g->scale, zero = g->zero, low = g->low, high = g->high;
  for (int64_t from = 0; from < n; from += 64) {
    float part[64] = {0};
    int64_t some = n - from < 64 ? n - from : 64;
#pragma omp simd
    for (int64_t i = 0; i < some; i++) {
      float v = x[from + i] * inverse, q = RINT(v) + zero, d = dy[from + i];
      bool inside = q >= low && q <= high;
      q = q < low ? low : q;
      q = q > high ? high : q;
      part[i] = d * (q - zero - (inside ? v : 0));
      dx[from + i] = inside ? d : 0;
    }
    for (int64_t i = 0; i < some; i++) *sum += (double)part[i];
  }
}

void RT_NAME(largest)(const float *x, int64_t n, float *out) {
  float most = 0;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < n; i++) {
    float v = __builtin_fabsf(x[i]);
    most = v > most ? v : most;
  }
  *out = most;
}

void RT_NAME(extremes)(const float *x, int64_t n, float *low_out, float *high_out) {
  float low = 0, high = 0;
#pragma omp simd reduction(min : low) reduction(max : high)
  for (int64_t i = 0; i < n; i++) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  *low_out = low;
  *high_out = high;
}
