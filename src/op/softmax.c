/* softmax: y = exp(x − m)/Σ exp(x − m), m the largest x along the axis;  dx = y·(dy − Σ dy·y)
 * log_softmax: y = x − m − ln Σ exp(x − m);  dx = dy − exp(y)·Σ dy */
#include "op/layer.h"

static const rt_option options[] = {
    {"axis", RT_OPT_INT, offsetof(rt_axis_attr, axis), "-1", .help = "along which the exponentials sum to 1"},
    {0},
};

static rt_status infer(rt_infer *c) {
  int axis;
  rt_status s;
  if ((s = rt_infer_float(c, 0)) ||
      (s = rt_infer_axis(c, ((const rt_axis_attr *)c->attr)->axis, c->in[0]->rank, &axis)))
    return s;
  if (c->n_in > 1 && ((s = rt_infer_same_dtype(c, 0, 1)) || (s = rt_infer_same_shape(c, 0, 1))))
    return s; /* backward */
  c->out[0] = *c->in[0];
  return RT_OK;
}

static void emit_backward(rt_grad *c, const rt_op *row) {
  const rt_node *n = c->node;
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, row, NULL, n->attr, 2, c->dy[0], n->out[0]);
}

static void grad(rt_grad *c) { emit_backward(c, RT_OP(softmax_backward)); }
static void grad_log(rt_grad *c) { emit_backward(c, RT_OP(log_softmax_backward)); }

static int axis_of(const rt_call *c) { return rt_axis(((const rt_axis_attr *)c->attr)->axis, c->out->rank); }

static rt_status forward(const rt_call *c, bool log_form) {
  const rt_tensor *x = c->in[0], *y = c->out;
  int axis = axis_of(c);
  int64_t n = x->dim[axis];
  for (int64_t lane = 0; lane < rt_lanes(x, axis); lane++) {
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, rt_load(x, rt_lane_at(x, axis, lane, i)));
    for (int64_t i = 0; i < n; i++) sum += exp(rt_load(x, rt_lane_at(x, axis, lane, i)) - most);
    for (int64_t i = 0; i < n; i++) {
      double v = rt_load(x, rt_lane_at(x, axis, lane, i)) - most;
      rt_store_at(y, rt_lane_at(y, axis, lane, i), log_form ? v - log(sum) : exp(v) / sum);
    }
  }
  return RT_OK;
}

static rt_status backward(const rt_call *c, bool log_form) {
  const rt_tensor *dy = c->in[0], *y = c->in[1], *dx = c->out;
  int axis = axis_of(c);
  int64_t n = y->dim[axis];
  for (int64_t lane = 0; lane < rt_lanes(y, axis); lane++) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
      double g = rt_load(dy, rt_lane_at(dy, axis, lane, i));
      sum += log_form ? g : g * rt_load(y, rt_lane_at(y, axis, lane, i));
    }
    for (int64_t i = 0; i < n; i++) {
      double g = rt_load(dy, rt_lane_at(dy, axis, lane, i)), v = rt_load(y, rt_lane_at(y, axis, lane, i));
      rt_store_at(dx, rt_lane_at(dx, axis, lane, i), log_form ? g - exp(v) * sum : v * (g - sum));
    }
  }
  return RT_OK;
}

static rt_status reference(const rt_call *c) { return forward(c, false); }
static rt_status reference_log(const rt_call *c) { return forward(c, true); }
static rt_status reference_backward(const rt_call *c) { return backward(c, false); }
static rt_status reference_log_backward(const rt_call *c) { return backward(c, true); }

static const char *const cases[] = {
    "x[3,7]", "x[1,1]", "x[2,33]", "x[2,5,3] ; axis=1", "x[4,3] ; axis=0", "x[2,3,5,4] ; axis=-3", NULL,
};

static const char *const errors[] = {"x[3,7] ; axis=2 => axis 2", "x[] ; => axis", "s64[3,7] ; => floating", NULL};

static const char *const cases_backward[] = {"x[3,7] x[3,7]+", "x[2,5,3] x[2,5,3]+ ; axis=1", "x[1,33] x[1,33]+", NULL};

static const char *const errors_backward[] = {"x[3,7] x[3,6] ; => same shape", NULL};

/* All four but for names and functions. */
#define SHARED \
  .options = options, .attr_size = sizeof(rt_axis_attr), .n_out = 1, .infer = infer, .inplace = rt_inplace_first, \
  .precision = RT_PRECISION_F32

const rt_op rt_op_row_softmax = {
    .name = "softmax",
    .summary = "y = exp(x)/Σ exp(x) along an axis",
    .input_names = "x",
    .grad = grad,
    .reference = reference,
    .cases = cases,
    .errors = errors,
    SHARED,
};

const rt_op rt_op_row_softmax_backward = {
    .name = "softmax_backward",
    .summary = "dx = y·(dy − Σ dy·y)",
    .input_names = "dy y",
    .reference = reference_backward,
    .cases = cases_backward,
    .errors = errors_backward,
    SHARED,
};

const rt_op rt_op_row_log_softmax = {
    .name = "log_softmax",
    .summary = "y = x − ln Σ exp(x) along an axis",
    .input_names = "x",
    .grad = grad_log,
    .reference = reference_log,
    .cases = cases,
    .errors = errors,
    SHARED,
};

const rt_op rt_op_row_log_softmax_backward = {
    .name = "log_softmax_backward",
    .summary = "dx = dy − exp(y)·Σ dy",
    .input_names = "dy y",
    .reference = reference_log_backward,
    .cases = cases_backward,
    .errors = errors_backward,
    SHARED,
};
