/* linear: y = x·Wᵀ + b, x …×K, W O×K, b O, y …×O
 *   dx = dy·W, dW = dyᵀ·x, db = Σ dy, over all rows of x */
#include "op/layer.h"

static rt_status infer(rt_infer *c) {
  const rt_type *x = c->in[0], *weight = c->in[1];
  rt_status s;
  if ((s = rt_infer_rank(c, 0, 1, RT_MAX_RANK)) || (s = rt_infer_rank(c, 1, 2, 2)) || (s = rt_infer_float(c, 0)) ||
      (s = rt_infer_same_dtype(c, 0, 1)) || (s = rt_infer_same(c, 0, x->rank - 1, 1, 1)) ||
      (s = rt_infer_vector(c, 2, 1, 0)))
    return s;
  c->out[0] = *x;
  c->out->dim[x->rank - 1] = weight->dim[0];
  return RT_OK;
}

/* v as a matrix of rows: …×K to R×K. */
static rt_value *rows(rt_grad *c, rt_value *v) {
  int rank = c->node->in[0]->type.rank;
  if (rank == 1) return rt_emit(c->graph, RT_OP(reshape), NULL, &(rt_reshape_attr){{2, {1, -1}}}, 1, v);
  return rank == 2 ? v : rt_emit(c->graph, RT_OP(flatten), NULL, &(rt_flatten_attr){0, -2}, 1, v);
}

static void grad(rt_grad *c) {
  rt_graph *g = c->graph;
  const rt_node *n = c->node;
  rt_value *x = n->in[0], *weight = n->in[1], *bias = rt_node_in(n, 2);
  rt_value *dy = rows(c, c->dy[0]);
  if (c->want[0]) {
    rt_value *dx = rt_emit(g, RT_OP(matmul), NULL, &(rt_matmul_attr){0}, 2, dy, weight);
    c->dx[0] = x->type.rank == 2 ? dx : rt_emit(g, RT_OP(reshape_to), NULL, NULL, 2, dx, x);
  }
  rt_matmul_attr outer = {.transpose_a = true, .f32 = true};
  if (c->want[1]) c->dx[1] = rt_emit(g, RT_OP(matmul), NULL, &outer, 2, dy, rows(c, x));
  if (bias && c->want[2]) c->dx[2] = rt_emit(g, RT_OP(sum_to), NULL, &(rt_sum_to_attr){.f32 = true}, 2, dy, bias);
}

static double flops(const rt_type *const *in, const rt_type *out, const void *attr) {
  return 2 * (double)rt_type_elements(out) * (double)in[1]->dim[1];
}

static rt_status reference(const rt_call *c) {
  /* A vector is a matrix of one row. */
  rt_tensor x = *c->in[0], y = *c->out, weight = *c->in[1];
  if (x.rank == 1) {
    x = (rt_tensor){x.dtype, 2, {1, x.dim[0]}, {0, x.stride[0]}, x.data};
    y = (rt_tensor){y.dtype, 2, {1, y.dim[0]}, {0, y.stride[0]}, y.data};
  }
  rt_tensor transposed = {
      weight.dtype, 2, {weight.dim[1], weight.dim[0]}, {weight.stride[1], weight.stride[0]}, weight.data};
  return rt_matmul_reference(&x, &transposed, rt_call_in(c, 2), &y);
}

/* ---- in int8: y …×O = (x·weightᵀ)·scale + bias ---- */

static const rt_option options_int8[] = {RT_INT8_OPTIONS, {0}};

static rt_status infer_int8(rt_infer *c) {
  const rt_type *x = c->in[0];
  rt_status s;
  if ((s = rt_infer_rank(c, 0, 1, RT_MAX_RANK)) || (s = rt_infer_rank(c, 1, 2, 2)) || (s = rt_infer_int8(c)) ||
      (s = rt_infer_same(c, 0, x->rank - 1, 1, 1)))
    return s;
  c->out[0] = *x;
  c->out->dim[x->rank - 1] = c->in[1]->dim[0];
  c->out->dtype = ((const rt_int8_attr *)c->attr)->f32 ? RT_F32 : RT_U8;
  return RT_OK;
}

static rt_status reference_int8(const rt_call *c) {
  const rt_tensor *x = c->in[0], *weight = c->in[1];
  int64_t filters = weight->dim[0], k = weight->dim[1], n = rt_tensor_elements(c->out);
  for (int64_t i = 0; i < n; i++) {
    int64_t row = i / filters, o = i % filters;
    double sum = 0;
    for (int64_t j = 0; j < k; j++) sum += rt_get(x, row * k + j) * rt_get(weight, o * k + j);
    rt_put(c->out, i, rt_int8_result(c->attr, sum, (float)rt_get(c->in[2], o), (float)rt_get(c->in[3], o), 0, false));
  }
  return RT_OK;
}

static const char *const cases_int8[] = {
    "u8[3,5]<256 s8[4,5]<127 f[4]<.01 f[4]<40",
    "u8[1,64]<256 s8[33,64]<127 f[33]<.001 f[33] ; f32=true",
    "u8[5,64]=127 s8[33,64]=127 f[33]<.001 f[33] ; x_high=127 f32=true",
    "u8[2,3,32]<256 s8[16,32]<127 f[16]<.001 f[16]<20 ; high=127",
    NULL,
};

static const char *const errors_int8[] = {
    "u8[3,5] s8[4,6] f[4] f[4] ; => expected 5",
    "u8[3,5] s8[4,5] f[4] f[3] ; => bias",
    "x[3,5] s8[4,5] f[4] f[4] ; => x must be u8",
    NULL,
};

static const char *const cases[] = {
    "x[3,5] x[4,5] f[4]",
    "x[1,1] x[1,1]",
    "x[1,17] x[33,17] f[33]",
    "x[2,3,17] x[5,17] f[5]",
    "x[2,1,3,4] x[2,4]",
    "x[6] x[5,6] f[5]",
    NULL,
};

static const char *const errors[] = {
    "x[3,5] x[4,6] ; => expected 5",
    "x[3,5] x[4,5] f[3] ; => bias must be",
    "x[3,5] x[5] ; => weight must have rank 2",
    "x[] x[4,5] ; => x must have rank",
    "s64[3,5] s64[4,5] ; => floating",
    NULL,
};

const rt_op rt_op_row_linear = {
    .name = "linear",
    .summary = "y = x·weightᵀ + bias: …×K, O×K, O to …×O",
    .input_names = "x weight bias?",
    .n_out = 1,
    .f32_inputs = 1 << 2,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .precision = RT_PRECISION_LOW,
    .int8 = RT_OP(linear_int8),
    .flops = flops,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_linear_int8 = {
    .name = "linear_int8",
    .summary = "y = (x·weightᵀ)·scale + bias: u8 …×K, s8 O×K, O, O to …×O",
    .input_names = "x weight scale bias",
    .options = options_int8,
    .attr_size = sizeof(rt_int8_attr),
    .n_out = 1,
    .f32_inputs = 1 << 2 | 1 << 3,
    .infer = infer_int8,
    .reference = reference_int8,
    .flops = flops,
    .cases = cases_int8,
    .errors = errors_int8,
};
