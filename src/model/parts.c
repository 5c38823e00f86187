#include "model/parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

bool rt_part_image(rt_graph *g, const char *model, const rt_value *x) {
  char text[RT_TYPE_TEXT];
  if (x->type.rank == 4 && x->type.dim[1] > 0) return true;
  rt_graph_failed(g, rt_fail(RT_E_SHAPE, "%s: its input must be N×C×H×W with C known, found %s", model,
                             rt_type_text(g, &x->type, text, sizeof text)));
  return false;
}

const char *rt_part_name(rt_graph *g, const char *format, ...) {
  char text[64];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  const char *name = rt_arena_text(&g->arena, "%s", text);
  if (!name) rt_graph_failed(g, RT_E_MEMORY);
  return name ? name : "";
}

rt_value *rt_part_conv(rt_graph *g, const char *name, rt_value *x, rt_conv_part c) {
  if (!x) return NULL;
  int64_t stride = c.stride ? c.stride : 1, groups = c.groups ? c.groups : 1;
  int64_t dim[] = {c.out, x->type.dim[1] / groups, c.kernel, c.kernel};
  int64_t fan = (c.fan == RT_FAN_OUT ? c.out : dim[1]) * c.kernel * c.kernel;
  rt_init init = {RT_INIT_NORMAL, 0, sqrt(2.0 / (double)fan)};
  rt_conv2d_attr attr = {
      .stride = {stride, stride}, .padding = {c.kernel / 2, c.kernel / 2}, .dilation = {1, 1}, .groups = groups};
  rt_value *weight = rt_parameter(g, rt_part_name(g, "%s.weight", name), 4, dim, init);
  rt_value *bias = c.bias ? rt_parameter(g, rt_part_name(g, "%s.bias", name), 1, dim, (rt_init){0}) : NULL;
  return rt_graph_add(g, RT_OP(conv2d), rt_part_name(g, "%s%s", g->scope, name), (rt_value *[]){x, weight, bias}, 3,
                      &attr);
}

rt_value *rt_part_conv_norm(rt_graph *g, const char *conv, const char *norm, rt_value *x, rt_conv_part c) {
  return rt_batch_norm(g, norm, rt_part_conv(g, conv, x, c));
}

rt_value *rt_part_mean(rt_graph *g, rt_value *x) {
  x = rt_apply(g, "adaptive_avg_pool2d", "avgpool", &x, 1, NULL);
  return rt_apply(g, "flatten", NULL, &x, 1, NULL);
}

rt_value *rt_part_linear(rt_graph *g, const char *name, rt_value *x, int64_t out, rt_init weight, rt_init bias) {
  if (!x) return NULL;
  int64_t dim[] = {out, x->type.dim[1]};
  rt_value *in[] = {x, rt_parameter(g, rt_part_name(g, "%s.weight", name), 2, dim, weight),
                    rt_parameter(g, rt_part_name(g, "%s.bias", name), 1, dim, bias)};
  return rt_apply(g, "linear", name, in, 3, NULL);
}

void rt_part_freeze(rt_value *v) {
  if (v && v->var) v->var->trainable = false;
}

int64_t rt_part_channels(int64_t channels, double width) {
  double wanted = (double)channels * width;
  int64_t made = (int64_t)(wanted + 4) / 8 * 8;
  if (made < 8) made = 8;
  return (double)made < 0.9 * wanted ? made + 8 : made;
}
