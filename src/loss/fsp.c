/* The flow between two layers (Yim et al. 2017): G = F₁·F₂ᵀ/HW, C₁×C₂, between each layer and the next one named,
 *   L = mean over all elements of (Gₛ − Gₜ)² */
#include "loss/parts.h"

static rt_value *flow(const rt_loss_build *b, rt_value *from, rt_value *to) {
  rt_loss_match_size(b, &from, &to);
  if (b->graph->status != RT_OK) return NULL;
  int64_t places = rt_loss_dim(b, from, 2, "the height of a layer") * rt_loss_dim(b, from, 3, "the width of a layer");
  rt_value *g = rt_loss_product(b, rt_loss_maps(b, from), rt_loss_maps(b, to));
  return rt_loss_mul(b, g, rt_loss_number(b, 1 / (double)places));
}

static void same_channels(const rt_loss_build *b, const rt_loss_pair *pair) {
  rt_dim s = pair->student->type.dim[1], t = pair->teacher->type.dim[1];
  if (s != t)
    rt_loss_fail(b, RT_E_SHAPE,
                 "layer %s has %lld channels in the student and %lld in the teacher; flows are compared element by "
                 "element, so choose layers that are equally wide, or another loss (attention_transfer, sp)",
                 pair->name, (long long)s, (long long)t);
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  rt_loss_value total = {0};
  (void)given;
  for (int i = 0; i < b->pairs; i++) same_channels(b, &b->pair[i]);
  for (int i = 0; i + 1 < b->pairs; i++) {
    rt_value *s = flow(b, b->pair[i].student, b->pair[i + 1].student);
    rt_value *t = flow(b, b->pair[i].teacher, b->pair[i + 1].teacher);
    rt_value *each = rt_loss_mean_samples(b, rt_loss_op(b, "square", rt_loss_sub(b, s, t), NULL));
    total = rt_loss_more(b, total, rt_loss_samples(b, each));
  }
  return total;
}

const rt_loss_row rt_loss_row_fsp = {
    .name = "fsp",
    .formula = "mean of (Gₛ − Gₜ)², G = F₁·F₂ᵀ/HW between each layer and the next",
    .paper = "Yim et al. 2017",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 2,
    .options = rt_loss_layer_options,
    .options_size = sizeof(rt_loss_options),
    .build = build,
};
