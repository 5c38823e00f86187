#include "onnx/window.h"

/* auto_pad=SAME: as many windows as ⌈size/stride⌉, what is to be padded shared by both sides, the odd one at the end (UPPER)
 * or at the begin (LOWER). */
static bool same_pads(rt_onnx_import *c, const rt_value *x, rt_onnx_window *w, bool lower) {
  for (int i = 0; i < w->spatial; i++) {
    int axis = 2 - w->spatial + i;
    rt_dim size = x->type.dim[2 + i];
    int64_t reach = (w->kernel[axis] - 1) * w->dilation[axis] + 1;
    if (size < 0 && w->stride[axis] != 1) {
      rt_onnx_cant(c, "auto_pad of an image whose size isn't known");
      return false;
    }
    int64_t windows = size < 0 ? 1 : (size + w->stride[axis] - 1) / w->stride[axis];
    int64_t pad = size < 0 ? reach - 1 : (windows - 1) * w->stride[axis] + reach - size;
    if (pad < 0) pad = 0;
    w->before[axis] = lower ? pad - pad / 2 : pad / 2;
    w->after[axis] = pad - w->before[axis];
  }
  return true;
}

static bool small(const int64_t *v, int64_t least) {
  return v[0] >= least && v[1] >= least && v[0] <= 1000000 && v[1] <= 1000000;
}

/* An attribute with a number an axis; the row axis of a line is 1 or 0. */
static bool numbers(rt_onnx_import *c, const char *name, int spatial, int64_t fallback, int64_t out[2]) {
  rt_ints list;
  out[0] = out[1] = fallback;
  if (!rt_onnx_ints(c, name, &list)) return !c->refuses;
  if (list.n != spatial) {
    rt_onnx_cant(c, "%s has %d numbers, and there are %d axes", name, list.n, spatial);
    return false;
  }
  for (int i = 0; i < spatial; i++) out[2 - spatial + i] = list.v[i];
  return true;
}

static bool read_pads(rt_onnx_import *c, const rt_value *x, rt_onnx_window *w) {
  rt_ints pads;
  bool lower = rt_onnx_word(c, "auto_pad", "NOTSET", "SAME_LOWER");
  if (lower || rt_onnx_word(c, "auto_pad", "NOTSET", "SAME_UPPER")) return same_pads(c, x, w, lower);
  if (rt_onnx_word(c, "auto_pad", "NOTSET", "VALID") || !rt_onnx_ints(c, "pads", &pads)) return !c->refuses;
  if (pads.n != 2 * w->spatial) {
    rt_onnx_cant(c, "pads has %d numbers, and there are %d axes", pads.n, w->spatial);
    return false;
  }
  for (int i = 0; i < w->spatial; i++) {
    w->before[2 - w->spatial + i] = pads.v[i];
    w->after[2 - w->spatial + i] = pads.v[w->spatial + i];
  }
  return true;
}

bool rt_onnx_window_of(rt_onnx_import *c, const rt_value *x, const int64_t *kernel, rt_onnx_window *w) {
  *w = (rt_onnx_window){.spatial = x->type.rank - 2, .ceil = rt_onnx_int(c, "ceil_mode", 0) != 0};
  if (w->spatial < 1 || w->spatial > 2) {
    rt_onnx_cant(c, "over %d axes; 1 and 2 are possible", w->spatial);
    return false;
  }
  if (!numbers(c, "kernel_shape", w->spatial, kernel ? 0 : 1, w->kernel) ||
      !numbers(c, "strides", w->spatial, 1, w->stride) || !numbers(c, "dilations", w->spatial, 1, w->dilation))
    return false;
  if (w->spatial == 1) w->kernel[0] = w->stride[0] = w->dilation[0] = 1;
  for (int i = 0; i < w->spatial && kernel; i++) w->kernel[2 - w->spatial + i] = kernel[i];
  if (!small(w->kernel, 1) || !small(w->stride, 1) || !small(w->dilation, 1)) {
    rt_onnx_cant(c, "kernel, strides or dilations are out of range");
    return false;
  }
  if (!read_pads(c, x, w)) return false;
  if (small(w->before, 0) && small(w->after, 0)) return true;
  rt_onnx_cant(c, "pads are out of range");
  return false;
}

rt_value *rt_onnx_as_image(rt_onnx_import *c, rt_value *x) {
  if (!x || x->type.rank != 3) return x;
  const int64_t shape[] = {0, 0, 1, -1};
  return rt_onnx_reshape(c, x, 4, shape);
}

rt_value *rt_onnx_as_line(rt_onnx_import *c, rt_value *y) {
  const int64_t shape[] = {0, 0, -1};
  return rt_onnx_reshape(c, y, 3, shape);
}

rt_value *rt_onnx_even_pads(rt_onnx_import *c, rt_value *x, const rt_onnx_window *w, double value,
                            int64_t symmetric[2]) {
  rt_pad_attr attr = {.pads.n = 8, .value = value};
  bool uneven = false;
  for (int i = 0; i < 2; i++) {
    symmetric[i] = w->before[i] < w->after[i] ? w->before[i] : w->after[i];
    attr.pads.v[4 + 2 * i] = w->before[i] - symmetric[i];
    attr.pads.v[5 + 2 * i] = w->after[i] - symmetric[i];
    uneven = uneven || w->before[i] != w->after[i];
  }
  return uneven ? rt_onnx_emit(c, RT_OP(pad), &attr, 1, x) : x;
}
