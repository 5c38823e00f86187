/* Batch norm, channels innermost: two passes over memory each way. Rows are cut into blocks by their number alone, so
 * sums don't depend on the threads. The second pass walks a thread's blocks backwards: what the first read last is still
 * in the cache. */
#include "kernel/own.h"

#include <math.h>

enum { MOST_BLOCKS = 64, BLOCK_ROWS = 128, FULL_WIDTH = 64 };

/* x as rows×width. Few channels are folded: several rows of memory make one of ours. */
typedef struct blocks {
  const rt_simd *simd;
  rt_dtype dtype;
  int64_t total, c, rows, width, rows_each;
  int n, folds;
} blocks;

static blocks blocks_of(const rt_type *x) {
  blocks b = {.dtype = x->dtype, .simd = rt_simd_get(), .folds = 1};
  own_rows(x, &b.total, &b.c);
  while (2 * b.folds * b.c <= FULL_WIDTH && b.total % (2 * b.folds) == 0) b.folds *= 2;
  b.rows = b.total / b.folds;
  b.width = b.c * b.folds;
  b.rows_each = (b.rows + MOST_BLOCKS - 1) / MOST_BLOCKS;
  if (b.rows_each < BLOCK_ROWS) b.rows_each = BLOCK_ROWS;
  b.n = (int)((b.rows + b.rows_each - 1) / b.rows_each);
  return b;
}

static int64_t block_rows(const blocks *b, int64_t i) {
  int64_t left = b->rows - i * b->rows_each;
  return left < b->rows_each ? left : b->rows_each;
}

static void *block_at(const blocks *b, const void *data, int64_t i) {
  return own_at(data, b->dtype, i * b->rows_each * b->width);
}

static void run_blocks(const blocks *b, rt_body *body, void *job) {
  rt_parallel_for(b->n, 1 + OWN_GRAIN / (b->rows_each * b->width), body, job);
}

/* ---- workspace: floats of every block, then doubles and coefficients a channel ---- */

static rt_status prepare(rt_site *site) {
  bool backward = site->op == RT_OP(batch_norm_backward) || site->op == RT_OP(batch_norm_input_backward);
  blocks b = blocks_of(site->in[backward]);
  site->workspace = 2 * b.c * (int64_t)sizeof(double) + (3 * b.n + 4) * b.width * (int64_t)sizeof(float);
  return RT_OK;
}

typedef struct space {
  double *sum[2]; /* c each */
  float *fold[4]; /* width each: coefficients, alike for every fold */
  float *part;    /* what blocks leave */
} space;

static space space_of(const blocks *b, void *workspace) {
  space s = {.sum = {workspace, (double *)workspace + b->c}};
  float *f = (float *)(s.sum[1] + b->c);
  for (int i = 0; i < 4; i++) s.fold[i] = f + i * b->width;
  s.part = f + 4 * b->width;
  return s;
}

static void repeat(const blocks *b, float *coefficients) {
  for (int f = 1; f < b->folds; f++) memcpy(coefficients + f * b->c, coefficients, (size_t)b->c * sizeof(float));
}

/* ---- forward ---- */

typedef struct forward {
  blocks b;
  const void *x, *residual;
  void *y;
  float *part, *scale, *shift;
  bool relu;
} forward;

static void moments(void *p, int64_t begin, int64_t end) {
  forward *f = p;
  for (int64_t i = begin; i < end; i++) {
    float *k = f->part + i * 3 * f->b.width;
    f->b.simd->moments[f->b.dtype](block_at(&f->b, f->x, i), block_rows(&f->b, i), f->b.width, k, k + f->b.width,
                                   k + 2 * f->b.width);
  }
}

static void normalise(void *p, int64_t begin, int64_t end) {
  forward *f = p;
  for (int64_t i = end; i-- > begin;)
    f->b.simd->scale_shift[f->b.dtype](block_at(&f->b, f->x, i), block_at(&f->b, f->residual, i),
                                       block_at(&f->b, f->y, i), block_rows(&f->b, i), f->b.width, f->scale, f->shift,
                                       f->relu);
}

static forward forward_of(const rt_kernel_call *call, space *s) {
  const rt_batch_norm_attr *attr = call->site->attr;
  forward f = {.b = blocks_of(call->site->in[0]),
               .x = own_in(call, 0),
               .residual = own_in(call, 5),
               .y = call->out[0].data,
               .relu = attr->activation == RT_ACTIVATION_RELU};
  *s = space_of(&f.b, call->workspace);
  f.part = s->part;
  f.scale = s->fold[0];
  f.shift = s->fold[1];
  return f;
}

static rt_status run_saved(forward *f, const float *weight, const float *bias, const float *mean, const float *invstd) {
  for (int64_t c = 0; c < f->b.c; c++) {
    double scale = (double)weight[c] * (double)invstd[c];
    f->scale[c] = (float)scale;
    f->shift[c] = (float)((double)bias[c] - (double)mean[c] * scale);
  }
  repeat(&f->b, f->scale);
  repeat(&f->b, f->shift);
  run_blocks(&f->b, normalise, f);
  return RT_OK;
}

/* y = act((x - mean) invstd weight + bias + residual), and new running statistics */
static rt_status run_train(const rt_kernel_call *call) {
  const rt_batch_norm_attr *attr = call->site->attr;
  space s;
  forward f = forward_of(call, &s);
  run_blocks(&f.b, moments, &f);
  int64_t rows[MOST_BLOCKS];
  for (int i = 0; i < f.b.n; i++) rows[i] = block_rows(&f.b, i);
  double *mean = s.sum[0], *m2 = s.sum[1], n = (double)f.b.total, keep = 1 - attr->momentum;
  f.b.simd->merge_moments(f.part, f.b.n, f.b.folds, rows, f.b.c, mean, m2);
  const float *weight = own_in(call, 1), *bias = own_in(call, 2), *old_mean = own_in(call, 3),
              *old_var = own_in(call, 4);
  float *save_mean = call->out[1].data, *save_invstd = call->out[2].data;
  float *new_mean = call->out[3].data, *new_var = call->out[4].data;
  for (int64_t c = 0; c < f.b.c; c++) {
    save_mean[c] = (float)mean[c];
    save_invstd[c] = (float)(1 / sqrt(m2[c] / n + attr->eps));
    new_mean[c] = (float)(keep * (double)old_mean[c] + attr->momentum * mean[c]);
    new_var[c] = (float)(keep * (double)old_var[c] + attr->momentum * m2[c] / (n > 1 ? n - 1 : 1));
  }
  return run_saved(&f, weight, bias, save_mean, save_invstd);
}

/* y again, to the bit. */
static rt_status run_apply(const rt_kernel_call *call) {
  space s;
  forward f = forward_of(call, &s);
  return run_saved(&f, own_in(call, 1), own_in(call, 2), own_in(call, 3), own_in(call, 4));
}

/* The same with running statistics. */
static rt_status run_eval(const rt_kernel_call *call) {
  const rt_batch_norm_attr *attr = call->site->attr;
  space s;
  forward f = forward_of(call, &s);
  const float *weight = own_in(call, 1), *bias = own_in(call, 2), *mean = own_in(call, 3), *var = own_in(call, 4);
  for (int64_t c = 0; c < f.b.c; c++) {
    double scale = (double)weight[c] / sqrt((double)var[c] + attr->eps);
    f.scale[c] = (float)scale;
    f.shift[c] = (float)((double)bias[c] - (double)mean[c] * scale);
  }
  repeat(&f.b, f.scale);
  repeat(&f.b, f.shift);
  run_blocks(&f.b, normalise, &f);
  return RT_OK;
}

/* ---- backward ---- */

typedef struct backward {
  blocks b;
  const void *dy, *x, *y;
  void *dx, *dresidual;
  float *part, *mean, *of_dz, *of_x, *rest;
} backward;

static void sums(void *p, int64_t begin, int64_t end) {
  backward *g = p;
  const blocks *b = &g->b;
  for (int64_t i = begin; i < end; i++) {
    float *s1 = g->part + i * 2 * b->width;
    b->simd->gradient_sums[b->dtype](block_at(b, g->dy, i), block_at(b, g->x, i), block_at(b, g->y, i),
                                     block_at(b, g->dresidual, i), block_rows(b, i), b->width, g->mean, s1,
                                     s1 + b->width);
  }
}

static void gradient(void *p, int64_t begin, int64_t end) {
  backward *g = p;
  const blocks *b = &g->b;
  for (int64_t i = end; i-- > begin;) /* dresidual is dy already masked: nothing is left for y to say */
    b->simd->gradient_scale_shift[b->dtype](block_at(b, g->dresidual ? g->dresidual : g->dy, i), block_at(b, g->x, i),
                                            g->dresidual ? NULL : block_at(b, g->y, i), block_at(b, g->dx, i),
                                            block_rows(b, i), b->width, g->of_dz, g->of_x, g->rest);
}

/* dz = dy masked by y > 0, n rows, x^ = (x - mean) invstd:
 *   dbias = Σ dz, dweight = Σ dz x^, dx = weight invstd (dz - dbias/n - x^ dweight/n)
 * and for constant statistics dx = weight invstd dz. */
static rt_status run_gradient(const rt_kernel_call *call, const float *mean, const float *invstd, bool constant) {
  backward g = {.b = blocks_of(call->site->in[1]),
                .dy = own_in(call, 0),
                .x = own_in(call, 1),
                .y = own_in(call, 2),
                .dx = call->out[0].data,
                .dresidual = call->site->n_out > 3 ? call->out[3].data : NULL};
  space s = space_of(&g.b, call->workspace);
  g.part = s.part;
  g.mean = s.fold[0], g.of_dz = s.fold[1], g.of_x = s.fold[2], g.rest = s.fold[3];
  memcpy(g.mean, mean, (size_t)g.b.c * sizeof(float));
  repeat(&g.b, g.mean);
  run_blocks(&g.b, sums, &g);
  g.b.simd->merge_sums(g.part, g.b.n, g.b.folds, g.b.c, s.sum[0], s.sum[1]);
  const float *weight = own_in(call, 3);
  float *dweight = call->out[1].data, *dbias = call->out[2].data;
  double n = (double)g.b.total;
  for (int64_t c = 0; c < g.b.c; c++) {
    double std = (double)invstd[c], a = (double)weight[c] * std, b = constant ? 0 : -a * std * std * s.sum[1][c] / n;
    dweight[c] = (float)(s.sum[1][c] * std);
    dbias[c] = (float)s.sum[0][c];
    g.of_dz[c] = (float)a;
    g.of_x[c] = (float)b;
    g.rest[c] = constant ? 0 : (float)(-a * s.sum[0][c] / n - b * (double)mean[c]);
  }
  for (int i = 1; i < 4; i++) repeat(&g.b, s.fold[i]);
  run_blocks(&g.b, gradient, &g);
  return RT_OK;
}

static rt_status run_backward(const rt_kernel_call *call) {
  return run_gradient(call, own_in(call, 4), own_in(call, 5), false);
}

static rt_status run_input_backward(const rt_kernel_call *call) {
  const rt_batch_norm_backward_attr *attr = call->site->attr;
  blocks b = blocks_of(call->site->in[1]);
  const float *var = own_in(call, 5);
  float *invstd = space_of(&b, call->workspace).fold[1]; /* each is read just before its coefficient takes its place */
  for (int64_t c = 0; c < b.c; c++) invstd[c] = (float)(1 / sqrt((double)var[c] + attr->forward.eps));
  return run_gradient(call, own_in(call, 4), invstd, true);
}

/* ---- rows ---- */

static bool accepts_images(const rt_site *site, int first, int x, int other) {
  int64_t rows, c;
  const rt_type *t = site->in[x];
  if (!own_dtype(t->dtype) || !own_rows(t, &rows, &c) || rows < 1) return false;
  if (!own_alike(t, site->in[first]) || (own_in_type(site, other) && !own_alike(t, site->in[other]))) return false;
  for (int i = 0; i < site->n_in; i++) /* weights and statistics */
    if (site->in[i] && i != first && i != x && i != other && site->in[i]->dtype != RT_F32) return false;
  for (int i = 0; i < site->n_out; i++)
    if (i == 0 || site->out[i].rank > 1 ? !own_alike(t, &site->out[i]) : site->out[i].dtype != RT_F32) return false;
  return true;
}

static bool accepts_forward(const rt_site *site) { return accepts_images(site, 0, 0, 5); }
static bool accepts_backward(const rt_site *site) { return accepts_images(site, 0, 1, 2); }

const rt_kernel rt_kernel_batch_norm_train = {
    "own_batch_norm_train", RT_OP(batch_norm_train), accepts_forward, prepare, run_train, NULL};
const rt_kernel rt_kernel_batch_norm = {"own_batch_norm", RT_OP(batch_norm), accepts_forward, prepare, run_eval, NULL};
const rt_kernel rt_kernel_batch_norm_apply = {
    "own_batch_norm_apply", RT_OP(batch_norm_apply), accepts_forward, prepare, run_apply, NULL};
const rt_kernel rt_kernel_batch_norm_backward = {
    "own_batch_norm_backward", RT_OP(batch_norm_backward), accepts_backward, prepare, run_backward, NULL};
const rt_kernel rt_kernel_batch_norm_input_backward = {"own_batch_norm_input_backward",
                                                       RT_OP(batch_norm_input_backward),
                                                       accepts_backward,
                                                       prepare,
                                                       run_input_backward,
                                                       NULL};
