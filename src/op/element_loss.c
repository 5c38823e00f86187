/* Losses that compare element by element: sum = Σ f(x − target), count = number of elements.
 *   mse_loss: f(d) = d²
 *   smooth_l1_loss (Girshick 2015): f(d) = d²/2β where |d| < β, |d| − β/2 elsewhere
 * dx = dsum·f'(x − target), and target's gradient is −dx. */
#include "op/layer.h"

static const rt_option smooth_l1_options[] = {
    {"beta", RT_OPT_FLOAT, offsetof(rt_smooth_l1_attr, beta), "1", 0, 1e18, .help = "where the parabola ends; 0: |d|"},
    {0},
};

/* The inputs x and target from number x on. */
static rt_status check(const rt_infer *c, int x) {
  rt_status s;
  if ((s = rt_infer_float(c, x)) || (s = rt_infer_same_dtype(c, x, x + 1))) return s;
  return rt_infer_same_shape(c, x, x + 1);
}

static rt_status infer(rt_infer *c) {
  c->out[0] = c->out[1] = rt_type_of(rt_wide(c->in[0]->dtype), 0, NULL);
  return check(c, 0);
}

static rt_status infer_backward(rt_infer *c) { /* dsum x target */
  c->out[0] = *c->in[1];
  rt_status s = rt_infer_scalar(c, 0);
  return s == RT_OK ? check(c, 1) : s;
}

static void emit_backward(rt_grad *c, const rt_op *row) {
  const rt_node *n = c->node;
  if (!c->dy[0]) return;
  rt_value *dx = rt_emit(c->graph, row, NULL, n->attr, 3, c->dy[0], n->in[0], n->in[1]);
  if (c->want[0]) c->dx[0] = dx;
  if (c->want[1]) c->dx[1] = rt_emit(c->graph, RT_OP(neg), NULL, &(rt_unary_attr){0}, 1, dx);
}

static void grad_mse(rt_grad *c) { emit_backward(c, RT_OP(mse_loss_backward)); }
static void grad_smooth_l1(rt_grad *c) { emit_backward(c, RT_OP(smooth_l1_loss_backward)); }

/* f or f' of a difference. */
typedef double formula(double d, const void *attr);

static double mse(double d, const void *attr) { return d * d; }
static double mse_slope(double d, const void *attr) { return 2 * d; }

static double smooth_l1(double d, const void *attr) {
  double beta = ((const rt_smooth_l1_attr *)attr)->beta, a = fabs(d);
  return a < beta ? a * a / (2 * beta) : a - beta / 2;
}

static double smooth_l1_slope(double d, const void *attr) {
  double beta = ((const rt_smooth_l1_attr *)attr)->beta;
  if (fabs(d) < beta) return d / beta;
  return d > 0 ? 1 : d < 0 ? -1 : d; /* NaN stays */
}

static rt_status forward(const rt_call *c, formula *f) {
  int64_t n = rt_tensor_elements(c->in[0]);
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += f(rt_get(c->in[0], i) - rt_get(c->in[1], i), c->attr);
  rt_store_at(&c->out[0], 0, sum);
  rt_store_at(&c->out[1], 0, (double)n);
  return RT_OK;
}

static rt_status backward(const rt_call *c, formula *slope) {
  double dsum = rt_load(c->in[0], 0);
  for (int64_t i = 0; i < rt_tensor_elements(c->out); i++)
    rt_put(c->out, i, dsum * slope(rt_get(c->in[1], i) - rt_get(c->in[2], i), c->attr));
  return RT_OK;
}

static rt_status reference_mse(const rt_call *c) { return forward(c, mse); }
static rt_status reference_mse_backward(const rt_call *c) { return backward(c, mse_slope); }
static rt_status reference_smooth_l1(const rt_call *c) { return forward(c, smooth_l1); }
static rt_status reference_smooth_l1_backward(const rt_call *c) { return backward(c, smooth_l1_slope); }

static int inplace_backward(int n_in, int out) { return 1; } /* dx over x */

static const char *const mse_cases[] = {"x[3,5] x[3,5]", "x[] x[]", "x[2,3,7,5] x[2,3,7,5]", NULL};
static const char *const smooth_l1_cases[] = {"x[3,5] x[3,5]", "x[1,33] x[1,33] ; beta=0.5", "x[7] x[7] ; beta=0",
                                              NULL};
static const char *const errors[] = {"x[3,5] x[5,3] ; => same shape", "x[3,5] s64[3,5] ; => same dtype", NULL};
static const char *const smooth_l1_errors[] = {"x[3,5] x[5,3] ; => same shape", "x[3] x[3] ; beta=-1 => beta", NULL};
static const char *const mse_backward_cases[] = {"f[] x[3,5] x[3,5]", "f[] x[2,3,7,5] x[2,3,7,5]", NULL};
static const char *const smooth_l1_backward_cases[] = {"f[] x[3,5] x[3,5]", "f[] x[1,33] x[1,33] ; beta=0.5", NULL};
static const char *const backward_errors[] = {"f[1] x[3] x[3] ; => dsum must be a floating scalar",
                                              "f[] x[3] x[4] ; => same shape", NULL};

const rt_op rt_op_row_mse_loss = {
    .name = "mse_loss",
    .summary = "sum of (x − target)² and number of elements",
    .input_names = "x target",
    .n_out = 2,
    .aux_outputs = 1 << 1,
    .infer = infer,
    .grad = grad_mse,
    .reference = reference_mse,
    .precision = RT_PRECISION_F32,
    .flops = rt_flops_first,
    .cases = mse_cases,
    .errors = errors,
};

const rt_op rt_op_row_mse_loss_backward = {
    .name = "mse_loss_backward",
    .summary = "dx = 2·dsum·(x − target)",
    .input_names = "dsum x target",
    .n_out = 1,
    .f32_inputs = 1 << 0,
    .infer = infer_backward,
    .reference = reference_mse_backward,
    .inplace = inplace_backward,
    .precision = RT_PRECISION_F32,
    .cases = mse_backward_cases,
    .errors = backward_errors,
};

const rt_op rt_op_row_smooth_l1_loss = {
    .name = "smooth_l1_loss",
    .summary = "sum of d²/2β where |d| < β, |d| − β/2 elsewhere, d = x − target; and number of elements",
    .input_names = "x target",
    .options = smooth_l1_options,
    .attr_size = sizeof(rt_smooth_l1_attr),
    .n_out = 2,
    .aux_outputs = 1 << 1,
    .infer = infer,
    .grad = grad_smooth_l1,
    .reference = reference_smooth_l1,
    .precision = RT_PRECISION_F32,
    .flops = rt_flops_first,
    .cases = smooth_l1_cases,
    .errors = smooth_l1_errors,
};

const rt_op rt_op_row_smooth_l1_loss_backward = {
    .name = "smooth_l1_loss_backward",
    .summary = "dx = dsum·clamp((x − target)/β, −1, 1)",
    .input_names = "dsum x target",
    .options = smooth_l1_options,
    .attr_size = sizeof(rt_smooth_l1_attr),
    .n_out = 1,
    .f32_inputs = 1 << 0,
    .infer = infer_backward,
    .reference = reference_smooth_l1_backward,
    .inplace = inplace_backward,
    .precision = RT_PRECISION_F32,
    .cases = smooth_l1_backward_cases,
    .errors = backward_errors,
};
