/* Be your own teacher (Zhang et al. 2019): inner layers get heads, which learn from the labels and from the network's own logits z,
 * through which no gradient passes; h_l = W_l·mean over pixels of relu(conv(F_l)) + b_l:
 *   L = 1/(N·layers) · Σ over samples and layers of (1 − α)·(−ln p(h_l)[y]) + α·T²·KL(p(z/T) ‖ p(h_l/T))
 * The heads are trained along, and no model file has them. */
#include "loss/parts.h"

typedef struct deep_options {
  rt_loss_options common;
  double temperature, alpha;
  int64_t width;
} deep_options;

static const rt_option options[] = {
    RT_LOSS_OPTION_COMMON,
    {"layers", RT_OPT_TEXT, offsetof(rt_loss_options, layers), "",
     .help = "that get heads, joined by +; left out: the last of every resolution but the last"},
    {"temperature", RT_OPT_FLOAT, offsetof(deep_options, temperature), "3",
     .help = "softness of the network's own logits, above 0; may be scheduled"},
    {"alpha", RT_OPT_FLOAT, offsetof(deep_options, alpha), "0.5", 0, 1,
     .help = "weight of them; labels have 1 − alpha"},
    {"width", RT_OPT_INT, offsetof(deep_options, width), "64", 1, 1 << 16, .help = "channels of a head"},
    {0},
};

static rt_value *head(const rt_loss_build *b, const rt_loss_pair *pair, int64_t width) {
  int64_t classes = rt_loss_dim(b, b->student, 1, "the number of classes");
  rt_value *x = rt_loss_conv(b, rt_loss_text(b, "%s.conv.weight", pair->name), pair->student, width, 3);
  x = rt_loss_op(b, "mean", rt_loss_op(b, "relu", x, NULL), "axes=2,3");
  rt_init narrow = {RT_INIT_NORMAL, 0, sqrt(1 / (double)width)}, zero = {RT_INIT_ZERO, 0, 0};
  const char *name = rt_loss_text(b, "%s.linear.weight", pair->name);
  rt_value *weight = rt_loss_parameter(b, name, 2, (int64_t[]){classes, width}, narrow);
  rt_value *bias = rt_loss_parameter(b, rt_loss_text(b, "%s.linear.bias", pair->name), 1, &classes, zero);
  return rt_loss_add(b, rt_loss_product(b, x, weight), bias);
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  const deep_options *o = given;
  rt_value *T = rt_loss_temperature(b, o->temperature);
  rt_value *own = rt_loss_log_soft(b, rt_loss_op(b, "detach", b->student, NULL), T), *sum = NULL;
  rt_loss_value soft = {0};
  for (int i = 0; i < b->pairs; i++) {
    rt_value *h = head(b, &b->pair[i], o->width);
    rt_value *hard = rt_loss_op2(b, "cross_entropy", h, b->labels, "ignore_index=-1");
    rt_value *each = rt_loss_mul(b, rt_loss_kl(b, own, rt_loss_log_soft(b, h, T)), rt_loss_mul(b, T, T));
    soft = rt_loss_more(b, soft, rt_loss_samples(b, each));
    sum = sum ? rt_loss_add(b, sum, hard) : hard;
  }
  rt_value *labels = rt_loss_mul(b, sum, rt_loss_number(b, (1 - o->alpha) / b->pairs));
  rt_value *logits = rt_loss_mul(b, soft.sum, rt_loss_number(b, o->alpha / b->pairs));
  return (rt_loss_value){rt_loss_add(b, labels, logits), soft.count};
}

const rt_loss_row rt_loss_row_deep_supervision = {
    .name = "deep_supervision",
    .formula =
        "1/N · Σ mean over heads h of inner layers of (1 − α)·(−ln p(h)[y]) + α·T²·KL(pₛ‖p(h)), p = softmax(z/T)",
    .paper = "Zhang et al. 2019 (Be your own teacher)",
    .needs = RT_LOSS_STUDENT | RT_LOSS_LABELS | RT_LOSS_OWN_LAYERS,
    .least_layers = 1,
    .spares_unlabelled = true,
    .options = options,
    .options_size = sizeof(deep_options),
    .build = build,
};
