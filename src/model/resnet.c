/* Deep residual networks (He, Zhang, Ren, Sun 2016), version 1.5 as torchvision has it: the stride of a bottleneck is in
 * its 3×3 convolution. The CIFAR stem is one 3×3 convolution of stride 1 and no pooling. */
#include "model/parts.h"

typedef struct resnet_options {
  int64_t classes, width;
  int stem;
} resnet_options;

static const rt_option options[] = {
    {"classes", RT_OPT_INT, offsetof(resnet_options, classes), "10", 1, 1e9, NULL, "width of the logits"},
    {"stem", RT_OPT_CHOICE, offsetof(resnet_options, stem), "cifar", 0, 0, "cifar|imagenet",
     "3×3 stride 1, or 7×7 stride 2 and max pooling"},
    {"width", RT_OPT_INT, offsetof(resnet_options, width), "64", 1, 65536, NULL, "channels of the first stage"},
    {0},
};

typedef struct resnet_variant {
  int blocks[4];
  bool bottleneck;
} resnet_variant;

static rt_value *conv_norm(rt_graph *g, const char *conv, const char *norm, rt_value *x, int64_t out, int64_t kernel,
                           int64_t stride) {
  return rt_part_conv_norm(g, conv, norm, x, (rt_conv_part){out, kernel, stride});
}

static rt_value *block(rt_graph *g, rt_value *x, bool bottleneck, int64_t width, int64_t stride) {
  int64_t out = bottleneck ? 4 * width : width;
  rt_value *y;
  if (bottleneck) {
    y = rt_relu(g, conv_norm(g, "conv1", "bn1", x, width, 1, 1));
    y = rt_relu(g, conv_norm(g, "conv2", "bn2", y, width, 3, stride));
    y = conv_norm(g, "conv3", "bn3", y, out, 1, 1);
  } else {
    y = rt_relu(g, conv_norm(g, "conv1", "bn1", x, width, 3, stride));
    y = conv_norm(g, "conv2", "bn2", y, width, 3, 1);
  }
  rt_value *identity = x;
  if (x && (stride != 1 || x->type.dim[1] != out))
    identity = conv_norm(g, "downsample.0", "downsample.1", x, out, 1, stride);
  return rt_relu(g, rt_add(g, y, identity));
}

static rt_value *build(rt_graph *g, rt_value *x, const void *variant, const void *opts) {
  const resnet_variant *v = variant;
  const resnet_options *o = opts;
  if (!rt_part_image(g, "resnet", x)) return NULL;
  bool large = o->stem == RT_STEM_IMAGENET;
  x = rt_relu(g, conv_norm(g, "conv1", "bn1", x, o->width, large ? 7 : 3, large ? 2 : 1));
  if (large) x = rt_apply(g, "max_pool2d", "maxpool", &x, 1, "kernel=3 stride=2 padding=1");
  for (int stage = 0; stage < 4; stage++) {
    rt_scope_push(g, rt_part_name(g, "layer%d", stage + 1));
    for (int i = 0; i < v->blocks[stage]; i++) {
      rt_scope_push(g, rt_part_name(g, "%d", i));
      x = block(g, x, v->bottleneck, o->width << stage, stage > 0 && i == 0 ? 2 : 1);
      rt_scope_pop(g);
    }
    rt_scope_pop(g);
  }
  return rt_linear(g, "fc", rt_part_mean(g, x), o->classes, true);
}

#define RESNET(label, deep, a, b, c, d) \
  const rt_model_row rt_model_row_resnet##label = { \
      .name = "resnet" #label, \
      .summary = "residual network of " #label " layers", \
      .options = options, \
      .options_size = sizeof(resnet_options), \
      .variant = &(const resnet_variant){{a, b, c, d}, deep}, \
      .build = build, \
  }

RESNET(18, false, 2, 2, 2, 2);
RESNET(34, false, 3, 4, 6, 3);
RESNET(50, true, 3, 4, 6, 3);
RESNET(101, true, 3, 4, 23, 3);
RESNET(152, true, 3, 8, 36, 3);
