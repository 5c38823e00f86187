/* A small network that is trained fast, after the speed records of CIFAR-10 (Page 2018; Jordan 2024, arXiv 2404.00498):
 *
 *   whiten   2×2 patches through fixed filters, the eigenvectors of their covariance and the negatives, and a bias; gelu
 *   block1   conv 3×3 – max pool 2 – norm – gelu – conv 3×3 – norm – gelu, `width` channels
 *   block2, block3   the same with 4·width
 *   max over what is left of the image – linear without bias – divided by its inputs
 *
 * A filter starts by handing on the channel of its number, norms have no scale of their own, and their running statistics
 * follow fast. The image is padded below and to the right, so that its sides stay even and tiles of convolutions whole. */
#include "model/parts.h"

#include <math.h>
#include <stdio.h>

typedef struct whitened_options {
  int64_t classes, width;
} whitened_options;

static const rt_option options[] = {
    {"classes", RT_OPT_INT, offsetof(whitened_options, classes), "10", 1, 1e9, NULL, "width of the logits"},
    {"width", RT_OPT_INT, offsetof(whitened_options, width), "64", 1, 16384, NULL, "channels of the first block"},
    {0},
};

static rt_value *gelu(rt_graph *g, rt_value *x) { return rt_apply(g, "gelu", NULL, &x, 1, NULL); }

static rt_value *max_pool(rt_graph *g, rt_value *x, int64_t height, int64_t width) {
  char text[64];
  snprintf(text, sizeof text, "kernel=%lld,%lld", (long long)height, (long long)width);
  return rt_apply(g, "max_pool2d", NULL, &x, 1, text);
}

/* N×C×H×W → N×2·4·C×H×W */
static rt_value *whiten(rt_graph *g, rt_value *x) {
  int64_t channels = x->type.dim[1], dim[] = {8 * channels, channels, 2, 2};
  double bound = 1 / sqrt((double)(4 * channels));
  rt_value *weight = rt_parameter(g, "whiten.weight", 4, dim, (rt_init){RT_INIT_WHITEN, 0, 0});
  rt_value *bias = rt_parameter(g, "whiten.bias", 1, dim, (rt_init){RT_INIT_UNIFORM, -bound, bound});
  rt_part_freeze(weight);
  x = rt_apply(g, "pad", NULL, &x, 1, "pads=0,0,0,0,0,1,0,1");
  return rt_apply(g, "conv2d", "whiten", (rt_value *[]){x, weight, bias}, 3, NULL);
}

static rt_value *norm(rt_graph *g, const char *name, rt_value *x) {
  x = rt_batch_norm_by(g, name, x, "momentum=0.4");
  if (x) rt_part_freeze(x->node->in[1]);
  return gelu(g, x);
}

static rt_value *conv(rt_graph *g, const char *name, rt_value *x, int64_t out) {
  if (!x) return NULL;
  int64_t dim[] = {out, x->type.dim[1], 3, 3};
  double bound = 1 / sqrt((double)(9 * dim[1]));
  rt_value *weight =
      rt_parameter(g, rt_part_name(g, "%s.weight", name), 4, dim, (rt_init){RT_INIT_DIRAC, -bound, bound});
  return rt_apply(g, "conv2d", name, (rt_value *[]){x, weight}, 2, "padding=1");
}

static rt_value *block(rt_graph *g, const char *name, rt_value *x, int64_t out) {
  rt_scope_push(g, name);
  x = norm(g, "norm1", max_pool(g, conv(g, "conv1", x, out), 2, 2));
  x = norm(g, "norm2", conv(g, "conv2", x, out));
  rt_scope_pop(g);
  return x;
}

static rt_value *head(rt_graph *g, rt_value *x, int64_t classes) {
  if (!x) return NULL;
  int64_t dim[] = {classes, x->type.dim[1]};
  x = max_pool(g, x, x->type.dim[2], x->type.dim[3]);
  x = rt_apply(g, "flatten", NULL, &x, 1, NULL);
  rt_value *weight =
      rt_parameter(g, "head.weight", 2, dim, (rt_init){RT_INIT_UNIFORM, -sqrt(3), sqrt(3)}); /* variance 1 */
  x = rt_apply(g, "linear", "head", (rt_value *[]){x, weight}, 2, NULL);
  return rt_mul(g, x, rt_scalar(g, 1 / (double)dim[1]));
}

static rt_value *build(rt_graph *g, rt_value *x, const void *variant, const void *opts) {
  const whitened_options *o = opts;
  (void)variant;
  if (!rt_part_image(g, "whitened_cnn", x)) return NULL;
  if (x->type.dim[2] < 8 || x->type.dim[3] < 8)
    return rt_graph_failed(g, rt_fail(RT_E_SHAPE, "whitened_cnn: images must be at least 8×8, and their size known"));
  x = gelu(g, whiten(g, x));
  x = block(g, "block1", x, o->width);
  x = block(g, "block2", x, 4 * o->width);
  x = block(g, "block3", x, 4 * o->width);
  return head(g, x, o->classes);
}

const rt_model_row rt_model_row_whitened_cnn = {
    .name = "whitened_cnn",
    .summary = "small and fast to train: fixed whitening of patches, six convolutions",
    .options = options,
    .options_size = sizeof(whitened_options),
    .build = build,
};
