/* d[i, j] = ‖x_i − x_j‖ between the rows of x, N×D, and how many of them are above 0.
 *   dx_i = Σ_j (dd[i, j] + dd[j, i])·(x_i − x_j)/d[i, j], nothing where d[i, j] = 0
 * A row of its own because x_i·x_i + x_j·x_j − 2·x_i·x_j cancels for near rows, and the differences themselves take
 * N·N·D memory: this takes N·N. */
#include "base/alloc.h"
#include "base/thread.h"
#include "op/layer.h"

static rt_status infer(rt_infer *c) {
  const rt_type *x = c->in[0];
  rt_status s = rt_infer_float(c, 0);
  if (s == RT_OK) s = rt_infer_rank(c, 0, 2, 2);
  c->out[0] = rt_type_of(rt_wide(x->dtype), 2, (rt_dim[]){x->dim[0], x->dim[0]});
  c->out[1] = rt_type_of(rt_wide(x->dtype), 0, NULL);
  return s;
}

static rt_status infer_backward(rt_infer *c) { /* dd x d */
  const rt_type *x = c->in[1];
  rt_status s = rt_infer_float(c, 1);
  if (s == RT_OK) s = rt_infer_rank(c, 1, 2, 2);
  for (int i = 0; s == RT_OK && i < 3; i += 2) {
    rt_dim square[] = {x->dim[0], x->dim[0]};
    s = rt_infer_shape(c, i, 2, square);
  }
  c->out[0] = *x;
  return s;
}

static void grad(rt_grad *c) {
  const rt_node *n = c->node;
  if (c->want[0] && c->dy[0])
    c->dx[0] = rt_emit(c->graph, RT_OP(pairwise_distance_backward), NULL, NULL, 3, c->dy[0], n->in[0], n->out[0]);
}

typedef struct rows {
  int64_t n, width;
  const double *x, *dd, *d; /* n×width, n×n, n×n */
  double *to;               /* n×n, or n×width */
} rows;

static void measure(void *context, int64_t begin, int64_t end) {
  const rows *r = context;
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = 0; j < r->n; j++) {
      const double *a = r->x + i * r->width, *b = r->x + j * r->width;
      double sum = 0;
      for (int64_t k = 0; k < r->width; k++) sum += (a[k] - b[k]) * (a[k] - b[k]);
      r->to[i * r->n + j] = sqrt(sum);
    }
}

static void spread(void *context, int64_t begin, int64_t end) {
  const rows *r = context;
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = 0; j < r->n; j++) {
      const double *a = r->x + i * r->width, *b = r->x + j * r->width;
      double d = r->d[i * r->n + j], *to = r->to + i * r->width;
      if (!(d > 0)) continue;
      double g = (r->dd[i * r->n + j] + r->dd[j * r->n + i]) / d;
      for (int64_t k = 0; k < r->width; k++) to[k] += g * (a[k] - b[k]);
    }
}

static rt_status reference(const rt_call *c) {
  const rt_tensor *x = c->in[0];
  double *dense = rt_dense(x), *d = rt_dense_zero(&c->out[0]);
  bool ready = dense && d;
  if (ready) {
    rows r = {.n = x->dim[0], .width = x->dim[1], .x = dense, .to = d};
    int64_t above = 0;
    rt_parallel_for(r.n, 1, measure, &r);
    for (int64_t i = 0; i < r.n * r.n; i++) above += d[i] > 0;
    rt_dense_store(&c->out[0], d);
    rt_store_at(&c->out[1], 0, (double)above);
  }
  rt_free(dense);
  rt_free(d);
  return ready ? RT_OK : RT_E_MEMORY;
}

static rt_status reference_backward(const rt_call *c) {
  double *dd = rt_dense(c->in[0]), *x = rt_dense(c->in[1]), *d = rt_dense(c->in[2]), *dx = rt_dense_zero(c->out);
  bool ready = dd && x && d && dx;
  if (ready) {
    rows r = {.n = c->out->dim[0], .width = c->out->dim[1], .x = x, .dd = dd, .d = d, .to = dx};
    rt_parallel_for(r.n, 1, spread, &r);
    rt_dense_store(c->out, dx);
  }
  rt_free(dd);
  rt_free(x);
  rt_free(d);
  rt_free(dx);
  return ready ? RT_OK : RT_E_MEMORY;
}

static double flops(const rt_type *const *in, const rt_type *out, const void *attr) {
  return 3 * (double)rt_type_elements(out) * (double)in[0]->dim[1];
}

static double flops_backward(const rt_type *const *in, const rt_type *out, const void *attr) {
  return 3 * (double)rt_type_elements(in[0]) * (double)in[1]->dim[1];
}

static const char *const cases[] = {"x[5,3]", "x[1,4]", "x[9,33]", "x[4,1]~", NULL};
static const char *const errors[] = {"x[5] ; => x must have rank 2", "s64[5,3] ; => floating", NULL};
static const char *const cases_backward[] = {"f[5,5] x[5,3] f[5,5]+", "f[9,9] x[9,33] f[9,9]+",
                                             "f[3,3] x[3,2] f[3,3]=0", NULL};
static const char *const errors_backward[] = {"f[5,4] x[5,3] f[5,5] ; => dd must be", NULL};

const rt_op rt_op_row_pairwise_distance = {
    .name = "pairwise_distance",
    .summary = "d[i,j] = ‖x_i − x_j‖ of the rows of x, N×D to N×N, and how many are above 0",
    .input_names = "x",
    .n_out = 2,
    .aux_outputs = 1u << 1,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .precision = RT_PRECISION_F32,
    .flops = flops,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_pairwise_distance_backward = {
    .name = "pairwise_distance_backward",
    .summary = "dx_i = Σ_j (dd[i,j] + dd[j,i])·(x_i − x_j)/d[i,j]",
    .input_names = "dd x d",
    .n_out = 1,
    .f32_inputs = 1u << 0 | 1u << 2,
    .infer = infer_backward,
    .reference = reference_backward,
    .precision = RT_PRECISION_F32,
    .flops = flops_backward,
    .cases = cases_backward,
    .errors = errors_backward,
};
