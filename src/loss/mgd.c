/* Generate the teacher's layer from a part of the student's (Yang et al. 2022): places of Fₛ are set to 0 at random, all
 * channels at once, and g, two 3×3 convolutions with relu between, trained along, makes up for them:
 *   L = 1/N · Σ ‖g(mask·Fₛ) − Fₜ‖²
 * The draw is dropout's: of the inputs "dropout_seed" and "step", which must be fed where mask isn't 0. */
#include "base/rng.h"
#include "loss/parts.h"

typedef struct mgd_options {
  rt_loss_options common;
  double mask;
  bool generator;
} mgd_options;

static const rt_option options[] = {
    RT_LOSS_OPTION_COMMON,
    RT_LOSS_OPTION_LAYERS,
    {"mask", RT_OPT_FLOAT, offsetof(mgd_options, mask), "0.15", 0, 0.99, .help = "share of the places that are hidden"},
    {"generator", RT_OPT_BOOL, offsetof(mgd_options, generator), "true", .help = "false: compare without g"},
    {0},
};

/* Dropout of ones, without its scale. */
static rt_value *masked(const rt_loss_build *b, const rt_loss_pair *pair, rt_value *x, double rate) {
  if (rate == 0) return x;
  rt_graph *g = b->graph;
  rt_value *places = rt_loss_op(b, "detach", rt_loss_op(b, "slice", x, "axis=1 end=1"), NULL);
  rt_value *in[] = {rt_loss_op2(b, "expand_to", rt_loss_number(b, 1), places, NULL), rt_scalar(g, rate),
                    rt_input(g, "dropout_seed", RT_S64, 0, NULL), rt_input(g, "step", RT_S64, 0, NULL)};
  const char *name = rt_loss_text(b, "%s.%s.mask", b->node, pair->name);
  rt_value *kept =
      rt_apply(g, "dropout", name, in, 4, rt_loss_text(b, "stream=%lld", (long long)(rt_hash_text(name) >> 1)));
  return rt_loss_mul(b, x, rt_loss_mul(b, kept, rt_loss_number(b, 1 - rate)));
}

static rt_value *generate(const rt_loss_build *b, const rt_loss_pair *pair, rt_value *x) {
  int64_t out = rt_loss_dim(b, pair->teacher, 1, "the channels of a layer");
  rt_value *y = rt_loss_conv(b, rt_loss_text(b, "%s.generator.0.weight", pair->name), x, out, 3);
  y = rt_loss_op(b, "relu", y, NULL);
  return rt_loss_conv(b, rt_loss_text(b, "%s.generator.2.weight", pair->name), y, out, 3);
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  const mgd_options *o = given;
  rt_loss_value total = {0};
  for (int i = 0; i < b->pairs; i++) {
    const rt_loss_pair *pair = &b->pair[i];
    rt_value *s = pair->student, *t = pair->teacher;
    rt_loss_match_size(b, &s, &t);
    s = masked(b, pair, rt_loss_adapt(b, pair, s), o->mask);
    if (o->generator) s = generate(b, pair, s);
    rt_value *square = rt_loss_op(b, "square", rt_loss_sub(b, s, t), NULL);
    rt_value *each = rt_loss_op(b, "sum", rt_loss_vectors(b, square), "axes=1");
    total = rt_loss_more(b, total, rt_loss_samples(b, each));
  }
  return total;
}

const rt_loss_row rt_loss_row_mgd = {
    .name = "mgd",
    .formula = "1/N · Σ ‖g(mask·Fₛ) − Fₜ‖², g two trained 3×3 convolutions",
    .paper = "Yang et al. 2022",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 1,
    .options = options,
    .options_size = sizeof(mgd_options),
    .build = build,
};
