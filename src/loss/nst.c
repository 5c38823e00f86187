/* Distributions of activation patterns (Huang, Wang 2017): with each channel a vector over places, of norm 1, and the
 * kernel k(a, c) = (a·c)²,  L = mean k(tᵢ, tⱼ) + mean k(sᵢ, sⱼ) − 2·mean k(sᵢ, tⱼ), the mean over samples and pairs of
 * channels. */
#include "loss/parts.h"

static rt_value *mean_kernel(const rt_loss_build *b, rt_value *x, rt_value *y) {
  return rt_loss_mean_samples(b, rt_loss_op(b, "square", rt_loss_product(b, x, y), NULL));
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  rt_loss_value total = {0};
  (void)given;
  for (int i = 0; i < b->pairs; i++) {
    rt_value *s = b->pair[i].student, *t = b->pair[i].teacher;
    rt_loss_match_size(b, &s, &t);
    s = rt_loss_unit(b, rt_loss_maps(b, s), "2");
    t = rt_loss_unit(b, rt_loss_maps(b, t), "2");
    rt_value *own = rt_loss_add(b, mean_kernel(b, t, t), mean_kernel(b, s, s));
    rt_value *each = rt_loss_sub(b, own, rt_loss_mul(b, mean_kernel(b, s, t), rt_loss_number(b, 2)));
    total = rt_loss_more(b, total, rt_loss_samples(b, each));
  }
  return total;
}

const rt_loss_row rt_loss_row_nst = {
    .name = "nst",
    .formula = "mean k(t,t) + mean k(s,s) − 2·mean k(s,t) over pairs of channels of norm 1, k(a,c) = (a·c)²",
    .paper = "Huang, Wang 2017",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 1,
    .options = rt_loss_layer_options,
    .options_size = sizeof(rt_loss_options),
    .build = build,
};
