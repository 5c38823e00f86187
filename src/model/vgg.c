/* VGG with batch norm (Simonyan, Zisserman 2015). The convolutional part is torchvision's vggN_bn, names and all
 * ("features.0", …), so that its weights fit; behind it one linear layer, "classifier", on the mean over what pixels are
 * left, as the CIFAR versions have it. vgg8, the distillation literature's student, has one convolution a stage. */
#include "model/parts.h"

typedef struct vgg_options {
  int64_t classes, width;
} vgg_options;

typedef struct vgg_variant {
  int convolutions[5];
} vgg_variant;

static const rt_option options[] = {
    {"classes", RT_OPT_INT, offsetof(vgg_options, classes), "10", 1, 1e9, NULL, "width of the logits"},
    {"width", RT_OPT_INT, offsetof(vgg_options, width), "64", 1, 65536, NULL, "channels of the first stage"},
    {0},
};

static rt_value *build(rt_graph *g, rt_value *x, const void *variant, const void *opts) {
  const vgg_variant *v = variant;
  const vgg_options *o = opts;
  int n = 0; /* number in "features" */
  if (!rt_part_image(g, "vgg", x)) return NULL;
  for (int stage = 0; stage < 5; stage++) {
    for (int i = 0; i < v->convolutions[stage]; i++, n += 3) {
      rt_conv_part conv = {o->width << (stage < 3 ? stage : 3), 3, .bias = true};
      x = rt_relu(
          g, rt_part_conv_norm(g, rt_part_name(g, "features.%d", n), rt_part_name(g, "features.%d", n + 1), x, conv));
    }
    /* Images of 28 pixels are single ones before the last pooling. */
    bool single = x && (x->type.dim[2] == 1 || x->type.dim[3] == 1);
    if (!single) x = rt_apply(g, "max_pool2d", rt_part_name(g, "features.%d", n), &x, 1, "kernel=2");
    n++;
  }
  return rt_part_linear(g, "classifier", rt_part_mean(g, x), o->classes, (rt_init){RT_INIT_NORMAL, 0, 0.01},
                        (rt_init){0});
}

#define VGG(layers, a, b, c, d, e) \
  const rt_model_row rt_model_row_vgg##layers = { \
      .name = "vgg" #layers, \
      .summary = "VGG with batch norm and one linear layer", \
      .options = options, \
      .options_size = sizeof(vgg_options), \
      .variant = &(const vgg_variant){{a, b, c, d, e}}, \
      .build = build, \
  }

VGG(8, 1, 1, 1, 1, 1);
VGG(11, 1, 1, 2, 2, 2);
VGG(13, 2, 2, 2, 2, 2);
VGG(16, 2, 2, 3, 3, 3);
