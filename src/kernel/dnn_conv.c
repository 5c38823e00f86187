/* Convolutions and their gradients by oneDNN, channels last, or blocked in between where that is faster. */
#include "kernel/dnn_conv.h"

#include "kernel/dnn.h"

/* Images of 4×4 or less leave oneDNN's channels-last kernels too few pixels a row: with many channels its blocked ones
 * are faster even with the reorders (in 0.8 to 0.98 of the time at 4×4, 0.62 to 0.86 at 2×2; in 0.55 on other CPUs),
 * but for a handful of images and for the gradient by weights. */
static bool blocked_wins(const rt_conv2d_attr *a, const rt_type *w, const rt_type *y) {
  enum { PIXELS = 16, CHANNELS = 256, IMAGES = 8 };
  return dnn_isa() < RT_ISA_AMX && a->groups == 1 && a->stride[0] == 1 && a->stride[1] == 1 &&
         w->dim[2] * w->dim[3] > 1 && y->dim[2] * y->dim[3] <= PIXELS && w->dim[0] >= CHANNELS &&
         w->dim[1] >= CHANNELS && y->dim[0] >= IMAGES;
}

dnn_conv dnn_conv_of(const rt_conv2d_attr *a, const rt_type *x, const rt_type *w, const rt_type *y) {
  dnn_conv c = {.dtype = x->dtype};
  c.x = dnn_channels_last(x);
  c.w = dnn_grouped(w, a->groups);
  c.y = dnn_channels_last(y);
  for (int i = 0; i < 2; i++) {
    c.stride[i] = a->stride[i];
    c.dilation[i] = a->dilation[i] - 1; /* oneDNN counts the pixels between */
    c.padding[i] = a->padding[i];
  }
  return c;
}

static const_dnnl_memory_desc_t image(dnn_program *p, const dnn_conv *c, dnn_shape shape) {
  return c->blocked ? dnn_md_any(p, c->dtype, shape) : dnn_md(p, c->dtype, shape);
}

dnnl_primitive_desc_t dnn_conv_forward(dnn_program *p, const dnn_conv *c, const_dnnl_memory_desc_t bias,
                                       dnnl_primitive_attr_t attr) {
  const_dnnl_memory_desc_t x = image(p, c, c->x), w = dnn_md_any(p, c->dtype, c->w), y = image(p, c, c->y);
  dnnl_primitive_desc_t pd = NULL;
  if (dnn_failed(p)) return NULL;
  dnn_check(p,
            dnnl_convolution_forward_primitive_desc_create(&pd, dnn_engine(p), dnnl_forward_training,
                                                           dnnl_convolution_direct, x, w, bias, y, c->stride,
                                                           c->dilation, c->padding, c->padding, attr),
            "convolution");
  return dnn_keep(p, pd);
}

dnnl_primitive_desc_t dnn_conv_backward_data(dnn_program *p, const dnn_conv *c) {
  dnnl_primitive_attr_t attr = dnn_attr(p, false, false);
  dnnl_primitive_desc_t hint = dnn_conv_forward(p, c, NULL, attr), pd = NULL;
  const_dnnl_memory_desc_t dx = image(p, c, c->x), w = dnn_md_any(p, c->dtype, c->w), dy = image(p, c, c->y);
  if (dnn_failed(p)) return NULL;
  dnn_check(p,
            dnnl_convolution_backward_data_primitive_desc_create(&pd, dnn_engine(p), dnnl_convolution_direct, dx, w, dy,
                                                                 c->stride, c->dilation, c->padding, c->padding, hint,
                                                                 attr),
            "gradient of convolution by data");
  return dnn_keep(p, pd);
}

dnnl_primitive_desc_t dnn_conv_backward_weight(dnn_program *p, const dnn_conv *c, const_dnnl_memory_desc_t dbias) {
  dnnl_primitive_attr_t attr = dnn_attr(p, false, false);
  dnnl_primitive_desc_t hint = dnn_conv_forward(p, c, dbias, attr), pd = NULL;
  const_dnnl_memory_desc_t x = image(p, c, c->x), dw = dnn_md_any(p, RT_F32, c->w), dy = image(p, c, c->y);
  if (dnn_failed(p)) return NULL;
  dnn_check(p,
            dnnl_convolution_backward_weights_primitive_desc_create(&pd, dnn_engine(p), dnnl_convolution_direct, x, dw,
                                                                    dbias, dy, c->stride, c->dilation, c->padding,
                                                                    c->padding, hint, attr),
            "gradient of convolution by weights");
  return dnn_keep(p, pd);
}

static bool one_dtype(const rt_site *site, const rt_type *a, const rt_type *b) {
  return dnn_accepts(a) && dnn_accepts(b) && a->dtype == b->dtype && dnn_accepts(site->out);
}

/* ---- y = act(x * w + bias + residual) ---- */

static bool accepts_forward(const rt_site *site) {
  const rt_type *bias = dnn_optional(site, 2), *residual = dnn_optional(site, 3);
  return one_dtype(site, site->in[0], site->in[1]) && dnn_is_row_major(site->in[1]) &&
         site->out->dtype == site->in[0]->dtype && (!bias || bias->dtype == RT_F32) &&
         (!residual || residual->dtype == site->out->dtype);
}

static rt_status prepare_forward(rt_site *site) {
  const rt_conv2d_attr *a = site->attr;
  const rt_type *x_type = site->in[0], *bias_type = dnn_optional(site, 2), *residual = dnn_optional(site, 3);
  dnn_conv c = dnn_conv_of(a, x_type, site->in[1], site->out);
  c.blocked = blocked_wins(a, site->in[1], site->out);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  const_dnnl_memory_desc_t bias = bias_type ? dnn_md(p, RT_F32, dnn_row_major(bias_type)) : NULL;
  dnnl_primitive_desc_t pd = dnn_conv_forward(p, &c, bias, dnn_attr(p, residual, a->activation == RT_ACTIVATION_RELU));
  int x = dnn_input(p, 0, dnn_md(p, c.dtype, dnn_shape_of(x_type)));
  int out = dnn_output(p, 0, dnn_md(p, c.dtype, dnn_shape_of(site->out)));
  int y = dnn_staged(p, out, dnn_wanted(p, pd, dnnl_query_dst_md));
  x = dnn_converted(p, x, dnn_wanted(p, pd, dnnl_query_src_md));
  int w = dnn_weights(p, site, 1, c.w, dnn_wanted(p, pd, dnnl_query_weights_md));
  int b = dnn_input(p, 2, bias);
  /* The sum is made in y: free where y took over the residual's memory, as it may where that dies here. */
  if (residual) dnn_reorder(p, dnn_input(p, 3, dnn_md(p, c.dtype, dnn_shape_of(residual))), y);
  dnn_execute(p, pd, (dnn_arg[]){{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_BIAS, b}, {DNNL_ARG_DST, y}}, 4);
  dnn_reorder(p, y, out);
  return dnn_program_finish(p, site);
}

/* ---- dx = dy * turned w; inputs dy, w, like x ---- */

static bool accepts_backward_data(const rt_site *site) {
  return one_dtype(site, site->in[0], site->in[1]) && dnn_is_row_major(site->in[1]) &&
         site->out->dtype == site->in[0]->dtype;
}

static rt_status prepare_backward_data(rt_site *site) {
  const rt_type *dy_type = site->in[0], *dx_type = site->out;
  dnn_conv c = dnn_conv_of(site->attr, dx_type, site->in[1], dy_type);
  c.blocked = blocked_wins(site->attr, site->in[1], dy_type);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  dnnl_primitive_desc_t pd = dnn_conv_backward_data(p, &c);
  int dy = dnn_input(p, 0, dnn_md(p, c.dtype, dnn_shape_of(dy_type)));
  int out = dnn_output(p, 0, dnn_md(p, c.dtype, dnn_shape_of(dx_type)));
  int dx = dnn_staged(p, out, dnn_wanted(p, pd, dnnl_query_diff_src_md));
  dy = dnn_converted(p, dy, dnn_wanted(p, pd, dnnl_query_diff_dst_md));
  int w = dnn_weights(p, site, 1, c.w, dnn_wanted(p, pd, dnnl_query_weights_md));
  dnn_execute(p, pd, (dnn_arg[]){{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DIFF_SRC, dx}}, 3);
  dnn_reorder(p, dx, out);
  return dnn_program_finish(p, site);
}

/* ---- dw = x * dy, dbias = sum of dy; inputs dy, x, like w, like bias? ---- */

static bool accepts_backward_weight(const rt_site *site) {
  return one_dtype(site, site->in[0], site->in[1]) && site->out[0].dtype == RT_F32 && dnn_is_row_major(site->out) &&
         (site->n_out < 2 || site->out[1].dtype == RT_F32);
}

static rt_status prepare_backward_weight(rt_site *site) {
  const rt_type *dy_type = site->in[0], *x_type = site->in[1], *dw_type = &site->out[0];
  dnn_conv c = dnn_conv_of(site->attr, x_type, dw_type, dy_type);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  const_dnnl_memory_desc_t dbias = site->n_out > 1 ? dnn_md(p, RT_F32, dnn_row_major(&site->out[1])) : NULL;
  dnnl_primitive_desc_t pd = dnn_conv_backward_weight(p, &c, dbias);
  int dy = dnn_input(p, 0, dnn_md(p, c.dtype, dnn_shape_of(dy_type)));
  int x = dnn_input(p, 1, dnn_md(p, c.dtype, dnn_shape_of(x_type)));
  int out = dnn_output(p, 0, dnn_md(p, RT_F32, c.w));
  int dw = dnn_staged(p, out, dnn_wanted(p, pd, dnnl_query_diff_weights_md));
  int db = dnn_output(p, 1, dbias);
  dy = dnn_converted(p, dy, dnn_wanted(p, pd, dnnl_query_diff_dst_md));
  x = dnn_converted(p, x, dnn_wanted(p, pd, dnnl_query_src_md));
  const dnn_arg arg[] = {
      {DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_WEIGHTS, dw}, {DNNL_ARG_DIFF_BIAS, db}};
  dnn_execute(p, pd, arg, 4);
  dnn_reorder(p, dw, out);
  return dnn_program_finish(p, site);
}

const rt_kernel rt_kernel_dnn_conv2d = {"dnn_conv2d",    RT_OP(conv2d),   accepts_forward,
                                        prepare_forward, dnn_program_run, dnn_program_release};
const rt_kernel rt_kernel_dnn_conv2d_backward_data = {"dnn_conv2d_backward_data",
                                                      RT_OP(conv2d_backward_data),
                                                      accepts_backward_data,
                                                      prepare_backward_data,
                                                      dnn_program_run,
                                                      dnn_program_release};
const rt_kernel rt_kernel_dnn_conv2d_backward_weight = {"dnn_conv2d_backward_weight",
                                                        RT_OP(conv2d_backward_weight),
                                                        accepts_backward_weight,
                                                        prepare_backward_weight,
                                                        dnn_program_run,
                                                        dnn_program_release};
