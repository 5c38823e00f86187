/* How alike the samples of a batch are, V being a layer flattened to N rows:
 *   sp   L = ‖Gₛ − Gₜ‖²/N², G the rows of V·Vᵀ, each of norm 1 (Tung, Mori 2019)
 *   pkt  L = mean over N² of Kₜ·ln((Kₜ + ε)/(Kₛ + ε)), K = (cos + 1)/2 with rows that sum to 1, ε = 1e-7
 *        (Passalis, Tefas 2018) */
#include "loss/parts.h"

/* What is compared of a layer, N×N; and the comparison, element by element. */
typedef rt_value *kernel(const rt_loss_build *b, rt_value *v);
typedef rt_value *comparison(const rt_loss_build *b, rt_value *s, rt_value *t);

static rt_value *products(const rt_loss_build *b, rt_value *v) {
  return rt_loss_unit(b, rt_loss_product(b, v, v), "1");
}

static rt_value *squares(const rt_loss_build *b, rt_value *s, rt_value *t) {
  return rt_loss_op(b, "square", rt_loss_sub(b, s, t), NULL);
}

static rt_value *affinities(const rt_loss_build *b, rt_value *v) {
  rt_value *unit = rt_loss_unit(b, v, "1");
  rt_value *k = rt_loss_add(b, rt_loss_product(b, unit, unit), rt_loss_number(b, 1));
  return rt_loss_div(b, k, rt_loss_op(b, "sum", k, "axes=1 keepdim"));
}

static rt_value *log_of(const rt_loss_build *b, rt_value *k) {
  return rt_loss_op(b, "log", rt_loss_add(b, k, rt_loss_number(b, 1e-7)), NULL);
}

static rt_value *divergence(const rt_loss_build *b, rt_value *s, rt_value *t) {
  return rt_loss_mul(b, t, rt_loss_sub(b, log_of(b, t), log_of(b, s)));
}

static rt_loss_value compare(const rt_loss_build *b, kernel *of, comparison *with) {
  rt_loss_value total = {0};
  for (int i = 0; i < b->pairs; i++) {
    rt_value *s = of(b, rt_loss_vectors(b, b->pair[i].student)), *t = of(b, rt_loss_vectors(b, b->pair[i].teacher));
    total = rt_loss_more(b, total, rt_loss_samples(b, rt_loss_op(b, "mean", with(b, s, t), "axes=1")));
  }
  return total;
}

static rt_loss_value build_sp(const rt_loss_build *b, const void *given) {
  (void)given;
  return compare(b, products, squares);
}

static rt_loss_value build_pkt(const rt_loss_build *b, const void *given) {
  (void)given;
  return compare(b, affinities, divergence);
}

const rt_loss_row rt_loss_row_sp = {
    .name = "sp",
    .formula = "‖Gₛ − Gₜ‖²/N², G the rows of V·Vᵀ, each of norm 1",
    .paper = "Tung, Mori 2019",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 1,
    .couples_samples = true,
    .options = rt_loss_layer_options,
    .options_size = sizeof(rt_loss_options),
    .build = build_sp,
};

const rt_loss_row rt_loss_row_pkt = {
    .name = "pkt",
    .formula = "mean over N² of Kₜ·ln((Kₜ + ε)/(Kₛ + ε)), K = (cos + 1)/2 with rows that sum to 1",
    .paper = "Passalis, Tefas 2018",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 1,
    .couples_samples = true,
    .options = rt_loss_layer_options,
    .options_size = sizeof(rt_loss_options),
    .build = build_pkt,
};
