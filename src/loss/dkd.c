/* The two halves of kd apart (Zhao et al. 2022). With b = (p[y], 1 − p[y]) and p̂ the softmax of the other classes alone:
 *   L = α·T²/N · Σ KL(bₜ‖bₛ) + β·T²/N · Σ KL(p̂ₜ‖p̂ₛ) */
#include "loss/parts.h"

typedef struct dkd_options {
  rt_loss_options common;
  double temperature, alpha, beta;
} dkd_options;

static const rt_option options[] = {
    RT_LOSS_OPTION_COMMON,
    {"temperature", RT_OPT_FLOAT, offsetof(dkd_options, temperature), "4",
     .help = "softness of the targets, above 0; may be scheduled"},
    {"alpha", RT_OPT_FLOAT, offsetof(dkd_options, alpha), "1", 0, 1e18,
     .help = "factor of the target class's half; may be scheduled"},
    {"beta", RT_OPT_FLOAT, offsetof(dkd_options, beta), "8", 0, 1e18,
     .help = "factor of the other classes' half; may be scheduled"},
    {0},
};

/* Logarithms of one network's probabilities. */
typedef struct halves {
  rt_value *target, *rest; /* ln p[y], ln(1 − p[y]): N */
  rt_value *others;        /* ln p̂: N×C, far below 0 at y */
} halves;

/* For every class k but y, 1 − p[y] = p[k]/p̂[k]; averaged with weights p̂, which need no gradient since all are equal. */
static halves split(const rt_loss_build *b, rt_value *logits, rt_value *is_target, rt_value *T) {
  rt_value *z = rt_loss_div(b, logits, T), *far = rt_loss_mul(b, is_target, rt_loss_number(b, -1e30));
  rt_value *all = rt_loss_op(b, "log_softmax", z, NULL);
  halves h = {.others = rt_loss_op(b, "log_softmax", rt_loss_add(b, z, far), NULL)};
  rt_value *weight = rt_loss_op(b, "detach", rt_loss_op(b, "exp", h.others, NULL), NULL);
  h.target = rt_loss_op(b, "sum", rt_loss_mul(b, is_target, all), "axes=1");
  h.rest = rt_loss_op(b, "sum", rt_loss_mul(b, weight, rt_loss_sub(b, all, h.others)), "axes=1");
  return h;
}

/* exp(ln p)·(ln p − ln q) */
static rt_value *divergence(const rt_loss_build *b, rt_value *log_p, rt_value *log_q) {
  return rt_loss_mul(b, rt_loss_op(b, "exp", log_p, NULL), rt_loss_sub(b, log_p, log_q));
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  const dkd_options *o = given;
  if (rt_loss_dim(b, b->student, 1, "the number of classes") < 3)
    rt_loss_fail(b, RT_E_SHAPE,
                 "with 2 classes nothing is left beside the target; it needs 3 or more, kd does the same job for 2");
  rt_value *T = rt_loss_temperature(b, o->temperature);
  rt_value *is_target = rt_loss_op2(b, "one_hot", b->labels, b->student, NULL);
  halves s = split(b, b->student, is_target, T), t = split(b, b->teacher, is_target, T);
  rt_value *target = rt_loss_add(b, divergence(b, t.target, s.target), divergence(b, t.rest, s.rest));
  rt_value *others = rt_loss_kl(b, t.others, s.others);
  rt_value *each = rt_loss_add(b, rt_loss_mul(b, target, rt_loss_scheduled(b, "alpha", o->alpha)),
                               rt_loss_mul(b, others, rt_loss_scheduled(b, "beta", o->beta)));
  return rt_loss_samples(b, rt_loss_mul(b, each, rt_loss_mul(b, T, T)));
}

const rt_loss_row rt_loss_row_dkd = {
    .name = "dkd",
    .formula = "α·T²·KL(bₜ‖bₛ) + β·T²·KL(p̂ₜ‖p̂ₛ), b = (p[y], 1 − p[y]), p̂ without y",
    .paper = "Zhao et al. 2022",
    .needs = RT_LOSS_STUDENT | RT_LOSS_TEACHER | RT_LOSS_LABELS,
    .options = options,
    .options_size = sizeof(dkd_options),
    .build = build,
};
