/* Imitate a layer (Romero et al. 2015): L = mean over all elements of (r(Fₛ) − Fₜ)², r a 1×1 convolution and batch norm,
 * trained along, where the channels differ; the larger map is averaged down where the sizes differ. */
#include "loss/parts.h"

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  rt_loss_value total = {0};
  (void)given;
  for (int i = 0; i < b->pairs; i++) {
    rt_value *s = b->pair[i].student, *t = b->pair[i].teacher;
    rt_loss_match_size(b, &s, &t);
    rt_value *difference = rt_loss_sub(b, rt_loss_adapt(b, &b->pair[i], s), t);
    rt_value *each = rt_loss_mean_samples(b, rt_loss_op(b, "square", difference, NULL));
    total = rt_loss_more(b, total, rt_loss_samples(b, each));
  }
  return total;
}

const rt_loss_row rt_loss_row_hint = {
    .name = "hint",
    .formula = "mean of (r(Fₛ) − Fₜ)², r a trained 1×1 convolution and batch norm where channels differ",
    .paper = "Romero et al. 2015 (FitNets)",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 1,
    .options = rt_loss_layer_options,
    .options_size = sizeof(rt_loss_options),
    .build = build,
};
