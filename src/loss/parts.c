#include "loss/parts.h"

#include <stdio.h>

const rt_option rt_loss_layer_options[] = {RT_LOSS_OPTION_COMMON, RT_LOSS_OPTION_LAYERS, {0}};

const char *rt_loss_text(const rt_loss_build *b, const char *format, ...) {
  char text[512];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  const char *kept = rt_arena_text(&b->graph->arena, "%s", text);
  if (!kept) rt_graph_failed(b->graph, RT_E_MEMORY);
  return kept ? kept : "";
}

void rt_loss_fail(const rt_loss_build *b, rt_status status, const char *format, ...) {
  if (b->graph->status != RT_OK) return;
  va_list list;
  va_start(list, format);
  rt_vfail(status, format, list);
  va_end(list);
  rt_graph_failed(b->graph, rt_fail_in(status, "%s", b->term));
}

int64_t rt_loss_dim(const rt_loss_build *b, const rt_value *x, int axis, const char *what) {
  if (b->graph->status != RT_OK || !x) return 0;
  if (x->type.dim[axis] > 0) return x->type.dim[axis];
  char text[RT_TYPE_TEXT];
  rt_loss_fail(b, RT_E_SHAPE, "%s must be known when the loss is built, found %s", what,
               rt_type_text(b->graph, &x->type, text, sizeof text));
  return 0;
}

/* ---- nodes ---- */

rt_value *rt_loss_op(const rt_loss_build *b, const char *op, rt_value *x, const char *options) {
  return rt_apply(b->graph, op, b->node, &x, 1, options);
}

rt_value *rt_loss_op2(const rt_loss_build *b, const char *op, rt_value *x, rt_value *y, const char *options) {
  return rt_apply(b->graph, op, b->node, (rt_value *[]){x, y}, 2, options);
}

/* Also where x has the dtype already: what is cast to bf16 later comes back here. */
rt_value *rt_loss_cast(const rt_loss_build *b, rt_value *x) {
  return rt_loss_op(b, "cast", x, b->dtype == RT_F64 ? "dtype=f64" : "dtype=f32");
}

rt_value *rt_loss_number(const rt_loss_build *b, double value) {
  float f = (float)value;
  return rt_constant(b->graph, b->dtype, 0, NULL, b->dtype == RT_F64 ? (const void *)&value : &f);
}

rt_value *rt_loss_scheduled(const rt_loss_build *b, const char *name, double fallback) {
  rt_value *v = rt_scalar_input(b->graph, rt_loss_text(b, "%s.%s", b->term, name), fallback);
  return b->dtype == RT_F64 ? rt_loss_cast(b, v) : v;
}

rt_value *rt_loss_temperature(const rt_loss_build *b, double fallback) {
  if (!(fallback > 0 && isfinite(fallback)))
    rt_loss_fail(b, RT_E_RANGE, "temperature=%g must be above 0 (1 leaves the logits as they are, 3 to 5 is usual)",
                 fallback);
  return rt_loss_scheduled(b, "temperature", fallback);
}

/* ---- sums ---- */

rt_loss_value rt_loss_samples(const rt_loss_build *b, rt_value *each) {
  rt_value *ones = rt_loss_op2(b, "expand_to", rt_loss_number(b, 1), each, NULL);
  return (rt_loss_value){rt_loss_op(b, "sum", each, NULL), rt_loss_op(b, "sum", ones, NULL)};
}

rt_loss_value rt_loss_more(const rt_loss_build *b, rt_loss_value x, rt_loss_value y) {
  if (!x.sum) return y;
  return (rt_loss_value){rt_loss_add(b, x.sum, y.sum), x.count};
}

rt_value *rt_loss_mean_samples(const rt_loss_build *b, rt_value *x) {
  return rt_loss_op(b, "mean", rt_loss_op(b, "flatten", x, NULL), "axes=1");
}

/* ---- formulas ---- */

rt_value *rt_loss_log_soft(const rt_loss_build *b, rt_value *x, rt_value *temperature) {
  return rt_loss_op(b, "log_softmax", rt_loss_div(b, x, temperature), NULL);
}

rt_value *rt_loss_kl(const rt_loss_build *b, rt_value *log_p, rt_value *log_q) {
  rt_value *p = rt_loss_op(b, "exp", log_p, NULL);
  return rt_loss_op(b, "sum", rt_loss_mul(b, p, rt_loss_sub(b, log_p, log_q)), "axes=1");
}

/* (x + |x|)/2 + ln(1 + exp(−|x|)): half of relu's slope at 0 is softplus's. */
rt_value *rt_loss_softplus(const rt_loss_build *b, rt_value *x) {
  rt_value *negative = rt_loss_op(b, "relu", rt_loss_op(b, "neg", x, NULL), NULL);
  rt_value *size = rt_loss_add(b, rt_loss_op(b, "relu", x, NULL), negative);
  rt_value *small = rt_loss_op(b, "exp", rt_loss_op(b, "neg", size, NULL), NULL);
  rt_value *bend = rt_loss_op(b, "log", rt_loss_add(b, small, rt_loss_number(b, 1)), NULL);
  return rt_loss_add(b, rt_loss_mul(b, rt_loss_add(b, x, size), rt_loss_number(b, 0.5)), bend);
}

/* The number added under the root is far below every square that matters, and above the least f32. */
rt_value *rt_loss_unit(const rt_loss_build *b, rt_value *x, const char *axes) {
  const char *over = rt_loss_text(b, "axes=%s keepdim", axes);
  rt_value *square = rt_loss_op(b, "sum", rt_loss_op(b, "square", x, NULL), over);
  rt_value *norm = rt_loss_op(b, "sqrt", rt_loss_add(b, square, rt_loss_number(b, 1e-24)), NULL);
  return rt_loss_div(b, x, norm);
}

rt_value *rt_loss_product(const rt_loss_build *b, rt_value *a, rt_value *c) {
  return rt_loss_op2(b, "matmul", a, c, "transpose_b exact");
}

rt_value *rt_loss_vectors(const rt_loss_build *b, rt_value *x) { return rt_loss_op(b, "flatten", x, NULL); }
rt_value *rt_loss_maps(const rt_loss_build *b, rt_value *x) { return rt_loss_op(b, "flatten", x, "start=2"); }

/* ---- layers that don't fit ---- */

static rt_value *pool(const rt_loss_build *b, rt_value *x, const rt_dim *size) {
  if (x->type.dim[2] == size[0] && x->type.dim[3] == size[1]) return x;
  return rt_loss_op(b, "adaptive_avg_pool2d", x,
                    rt_loss_text(b, "output_size=%lld,%lld", (long long)size[0], (long long)size[1]));
}

void rt_loss_match_size(const rt_loss_build *b, rt_value **x, rt_value **y) {
  if (b->graph->status != RT_OK) return;
  rt_dim size[2];
  bool same = true;
  for (int d = 0; d < 2; d++) same &= (*x)->type.dim[2 + d] == (*y)->type.dim[2 + d];
  if (same) return;
  for (int d = 0; d < 2; d++) {
    int64_t a = rt_loss_dim(b, *x, 2 + d, "height and width of a layer");
    int64_t c = rt_loss_dim(b, *y, 2 + d, "height and width of a layer");
    size[d] = a < c ? a : c;
  }
  if (b->graph->status != RT_OK) return;
  *x = pool(b, *x, size);
  *y = pool(b, *y, size);
}

rt_value *rt_loss_parameter(const rt_loss_build *b, const char *what, int rank, const int64_t *dim, rt_init init) {
  rt_value *v = rt_parameter(b->graph, rt_loss_text(b, "adapter.%s.%s", b->term, what), rank, dim, init);
  return b->dtype == RT_F64 ? rt_loss_cast(b, v) : v;
}

/* Starts normal with variance 2/fan (He et al. 2015). */
rt_value *rt_loss_conv(const rt_loss_build *b, const char *what, rt_value *x, int64_t out, int64_t kernel) {
  int64_t in = rt_loss_dim(b, x, 1, "the channels of a layer");
  if (b->graph->status != RT_OK) return NULL;
  rt_init init = {RT_INIT_NORMAL, 0, sqrt(2 / (double)(in * kernel * kernel))};
  rt_value *weight = rt_loss_parameter(b, what, 4, (int64_t[]){out, in, kernel, kernel}, init);
  rt_value *y = rt_loss_op2(b, "conv2d", x, weight, rt_loss_text(b, "padding=%lld", (long long)(kernel / 2)));
  return rt_loss_cast(b, y);
}

static rt_value *statistic(const rt_loss_build *b, const char *layer, const char *what, int64_t n, double start) {
  rt_init init = {RT_INIT_CONSTANT, start, 0};
  return rt_statistic(b->graph, rt_loss_text(b, "adapter.%s.%s.bn.%s", b->term, layer, what), b->dtype, 1, &n, init);
}

static rt_value *batch_norm(const rt_loss_build *b, const char *layer, rt_value *x, int64_t n) {
  rt_graph *g = b->graph;
  rt_init one = {RT_INIT_CONSTANT, 1, 0}, zero = {RT_INIT_ZERO, 0, 0};
  rt_value *weight = rt_loss_parameter(b, rt_loss_text(b, "%s.bn.weight", layer), 1, &n, one);
  rt_value *bias = rt_loss_parameter(b, rt_loss_text(b, "%s.bn.bias", layer), 1, &n, zero);
  rt_value *mean = statistic(b, layer, "running_mean", n, 0), *var = statistic(b, layer, "running_var", n, 1);
  const char *name = rt_loss_text(b, "adapter.%s.%s.bn", b->term, layer);
  rt_value *y = rt_apply(g, "batch_norm_train", name, (rt_value *[]){x, weight, bias, mean, var}, 5, NULL);
  rt_loss_op2(b, "assign", mean, rt_output(y, 3), NULL);
  rt_loss_op2(b, "assign", var, rt_output(y, 4), NULL);
  return y;
}

rt_value *rt_loss_adapt(const rt_loss_build *b, const rt_loss_pair *pair, rt_value *x) {
  if (b->graph->status != RT_OK) return NULL;
  if (x->type.dim[1] == pair->teacher->type.dim[1]) return x;
  int64_t out = rt_loss_dim(b, pair->teacher, 1, "the channels of a layer");
  rt_value *y = rt_loss_conv(b, rt_loss_text(b, "%s.conv.weight", pair->name), x, out, 1);
  return batch_norm(b, pair->name, y, out);
}
