/* Networks of inverted residuals: a 1×1 convolution widens, a depthwise one filters, a 1×1 narrows.
 *   mobilenet_v2     (Sandler et al. 2018) with relu6
 *   efficientnet_b0  (Tan, Le 2019) with silu, and squeeze-and-excitation behind the depthwise convolution; without
 *                    stochastic depth
 * Names and start are torchvision's. For small images (stem=cifar) the first two reductions of size are left out. */
#include "model/parts.h"

#include <math.h>

typedef struct mobile_options {
  int64_t classes;
  int stem;
  double width, dropout;
} mobile_options;

static const rt_option options[] = {
    {"classes", RT_OPT_INT, offsetof(mobile_options, classes), "10", 1, 1e9, NULL, "width of the logits"},
    {"stem", RT_OPT_CHOICE, offsetof(mobile_options, stem), "cifar", 0, 0, "cifar|imagenet",
     "whether the first convolution and the second stage keep the size"},
    {"width", RT_OPT_FLOAT, offsetof(mobile_options, width), "1", 0.01, 100, NULL,
     "multiplies all channels (multiples of 8)"},
    {"dropout", RT_OPT_FLOAT, offsetof(mobile_options, dropout), "0", 0, 1, NULL,
     "rate in front of the classifier; torchvision trains with 0.2"},
    {0},
};

typedef struct stage {
  int expand, kernel, stride, out, blocks;
} stage;

typedef struct mobile_variant {
  const char *name, *activation;
  const stage *stages; /* seven */
  bool efficient;      /* squeeze-and-excitation, stage and block in names, its own head */
} mobile_variant;

static rt_value *conv(rt_graph *g, const mobile_variant *v, const char *name, rt_value *x, rt_conv_part c) {
  x = rt_part_conv_norm(g, rt_part_name(g, "%s.0", name), rt_part_name(g, "%s.1", name), x, c);
  return rt_apply(g, v->activation, rt_part_name(g, "%s.2", name), &x, 1, NULL);
}

/* Channels weighted by what two small layers make of their means. */
static rt_value *excite(rt_graph *g, const char *name, rt_value *x, int64_t squeezed) {
  int64_t width = rt_part_width(x);
  rt_value *s = rt_apply(g, "adaptive_avg_pool2d", rt_part_name(g, "%s.avgpool", name), &x, 1, NULL);
  s = rt_part_conv(g, rt_part_name(g, "%s.fc1", name), s, (rt_conv_part){squeezed, 1, .bias = true});
  s = rt_apply(g, "silu", rt_part_name(g, "%s.activation", name), &s, 1, NULL);
  s = rt_part_conv(g, rt_part_name(g, "%s.fc2", name), s, (rt_conv_part){width, 1, .bias = true});
  s = rt_apply(g, "sigmoid", rt_part_name(g, "%s.scale", name), &s, 1, NULL);
  return rt_mul(g, x, s);
}

static rt_value *block(rt_graph *g, const mobile_variant *v, const char *name, rt_value *x, const stage *s, int64_t out,
                       int64_t stride) {
  int64_t in = rt_part_width(x), hidden = in * s->expand;
  int n = 0;
  rt_value *y = x;
  if (s->expand != 1) y = conv(g, v, rt_part_name(g, "%s.%d", name, n++), y, (rt_conv_part){hidden, 1});
  y = conv(g, v, rt_part_name(g, "%s.%d", name, n++), y, (rt_conv_part){hidden, s->kernel, stride, hidden});
  if (v->efficient) y = excite(g, rt_part_name(g, "%s.%d", name, n++), y, in / 4 > 1 ? in / 4 : 1);
  const char *last = rt_part_name(g, "%s.%d", name, n);
  /* torchvision's MobileNet has its narrowing convolution and norm loose in the block, not in a sequence of their own. */
  if (v->efficient)
    y = rt_part_conv_norm(g, rt_part_name(g, "%s.0", last), rt_part_name(g, "%s.1", last), y, (rt_conv_part){out, 1});
  else
    y = rt_part_conv_norm(g, last, rt_part_name(g, "%s.%d", name, n + 1), y, (rt_conv_part){out, 1});
  return stride == 1 && in == out ? rt_add(g, y, x) : y;
}

static rt_value *classify(rt_graph *g, const mobile_variant *v, rt_value *x, const mobile_options *o) {
  x = rt_part_mean(g, x);
  if (o->dropout > 0) x = rt_dropout(g, "classifier.0", x, rt_scalar_input(g, "dropout", o->dropout));
  double bound = 1 / sqrt((double)o->classes);
  rt_init normal = {RT_INIT_NORMAL, 0, 0.01}, uniform = {RT_INIT_UNIFORM, -bound, bound};
  return rt_part_linear(g, "classifier.1", x, o->classes, v->efficient ? uniform : normal, (rt_init){0});
}

static rt_value *build(rt_graph *g, rt_value *x, const void *variant, const void *opts) {
  const mobile_variant *v = variant;
  const mobile_options *o = opts;
  bool large = o->stem == RT_STEM_IMAGENET;
  int number = 1;
  if (!rt_part_image(g, v->name, x)) return NULL;
  x = conv(g, v, "features.0", x, (rt_conv_part){rt_part_channels(32, o->width), 3, large ? 2 : 1});
  for (int i = 0; i < 7; i++) {
    const stage *s = &v->stages[i];
    for (int j = 0; j < s->blocks; j++) {
      const char *name = v->efficient ? rt_part_name(g, "features.%d.%d.block", i + 1, j)
                                      : rt_part_name(g, "features.%d.conv", number);
      x = block(g, v, name, x, s, rt_part_channels(s->out, o->width), j > 0 || (i == 1 && !large) ? 1 : s->stride);
      number++;
    }
  }
  /* EfficientNet's last convolution is four times as wide as what it reads; a narrow MobileNet keeps its 1280. */
  int64_t head = v->efficient ? 4 * rt_part_width(x) : rt_part_channels(1280, o->width > 1 ? o->width : 1);
  x = conv(g, v, rt_part_name(g, "features.%d", v->efficient ? 8 : number), x, (rt_conv_part){head, 1});
  return classify(g, v, x, o);
}

static const stage mobilenet_v2[] = {
    {1, 3, 1, 16, 1}, {6, 3, 2, 24, 2},  {6, 3, 2, 32, 3},  {6, 3, 2, 64, 4},
    {6, 3, 1, 96, 3}, {6, 3, 2, 160, 3}, {6, 3, 1, 320, 1},
};
static const stage efficientnet_b0[] = {
    {1, 3, 1, 16, 1},  {6, 3, 2, 24, 2},  {6, 5, 2, 40, 2},  {6, 3, 2, 80, 3},
    {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4}, {6, 3, 1, 320, 1},
};

#define MOBILE(id, text, ...) \
  const rt_model_row rt_model_row_##id = { \
      .name = #id, \
      .summary = text, \
      .options = options, \
      .options_size = sizeof(mobile_options), \
      .variant = &(const mobile_variant){.name = #id, .stages = id, __VA_ARGS__}, \
      .build = build, \
  }

MOBILE(mobilenet_v2, "inverted residuals with relu6", .activation = "relu6");
MOBILE(efficientnet_b0, "inverted residuals with silu and squeeze-and-excitation", .activation = "silu",
       .efficient = true);
