/* Between forward and reverse divergence (Agarwal et al. 2023), p = softmax(z/T), M = (1 − β)·pₛ + β·pₜ:
 *   jsd         L = 1/N · Σ β·KL(pₜ‖M) + (1 − β)·KL(pₛ‖M); β = 0 is KL(pₜ‖pₛ), β = 1 is KL(pₛ‖pₜ)
 *   reverse_kl  L = 1/N · Σ KL(pₛ‖pₜ) */
#include "loss/parts.h"

typedef struct jsd_options {
  rt_loss_options common;
  double temperature, beta;
} jsd_options;

#define TEMPERATURE \
  { \
    "temperature", RT_OPT_FLOAT, offsetof(jsd_options, temperature), "1", \
        .help = "softness of the targets, above 0; may be scheduled" \
  }

static const rt_option options[] = {
    RT_LOSS_OPTION_COMMON,
    TEMPERATURE,
    {"beta", RT_OPT_FLOAT, offsetof(jsd_options, beta), "0.5", 0, 1,
     .help = "0: KL(teacher, student), 1: KL(student, teacher)"},
    {0},
};
static const rt_option reverse_options[] = {RT_LOSS_OPTION_COMMON, TEMPERATURE, {0}};

/* ln(exp(x) + exp(y)) = x + softplus(y − x) */
static rt_value *log_sum(const rt_loss_build *b, rt_value *x, rt_value *y) {
  return rt_loss_add(b, x, rt_loss_softplus(b, rt_loss_sub(b, y, x)));
}

static rt_value *divergence(const rt_loss_build *b, rt_value *s, rt_value *t, double beta) {
  if (beta == 0) return rt_loss_kl(b, t, s);
  if (beta == 1) return rt_loss_kl(b, s, t);
  rt_value *m =
      log_sum(b, rt_loss_add(b, s, rt_loss_number(b, log1p(-beta))), rt_loss_add(b, t, rt_loss_number(b, log(beta))));
  return rt_loss_add(b, rt_loss_mul(b, rt_loss_kl(b, t, m), rt_loss_number(b, beta)),
                     rt_loss_mul(b, rt_loss_kl(b, s, m), rt_loss_number(b, 1 - beta)));
}

static rt_loss_value between(const rt_loss_build *b, double temperature, double beta) {
  rt_value *T = rt_loss_temperature(b, temperature);
  rt_value *s = rt_loss_log_soft(b, b->student, T), *t = rt_loss_log_soft(b, b->teacher, T);
  return rt_loss_samples(b, divergence(b, s, t, beta));
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  const jsd_options *o = given;
  return between(b, o->temperature, o->beta);
}

static rt_loss_value build_reverse(const rt_loss_build *b, const void *given) {
  return between(b, ((const jsd_options *)given)->temperature, 1);
}

const rt_loss_row rt_loss_row_jsd = {
    .name = "jsd",
    .formula = "1/N · Σ β·KL(pₜ‖M) + (1 − β)·KL(pₛ‖M), M = (1 − β)·pₛ + β·pₜ",
    .paper = "Agarwal et al. 2023",
    .needs = RT_LOSS_STUDENT | RT_LOSS_TEACHER,
    .options = options,
    .options_size = sizeof(jsd_options),
    .build = build,
};

const rt_loss_row rt_loss_row_reverse_kl = {
    .name = "reverse_kl",
    .formula = "1/N · Σ pₛ·(ln pₛ − ln pₜ), p = softmax(z/T)",
    .paper = "Agarwal et al. 2023; Gu et al. 2023",
    .needs = RT_LOSS_STUDENT | RT_LOSS_TEACHER,
    .options = reverse_options,
    .options_size = sizeof(jsd_options),
    .build = build_reverse,
};
