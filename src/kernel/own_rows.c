/* Softmax along the last axis, and layer norm: a row is one call of a SIMD loop. */
#include "kernel/own.h"

/* ---- softmax, f32 as its policy has it ---- */

typedef struct softmax {
  const rt_simd *simd;
  const float *a, *b; /* x; or dy and y */
  float *out;
  int64_t n;
  bool log_form;
} softmax;

static void softmax_rows(void *p, int64_t begin, int64_t end) {
  const softmax *s = p;
  for (int64_t at = begin * s->n; at < end * s->n; at += s->n)
    if (s->b)
      s->simd->softmax_backward(s->a + at, s->b + at, s->out + at, s->n, s->log_form);
    else
      s->simd->softmax(s->a + at, s->out + at, s->n, s->log_form);
}

static rt_status run_softmax(const rt_kernel_call *call) {
  const rt_op *op = call->site->op;
  softmax s = {.simd = rt_simd_get(),
               .a = own_in(call, 0),
               .b = own_in(call, 1),
               .out = call->out->data,
               .n = call->out->dim[call->out->rank - 1],
               .log_form = op == RT_OP(log_softmax) || op == RT_OP(log_softmax_backward)};
  rt_parallel_for(rt_tensor_elements(call->out) / s.n, 1 + OWN_GRAIN / 4 / s.n, softmax_rows, &s);
  return RT_OK;
}

static bool row_major(const rt_type *t) { return t->layout == RT_ROW_MAJOR || rt_layouts_agree(t); }

static bool accepts_softmax(const rt_site *site) {
  int64_t axis = ((const rt_axis_attr *)site->attr)->axis;
  for (int i = 0; i < site->n_in; i++)
    if (!own_alike(site->in[i], site->out)) return false;
  return site->out->dtype == RT_F32 && row_major(site->out) && (axis == -1 || axis == site->out->rank - 1);
}

const rt_kernel rt_kernel_softmax = {"own_softmax", RT_OP(softmax), accepts_softmax, NULL, run_softmax, NULL};
const rt_kernel rt_kernel_softmax_backward = {
    "own_softmax_backward", RT_OP(softmax_backward), accepts_softmax, NULL, run_softmax, NULL};
const rt_kernel rt_kernel_log_softmax = {
    "own_log_softmax", RT_OP(log_softmax), accepts_softmax, NULL, run_softmax, NULL};
const rt_kernel rt_kernel_log_softmax_backward = {
    "own_log_softmax_backward", RT_OP(log_softmax_backward), accepts_softmax, NULL, run_softmax, NULL};

/* ---- layer norm ---- */

enum { MOST_BLOCKS = 64, BLOCK_ROWS = 32 };

typedef struct layer_norm {
  const rt_simd *simd;
  rt_dtype dtype;
  int64_t rows, n;
  const void *dy, *x;
  const float *weight, *bias, *old_mean, *old_invstd;
  void *out;
  float *mean, *invstd, *part; /* part: dbias and dweight of a block of rows */
  int64_t blocks, rows_each;
  float eps;
} layer_norm;

static layer_norm layer_norm_of(const rt_type *x) {
  layer_norm l = {.simd = rt_simd_get(), .dtype = x->dtype, .n = x->dim[x->rank - 1]};
  l.rows = rt_type_elements(x) / l.n;
  l.rows_each = (l.rows + MOST_BLOCKS - 1) / MOST_BLOCKS;
  if (l.rows_each < BLOCK_ROWS) l.rows_each = BLOCK_ROWS;
  l.blocks = (l.rows + l.rows_each - 1) / l.rows_each;
  return l;
}

static bool accepts_layer_norm(const rt_site *site, int x, int first_f32) {
  const rt_type *t = site->in[x];
  bool fits = own_dtype(t->dtype) && row_major(t) && own_alike(t, site->in[0]) && own_alike(t, site->out);
  for (int i = first_f32; i < site->n_in; i++) fits = fits && (!site->in[i] || site->in[i]->dtype == RT_F32);
  return fits;
}

static bool accepts_forward(const rt_site *site) { return accepts_layer_norm(site, 0, 1); }
static bool accepts_backward(const rt_site *site) { return accepts_layer_norm(site, 1, 2); }

static void forward_rows(void *p, int64_t begin, int64_t end) {
  const layer_norm *l = p;
  for (int64_t r = begin; r < end; r++)
    l->simd->layer_norm[l->dtype](own_at(l->x, l->dtype, r * l->n), l->weight, l->bias,
                                  own_at(l->out, l->dtype, r * l->n), l->n, l->eps, l->mean + r, l->invstd + r);
}

static rt_status run_layer_norm(const rt_kernel_call *call) {
  layer_norm l = layer_norm_of(call->site->in[0]);
  l.x = own_in(call, 0), l.weight = own_in(call, 1), l.bias = own_in(call, 2);
  l.out = call->out->data, l.mean = call->out[1].data, l.invstd = call->out[2].data;
  l.eps = (float)((const rt_layer_norm_attr *)call->site->attr)->eps;
  rt_parallel_for(l.rows, 1 + OWN_GRAIN / l.n, forward_rows, &l);
  return RT_OK;
}

static void backward_blocks(void *p, int64_t begin, int64_t end) {
  const layer_norm *l = p;
  for (int64_t b = begin; b < end; b++) {
    float *part = l->part + b * 2 * l->n;
    int64_t last = (b + 1) * l->rows_each < l->rows ? (b + 1) * l->rows_each : l->rows;
    memset(part, 0, (size_t)(2 * l->n) * sizeof *part);
    for (int64_t r = b * l->rows_each; r < last; r++)
      l->simd->layer_norm_backward[l->dtype](own_at(l->dy, l->dtype, r * l->n), own_at(l->x, l->dtype, r * l->n),
                                             l->weight, own_at(l->out, l->dtype, r * l->n), l->n, l->old_mean[r],
                                             l->old_invstd[r], part, part + l->n);
  }
}

static rt_status prepare_backward(rt_site *site) {
  layer_norm l = layer_norm_of(site->in[1]);
  site->workspace = 2 * l.n * (int64_t)sizeof(double) + 2 * l.n * l.blocks * (int64_t)sizeof(float);
  return RT_OK;
}

static rt_status run_layer_norm_backward(const rt_kernel_call *call) {
  layer_norm l = layer_norm_of(call->site->in[1]);
  double *dbias = call->workspace, *dweight = dbias + l.n;
  l.dy = own_in(call, 0), l.x = own_in(call, 1), l.weight = own_in(call, 2);
  l.old_mean = own_in(call, 3), l.old_invstd = own_in(call, 4);
  l.out = call->out->data, l.part = (float *)(dweight + l.n);
  rt_parallel_for(l.blocks, 1 + OWN_GRAIN / (l.rows_each * l.n), backward_blocks, &l);
  l.simd->merge_sums(l.part, (int)l.blocks, 1, l.n, dbias, dweight);
  for (int64_t i = 0; i < l.n; i++) {
    ((float *)call->out[1].data)[i] = (float)dweight[i];
    ((float *)call->out[2].data)[i] = (float)dbias[i];
  }
  return RT_OK;
}

const rt_kernel rt_kernel_layer_norm = {
    "own_layer_norm", RT_OP(layer_norm), accepts_forward, NULL, run_layer_norm, NULL};
const rt_kernel rt_kernel_layer_norm_backward = {"own_layer_norm_backward", RT_OP(layer_norm_backward),
                                                 accepts_backward,          prepare_backward,
                                                 run_layer_norm_backward,   NULL};
