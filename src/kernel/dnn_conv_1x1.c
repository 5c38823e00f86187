/* A 1×1 convolution without padding is a matrix product over pixels, after a gather of every stride-th pixel:
 *   y[r,O] = act(x[r,I] wᵀ + bias + residual),  dx[r,I] = dy w,  dw = dyᵀ x,  r = N·oh·ow
 * oneDNN's own strided convolutions take up to 1.2 times as long, their gradients by data up to 2.0. Without a stride
 * both are even, but for gradients of large weights (1.1 to 1.4), of which its convolution sums a copy per thread. */
#include "kernel/dnn.h"
#include "kernel/dnn_program.h"

typedef struct pixels {
  rt_dtype dtype;
  int64_t rows, in, out; /* channels */
  dnn_shape x;           /* the pixels that are read, in the image: N×I×oh×ow */
  dnn_shape dense;       /* the same without gaps */
} pixels;

static pixels pixels_of(const rt_conv2d_attr *a, const rt_type *x, const rt_type *y) {
  pixels c = {.dtype = x->dtype, .rows = y->dim[0] * y->dim[2] * y->dim[3], .in = x->dim[1], .out = y->dim[1]};
  rt_type dense = *x;
  dense.dim[2] = y->dim[2];
  dense.dim[3] = y->dim[3];
  c.dense = dnn_channels_last(&dense);
  c.x = dnn_channels_last(x);
  for (int i = 0; i < 2; i++) {
    c.x.dim[2 + i] = y->dim[2 + i];
    c.x.stride[2 + i] *= a->stride[i];
  }
  return c;
}

/* oneDNN describes every stride-th pixel only of an image that the stride divides. */
static bool is_product(const rt_conv2d_attr *a, const rt_type *x, const rt_type *w, const rt_type *y) {
  for (int i = 0; i < 2; i++)
    if (a->padding[i] || x->dim[2 + i] % a->stride[i]) return false;
  return a->groups == 1 && w->dim[2] == 1 && w->dim[3] == 1 && dnn_accepts(x) && dnn_accepts(y) &&
         x->dtype == y->dtype && dnn_is_channels_last(x) && dnn_is_channels_last(y);
}

static bool is_strided(const rt_conv2d_attr *a) { return a->stride[0] > 1 || a->stride[1] > 1; }

static int64_t pixels_per_image(const rt_type *y) { return y->dim[2] * y->dim[3]; }

static const_dnnl_memory_desc_t matrix(dnn_program *p, const pixels *c, int64_t channels) {
  return dnn_md(p, c->dtype, dnn_matrix(c->rows, channels));
}

/* The pixels of image slot x as a matrix, gathered where they have gaps. */
static int gathered(dnn_program *p, const pixels *c, int i) {
  int x = dnn_input(p, i, dnn_md(p, c->dtype, c->x));
  return dnn_view(p, dnn_converted(p, x, dnn_md(p, c->dtype, c->dense)), matrix(p, c, c->in));
}

static bool accepts_forward(const rt_site *site) {
  const rt_type *bias = dnn_optional(site, 2), *residual = dnn_optional(site, 3);
  bool pays = dnn_isa() == RT_ISA_AMX ? pixels_per_image(site->out) <= 36 : is_strided(site->attr);
  return pays && is_product(site->attr, site->in[0], site->in[1], site->out) &&
         site->in[1]->dtype == site->in[0]->dtype && (!bias || bias->dtype == RT_F32) &&
         (!residual || (residual->dtype == site->out->dtype && dnn_is_channels_last(residual)));
}

static rt_status prepare_forward(rt_site *site) {
  const rt_conv2d_attr *a = site->attr;
  pixels c = pixels_of(a, site->in[0], site->out);
  bool residual = dnn_optional(site, 3);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  dnn_shape w_shape = dnn_transposed(dnn_matrix(c.out, c.in));
  const_dnnl_memory_desc_t x_md = matrix(p, &c, c.in), y_md = matrix(p, &c, c.out),
                           bias = dnn_optional(site, 2) ? dnn_md(p, RT_F32, dnn_matrix(1, c.out)) : NULL;
  dnnl_primitive_desc_t pd = dnn_product(p, x_md, dnn_md_any(p, c.dtype, w_shape), bias, y_md,
                                         dnn_attr(p, residual, a->activation == RT_ACTIVATION_RELU));
  int x = gathered(p, &c, 0), b = dnn_input(p, 2, bias), y = dnn_output(p, 0, y_md);
  int w = dnn_weights(p, site, 1, w_shape, dnn_wanted(p, pd, dnnl_query_weights_md));
  if (residual) dnn_reorder(p, dnn_input(p, 3, y_md), y); /* the sum is made in y */
  dnn_execute(p, pd, (dnn_arg[]){{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_BIAS, b}, {DNNL_ARG_DST, y}}, 4);
  return dnn_program_finish(p, site);
}

static bool accepts_backward_data(const rt_site *site) {
  bool pays = is_strided(site->attr) || (dnn_isa() == RT_ISA_AMX && pixels_per_image(site->in[0]) <= 16 &&
                                         rt_type_elements(site->in[1]) >= 1 << 20);
  return pays && is_product(site->attr, site->out, site->in[1], site->in[0]) &&
         site->in[1]->dtype == site->in[0]->dtype;
}

static rt_status prepare_backward_data(rt_site *site) {
  pixels c = pixels_of(site->attr, site->out, site->in[0]);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  dnn_shape w_shape = dnn_matrix(c.out, c.in);
  const_dnnl_memory_desc_t dy_md = matrix(p, &c, c.out), dx_md = matrix(p, &c, c.in);
  dnnl_primitive_desc_t pd =
      dnn_product(p, dy_md, dnn_md_any(p, c.dtype, w_shape), NULL, dx_md, dnn_attr(p, false, false));
  int dy = dnn_input(p, 0, dy_md), dense = dnn_temporary(p, dnn_md(p, c.dtype, c.dense));
  int w = dnn_weights(p, site, 1, w_shape, dnn_wanted(p, pd, dnnl_query_weights_md));
  int all = dnn_output(p, 0, dnn_md(p, c.dtype, dnn_channels_last(site->out)));
  const dnn_arg arg[] = {{DNNL_ARG_SRC, dy}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, dnn_view(p, dense, dx_md)}};
  dnn_execute(p, pd, arg, 3);
  dnn_zero(p, all);
  dnn_reorder(p, dense, dnn_view(p, all, dnn_md(p, c.dtype, c.x)));
  return dnn_program_finish(p, site);
}

/* No bias: a matrix product doesn't add up dy by the way. */
static bool accepts_backward_weight(const rt_site *site) {
  const rt_type *dy = site->in[0], *x = site->in[1], *dw = site->out;
  enum { LARGE = 1 << 19 }; /* elements */
  return is_product(site->attr, x, dw, dy) && rt_type_elements(dw) >= LARGE && site->n_out == 1 && dw->dtype == RT_F32;
}

static rt_status prepare_backward_weight(rt_site *site) {
  pixels c = pixels_of(site->attr, site->in[1], site->in[0]);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  const_dnnl_memory_desc_t dy_md = dnn_md(p, c.dtype, dnn_transposed(dnn_matrix(c.rows, c.out))),
                           x_md = matrix(p, &c, c.in), dw_md = dnn_md(p, RT_F32, dnn_matrix(c.out, c.in));
  dnnl_primitive_desc_t pd = dnn_product(p, dy_md, x_md, NULL, dw_md, dnn_attr(p, false, false));
  int dy = dnn_input(p, 0, dy_md), x = gathered(p, &c, 1), dw = dnn_output(p, 0, dw_md);
  dnn_execute(p, pd, (dnn_arg[]){{DNNL_ARG_SRC, dy}, {DNNL_ARG_WEIGHTS, x}, {DNNL_ARG_DST, dw}}, 3);
  return dnn_program_finish(p, site);
}

const rt_kernel rt_kernel_dnn_conv2d_1x1 = {"dnn_conv2d_1x1", RT_OP(conv2d),   accepts_forward,
                                            prepare_forward,  dnn_program_run, dnn_program_release};
const rt_kernel rt_kernel_dnn_conv2d_1x1_backward_data = {"dnn_conv2d_1x1_backward_data",
                                                          RT_OP(conv2d_backward_data),
                                                          accepts_backward_data,
                                                          prepare_backward_data,
                                                          dnn_program_run,
                                                          dnn_program_release};
const rt_kernel rt_kernel_dnn_conv2d_1x1_backward_weight = {"dnn_conv2d_1x1_backward_weight",
                                                            RT_OP(conv2d_backward_weight),
                                                            accepts_backward_weight,
                                                            prepare_backward_weight,
                                                            dnn_program_run,
                                                            dnn_program_release};
