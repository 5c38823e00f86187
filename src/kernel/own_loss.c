/* Cross entropy of f32 logits, and mean squared error. Rows or blocks leave partial sums that are added up in order. */
#include "kernel/own.h"

enum { BLOCK = 1 << 16 };

/* ---- cross entropy: the formulas of op/cross_entropy.c ---- */

typedef struct cross_entropy {
  const rt_simd *simd;
  int64_t rows, classes, ignored;
  const float *logits, *probabilities, *weight;
  const int64_t *label;
  float *dlogits;
  double *sum, *count; /* one a row */
  double smoothing, dsum;
} cross_entropy;

static cross_entropy cross_entropy_of(const rt_kernel_call *call, int logits) {
  const rt_cross_entropy_attr *attr = call->site->attr;
  const rt_type *z = call->site->in[logits];
  bool soft = call->site->in[logits + 1]->dtype == RT_F32;
  const void *target = own_in(call, logits + 1);
  return (cross_entropy){.simd = rt_simd_get(),
                         .rows = z->dim[0],
                         .classes = z->dim[1],
                         .ignored = attr->ignore_index,
                         .logits = own_in(call, logits),
                         .probabilities = soft ? target : NULL,
                         .label = soft ? NULL : target,
                         .weight = own_in(call, logits + 2),
                         .smoothing = attr->label_smoothing};
}

static rt_status check_labels(const rt_kernel_call *call, const cross_entropy *c) {
  for (int64_t r = 0; c->label && r < c->rows; r++)
    if (c->label[r] != c->ignored && (c->label[r] < 0 || c->label[r] >= c->classes))
      return rt_fail(RT_E_RANGE, "%s %s: target[%lld] is %lld; expected 0 to %lld, or %lld to ignore it",
                     call->site->op->name, call->site->name, (long long)r, (long long)c->label[r],
                     (long long)c->classes - 1, (long long)c->ignored);
  return RT_OK;
}

static double weight_of(const cross_entropy *c, int64_t k) { return c->weight ? (double)c->weight[k] : 1; }

static double target_of(const cross_entropy *c, int64_t r, int64_t k) {
  double q = c->label ? c->label[r] == k : (double)c->probabilities[r * c->classes + k];
  return weight_of(c, k) * ((1 - c->smoothing) * q + c->smoothing / (double)c->classes);
}

/* Only the label's class has a target. */
static bool sharp(const cross_entropy *c) { return c->label && c->smoothing == 0; }

static void loss_rows(void *p, int64_t begin, int64_t end) {
  const cross_entropy *c = p;
  for (int64_t r = begin; r < end; r++) {
    const float *z = c->logits + r * c->classes;
    double most, log_sum, sum = 0;
    c->sum[r] = c->count[r] = 0;
    if (c->label && c->label[r] == c->ignored) continue;
    c->simd->log_sum_exp(z, c->classes, &most, &log_sum);
    int64_t first = sharp(c) ? c->label[r] : 0, last = sharp(c) ? first + 1 : c->classes;
    for (int64_t k = first; k < last; k++) {
      double t = target_of(c, r, k);
      if (t != 0) sum += t * (log_sum - ((double)z[k] - most)); /* 0·∞ is 0 here */
    }
    c->sum[r] = sum;
    c->count[r] = c->label ? weight_of(c, c->label[r]) : 1;
  }
}

static rt_status run_cross_entropy(const rt_kernel_call *call) {
  cross_entropy c = cross_entropy_of(call, 0);
  rt_status status = check_labels(call, &c);
  if (status != RT_OK) return status;
  c.sum = call->workspace;
  c.count = c.sum + c.rows;
  rt_parallel_for(c.rows, 1 + OWN_GRAIN / 8 / c.classes, loss_rows, &c);
  double sum = 0, count = 0;
  for (int64_t r = 0; r < c.rows; r++) {
    sum += c.sum[r];
    count += c.count[r];
  }
  *(float *)call->out[0].data = (float)sum;
  *(float *)call->out[1].data = (float)count;
  return RT_OK;
}

static void gradient_rows(void *p, int64_t begin, int64_t end) {
  const cross_entropy *c = p;
  for (int64_t r = begin; r < end; r++) {
    float *d = c->dlogits + r * c->classes;
    if (c->label && c->label[r] == c->ignored) {
      memset(d, 0, (size_t)c->classes * sizeof *d);
      continue;
    }
    c->simd->softmax(c->logits + r * c->classes, d, c->classes, false);
    double total = 0;
    if (sharp(c)) {
      total = weight_of(c, c->label[r]);
      float scale = (float)(c->dsum * total);
      for (int64_t k = 0; k < c->classes; k++) d[k] *= scale;
      d[c->label[r]] -= scale;
      continue;
    }
    for (int64_t k = 0; k < c->classes; k++) total += target_of(c, r, k);
    for (int64_t k = 0; k < c->classes; k++) d[k] = (float)(c->dsum * ((double)d[k] * total - target_of(c, r, k)));
  }
}

static rt_status run_cross_entropy_backward(const rt_kernel_call *call) {
  cross_entropy c = cross_entropy_of(call, 1);
  rt_status status = check_labels(call, &c);
  if (status != RT_OK) return status;
  c.dsum = (double)*(const float *)own_in(call, 0);
  c.dlogits = call->out->data;
  rt_parallel_for(c.rows, 1 + OWN_GRAIN / 8 / c.classes, gradient_rows, &c);
  return RT_OK;
}

static bool accepts_cross_entropy(const rt_site *site) {
  int logits = site->op == RT_OP(cross_entropy_backward);
  for (int i = 0; i < site->n_in; i++)
    if (site->in[i] && site->in[i]->dtype != RT_F32 && !(i == logits + 1 && site->in[i]->dtype == RT_S64)) return false;
  return site->out->dtype == RT_F32;
}

static rt_status prepare_cross_entropy(rt_site *site) {
  site->workspace = 2 * site->in[0]->dim[0] * (int64_t)sizeof(double);
  return RT_OK;
}

const rt_kernel rt_kernel_cross_entropy = {"own_cross_entropy",   RT_OP(cross_entropy), accepts_cross_entropy,
                                           prepare_cross_entropy, run_cross_entropy,    NULL};
const rt_kernel rt_kernel_cross_entropy_backward = {"own_cross_entropy_backward", RT_OP(cross_entropy_backward),
                                                    accepts_cross_entropy,        NULL,
                                                    run_cross_entropy_backward,   NULL};

/* ---- mean squared error ---- */

typedef struct distance {
  const rt_simd *simd;
  rt_dtype dtype;
  int64_t n;
  const void *x, *target;
  void *dx;
  double *part;
  float scale;
} distance;

static void distance_blocks(void *p, int64_t begin, int64_t end) {
  const distance *d = p;
  for (int64_t b = begin; b < end; b++) {
    int64_t first = b * BLOCK, n = d->n - first < BLOCK ? d->n - first : BLOCK;
    d->simd->squared_distance[d->dtype](own_at(d->x, d->dtype, first), own_at(d->target, d->dtype, first), n,
                                        d->part + b);
  }
}

static rt_status run_mse(const rt_kernel_call *call) {
  distance d = {.simd = rt_simd_get(),
                .dtype = call->in[0]->dtype,
                .n = rt_tensor_elements(call->in[0]),
                .x = own_in(call, 0),
                .target = own_in(call, 1),
                .part = call->workspace};
  int64_t blocks = (d.n + BLOCK - 1) / BLOCK;
  rt_parallel_for(blocks, 1, distance_blocks, &d);
  double sum = 0;
  for (int64_t b = 0; b < blocks; b++) sum += d.part[b];
  *(float *)call->out[0].data = (float)sum;
  *(float *)call->out[1].data = (float)d.n;
  return RT_OK;
}

static void slope(void *p, int64_t begin, int64_t end) {
  const distance *d = p;
  d->simd->scaled_difference[d->dtype](own_at(d->x, d->dtype, begin), own_at(d->target, d->dtype, begin),
                                       own_at(d->dx, d->dtype, begin), end - begin, d->scale);
}

static rt_status run_mse_backward(const rt_kernel_call *call) {
  distance d = {.simd = rt_simd_get(),
                .dtype = call->out->dtype,
                .n = rt_tensor_elements(call->out),
                .x = own_in(call, 1),
                .target = own_in(call, 2),
                .dx = call->out->data,
                .scale = 2 * *(const float *)own_in(call, 0)};
  rt_parallel_for(d.n, OWN_GRAIN, slope, &d);
  return RT_OK;
}

static bool accepts_mse(const rt_site *site) {
  return own_dtype(site->in[0]->dtype) && own_alike(site->in[0], site->in[1]) && site->out[0].dtype == RT_F32;
}

static bool accepts_mse_backward(const rt_site *site) {
  return own_dtype(site->out->dtype) && site->in[0]->dtype == RT_F32 && own_alike(site->in[1], site->out) &&
         own_alike(site->in[2], site->out);
}

static rt_status prepare_mse(rt_site *site) {
  site->workspace = (rt_type_elements(site->in[0]) + BLOCK - 1) / BLOCK * (int64_t)sizeof(double);
  return RT_OK;
}

const rt_kernel rt_kernel_mse_loss = {"own_mse_loss", RT_OP(mse_loss), accepts_mse, prepare_mse, run_mse, NULL};
const rt_kernel rt_kernel_mse_loss_backward = {
    "own_mse_loss_backward", RT_OP(mse_loss_backward), accepts_mse_backward, NULL, run_mse_backward, NULL};
