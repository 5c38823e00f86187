/* Batch norm over x: rows×c, channels contiguous. Sums of a block of rows in f32; blocks are merged in f64.
 * Vectors run along the channels, so results depend neither on the vector length nor on the threads. Memory is read in
 * its order, a row at a time: several rows side by side would save loads of the sums, and halve the bandwidth. */
#ifndef RT_SELF
#define RT_SELF "kernel/simd_norm.c"
#include "kernel/simd_isa.h"

enum { TILE = 512 };

/* What a block leaves: rows of width c·folds, k, s1 and s2 one after the other. Channel i is in the columns i + c·fold. */

/* Moments to the mean and the sum of squares about it. Chan, Golub, LeVeque 1983, with the mean known first. */
void RT_NAME(merge_moments)(const float *part, int blocks, int folds, const int64_t *rows, int64_t c, double *mean,
                            double *m2) {
  int64_t width = c * folds;
  double total = 0;
  for (int b = 0; b < blocks; b++) total += (double)(rows[b] * folds);
  for (int64_t i = 0; i < c; i++) mean[i] = m2[i] = 0;
  for (int p = 0; p < blocks * folds; p++) {
    const float *k = part + p / folds * 3 * width + p % folds * c, *s1 = k + width;
    double n = (double)rows[p / folds], share = 1 / total;
#pragma omp simd
    for (int64_t i = 0; i < c; i++) mean[i] += (n * (double)k[i] + (double)s1[i]) * share;
  }
  for (int p = 0; p < blocks * folds; p++) {
    const float *k = part + p / folds * 3 * width + p % folds * c, *s1 = k + width, *s2 = s1 + width;
    double n = (double)rows[p / folds], per_row = 1 / n;
#pragma omp simd
    for (int64_t i = 0; i < c; i++) {
      double shift = (double)s1[i] * per_row, away = (double)k[i] + shift - mean[i];
      m2[i] += (double)s2[i] - (double)s1[i] * shift + n * away * away;
    }
  }
}

/* Blocks of two sums each. */
void RT_NAME(merge_sums)(const float *part, int blocks, int folds, int64_t c, double *s1, double *s2) {
  int64_t width = c * folds;
  for (int64_t i = 0; i < c; i++) s1[i] = s2[i] = 0;
  for (int p = 0; p < blocks * folds; p++) {
    const float *a = part + p / folds * 2 * width + p % folds * c, *b = a + width;
#pragma omp simd
    for (int64_t i = 0; i < c; i++) {
      s1[i] += (double)a[i];
      s2[i] += (double)b[i];
    }
  }
}

#include "kernel/simd_each.h"
#else

/* k = the first row, s1 = Σ (x - k), s2 = Σ (x - k)²: no cancellation worth the name, however large the mean. */
void RT_EACH(moments)(const void *xp, int64_t rows, int64_t c, float *k, float *s1, float *s2) {
  const element *x = xp;
  for (int64_t i = 0; i < c; i++) {
    k[i] = get(x, i);
    s1[i] = s2[i] = 0;
  }
  for (int64_t r = 0; r < rows; r++, x += c) {
#pragma omp simd
    for (int64_t i = 0; i < c; i++) {
      float d = get(x, i) - k[i];
      s1[i] += d;
      s2[i] += d * d;
    }
  }
}

/* y = act(x scale + shift + residual) */
void RT_EACH(scale_shift)(const void *xp, const void *residual, void *yp, int64_t rows, int64_t c, const float *scale,
                          const float *shift, bool relu) {
  const element *x = xp, *add = residual;
  element *y = yp;
  float buffer[TILE], low = relu ? 0 : -__builtin_inff();
  for (int64_t r = 0; r < rows; r++)
    for (int64_t from = 0; from < c; from += TILE) {
      int64_t n = c - from < TILE ? c - from : TILE, at = r * c + from;
      float *out = out_begin(y + at, buffer);
      const float *a = scale + from, *b = shift + from;
      if (add) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
          float v = get(x, at + i) * a[i] + b[i] + get(add, at + i);
          out[i] = v < low ? low : v;
        }
      } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
          float v = get(x, at + i) * a[i] + b[i];
          out[i] = v < low ? low : v;
        }
      }
      out_end(out, y + at, n);
    }
}

/* dz = y > 0 ? dy : 0, exact in any dtype. */
static inline void RT_EACH(mask)(const element *dy, const element *y, element *dz, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    element z = dy[i]; /* loaded in any case: a conditional load doesn't vectorise before AVX-512 */
    dz[i] = get(y, i) > 0 ? z : (element)0;
  }
}

/* s1 = Σ dz, s2 = Σ dz (x - mean), where dz = dy masked by y > 0 (y NULL: dy), also written to dzp unless NULL. */
void RT_EACH(gradient_sums)(const void *dyp, const void *xp, const void *yp, void *dzp, int64_t rows, int64_t c,
                            const float *mean, float *s1, float *s2) {
  const element *dy = dyp, *x = xp, *y = yp;
  element *keep = dzp, buffer[TILE];
  for (int64_t i = 0; i < c; i++) s1[i] = s2[i] = 0;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t from = 0; from < c; from += TILE) {
      int64_t n = c - from < TILE ? c - from : TILE, at = r * c + from;
      const float *m = mean + from;
      float *a = s1 + from, *b = s2 + from;
      const element *dz = dy + at;
      if (y || keep) {
        element *masked = keep ? keep + at : buffer;
        if (y)
          RT_EACH(mask)(dy + at, y + at, masked, n);
        else
          memcpy(masked, dy + at, (size_t)n * sizeof *masked);
        dz = masked;
      }
#pragma omp simd
      for (int64_t i = 0; i < n; i++) {
        a[i] += get(dz, i);
        b[i] += get(dz, i) * (get(x, at + i) - m[i]);
      }
    }
}

/* dx = a dz + b x + d, dz as above */
void RT_EACH(gradient_scale_shift)(const void *dyp, const void *xp, const void *yp, void *dxp, int64_t rows, int64_t c,
                                   const float *a, const float *b, const float *d) {
  const element *dy = dyp, *x = xp, *y = yp;
  element *dx = dxp;
  float buffer[TILE];
  for (int64_t r = 0; r < rows; r++)
    for (int64_t from = 0; from < c; from += TILE) {
      int64_t n = c - from < TILE ? c - from : TILE, at = r * c + from;
      float *out = out_begin(dx + at, buffer);
      const float *fa = a + from, *fb = b + from, *fd = d + from;
      if (y) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
          float z = get(dy, at + i);
          out[i] = fa[i] * (get(y, at + i) > 0 ? z : 0.0f) + (fb[i] * get(x, at + i) + fd[i]);
        }
      } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) out[i] = fa[i] * get(dy, at + i) + (fb[i] * get(x, at + i) + fd[i]);
      }
      out_end(out, dx + at, n);
    }
}

#endif
