/* Conv, MaxPool, AveragePool, Global…Pool */
#include "onnx/export.h"
#include "onnx/window.h"

#include <math.h>

rt_value *rt_onnx_convolution(rt_onnx_import *c, rt_value *x, rt_value *weight, rt_value *bias) {
  rt_onnx_window w;
  if (!x || !weight) return NULL;
  bool line = x->type.rank == 3;
  if (weight->type.rank != x->type.rank) {
    rt_onnx_cant(c, "its weight has rank %d, its input %d", weight->type.rank, x->type.rank);
    return NULL;
  }
  if (!rt_onnx_window_of(c, x, weight->type.dim + 2, &w)) return NULL;
  rt_conv2d_attr attr = {.groups = rt_onnx_int(c, "group", 1)};
  if (attr.groups < 1) {
    rt_onnx_cant(c, "group is %lld", (long long)attr.groups);
    return NULL;
  }
  x = rt_onnx_even_pads(c, rt_onnx_as_image(c, x), &w, 0, attr.padding);
  for (int i = 0; i < 2; i++) attr.stride[i] = w.stride[i], attr.dilation[i] = w.dilation[i];
  rt_value *y = rt_onnx_emit(c, RT_OP(conv2d), &attr, 3, x, rt_onnx_as_image(c, weight), bias);
  return line && y ? rt_onnx_as_line(c, y) : y;
}

static const char *norm_name(rt_onnx_import *c) {
  const char *name = rt_arena_text(&c->g->arena, "%s.norm", c->name);
  return name ? name : "norm";
}

static bool is_normalised(const rt_onnx_import *c) {
  const rt_onnx *m = c->m;
  for (int i = 0; i < m->n_nodes; i++)
    if (strcmp(m->graph->node[i]->op_type, "BatchNormalization") == 0 && m->graph->node[i]->n_input &&
        m->in[i][0] == m->out[c->index][0])
      return true;
  return false;
}

static void import_conv(rt_onnx_import *c) {
  bool norm = c->o->norms && c->node->n_output && !is_normalised(c);
  rt_value *x = rt_onnx_in(c, 0), *weight = rt_onnx_in(c, 1);
  rt_value *y = rt_onnx_convolution(c, x, weight, rt_onnx_given(c, 2) && !norm ? rt_onnx_in(c, 2) : NULL);
  rt_onnx_give(c, 0, norm && y && y->type.rank == 4 ? rt_batch_norm(c->g, norm_name(c), y) : y);
}

/* The padding of our pools is at most half the kernel: the rest is put around the image before. */
static void move_pads(rt_onnx_window *w, int64_t out[2]) {
  for (int i = 0; i < 2; i++) {
    int64_t most = w->kernel[i] / 2, low = w->before[i] < w->after[i] ? w->before[i] : w->after[i];
    out[i] = low < most ? low : most;
  }
}

static rt_value *framed(rt_onnx_import *c, rt_value *x, const rt_onnx_window *w, const int64_t kept[2], double value) {
  rt_pad_attr attr = {.pads.n = 8, .value = value};
  bool any = false;
  for (int i = 0; i < 2; i++) {
    attr.pads.v[4 + 2 * i] = w->before[i] - kept[i];
    attr.pads.v[5 + 2 * i] = w->after[i] - kept[i];
    any = any || attr.pads.v[4 + 2 * i] || attr.pads.v[5 + 2 * i];
  }
  return any ? rt_onnx_emit(c, RT_OP(pad), &attr, 1, x) : x;
}

static bool pool_of(rt_onnx_import *c, rt_value *x, rt_onnx_window *w, rt_pool2d_attr *attr) {
  if (!rt_onnx_window_of(c, x, NULL, w)) return false;
  if (w->dilation[0] != 1 || w->dilation[1] != 1) {
    rt_onnx_cant(c, "with dilations");
    return false;
  }
  *attr = (rt_pool2d_attr){.ceil_mode = w->ceil};
  for (int i = 0; i < 2; i++) attr->kernel[i] = w->kernel[i], attr->stride[i] = w->stride[i];
  move_pads(w, attr->padding);
  return true;
}

static void import_max_pool(rt_onnx_import *c) {
  rt_value *x = rt_onnx_in(c, 0);
  rt_onnx_window w;
  rt_pool2d_attr attr;
  if (!x || !pool_of(c, x, &w, &attr)) return;
  bool line = x->type.rank == 3;
  x = framed(c, rt_onnx_as_image(c, x), &w, attr.padding, -INFINITY);
  rt_value *y = rt_onnx_emit(c, RT_OP(max_pool2d), &attr, 1, x);
  rt_onnx_give(c, 0, line && y ? rt_onnx_as_line(c, y) : y);
}

/* Where what isn't the image doesn't count and the frame isn't the pool's own: the mean of the image and of ones, each in
 * zeros; their quotient counts the image only. */
static rt_value *mean_of_inside(rt_onnx_import *c, rt_value *x, const rt_onnx_window *w, rt_pool2d_attr *attr) {
  int64_t n;
  const int64_t dim[] = {1, 1, x->type.dim[2], x->type.dim[3]};
  if (dim[2] < 0 || dim[3] < 0 || __builtin_mul_overflow(dim[2], dim[3], &n)) {
    rt_onnx_cant(c, "count_include_pad=0 with pads that differ, of an image whose size isn't known");
    return NULL;
  }
  float *one = rt_onnx_alloc(c, n, sizeof *one);
  if (!one) return NULL;
  for (int64_t i = 0; i < n; i++) one[i] = 1;
  rt_value *ones = framed(c, rt_constant(c->g, RT_F32, 4, dim, one), w, attr->padding, 0);
  attr->count_include_pad = true;
  rt_value *inside = rt_onnx_emit(c, RT_OP(avg_pool2d), attr, 1, ones);
  rt_value *y = rt_onnx_emit(c, RT_OP(avg_pool2d), attr, 1, framed(c, x, w, attr->padding, 0));
  return rt_onnx_emit(c, RT_OP(div), NULL, 2, y, inside);
}

static void import_average_pool(rt_onnx_import *c) {
  rt_value *x = rt_onnx_in(c, 0), *y;
  rt_onnx_window w;
  rt_pool2d_attr attr;
  if (!x || !pool_of(c, x, &w, &attr)) return;
  bool line = x->type.rank == 3;
  bool own = w.before[0] == attr.padding[0] && w.after[0] == attr.padding[0] && w.before[1] == attr.padding[1] &&
             w.after[1] == attr.padding[1];
  attr.count_include_pad = rt_onnx_int(c, "count_include_pad", 0) != 0;
  x = rt_onnx_as_image(c, x);
  if (own || attr.count_include_pad)
    y = rt_onnx_emit(c, RT_OP(avg_pool2d), &attr, 1, framed(c, x, &w, attr.padding, 0));
  else
    y = mean_of_inside(c, x, &w, &attr);
  rt_onnx_give(c, 0, line && y ? rt_onnx_as_line(c, y) : y);
}

/* Over all axes behind the channels. */
static void global(rt_onnx_import *c, const rt_op *op) {
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  if (op == RT_OP(mean) && x->type.rank == 4) {
    rt_adaptive_pool2d_attr one = {{1, 1}};
    rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(adaptive_avg_pool2d), &one, 1, x));
    return;
  }
  rt_reduce_attr attr = {.keepdim = true};
  for (int d = 2; d < x->type.rank; d++) attr.axes.v[attr.axes.n++] = d;
  rt_onnx_give(c, 0, attr.axes.n ? rt_onnx_emit(c, op, &attr, 1, x) : x);
}

static void import_global_average(rt_onnx_import *c) { global(c, RT_OP(mean)); }
static void import_global_max(rt_onnx_import *c) { global(c, RT_OP(max)); }

/* ---- and back ---- */

static void set_window(rt_onnx_export *e, const int64_t *kernel, const int64_t *stride, const int64_t *padding) {
  rt_onnx_node *n = rt_onnx_last(e);
  const int64_t pads[] = {padding[0], padding[1], padding[0], padding[1]};
  rt_onnx_set_ints(e, n, "kernel_shape", kernel, 2);
  rt_onnx_set_ints(e, n, "strides", stride, 2);
  rt_onnx_set_ints(e, n, "pads", pads, 4);
}

static void export_conv(rt_onnx_export *e) {
  const rt_conv2d_attr *a = e->node->attr;
  const char *x = rt_onnx_in_name(e, 0), *w = rt_onnx_in_name(e, 1), *b = rt_onnx_in_name(e, 2), *sum = NULL;
  bool tail = rt_onnx_has_tail(e, 3, a->activation);
  if (tail)
    sum = rt_onnx_via(e, "Conv", x, w, b, NULL);
  else
    rt_onnx_put(e, "Conv", x, w, b, NULL);
  set_window(e, e->node->in[1]->type.dim + 2, a->stride, a->padding);
  rt_onnx_set_ints(e, rt_onnx_last(e), "dilations", a->dilation, 2);
  rt_onnx_set_int(e, rt_onnx_last(e), "group", a->groups);
  if (tail) rt_onnx_tail(e, sum, 3, a->activation);
}

void rt_onnx_set_pool(rt_onnx_export *e, const rt_pool2d_attr *a, bool mean) {
  const int64_t stride[] = {a->stride[0] ? a->stride[0] : a->kernel[0], a->stride[1] ? a->stride[1] : a->kernel[1]};
  set_window(e, a->kernel, stride, a->padding);
  if (a->ceil_mode) rt_onnx_set_int(e, rt_onnx_last(e), "ceil_mode", 1);
  if (mean) rt_onnx_set_int(e, rt_onnx_last(e), "count_include_pad", a->count_include_pad);
}

static void export_max_pool(rt_onnx_export *e) {
  rt_onnx_put(e, "MaxPool", rt_onnx_in_name(e, 0), NULL);
  rt_onnx_set_pool(e, e->node->attr, false);
}

static void export_avg_pool(rt_onnx_export *e) {
  rt_onnx_put(e, "AveragePool", rt_onnx_in_name(e, 0), NULL);
  rt_onnx_set_pool(e, e->node->attr, true);
}

static bool is_global(const rt_adaptive_pool2d_attr *a) { return a->output_size[0] == 1 && a->output_size[1] == 1; }

const char *rt_onnx_adaptive_op(const rt_adaptive_pool2d_attr *a) {
  return is_global(a) ? "GlobalAveragePool" : "AveragePool";
}

void rt_onnx_set_adaptive(rt_onnx_export *e, const rt_adaptive_pool2d_attr *a) {
  const rt_dim *dim = e->node->in[0]->type.dim + 2;
  const int64_t *size = a->output_size, none[] = {0, 0};
  if (is_global(a)) return;
  if (dim[0] < 1 || dim[1] < 1 || dim[0] % size[0] || dim[1] % size[1]) {
    rt_onnx_cannot(e, "into windows of several sizes");
    return;
  }
  const int64_t kernel[] = {dim[0] / size[0], dim[1] / size[1]};
  set_window(e, kernel, kernel, none);
}

static void export_adaptive(rt_onnx_export *e) {
  rt_onnx_put(e, rt_onnx_adaptive_op(e->node->attr), rt_onnx_in_name(e, 0), NULL);
  rt_onnx_set_adaptive(e, e->node->attr);
}

const rt_onnx_row rt_onnx_row_Conv = {"Conv", import_conv, RT_OP(conv2d), export_conv};
const rt_onnx_row rt_onnx_row_MaxPool = {"MaxPool", import_max_pool, RT_OP(max_pool2d), export_max_pool};
const rt_onnx_row rt_onnx_row_AveragePool = {"AveragePool", import_average_pool, RT_OP(avg_pool2d), export_avg_pool};
const rt_onnx_row rt_onnx_row_GlobalAveragePool = {"GlobalAveragePool", import_global_average,
                                                   RT_OP(adaptive_avg_pool2d), export_adaptive};
const rt_onnx_row rt_onnx_row_GlobalMaxPool = {"GlobalMaxPool", import_global_max};
