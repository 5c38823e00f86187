/* Convolutions of small images, several side by side in one wide image, with zeros between that stand for each one's
 * padding. On AMX a row of pixels is the side of a tile of 16, so that images of 4×4 leave three quarters of it empty;
 * the copies into the wide image and out of it are small beside that. Time of the direct kernel over this one's, bf16,
 * 128 to 512 channels, scripts/bench kernels: 4×4 images 1.2 to 3.2 (with stride 2 0.9 to 3.1), 2×2 and 3×3 3.0 to 7.9,
 * 8×8 0.7 to 0.9; by data the same, with stride 2 1.0 to 1.5 at 6×6 and 8×8; by weights 1.4 to 2.6 at 6×6 and 8×8, 4.5 to
 * 16 below. */
#include "kernel/dnn.h"
#include "kernel/dnn_conv.h"

/* Images as they are and where they lie in the wide one, both as (N/g)×g×C×H×W. */
typedef struct placing {
  dnn_shape apart, placed;
} placing;

typedef struct wide {
  dnn_conv conv; /* of the wide images */
  placing x, y;
} wide;

typedef struct pitch {
  int64_t x, y; /* columns from one image to the next */
  int64_t images;
} pitch;

/* As many images as fit into WIDTH columns of output; 0 where the wide convolution would not be the same. */
static pitch pitch_of(const rt_conv2d_attr *a, const rt_type *x, const rt_type *w, const rt_type *y) {
  enum { WIDTH = 128 };
  int64_t stride = a->stride[1], padding = a->padding[1], reach = (w->dim[3] - 1) * a->dilation[1];
  int64_t beyond = (y->dim[3] - 1) * stride - padding + reach - (x->dim[3] - 1); /* columns read on the right */
  int64_t gap = beyond > padding ? beyond : padding;
  pitch p = {.y = (x->dim[3] + gap + stride - 1) / stride};
  if (p.y < y->dim[3]) p.y = y->dim[3];
  p.x = p.y * stride;
  for (int64_t g = 2; g <= x->dim[0] && g * p.y <= WIDTH; g++)
    if (x->dim[0] % g == 0 && (g * p.x + 2 * padding - reach - 1) / stride + 1 == g * p.y) p.images = g;
  return p;
}

static placing placing_of(const rt_type *t, int64_t images, int64_t each) {
  int64_t n = t->dim[0], c = t->dim[1], h = t->dim[2], w = t->dim[3];
  return (placing){{5, {n / images, images, c, h, w}, {images * h * w * c, h * w * c, 1, w * c, c}},
                   {5, {n / images, images, c, h, w}, {h * images * each * c, each * c, 1, images * each * c, c}}};
}

static dnn_shape widened(const rt_type *t, int64_t images, int64_t each) {
  rt_type u = *t;
  u.dim[0] /= images;
  u.dim[3] = images * each;
  return dnn_channels_last(&u);
}

static wide wide_of(const rt_conv2d_attr *a, const rt_type *x, const rt_type *w, const rt_type *y) {
  pitch p = pitch_of(a, x, w, y);
  wide v = {dnn_conv_of(a, x, w, y), placing_of(x, p.images, p.x), placing_of(y, p.images, p.y)};
  v.conv.x = widened(x, p.images, p.x);
  v.conv.y = widened(y, p.images, p.y);
  return v;
}

static bool is_strided(const rt_conv2d_attr *a) { return a->stride[0] > 1 || a->stride[1] > 1; }

static bool fits(const rt_conv2d_attr *a, const rt_type *x, const rt_type *w, const rt_type *y) {
  return dnn_isa() == RT_ISA_AMX && x->dtype == RT_BF16 && y->dtype == RT_BF16 && a->groups == 1 &&
         w->dim[2] * w->dim[3] > 1 && dnn_accepts(x) && dnn_accepts(y) && dnn_is_channels_last(x) &&
         dnn_is_channels_last(y) && pitch_of(a, x, w, y).images > 1;
}

static void put(dnn_program *p, int i, int all, const placing *to) {
  dnn_reorder(p, dnn_input(p, i, dnn_md(p, RT_BF16, to->apart)), dnn_view(p, all, dnn_md(p, RT_BF16, to->placed)));
}

/* The wide image that holds input i, zeros between. */
static int laid_out(dnn_program *p, int i, dnn_shape shape, const placing *to) {
  int all = dnn_temporary(p, dnn_md(p, RT_BF16, shape));
  dnn_zero(p, all);
  put(p, i, all, to);
  return all;
}

static void taken_out(dnn_program *p, int all, const placing *from) {
  dnn_reorder(p, dnn_view(p, all, dnn_md(p, RT_BF16, from->placed)), dnn_output(p, 0, dnn_md(p, RT_BF16, from->apart)));
}

static bool accepts_forward(const rt_site *site) {
  const rt_type *bias = dnn_optional(site, 2), *residual = dnn_optional(site, 3);
  return site->out->dim[3] <= 4 && fits(site->attr, site->in[0], site->in[1], site->out) &&
         site->in[1]->dtype == RT_BF16 && dnn_is_row_major(site->in[1]) && (!bias || bias->dtype == RT_F32) &&
         (!residual || (residual->dtype == RT_BF16 && dnn_is_channels_last(residual)));
}

static rt_status prepare_forward(rt_site *site) {
  const rt_conv2d_attr *a = site->attr;
  const rt_type *bias_type = dnn_optional(site, 2), *residual = dnn_optional(site, 3);
  wide v = wide_of(a, site->in[0], site->in[1], site->out);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  const_dnnl_memory_desc_t bias = bias_type ? dnn_md(p, RT_F32, dnn_row_major(bias_type)) : NULL;
  dnnl_primitive_desc_t pd =
      dnn_conv_forward(p, &v.conv, bias, dnn_attr(p, residual, a->activation == RT_ACTIVATION_RELU));
  int x = laid_out(p, 0, v.conv.x, &v.x), b = dnn_input(p, 2, bias);
  int w = dnn_weights(p, site, 1, v.conv.w, dnn_wanted(p, pd, dnnl_query_weights_md));
  int y = dnn_temporary(p, dnn_md(p, RT_BF16, v.conv.y));
  if (residual) put(p, 3, y, &v.y); /* the sum is made in y */
  dnn_execute(p, pd, (dnn_arg[]){{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_BIAS, b}, {DNNL_ARG_DST, y}}, 4);
  taken_out(p, y, &v.y);
  return dnn_program_finish(p, site);
}

static bool accepts_backward_data(const rt_site *site) {
  return site->in[0]->dim[3] <= (is_strided(site->attr) ? 8 : 4) &&
         fits(site->attr, site->out, site->in[1], site->in[0]) && site->in[1]->dtype == RT_BF16 &&
         dnn_is_row_major(site->in[1]);
}

static rt_status prepare_backward_data(rt_site *site) {
  wide v = wide_of(site->attr, site->out, site->in[1], site->in[0]);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  dnnl_primitive_desc_t pd = dnn_conv_backward_data(p, &v.conv);
  int dy = laid_out(p, 0, v.conv.y, &v.y);
  int w = dnn_weights(p, site, 1, v.conv.w, dnn_wanted(p, pd, dnnl_query_weights_md));
  int dx = dnn_temporary(p, dnn_md(p, RT_BF16, v.conv.x));
  dnn_execute(p, pd, (dnn_arg[]){{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DIFF_SRC, dx}}, 3);
  taken_out(p, dx, &v.x);
  return dnn_program_finish(p, site);
}

/* With a stride the columns of own_conv_columns.c are faster, by up to 1.3. */
static bool accepts_backward_weight(const rt_site *site) {
  const rt_type *dw = site->out;
  return !is_strided(site->attr) && site->in[0]->dim[3] <= 8 && fits(site->attr, site->in[1], dw, site->in[0]) &&
         dw->dtype == RT_F32 && dnn_is_row_major(dw) && (site->n_out < 2 || site->out[1].dtype == RT_F32);
}

static rt_status prepare_backward_weight(rt_site *site) {
  wide v = wide_of(site->attr, site->in[1], site->out, site->in[0]);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  const_dnnl_memory_desc_t dbias = site->n_out > 1 ? dnn_md(p, RT_F32, dnn_row_major(&site->out[1])) : NULL;
  dnnl_primitive_desc_t pd = dnn_conv_backward_weight(p, &v.conv, dbias);
  int dy = laid_out(p, 0, v.conv.y, &v.y), x = laid_out(p, 1, v.conv.x, &v.x);
  int out = dnn_output(p, 0, dnn_md(p, RT_F32, v.conv.w)), db = dnn_output(p, 1, dbias);
  int dw = dnn_staged(p, out, dnn_wanted(p, pd, dnnl_query_diff_weights_md));
  const dnn_arg arg[] = {
      {DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_WEIGHTS, dw}, {DNNL_ARG_DIFF_BIAS, db}};
  dnn_execute(p, pd, arg, 4);
  dnn_reorder(p, dw, out);
  return dnn_program_finish(p, site);
}

const rt_kernel rt_kernel_dnn_conv2d_wide = {"dnn_conv2d_wide", RT_OP(conv2d),   accepts_forward,
                                             prepare_forward,   dnn_program_run, dnn_program_release};
const rt_kernel rt_kernel_dnn_conv2d_wide_backward_data = {"dnn_conv2d_wide_backward_data",
                                                           RT_OP(conv2d_backward_data),
                                                           accepts_backward_data,
                                                           prepare_backward_data,
                                                           dnn_program_run,
                                                           dnn_program_release};
const rt_kernel rt_kernel_dnn_conv2d_wide_backward_weight = {"dnn_conv2d_wide_backward_weight",
                                                             RT_OP(conv2d_backward_weight),
                                                             accepts_backward_weight,
                                                             prepare_backward_weight,
                                                             dnn_program_run,
                                                             dnn_program_release};
