/* Filters that whiten patches, from the training images (Page 2018): with λ, v the eigenvalues and eigenvectors of the
 * patches' second moments E[p pᵀ], largest first, filter i is v_i/√(λ_i + ε), and after all of them come their negatives. */
#include "base/alloc.h"
#include "train/train.h"

#include <stdio.h>
#include <string.h>

enum { IMAGES = 5000, BATCH = 250, MOST_SWEEPS = 60 };
static const double EPS = 5e-4;

/* moments (n×n, n = channels·kh·kw) += p pᵀ of every patch of the image */
static void add_patches(const float *x, const rt_batch *b, int64_t kh, int64_t kw, float *patch, double *moments) {
  int64_t n = b->channels * kh * kw, plane = b->height * b->width;
  for (int64_t top = 0; top + kh <= b->height; top++)
    for (int64_t left = 0; left + kw <= b->width; left++) {
      float *p = patch;
      for (int64_t c = 0; c < b->channels; c++)
        for (int64_t k = 0; k < kh; k++, p += kw)
          memcpy(p, x + c * plane + (top + k) * b->width + left, (size_t)kw * sizeof *p);
      for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) moments[i * n + j] += (double)(patch[i] * patch[j]);
    }
}

/* Jacobi's rotations: `a` (n×n, symmetric) becomes diagonal, the rows of `v` its eigenvectors. */
static void diagonalize(double *a, double *v, int64_t n) {
  for (int64_t i = 0; i < n * n; i++) v[i] = i % (n + 1) == 0;
  for (int sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    double off = 0, on = 0;
    for (int64_t i = 0; i < n * n; i++) *(i % (n + 1) == 0 ? &on : &off) += a[i] * a[i];
    if (off <= 1e-22 * on) return;
    for (int64_t p = 0; p < n; p++)
      for (int64_t q = p + 1; q < n; q++) {
        double apq = a[p * n + q];
        if (apq == 0) continue;
        double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
        double t = copysign(1, theta) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
        for (int64_t k = 0; k < n; k++) {
          double kp = a[k * n + p], kq = a[k * n + q];
          a[k * n + p] = c * kp - s * kq;
          a[k * n + q] = s * kp + c * kq;
        }
        for (int64_t k = 0; k < n; k++) {
          double pk = a[p * n + k], qk = a[q * n + k], vp = v[p * n + k], vq = v[q * n + k];
          a[p * n + k] = c * pk - s * qk;
          a[q * n + k] = s * pk + c * qk;
          v[p * n + k] = c * vp - s * vq;
          v[q * n + k] = s * vp + c * vq;
        }
      }
  }
}

/* value: n×n, the eigenvalues on its diagonal. */
static void write_filters(const double *value, const double *vector, int64_t n, float *w, int64_t filters) {
  for (int64_t i = 0; i < n; i++) {
    int64_t rank = 0; /* how many eigenvalues come before this one */
    double own = value[i * n + i];
    for (int64_t k = 0; k < n; k++) rank += value[k * n + k] > own || (value[k * n + k] == own && k < i);
    double scale = 1 / sqrt(fmax(own, 0) + EPS);
    for (int64_t k = 0; rank < filters && k < n; k++) w[rank * n + k] = (float)(scale * vector[i * n + k]);
  }
  for (int64_t i = n * n; i < filters * n; i++) w[i] = -w[i - n * n];
}

/* The mean of p pᵀ over so many training images, drawn as an epoch of them would be. */
static rt_status measure(const rt_trainer *t, int64_t kh, int64_t kw, float *patch, double *moments, int64_t n) {
  rt_loader *loader;
  rt_batch b = {0};
  char text[512];
  int64_t images = 0;
  snprintf(text, sizeof text, "batch=%d shuffle=true order_seed=%s%s", BATCH, t->o.order_seed, t->normal);
  rt_status s = rt_loader_new(t->data, RT_TRAIN, text, NULL, &loader);
  while (s == RT_OK && images < IMAGES && !b.last) {
    s = rt_loader_next(loader, &b);
    for (int64_t i = 0; s == RT_OK && i < b.n && images < IMAGES; i++, images++)
      add_patches(b.x + i * b.channels * b.height * b.width, &b, kh, kw, patch, moments);
  }
  rt_loader_free(loader);
  double patches = (double)(images * (b.height - kh + 1) * (b.width - kw + 1));
  for (int64_t i = 0; s == RT_OK && i < n; i++)
    for (int64_t j = 0; j <= i; j++) moments[j * n + i] = moments[i * n + j] = moments[i * n + j] / patches;
  return s;
}

static rt_status whiten(rt_trainer *t, rt_var *v) {
  const int64_t *dim = v->type.dim;
  int64_t n = rt_type_elements(&v->type) / dim[0];
  if (v->type.rank != 4 || dim[1] != t->info.channels || dim[2] > t->info.height || dim[3] > t->info.width)
    return rt_fail(RT_E_SHAPE, "%s: its filters can't whiten patches of images of %lldx%lldx%lld", v->name,
                   (long long)t->info.channels, (long long)t->info.height, (long long)t->info.width);
  double *moments = rt_alloc_array((size_t)(2 * n), (size_t)n * sizeof *moments), *vectors = moments + n * n;
  float *patch = rt_alloc_array((size_t)n, sizeof *patch);
  rt_status s = moments && patch ? measure(t, dim[2], dim[3], patch, moments, n) : RT_E_MEMORY;
  if (s == RT_OK) {
    diagonalize(moments, vectors, n);
    write_filters(moments, vectors, n, v->data, dim[0]);
    v->version++;
  }
  rt_free(moments);
  rt_free(patch);
  return s;
}

rt_status rt_train_whiten(rt_trainer *t) {
  rt_status s = RT_OK;
  for (int i = 0; i < t->store->n && s == RT_OK; i++) {
    rt_var *v = t->store->var[i];
    if (v->init.kind == RT_INIT_WHITEN && v->segment == RT_SEGMENT_PARAMETER && !v->alias) s = whiten(t, v);
  }
  return s;
}
