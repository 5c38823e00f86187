/* Builders of the layers people write by hand: they make the variables, named and initialised as PyTorch's modules. */
#include "base/rng.h"
#include "op/op.h"

#include <math.h>
#include <stdio.h>

/* An earlier failure, or a missing value: nothing to build on. */
static bool stopped(rt_graph *g, const char *name, const rt_value *x) {
  if (g->status == RT_OK && !x) rt_graph_failed(g, rt_fail(RT_E_ARGUMENT, "%s: its input is missing", name));
  return g->status != RT_OK;
}

static rt_dim known(rt_graph *g, const char *name, const rt_value *x, int axis) {
  char text[RT_TYPE_TEXT];
  if (axis < 0) axis += x->type.rank;
  if (axis >= 0 && axis < x->type.rank && x->type.dim[axis] > 0) return x->type.dim[axis];
  rt_graph_failed(g, rt_fail(RT_E_SHAPE, "%s: dimension %d of its input must be known to size its weights, found %s",
                             name, axis, rt_type_text(g, &x->type, text, sizeof text)));
  return 0;
}

static rt_value *part(rt_graph *g, const char *name, const char *what, int rank, const int64_t *dim, rt_init init) {
  char full[256];
  snprintf(full, sizeof full, "%s.%s", name, what);
  return rt_parameter(g, full, rank, dim, init);
}

/* PyTorch's kaiming_uniform_(a=sqrt(5)): both weight and bias in ±1/sqrt(fan_in). */
static rt_init fan_in_uniform(int64_t fan_in) {
  double bound = 1 / sqrt((double)fan_in);
  return (rt_init){RT_INIT_UNIFORM, -bound, bound};
}

rt_value *rt_conv2d(rt_graph *g, const char *name, rt_value *x, int64_t out_channels, int64_t kernel, bool bias,
                    const char *options) {
  if (stopped(g, name, x)) return NULL;
  int64_t channels = known(g, name, x, 1);
  rt_conv2d_attr attr = {0};
  rt_status s = rt_options_parse(RT_OP(conv2d)->options, &attr, options, &g->arena, name);
  if (s != RT_OK) return rt_graph_failed(g, s);
  if (channels % attr.groups != 0)
    return rt_graph_failed(g, rt_fail(RT_E_SHAPE, "%s: %lld channels can't be divided into %lld groups", name,
                                      (long long)channels, (long long)attr.groups));
  int64_t dim[] = {out_channels, channels / attr.groups, kernel, kernel};
  rt_init init = fan_in_uniform(dim[1] * kernel * kernel);
  rt_value *in[] = {x, part(g, name, "weight", 4, dim, init), bias ? part(g, name, "bias", 1, dim, init) : NULL};
  return rt_apply(g, "conv2d", name, in, 3, options);
}

rt_value *rt_linear(rt_graph *g, const char *name, rt_value *x, int64_t out_features, bool bias) {
  if (stopped(g, name, x)) return NULL;
  int64_t dim[] = {out_features, known(g, name, x, -1)};
  rt_init init = fan_in_uniform(dim[1]);
  rt_value *in[] = {x, part(g, name, "weight", 2, dim, init), bias ? part(g, name, "bias", 1, dim, init) : NULL};
  return rt_apply(g, "linear", name, in, 3, NULL);
}

rt_value *rt_batch_norm(rt_graph *g, const char *name, rt_value *x) { return rt_batch_norm_by(g, name, x, NULL); }

rt_value *rt_batch_norm_by(rt_graph *g, const char *name, rt_value *x, const char *options) {
  if (stopped(g, name, x)) return NULL;
  char mean_name[256], var_name[256];
  snprintf(mean_name, sizeof mean_name, "%s.running_mean", name);
  snprintf(var_name, sizeof var_name, "%s.running_var", name);
  int64_t dim[] = {known(g, name, x, 1)};
  rt_init one = {RT_INIT_CONSTANT, 1, 0}, zero = {RT_INIT_ZERO, 0, 0};
  rt_value *mean = NULL, *var = NULL;
  rt_value *weight = part(g, name, "weight", 1, dim, one), *bias = part(g, name, "bias", 1, dim, zero);
  mean = rt_statistic(g, mean_name, RT_F32, 1, dim, zero);
  var = rt_statistic(g, var_name, RT_F32, 1, dim, one);
  rt_value *in[] = {x, weight, bias, mean, var};
  rt_value *y = rt_apply(g, "batch_norm_train", name, in, 5, options);
  rt_value *new_mean = rt_output(y, 3), *new_var = rt_output(y, 4);
  rt_apply(g, "assign", name, (rt_value *[]){mean, new_mean}, 2, NULL);
  rt_apply(g, "assign", name, (rt_value *[]){var, new_var}, 2, NULL);
  return y;
}

rt_value *rt_layer_norm(rt_graph *g, const char *name, rt_value *x) {
  if (stopped(g, name, x)) return NULL;
  int64_t dim[] = {known(g, name, x, -1)};
  rt_value *in[] = {x, part(g, name, "weight", 1, dim, (rt_init){RT_INIT_CONSTANT, 1, 0}),
                    part(g, name, "bias", 1, dim, (rt_init){RT_INIT_ZERO, 0, 0})};
  return rt_apply(g, "layer_norm", name, in, 3, NULL);
}

rt_value *rt_embedding(rt_graph *g, const char *name, rt_value *ids, int64_t count, int64_t width) {
  if (stopped(g, name, ids)) return NULL;
  int64_t dim[] = {count, width};
  rt_value *in[] = {part(g, name, "weight", 2, dim, (rt_init){RT_INIT_NORMAL, 0, 1}), ids};
  return rt_apply(g, "embedding", name, in, 2, NULL);
}

rt_value *rt_dropout(rt_graph *g, const char *name, rt_value *x, rt_value *rate) {
  if (stopped(g, name, x)) return NULL;
  char options[64];
  snprintf(options, sizeof options, "stream=%lld", (long long)(rt_hash_text(name) >> 1));
  rt_value *in[] = {x, rate, rt_input(g, "dropout_seed", RT_S64, 0, NULL), rt_input(g, "step", RT_S64, 0, NULL)};
  return rt_apply(g, "dropout", name, in, 4, options);
}

rt_value *rt_relu(rt_graph *g, rt_value *x) { return rt_apply(g, "relu", NULL, &x, 1, NULL); }
rt_value *rt_add(rt_graph *g, rt_value *a, rt_value *b) {
  return rt_apply(g, "add", NULL, (rt_value *[]){a, b}, 2, NULL);
}
rt_value *rt_sub(rt_graph *g, rt_value *a, rt_value *b) {
  return rt_apply(g, "sub", NULL, (rt_value *[]){a, b}, 2, NULL);
}
rt_value *rt_mul(rt_graph *g, rt_value *a, rt_value *b) {
  return rt_apply(g, "mul", NULL, (rt_value *[]){a, b}, 2, NULL);
}
rt_value *rt_div(rt_graph *g, rt_value *a, rt_value *b) {
  return rt_apply(g, "div", NULL, (rt_value *[]){a, b}, 2, NULL);
}

rt_value *rt_cross_entropy(rt_graph *g, rt_value *logits, rt_value *target, const char *options) {
  rt_value *sum = rt_apply(g, "cross_entropy", NULL, (rt_value *[]){logits, target}, 2, options);
  rt_value *count = rt_output(sum, 1);
  return rt_div(g, sum, count);
}
