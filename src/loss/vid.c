/* Mutual information, bounded by a Gaussian (Ahn et al. 2019):
 *   L = mean over all elements of ½·[(μ(Fₛ) − Fₜ)²/σ² + ln σ²], σ² = softplus(ρ) + 1e-5 for each channel of the teacher
 * ρ and μ, a 1×1 convolution and batch norm where channels differ, are trained along; σ² starts at 5. */
#include "loss/parts.h"

static const double least = 1e-5, start = 5;

static rt_value *variance(const rt_loss_build *b, const rt_loss_pair *pair) {
  int64_t channels = rt_loss_dim(b, pair->teacher, 1, "the channels of a layer");
  rt_init init = {RT_INIT_CONSTANT, log(expm1(start - least)), 0};
  rt_value *rho = rt_loss_parameter(b, rt_loss_text(b, "%s.rho", pair->name), 1, &channels, init);
  return rt_loss_add(b, rt_loss_softplus(b, rho), rt_loss_number(b, least));
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  rt_loss_value total = {0};
  (void)given;
  for (int i = 0; i < b->pairs; i++) {
    rt_value *s = b->pair[i].student, *t = b->pair[i].teacher;
    rt_loss_match_size(b, &s, &t);
    rt_value *v = variance(b, &b->pair[i]);
    rt_value *square = rt_loss_op(b, "square", rt_loss_sub(b, rt_loss_adapt(b, &b->pair[i], s), t), NULL);
    rt_value *channel = rt_loss_div(b, rt_loss_op(b, "mean", square, "axes=2,3"), v); /* N×C */
    channel = rt_loss_add(b, channel, rt_loss_op(b, "log", v, NULL));
    rt_value *each = rt_loss_mul(b, rt_loss_op(b, "mean", channel, "axes=1"), rt_loss_number(b, 0.5));
    total = rt_loss_more(b, total, rt_loss_samples(b, each));
  }
  return total;
}

const rt_loss_row rt_loss_row_vid = {
    .name = "vid",
    .formula = "mean of ½·[(μ(Fₛ) − Fₜ)²/σ² + ln σ²], σ² trained for each channel",
    .paper = "Ahn et al. 2019",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 1,
    .options = rt_loss_layer_options,
    .options_size = sizeof(rt_loss_options),
    .build = build,
};
