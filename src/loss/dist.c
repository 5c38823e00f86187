/* Correlations instead of equality (Huang et al. 2022): with p = softmax(z/τ) and ρ Pearson's correlation,
 *   L = τ²·[β·(1 − mean over samples of ρ(pₛ[i,:], pₜ[i,:])) + γ·(1 − mean over classes of ρ(pₛ[:,j], pₜ[:,j]))] */
#include "loss/parts.h"

typedef struct dist_options {
  rt_loss_options common;
  double temperature, beta, gamma;
} dist_options;

static const rt_option options[] = {
    RT_LOSS_OPTION_COMMON,
    {"temperature", RT_OPT_FLOAT, offsetof(dist_options, temperature), "1",
     .help = "softness of the targets, above 0; may be scheduled"},
    {"beta", RT_OPT_FLOAT, offsetof(dist_options, beta), "1", 0, 1e18,
     .help = "factor of the correlation between classes; may be scheduled"},
    {"gamma", RT_OPT_FLOAT, offsetof(dist_options, gamma), "1", 0, 1e18,
     .help = "factor of the correlation between samples; may be scheduled"},
    {0},
};

/* Centred and of norm 1 along an axis, "0" or "1". */
static rt_value *standard(const rt_loss_build *b, rt_value *p, const char *axis) {
  rt_value *mean = rt_loss_op(b, "mean", p, rt_loss_text(b, "axes=%s keepdim", axis));
  return rt_loss_unit(b, rt_loss_sub(b, p, mean), axis);
}

/* 1 − mean of the correlations along an axis. */
static rt_value *distance(const rt_loss_build *b, rt_value *s, rt_value *t, const char *axis) {
  rt_value *product = rt_loss_mul(b, standard(b, s, axis), standard(b, t, axis));
  rt_value *r = rt_loss_op(b, "sum", product, rt_loss_text(b, "axes=%s", axis));
  return rt_loss_sub(b, rt_loss_number(b, 1), rt_loss_op(b, "mean", r, NULL));
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  const dist_options *o = given;
  rt_value *T = rt_loss_temperature(b, o->temperature);
  rt_value *s = rt_loss_op(b, "exp", rt_loss_log_soft(b, b->student, T), NULL);
  rt_value *t = rt_loss_op(b, "exp", rt_loss_log_soft(b, b->teacher, T), NULL);
  rt_value *value = rt_loss_add(b, rt_loss_mul(b, distance(b, s, t, "1"), rt_loss_scheduled(b, "beta", o->beta)),
                                rt_loss_mul(b, distance(b, s, t, "0"), rt_loss_scheduled(b, "gamma", o->gamma)));
  value = rt_loss_mul(b, value, rt_loss_mul(b, T, T));
  return (rt_loss_value){value, rt_loss_number(b, 1)};
}

const rt_loss_row rt_loss_row_dist = {
    .name = "dist",
    .formula = "τ²·[β·(1 − mean row ρ(pₛ, pₜ)) + γ·(1 − mean column ρ(pₛ, pₜ))], ρ Pearson's correlation",
    .paper = "Huang et al. 2022",
    .needs = RT_LOSS_STUDENT | RT_LOSS_TEACHER,
    .couples_samples = true,
    .options = options,
    .options_size = sizeof(dist_options),
    .build = build,
};
