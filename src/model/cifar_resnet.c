/* Residual networks for small images (He, Zhang, Ren, Sun 2016, section 4.2): 6n+2 layers, three stages.
 *   resnet8 … resnet110     16, 32, 64 channels; shortcuts without parameters (option A): every second pixel, new channels 0.
 *                           Names and start of the checkpoints that akamaster published: the classifier is "linear".
 *   resnet8x4, resnet32x4   the wide pair of the distillation literature (Tian, Krishnan, Isola 2020): a stem of 32
 *                           channels, stages of 64, 128, 256; shortcuts are 1×1 convolutions, the classifier is "fc". */
#include "model/parts.h"

#include <math.h>

typedef struct cifar_options {
  int64_t classes, width;
} cifar_options;

typedef struct cifar_variant {
  int blocks; /* of each stage */
  bool wide;
} cifar_variant;

#define OPTIONS(channels) \
  {"classes", RT_OPT_INT, offsetof(cifar_options, classes), "10", 1, 1e9, NULL, "width of the logits"}, \
      {"width", RT_OPT_INT, offsetof(cifar_options, width), channels, 2, 65536, NULL, "channels of the stem"}, { \
    0 \
  }
static const rt_option narrow[] = {OPTIONS("16")}, wide[] = {OPTIONS("32")};

/* Option A. The stages double their channels: half of the new ones come before the old, half behind. */
static rt_value *subsample(rt_graph *g, rt_value *x, int64_t out) {
  if (!x) return NULL;
  int64_t more = out - x->type.dim[1];
  rt_slice_attr rows = {.axis = 2, .end = INT64_MAX, .step = 2}, columns = {.axis = 3, .end = INT64_MAX, .step = 2};
  rt_pad_attr pad = {.pads = {.n = 8, .v = {0, 0, more / 2, more - more / 2}}};
  x = rt_emit(g, RT_OP(slice), NULL, &rows, 1, x);
  x = rt_emit(g, RT_OP(slice), NULL, &columns, 1, x);
  return rt_emit(g, RT_OP(pad), NULL, &pad, 1, x);
}

static rt_value *block(rt_graph *g, rt_value *x, bool is_wide, int64_t out, int64_t stride) {
  rt_fan fan = is_wide ? RT_FAN_OUT : RT_FAN_IN;
  rt_conv_part first = {.out = out, .kernel = 3, .stride = stride, .fan = fan}, second = {out, 3, .fan = fan};
  rt_value *y = rt_relu(g, rt_part_conv_norm(g, "conv1", "bn1", x, first));
  y = rt_part_conv_norm(g, "conv2", "bn2", y, second);
  if (rt_part_width(x) != out && is_wide)
    x = rt_part_conv_norm(g, "downsample.0", "downsample.1", x, (rt_conv_part){out, 1, stride, .fan = fan});
  else if (rt_part_width(x) != out)
    x = subsample(g, x, out);
  return rt_relu(g, rt_add(g, y, x));
}

static rt_value *build(rt_graph *g, rt_value *x, const void *variant, const void *opts) {
  const cifar_variant *v = variant;
  const cifar_options *o = opts;
  if (!rt_part_image(g, "resnet", x)) return NULL;
  x = rt_relu(
      g, rt_part_conv_norm(g, "conv1", "bn1", x, (rt_conv_part){o->width, 3, .fan = v->wide ? RT_FAN_OUT : RT_FAN_IN}));
  for (int stage = 0; stage < 3; stage++) {
    rt_scope_push(g, rt_part_name(g, "layer%d", stage + 1));
    for (int i = 0; i < v->blocks; i++) {
      rt_scope_push(g, rt_part_name(g, "%d", i));
      x = block(g, x, v->wide, o->width << (stage + v->wide), stage > 0 && i == 0 ? 2 : 1);
      rt_scope_pop(g);
    }
    rt_scope_pop(g);
  }
  x = rt_part_mean(g, x);
  if (v->wide) return rt_linear(g, "fc", x, o->classes, true);
  double fan_in = fmax(1, (double)rt_part_width(x)), bound = 1 / sqrt(fan_in);
  return rt_part_linear(g, "linear", x, o->classes, (rt_init){RT_INIT_NORMAL, 0, sqrt(2 / fan_in)},
                        (rt_init){RT_INIT_UNIFORM, -bound, bound});
}

#define RESNET(label, n, is_wide, table) \
  const rt_model_row rt_model_row_resnet##label = { \
      .name = "resnet" #label, \
      .summary = "residual network for small images", \
      .options = table, \
      .options_size = sizeof(cifar_options), \
      .variant = &(const cifar_variant){n, is_wide}, \
      .build = build, \
  }

RESNET(8, 1, false, narrow);
RESNET(14, 2, false, narrow);
RESNET(20, 3, false, narrow);
RESNET(32, 5, false, narrow);
RESNET(44, 7, false, narrow);
RESNET(56, 9, false, narrow);
RESNET(110, 18, false, narrow);
RESNET(8x4, 1, true, wide);
RESNET(32x4, 5, true, wide);
