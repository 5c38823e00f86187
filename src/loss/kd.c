/* Soft targets at temperature T (Hinton, Vinyals, Dean 2015), p = softmax(z/T):
 *   kd                  L = T²/N · Σ pₜ·(ln pₜ − ln pₛ)
 *   soft_cross_entropy  L = −T²/N · Σ pₜ·ln pₛ: the same but for a constant
 *   mse_logits          L = mean of (s − t)²: what they tend to for large T (Ba, Caruana 2014)
 * T² keeps the gradient T·(pₛ − pₜ)/N of one size for every T; with t2=false it is (pₛ − pₜ)/(T·N), to see what that does. */
#include "loss/parts.h"

typedef struct kd_options {
  rt_loss_options common;
  double temperature;
  bool t2;
} kd_options;

static const rt_option options[] = {
    RT_LOSS_OPTION_COMMON,
    {"temperature", RT_OPT_FLOAT, offsetof(kd_options, temperature), "4",
     .help = "softness of the targets, above 0; 3 to 5 is usual; may be scheduled"},
    {"t2", RT_OPT_BOOL, offsetof(kd_options, t2), "true", .help = "the factor T²; false: without it"},
    {0},
};

static const rt_option weight_only[] = {RT_LOSS_OPTION_COMMON, {0}};

/* Each sample's number times T². */
static rt_loss_value scaled(const rt_loss_build *b, rt_value *each, rt_value *T, const kd_options *o) {
  return rt_loss_samples(b, o->t2 ? rt_loss_mul(b, each, rt_loss_mul(b, T, T)) : each);
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  const kd_options *o = given;
  rt_value *T = rt_loss_temperature(b, o->temperature);
  rt_value *s = rt_loss_log_soft(b, b->student, T), *t = rt_loss_log_soft(b, b->teacher, T);
  return scaled(b, rt_loss_kl(b, t, s), T, o);
}

static rt_loss_value build_soft(const rt_loss_build *b, const void *given) {
  const kd_options *o = given;
  rt_value *T = rt_loss_temperature(b, o->temperature);
  rt_value *s = rt_loss_log_soft(b, b->student, T), *t = rt_loss_log_soft(b, b->teacher, T);
  rt_value *each = rt_loss_op(b, "sum", rt_loss_mul(b, rt_loss_op(b, "exp", t, NULL), s), "axes=1");
  return scaled(b, rt_loss_op(b, "neg", each, NULL), T, o);
}

static rt_loss_value build_mse(const rt_loss_build *b, const void *given) {
  rt_value *sum = rt_loss_op2(b, "mse_loss", b->student, b->teacher, NULL);
  (void)given;
  return (rt_loss_value){sum, rt_output(sum, 1)};
}

const rt_loss_row rt_loss_row_kd = {
    .name = "kd",
    .formula = "T²/N · Σ pₜ·(ln pₜ − ln pₛ), p = softmax(z/T)",
    .paper = "Hinton, Vinyals, Dean 2015",
    .needs = RT_LOSS_STUDENT | RT_LOSS_TEACHER,
    .options = options,
    .options_size = sizeof(kd_options),
    .build = build,
};

const rt_loss_row rt_loss_row_soft_cross_entropy = {
    .name = "soft_cross_entropy",
    .formula = "−T²/N · Σ pₜ·ln pₛ, p = softmax(z/T)",
    .paper = "Hinton, Vinyals, Dean 2015",
    .needs = RT_LOSS_STUDENT | RT_LOSS_TEACHER,
    .options = options,
    .options_size = sizeof(kd_options),
    .build = build_soft,
};

const rt_loss_row rt_loss_row_mse_logits = {
    .name = "mse_logits",
    .formula = "mean over samples and classes of (s − t)²",
    .paper = "Ba, Caruana 2014",
    .needs = RT_LOSS_STUDENT | RT_LOSS_TEACHER,
    .options = weight_only,
    .options_size = sizeof(rt_loss_options),
    .build = build_mse,
};
