/* Wide residual networks (Zagoruyko, Komodakis 2016): wrn_D_K has D = 6n+4 layers and stages of 16K, 32K, 64K channels.
 * Norm and relu stand in front of each convolution; where the width changes, the shortcut starts behind the first relu.
 * Names are those of the PyTorch code the distillation literature uses: "block1.layer.0.conv1", "convShortcut". */
#include "model/parts.h"

#include <math.h>

typedef struct wrn_options {
  int64_t classes, width;
} wrn_options;

typedef struct wrn_variant {
  int blocks, factor;
} wrn_variant;

static const rt_option options[] = {
    {"classes", RT_OPT_INT, offsetof(wrn_options, classes), "10", 1, 1e9, NULL, "width of the logits"},
    {"width", RT_OPT_INT, offsetof(wrn_options, width), "16", 1, 65536, NULL, "channels of the stem"},
    {0},
};

static rt_value *block(rt_graph *g, rt_value *x, int64_t out, int64_t stride) {
  bool equal = rt_part_width(x) == out;
  rt_value *start = rt_relu(g, rt_batch_norm(g, "bn1", x));
  rt_value *y = rt_part_conv(g, "conv1", start, (rt_conv_part){out, 3, stride});
  y = rt_part_conv(g, "conv2", rt_relu(g, rt_batch_norm(g, "bn2", y)), (rt_conv_part){out, 3});
  return rt_add(g, y, equal ? x : rt_part_conv(g, "convShortcut", start, (rt_conv_part){out, 1, stride}));
}

static rt_value *build(rt_graph *g, rt_value *x, const void *variant, const void *opts) {
  const wrn_variant *v = variant;
  const wrn_options *o = opts;
  if (!rt_part_image(g, "wide resnet", x)) return NULL;
  x = rt_part_conv(g, "conv1", x, (rt_conv_part){o->width, 3});
  for (int stage = 0; stage < 3; stage++) {
    rt_scope_push(g, rt_part_name(g, "block%d", stage + 1));
    rt_scope_push(g, "layer");
    for (int i = 0; i < v->blocks; i++) {
      rt_scope_push(g, rt_part_name(g, "%d", i));
      x = block(g, x, (o->width * v->factor) << stage, stage > 0 && i == 0 ? 2 : 1);
      rt_scope_pop(g);
    }
    rt_scope_pop(g);
    rt_scope_pop(g);
  }
  x = rt_part_mean(g, rt_relu(g, rt_batch_norm(g, "bn1", x)));
  double bound = 1 / sqrt(fmax(1, (double)rt_part_width(x)));
  return rt_part_linear(g, "fc", x, o->classes, (rt_init){RT_INIT_UNIFORM, -bound, bound}, (rt_init){0});
}

#define WRN(depth, factor) \
  const rt_model_row rt_model_row_wrn_##depth##_##factor = { \
      .name = "wrn_" #depth "_" #factor, \
      .summary = "wide residual network of " #depth " layers, " #factor " times as wide", \
      .options = options, \
      .options_size = sizeof(wrn_options), \
      .variant = &(const wrn_variant){(depth - 4) / 6, factor}, \
      .build = build, \
  }

WRN(16, 1);
WRN(16, 2);
WRN(40, 1);
WRN(40, 2);
WRN(28, 10);
