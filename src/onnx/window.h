/* What convolutions and pools share: strides, dilations, pads. */
#ifndef RT_ONNX_WINDOW_H
#define RT_ONNX_WINDOW_H

#include "onnx/import.h"

typedef struct rt_onnx_window {
  int spatial; /* axes: 1 or 2; lines are images of one row */
  int64_t kernel[2], stride[2], dilation[2], before[2], after[2];
  bool ceil;
} rt_onnx_window;

/* Read off the node's attributes; x is N×C×L or N×C×H×W. `kernel`: where the attribute may be left out. False: refused. */
bool rt_onnx_window_of(rt_onnx_import *c, const rt_value *x, const int64_t *kernel, rt_onnx_window *out);
/* N×C×L as N×C×1×L, and back. */
rt_value *rt_onnx_as_image(rt_onnx_import *c, rt_value *x);
rt_value *rt_onnx_as_line(rt_onnx_import *c, rt_value *y);
/* x with the part of the pads that isn't the same on both sides: what is left is symmetric (in `symmetric`). */
rt_value *rt_onnx_even_pads(rt_onnx_import *c, rt_value *x, const rt_onnx_window *w, double value,
                            int64_t symmetric[2]);

#endif
