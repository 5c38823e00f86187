/* How oneDNN is told of a convolution; shared by the kernels that lay its images out in different ways. */
#ifndef RT_KERNEL_DNN_CONV_H
#define RT_KERNEL_DNN_CONV_H

#include "kernel/dnn_program.h"

typedef struct dnn_conv {
  rt_dtype dtype;
  dnn_shape x, w, y; /* x, y: channels last; w: OIHW, or GOIHW where there are groups */
  dnnl_dims_t stride, dilation, padding;
  bool blocked; /* images as the primitive likes them */
} dnn_conv;

dnn_conv dnn_conv_of(const rt_conv2d_attr *a, const rt_type *x, const rt_type *w, const rt_type *y);

/* bias, dbias: NULL where there is none. */
dnnl_primitive_desc_t dnn_conv_forward(dnn_program *p, const dnn_conv *c, const_dnnl_memory_desc_t bias,
                                       dnnl_primitive_attr_t attr);
dnnl_primitive_desc_t dnn_conv_backward_data(dnn_program *p, const dnn_conv *c);
dnnl_primitive_desc_t dnn_conv_backward_weight(dnn_program *p, const dnn_conv *c, const_dnnl_memory_desc_t dbias);

#endif
