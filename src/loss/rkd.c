/* Relations between the samples of a batch (Park et al. 2019), x being a layer flattened to N rows, h Huber's function
 * with δ = 1:
 *   rkd_distance  L = mean over N² of h(Dₛ − Dₜ), D = ‖xᵢ − xⱼ‖ divided by the mean of those above 0
 *   rkd_angle     L = mean over N³ of h(cosₛ − cosₜ), of the angles at i between j and k */
#include "loss/parts.h"

static rt_value *distances(const rt_loss_build *b, rt_value *x) {
  return rt_loss_op(b, "pairwise_distance", rt_loss_vectors(b, x), NULL);
}

/* A batch of one sample, or of equal ones, has no distance: then all are 0 and stay so. */
static rt_value *relative(const rt_loss_build *b, rt_value *x) {
  rt_value *d = distances(b, x), *above = rt_output(d, 1);
  rt_value *sum = rt_loss_add(b, rt_loss_op(b, "sum", d, NULL), rt_loss_number(b, 1e-24));
  return rt_loss_div(b, rt_loss_mul(b, d, above), sum);
}

static rt_loss_value quotient(rt_value *sum) { return (rt_loss_value){sum, rt_output(sum, 1)}; }

static rt_loss_value build_distance(const rt_loss_build *b, const void *given) {
  rt_loss_value total = {0};
  (void)given;
  for (int i = 0; i < b->pairs; i++) {
    const rt_loss_pair *p = &b->pair[i];
    rt_value *sum = rt_loss_op2(b, "smooth_l1_loss", relative(b, p->student), relative(b, p->teacher), NULL);
    total = rt_loss_more(b, total, quotient(sum));
  }
  return total;
}

static rt_loss_value build_angle(const rt_loss_build *b, const void *given) {
  rt_loss_value total = {0};
  (void)given;
  for (int i = 0; i < b->pairs; i++) {
    const rt_loss_pair *p = &b->pair[i];
    rt_value *sum = rt_loss_op2(b, "angle_loss", distances(b, p->student), distances(b, p->teacher), NULL);
    total = rt_loss_more(b, total, quotient(sum));
  }
  return total;
}

const rt_loss_row rt_loss_row_rkd_distance = {
    .name = "rkd_distance",
    .formula = "mean over N² of h(Dₛ − Dₜ), D = ‖xᵢ − xⱼ‖ relative to their mean, h Huber's function",
    .paper = "Park et al. 2019",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 1,
    .couples_samples = true,
    .options = rt_loss_layer_options,
    .options_size = sizeof(rt_loss_options),
    .build = build_distance,
};

const rt_loss_row rt_loss_row_rkd_angle = {
    .name = "rkd_angle",
    .formula = "mean over N³ of h(cosₛ − cosₜ) of the angles of all triples, h Huber's function",
    .paper = "Park et al. 2019",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 1,
    .couples_samples = true,
    .options = rt_loss_layer_options,
    .options_size = sizeof(rt_loss_options),
    .build = build_angle,
};
