/* Products in int8 by oneDNN: u8 × s8 into s32, scaled by channel, bias, residual and activation behind it, all in one
 * pass over the result. */
#include "kernel/dnn.h"
#include "kernel/dnn_program.h"

/* Scales by channel: `mask` says along which axes of the weights. A result with fewer levels than u8 has is cut. */
static dnnl_primitive_attr_t attributes(dnn_program *p, const rt_int8_attr *a, int mask, bool residual, bool relu) {
  dnnl_primitive_attr_t attr = dnn_attr(p, false, false);
  dnnl_post_ops_t ops;
  if (dnn_failed(p)) return NULL;
  dnn_check(p, dnnl_primitive_attr_set_scales_mask(attr, DNNL_ARG_WEIGHTS, mask), "scales");
  if (!dnn_check(p, dnnl_post_ops_create(&ops), "post-ops")) return NULL;
  if (residual) dnn_check(p, dnnl_post_ops_append_sum(ops, (float)a->residual_scale, 0, dnnl_data_type_undef), "sum");
  if (relu) dnn_check(p, dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0), "relu");
  if (!a->f32 && a->high < 255)
    dnn_check(p, dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_clip, 0, (float)a->high), "clip");
  dnn_check(p, dnnl_primitive_attr_set_post_ops(attr, ops), "post-ops");
  dnnl_post_ops_destroy(ops);
  return attr;
}

static bool is_real(const rt_type *t) { return rt_type_bytes(t) > 0; }

/* Without VNNI two products are added in 16 bits, and saturate where x has more than 7. */
static bool accepts(const rt_site *site) {
  bool exact = dnn_isa() >= RT_ISA_AVX512_VNNI || ((const rt_int8_attr *)site->attr)->x_high <= 127;
  return exact && dnn_isa() >= RT_ISA_AVX2 && is_real(site->in[0]) && is_real(site->in[1]) && is_real(site->out);
}

/* ---- conv2d_int8: inputs x, weight, scale, bias, residual? ---- */

typedef struct conv {
  dnn_shape x, w, y;
  dnnl_dims_t stride, dilation, padding;
} conv;

static conv conv_of(const rt_site *site) {
  const rt_conv2d_attr *a = &((const rt_conv2d_int8_attr *)site->attr)->conv;
  conv c = {
      .x = dnn_channels_last(site->in[0]), .w = dnn_grouped(site->in[1], a->groups), .y = dnn_channels_last(site->out)};
  for (int i = 0; i < 2; i++) {
    c.stride[i] = a->stride[i];
    c.dilation[i] = a->dilation[i] - 1; /* oneDNN counts the pixels between */
    c.padding[i] = a->padding[i];
  }
  return c;
}

static dnnl_primitive_desc_t forward(dnn_program *p, const conv *c, rt_dtype out, const_dnnl_memory_desc_t bias,
                                     dnnl_primitive_attr_t attr) {
  const_dnnl_memory_desc_t x = dnn_md(p, RT_U8, c->x), w = dnn_md_any(p, RT_S8, c->w), y = dnn_md(p, out, c->y);
  dnnl_primitive_desc_t pd = NULL;
  if (dnn_failed(p)) return NULL;
  dnn_check(p,
            dnnl_convolution_forward_primitive_desc_create(&pd, dnn_engine(p), dnnl_forward_inference,
                                                           dnnl_convolution_direct, x, w, bias, y, c->stride,
                                                           c->dilation, c->padding, c->padding, attr),
            "convolution in int8");
  return dnn_keep(p, pd);
}

static rt_status prepare_conv(rt_site *site) {
  const rt_conv2d_int8_attr *a = site->attr;
  const rt_type *residual = dnn_optional(site, 4);
  rt_dtype out = site->out->dtype;
  conv c = conv_of(site);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  const_dnnl_memory_desc_t vector = dnn_md(p, RT_F32, dnn_row_major(site->in[3]));
  int mask = a->conv.groups > 1 ? 3 : 1;
  dnnl_primitive_desc_t pd =
      forward(p, &c, out, vector, attributes(p, &a->int8, mask, residual, a->conv.activation == RT_ACTIVATION_RELU));
  int x = dnn_input(p, 0, dnn_md(p, RT_U8, dnn_shape_of(site->in[0])));
  int y = dnn_output(p, 0, dnn_md(p, out, dnn_shape_of(site->out)));
  int staged = dnn_staged(p, y, dnn_wanted(p, pd, dnnl_query_dst_md));
  x = dnn_converted(p, x, dnn_wanted(p, pd, dnnl_query_src_md));
  int w = dnn_weights(p, site, 1, c.w, dnn_wanted(p, pd, dnnl_query_weights_md));
  int scale = dnn_input(p, 2, vector), bias = dnn_input(p, 3, vector);
  /* The sum is made in y: free where y took over the residual's memory, as it may where that dies here. */
  if (residual) dnn_reorder(p, dnn_input(p, 4, dnn_md(p, out, dnn_shape_of(residual))), staged);
  const dnn_arg arg[] = {{DNNL_ARG_SRC, x},
                         {DNNL_ARG_WEIGHTS, w},
                         {DNNL_ARG_BIAS, bias},
                         {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, scale},
                         {DNNL_ARG_DST, staged}};
  dnn_execute(p, pd, arg, 5);
  dnn_reorder(p, staged, y);
  return dnn_program_finish(p, site);
}

/* ---- linear_int8: inputs x, weight, scale, bias ---- */

static bool accepts_linear(const rt_site *site) {
  return accepts(site) && dnn_is_row_major(site->in[0]) && dnn_is_row_major(site->out);
}

static rt_status prepare_linear(rt_site *site) {
  const rt_type *x_type = site->in[0], *w_type = site->in[1];
  int64_t k = w_type->dim[1], o = w_type->dim[0], rows = rt_type_elements(x_type) / k;
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  dnn_shape w_shape = dnn_transposed(dnn_matrix(o, k));
  const_dnnl_memory_desc_t x_md = dnn_md(p, RT_U8, dnn_matrix(rows, k)),
                           y_md = dnn_md(p, site->out->dtype, dnn_matrix(rows, o)),
                           bias_md = dnn_md(p, RT_F32, dnn_matrix(1, o)),
                           scale_md = dnn_md(p, RT_F32, dnn_row_major(site->in[2]));
  dnnl_primitive_desc_t pd =
      dnn_product(p, x_md, dnn_md_any(p, RT_S8, w_shape), bias_md, y_md, attributes(p, site->attr, 2, false, false));
  int x = dnn_input(p, 0, x_md), scale = dnn_input(p, 2, scale_md), bias = dnn_input(p, 3, bias_md);
  int y = dnn_output(p, 0, y_md), w = dnn_weights(p, site, 1, w_shape, dnn_wanted(p, pd, dnnl_query_weights_md));
  const dnn_arg arg[] = {{DNNL_ARG_SRC, x},
                         {DNNL_ARG_WEIGHTS, w},
                         {DNNL_ARG_BIAS, bias},
                         {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, scale},
                         {DNNL_ARG_DST, y}};
  dnn_execute(p, pd, arg, 5);
  return dnn_program_finish(p, site);
}

const rt_kernel rt_kernel_dnn_conv2d_int8 = {"dnn_conv2d_int8", RT_OP(conv2d_int8), accepts,
                                             prepare_conv,      dnn_program_run,    dnn_program_release};
const rt_kernel rt_kernel_dnn_linear_int8 = {"dnn_linear_int8", RT_OP(linear_int8), accepts_linear,
                                             prepare_linear,    dnn_program_run,    dnn_program_release};
