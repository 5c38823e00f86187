/* Layer normalization over the last axis (Ba, Kiros, Hinton 2016): y = x̂·weight + bias, x̂ = (x − mean)·invstd,
 * invstd = 1/√(var + eps) with the biased variance; x …×D, weight and bias D, mean and invstd ….
 * With g = dy·weight:  dx = invstd·(g − mean(g) − x̂·mean(g·x̂)),  dweight = Σ dy·x̂,  dbias = Σ dy. */
#include "base/alloc.h"
#include "op/layer.h"

static const rt_option options[] = {
    {"eps", RT_OPT_FLOAT, offsetof(rt_layer_norm_attr, eps), "1e-05", 0, 1e18, .help = "added to the variance"},
    {0},
};

static rt_status infer(rt_infer *c) {
  const rt_type *x = c->in[0];
  rt_status s;
  if ((s = rt_infer_float(c, 0)) || (s = rt_infer_rank(c, 0, 1, RT_MAX_RANK)) ||
      (s = rt_infer_vector(c, 1, 0, x->rank - 1)) || (s = rt_infer_vector(c, 2, 0, x->rank - 1)))
    return s;
  c->out[0] = *x;
  c->out[1] = c->out[2] = rt_type_of(rt_wide(x->dtype), x->rank - 1, x->dim);
  return RT_OK;
}

/* dy x weight? mean invstd */
static rt_status infer_backward(rt_infer *c) {
  const rt_type *x = c->in[1];
  int last = x->rank - 1;
  rt_status s;
  if ((s = rt_infer_float(c, 1)) || (s = rt_infer_rank(c, 1, 1, RT_MAX_RANK)) || (s = rt_infer_same_dtype(c, 1, 0)) ||
      (s = rt_infer_same_shape(c, 1, 0)) || (s = rt_infer_vector(c, 2, 1, last)))
    return s;
  rt_type rows = *x;
  if ((s = rt_infer_shape(c, 3, last, rows.dim)) || (s = rt_infer_shape(c, 4, last, rows.dim))) return s;
  c->out[0] = *x;
  c->out[1] = c->out[2] = rt_type_of(rt_wide(x->dtype), 1, &x->dim[last]);
  return RT_OK;
}

static void grad(rt_grad *c) {
  const rt_node *n = c->node;
  if (!c->dy[0]) return;
  rt_value *dx = rt_emit(c->graph, RT_OP(layer_norm_backward), NULL, n->attr, 5, c->dy[0], n->in[0], rt_node_in(n, 1),
                         n->out[1], n->out[2]);
  for (int i = 0; i < n->n_in; i++)
    if (n->in[i] && c->want[i]) c->dx[i] = rt_output(dx, i);
}

static double at(const rt_tensor *t, int64_t row, int64_t i) { return rt_load(t, rt_lane_at(t, t->rank - 1, row, i)); }

static rt_status reference(const rt_call *c) {
  const rt_tensor *x = c->in[0], *weight = rt_call_in(c, 1), *bias = rt_call_in(c, 2), *y = c->out;
  int last = x->rank - 1;
  int64_t d = x->dim[last];
  for (int64_t row = 0; row < rt_lanes(x, last); row++) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < d; i++) sum += at(x, row, i);
    double mean = sum / (double)d;
    for (int64_t i = 0; i < d; i++) squares += (at(x, row, i) - mean) * (at(x, row, i) - mean);
    double invstd = 1 / sqrt(squares / (double)d + ((const rt_layer_norm_attr *)c->attr)->eps);
    for (int64_t i = 0; i < d; i++) {
      double v = (at(x, row, i) - mean) * invstd * (weight ? rt_get(weight, i) : 1) + (bias ? rt_get(bias, i) : 0);
      rt_store_at(y, rt_lane_at(y, last, row, i), v);
    }
    rt_put(&c->out[1], row, mean);
    rt_put(&c->out[2], row, invstd);
  }
  return RT_OK;
}

/* dx of one row; its share of the others is added to dweight and dbias. */
static void row_backward(const rt_call *c, int64_t row, double *dweight, double *dbias) {
  const rt_tensor *dy = c->in[0], *x = c->in[1], *weight = c->in[2], *dx = c->out;
  int last = x->rank - 1;
  int64_t d = x->dim[last];
  double mean = rt_get(c->in[3], row), invstd = rt_get(c->in[4], row), sum = 0, dot = 0;
  for (int64_t i = 0; i < d; i++) {
    double v = at(dy, row, i), xhat = (at(x, row, i) - mean) * invstd, g = v * (weight ? rt_get(weight, i) : 1);
    sum += g;
    dot += g * xhat;
    dweight[i] += v * xhat;
    dbias[i] += v;
  }
  for (int64_t i = 0; i < d; i++) { /* dx may take over dy's memory */
    double xhat = (at(x, row, i) - mean) * invstd, g = at(dy, row, i) * (weight ? rt_get(weight, i) : 1);
    rt_store_at(dx, rt_lane_at(dx, last, row, i), invstd * (g - (sum + xhat * dot) / (double)d));
  }
}

static rt_status reference_backward(const rt_call *c) {
  const rt_tensor *x = c->in[1];
  double *dweight = rt_dense_zero(&c->out[1]), *dbias = rt_dense_zero(&c->out[2]);
  bool ready = dweight && dbias;
  if (ready) {
    for (int64_t row = 0; row < rt_lanes(x, x->rank - 1); row++) row_backward(c, row, dweight, dbias);
    rt_dense_store(&c->out[1], dweight);
    rt_dense_store(&c->out[2], dbias);
  }
  rt_free(dweight);
  rt_free(dbias);
  return ready ? RT_OK : RT_E_MEMORY;
}

static const char *const cases[] = {
    "x[3,7] f[7] f[7]", "x[2,3,17] f[17] f[17]", "x[1,5] f[5] ; eps=0.001", "x[4,6]", "x[33] - f[33]", NULL,
};

static const char *const errors[] = {
    "x[3,7] f[6] f[7] ; => weight must be",
    "x[3,7] f[7] f[3] ; => bias must be",
    "x[] ; => x must have rank",
    "s64[3,7] ; => floating",
    NULL,
};

static const char *const cases_backward[] = {
    "x[3,7] x[3,7] f[7] f[3] f[3]+",
    "x[2,3,17] x[2,3,17] f[17] f[2,3] f[2,3]+",
    "x[4,6] x[4,6] - f[4] f[4]+",
    NULL,
};

static const char *const errors_backward[] = {
    "x[3,6] x[3,7] f[7] f[3] f[3]+ ; => same shape",
    "x[3,7] x[3,7] f[7] f[7] f[3]+ ; => mean must be",
    NULL,
};

const rt_op rt_op_row_layer_norm = {
    .name = "layer_norm",
    .summary = "y = norm(x)·weight + bias over the last axis, …×D; also mean and 1/√(var + eps) of each row",
    .input_names = "x weight? bias?",
    .options = options,
    .attr_size = sizeof(rt_layer_norm_attr),
    .n_out = 3,
    .aux_outputs = 1 << 1 | 1 << 2,
    .f32_inputs = 1 << 1 | 1 << 2,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .inplace = rt_inplace_first,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_layer_norm_backward = {
    .name = "layer_norm_backward",
    .summary = "gradients of layer_norm: dx, dweight, dbias",
    .input_names = "dy x weight? mean invstd",
    .options = options,
    .attr_size = sizeof(rt_layer_norm_attr),
    .n_out = 3,
    .f32_inputs = 1 << 2 | 1 << 3 | 1 << 4,
    .infer = infer_backward,
    .reference = reference_backward,
    .inplace = rt_inplace_first,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases_backward,
    .errors = errors_backward,
};
