/* Batch normalization over every axis but 1 (Ioffe and Szegedy 2015): y = act(x̂·weight + bias + residual),
 * x̂ = (x − mean)/√(var + eps); x N×C, N×C×L or N×C×H×W, the rest C.
 * Training takes mean and biased variance from the batch and moves the running ones towards them, the variance
 * unbiased, as PyTorch does. With g = dy where act passed it, and n values a channel:
 *   dbias = Σ g,  dweight = Σ g·x̂,  dresidual = g
 *   dx = weight·invstd·(g − (dbias + x̂·dweight)/n) in training, weight·invstd·g in evaluation */
#include "op/layer.h"

#define FIELD(name) offsetof(rt_batch_norm_attr, name)
#define FORWARD_OPTIONS \
  {"eps", RT_OPT_FLOAT, FIELD(eps), "1e-05", 0, 1e18, .help = "added to the variance"}, \
      {"momentum", RT_OPT_FLOAT, FIELD(momentum), "0.1", 0, 1, .help = "share of the batch in the running statistics"}, \
  { \
    "activation", RT_OPT_CHOICE, FIELD(activation), "none", .choices = "none|relu", .help = "applied at the end" \
  }

static const rt_option options[] = {FORWARD_OPTIONS, {0}};

static const rt_option backward_options[] = {
    /* the forward row's options are the first field */
    FORWARD_OPTIONS,
    {"residual", RT_OPT_BOOL, offsetof(rt_batch_norm_backward_attr, residual), "false",
     .help = "also give its gradient"},
    {0},
};

enum { CHANNELS = 1 }; /* axis */

/* ---- shapes and gradients ---- */

static rt_status check(const rt_infer *c, int x, int first_vector, int last_vector) {
  rt_status s;
  if ((s = rt_infer_float(c, x)) || (s = rt_infer_rank(c, x, 2, RT_MAX_RANK))) return s;
  for (int i = first_vector; i <= last_vector && s == RT_OK; i++) s = rt_infer_vector(c, i, x, CHANNELS);
  return s;
}

/* batch_norm: x weight bias running_mean running_var residual? */
static rt_status infer(rt_infer *c) {
  rt_status s = check(c, 0, 1, 4);
  if (s != RT_OK) return s;
  if (rt_infer_in(c, 5) && ((s = rt_infer_same_dtype(c, 0, 5)) || (s = rt_infer_same_shape(c, 0, 5)))) return s;
  c->out[0] = *c->in[0];
  return RT_OK;
}

static rt_status infer_train(rt_infer *c) {
  rt_status s = infer(c);
  if (s != RT_OK) return s;
  const rt_type *x = c->in[0];
  bool single = true;
  for (int i = 0; i < x->rank; i++) single = single && (i == CHANNELS || x->dim[i] == 1);
  if (single) {
    char text[RT_TYPE_TEXT];
    return rt_infer_fail(c, "training needs more than one value a channel, found x %s",
                         rt_type_text(c->graph, x, text, sizeof text));
  }
  for (int i = 1; i < 5; i++) c->out[i] = *c->in[i];
  return RT_OK;
}

static int inplace_train(int n_in, int out) { return out == 0 || out == 3 || out == 4 ? out : -1; }

/* dy x y? weight mean invstd, or running_mean and running_var */
static rt_status infer_backward(rt_infer *c) {
  const rt_batch_norm_backward_attr *a = c->attr;
  rt_status s;
  if ((s = check(c, 1, 3, 5)) || (s = rt_infer_same_dtype(c, 1, 0)) || (s = rt_infer_same_shape(c, 1, 0))) return s;
  if (c->in[2] && ((s = rt_infer_same_dtype(c, 1, 2)) || (s = rt_infer_same_shape(c, 1, 2)))) return s;
  if ((a->forward.activation == RT_ACTIVATION_NONE) != !c->in[2])
    return rt_infer_fail(c, "y must be given where there is an activation, and only there");
  c->out[0] = *c->in[1];
  c->out[1] = c->out[2] = *c->in[3];
  if (a->residual) c->out[3] = *c->in[1];
  return RT_OK;
}

static int outputs_backward(const void *attr, int n_in) {
  return ((const rt_batch_norm_backward_attr *)attr)->residual ? 4 : 3;
}

static void emit_backward(rt_grad *c, const rt_op *row, rt_value *mean, rt_value *spread) {
  const rt_node *n = c->node;
  rt_batch_norm_backward_attr a = {.forward = *(const rt_batch_norm_attr *)n->attr};
  if (!c->dy[0]) return;
  a.residual = rt_node_in(n, 5) && c->want[5];
  rt_value *y = a.forward.activation == RT_ACTIVATION_NONE ? NULL : n->out[0];
  rt_value *dx = rt_emit(c->graph, row, NULL, &a, 6, c->dy[0], n->in[0], y, n->in[1], mean, spread);
  for (int i = 0; i < 3; i++)
    if (c->want[i]) c->dx[i] = rt_output(dx, i);
  if (a.residual) c->dx[5] = rt_output(dx, 3);
}

static void grad_train(rt_grad *c) { emit_backward(c, RT_OP(batch_norm_backward), c->node->out[1], c->node->out[2]); }

static void grad(rt_grad *c) { emit_backward(c, RT_OP(batch_norm_input_backward), c->node->in[3], c->node->in[4]); }

/* ---- references, a channel at a time ---- */

typedef struct moments {
  double mean, var, invstd;
} moments;

static double element(const rt_tensor *t, int64_t channel, int64_t i) {
  return rt_load(t, rt_lane_at(t, CHANNELS, i, channel));
}

static double of_channel(const rt_tensor *t, int64_t channel) { return rt_load(t, channel * t->stride[0]); }

static void store_channel(const rt_tensor *t, int64_t channel, double v) { rt_store_at(t, channel * t->stride[0], v); }

static moments batch_moments(const rt_tensor *x, int64_t channel, double eps) {
  int64_t n = rt_lanes(x, CHANNELS);
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; i++) sum += element(x, channel, i);
  double mean = sum / (double)n;
  for (int64_t i = 0; i < n; i++) {
    double d = element(x, channel, i) - mean;
    squares += d * d;
  }
  double var = squares / (double)n;
  return (moments){mean, var, 1 / sqrt(var + eps)};
}

static moments running_moments(const rt_tensor *mean, const rt_tensor *var, int64_t channel, double eps) {
  double v = of_channel(var, channel);
  return (moments){of_channel(mean, channel), v, 1 / sqrt(v + eps)};
}

static void normalize(const rt_call *c, int64_t channel, moments m) {
  const rt_tensor *x = c->in[0], *residual = rt_call_in(c, 5), *y = c->out;
  int activation = ((const rt_batch_norm_attr *)c->attr)->activation;
  double scale = of_channel(c->in[1], channel) * m.invstd, bias = of_channel(c->in[2], channel);
  for (int64_t i = 0; i < rt_lanes(x, CHANNELS); i++) {
    double v = (element(x, channel, i) - m.mean) * scale + bias;
    if (residual) v += element(residual, channel, i);
    rt_store_at(y, rt_lane_at(y, CHANNELS, i, channel), rt_activate(activation, v));
  }
}

static rt_status reference(const rt_call *c) {
  const rt_batch_norm_attr *a = c->attr;
  for (int64_t channel = 0; channel < c->in[0]->dim[CHANNELS]; channel++)
    normalize(c, channel, running_moments(c->in[3], c->in[4], channel, a->eps));
  return RT_OK;
}

/* The forward pass again from what it saved: gradients recompute y rather than keep it. */
static rt_status reference_apply(const rt_call *c) {
  for (int64_t channel = 0; channel < c->in[0]->dim[CHANNELS]; channel++) {
    moments m = {.mean = of_channel(c->in[3], channel), .invstd = of_channel(c->in[4], channel)};
    normalize(c, channel, m);
  }
  return RT_OK;
}

static void move_running(const rt_tensor *old, const rt_tensor *now, int64_t channel, double batch, double momentum) {
  store_channel(now, channel, (1 - momentum) * of_channel(old, channel) + momentum * batch);
}

static rt_status reference_train(const rt_call *c) {
  const rt_batch_norm_attr *a = c->attr;
  double n = (double)rt_lanes(c->in[0], CHANNELS);
  for (int64_t channel = 0; channel < c->in[0]->dim[CHANNELS]; channel++) {
    moments m = batch_moments(c->in[0], channel, a->eps);
    normalize(c, channel, m);
    store_channel(&c->out[1], channel, m.mean);
    store_channel(&c->out[2], channel, m.invstd);
    move_running(c->in[3], &c->out[3], channel, m.mean, a->momentum);
    move_running(c->in[4], &c->out[4], channel, m.var * n / (n - 1), a->momentum);
  }
  return RT_OK;
}

/* dy where the activation let it pass. */
static double passed(const rt_call *c, int64_t channel, int64_t i) {
  return c->in[2] && element(c->in[2], channel, i) <= 0 ? 0 : element(c->in[0], channel, i);
}

static void channel_backward(const rt_call *c, int64_t channel, moments m, bool training) {
  const rt_tensor *x = c->in[1], *dx = &c->out[0];
  int64_t n = rt_lanes(x, CHANNELS);
  double dbias = 0, dweight = 0, scale = of_channel(c->in[3], channel) * m.invstd;
  for (int64_t i = 0; i < n; i++) {
    double g = passed(c, channel, i);
    dbias += g;
    dweight += g * (element(x, channel, i) - m.mean) * m.invstd;
  }
  for (int64_t i = 0; i < n; i++) { /* dx may take over dy's memory */
    double g = passed(c, channel, i), xhat = (element(x, channel, i) - m.mean) * m.invstd;
    double through_moments = training ? (dbias + xhat * dweight) / (double)n : 0;
    rt_store_at(dx, rt_lane_at(dx, CHANNELS, i, channel), scale * (g - through_moments));
    if (c->n_out > 3) rt_store_at(&c->out[3], rt_lane_at(&c->out[3], CHANNELS, i, channel), g);
  }
  store_channel(&c->out[1], channel, dweight);
  store_channel(&c->out[2], channel, dbias);
}

static rt_status reference_backward(const rt_call *c) {
  for (int64_t channel = 0; channel < c->in[1]->dim[CHANNELS]; channel++) {
    moments m = {.mean = of_channel(c->in[4], channel), .invstd = of_channel(c->in[5], channel)};
    channel_backward(c, channel, m, true);
  }
  return RT_OK;
}

static rt_status reference_input_backward(const rt_call *c) {
  const rt_batch_norm_backward_attr *a = c->attr;
  for (int64_t channel = 0; channel < c->in[1]->dim[CHANNELS]; channel++)
    channel_backward(c, channel, running_moments(c->in[4], c->in[5], channel, a->forward.eps), false);
  return RT_OK;
}

/* ---- rows ---- */

static const char *const cases[] = {
    "x[2,3,7,5] f[3] f[3] f[3]! f[3]+!",
    "x[1,1,7,5] f[1] f[1] f[1]! f[1]+! ; activation=relu",
    "x[2,17,3,5] f[17] f[17] f[17]! f[17]+! x[2,17,3,5]",
    "x[3,5,2,2] f[5] f[5] f[5]! f[5]+! x[3,5,2,2] ; activation=relu eps=0.001 momentum=0.3",
    "x[6,5] f[5] f[5] f[5]! f[5]+!",
    "x[2,3,7] f[3] f[3] f[3]! f[3]+!",
    NULL,
};

static const char *const errors[] = {
    "x[2,3,7,5] f[4] f[3] f[3]! f[3]+! ; => weight must be",
    "x[2,3,7,5] f[3] f[3] f[3]! f[2]+! ; => running_var must be",
    "x[2,3,7,5] f[3] f[3] f[3]! f[3]+! x[2,3,5,7] ; => same shape",
    "x[3] f[3] f[3] f[3]! f[3]+! ; => x must have rank",
    "s64[2,3] f[3] f[3] f[3]! f[3]+! ; => floating",
    NULL,
};

static const char *const errors_train[] = {
    "x[1,3,1,1] f[3] f[3] f[3]! f[3]+! ; => more than one value a channel",
    "x[2,3,7,5] f[4] f[3] f[3]! f[3]+! ; => weight must be",
    "x[2,3,7,5] f[3] f[3] f[3]! f[3]+! x[2,3,5,7] ; => same shape",
    NULL,
};

static const char *const cases_backward[] = {
    "x[2,3,7,5] x[2,3,7,5] - f[3] f[3] f[3]+",
    "x[1,1,7,5] x[1,1,7,5] x[1,1,7,5] f[1] f[1] f[1]+ ; activation=relu",
    "x[2,17,3,5] x[2,17,3,5] - f[17] f[17] f[17]+ ; residual=true",
    "x[3,5,2,2] x[3,5,2,2] x[3,5,2,2] f[5] f[5] f[5]+ ; residual=true activation=relu",
    "x[6,5] x[6,5] - f[5] f[5] f[5]+",
    NULL,
};

static const char *const errors_backward[] = {
    "x[2,3,7,5] x[2,3,5,7] - f[3] f[3] f[3]+ ; => same shape",
    "x[2,3,7,5] x[2,3,7,5] - f[3] f[3] f[3]+ ; activation=relu => y must be given",
    NULL,
};

const rt_op rt_op_row_batch_norm_train = {
    .name = "batch_norm_train",
    .summary = "y = act(norm(x)·weight + bias + residual) by the batch's statistics, those, and new running ones",
    .input_names = "x weight bias running_mean running_var residual?",
    .options = options,
    .attr_size = sizeof(rt_batch_norm_attr),
    .n_out = 5,
    .aux_outputs = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4,
    .f32_inputs = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4,
    .infer = infer_train,
    .grad = grad_train,
    .reference = reference_train,
    .inplace = inplace_train,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases,
    .errors = errors_train,
};

const rt_op rt_op_row_batch_norm_backward = {
    .name = "batch_norm_backward",
    .summary = "gradients of batch_norm_train: dx, dweight, dbias and, if asked for, dresidual",
    .input_names = "dy x y? weight mean invstd",
    .options = backward_options,
    .attr_size = sizeof(rt_batch_norm_backward_attr),
    .n_out = -1,
    .outputs = outputs_backward,
    .f32_inputs = 1 << 3 | 1 << 4 | 1 << 5,
    .infer = infer_backward,
    .reference = reference_backward,
    .inplace = rt_inplace_first,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases_backward,
    .errors = errors_backward,
};

const rt_op rt_op_row_batch_norm = {
    .name = "batch_norm",
    .summary = "y = act(norm(x)·weight + bias + residual) by the running statistics",
    .input_names = "x weight bias running_mean running_var residual?",
    .options = options,
    .attr_size = sizeof(rt_batch_norm_attr),
    .n_out = 1,
    .f32_inputs = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .inplace = rt_inplace_first,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_batch_norm_apply = {
    .name = "batch_norm_apply",
    .summary = "y of batch_norm_train again, from the statistics that it saved",
    .input_names = "x weight bias mean invstd residual?",
    .options = options,
    .attr_size = sizeof(rt_batch_norm_attr),
    .n_out = 1,
    .f32_inputs = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4,
    .infer = infer,
    .reference = reference_apply,
    .inplace = rt_inplace_first,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases,
};

const rt_op rt_op_row_batch_norm_input_backward = {
    .name = "batch_norm_input_backward",
    .summary = "gradients of batch_norm: dx, dweight, dbias and, if asked for, dresidual",
    .input_names = "dy x y? weight running_mean running_var",
    .options = backward_options,
    .attr_size = sizeof(rt_batch_norm_backward_attr),
    .n_out = -1,
    .outputs = outputs_backward,
    .f32_inputs = 1 << 3 | 1 << 4 | 1 << 5,
    .infer = infer_backward,
    .reference = reference_input_backward,
    .inplace = rt_inplace_first,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases_backward,
    .errors = errors_backward,
};
