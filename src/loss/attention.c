/* Where a network looks (Zagoruyko, Komodakis 2017): with Q the mean over channels of F², as a vector of norm 1,
 *   norm=squared    L = mean over samples and places of (Qₛ − Qₜ)²
 *   norm=euclidean  L = 1/N · Σ ‖Qₛ − Qₜ‖, as in the paper */
#include "loss/parts.h"

enum { SQUARED, EUCLIDEAN };

typedef struct attention_options {
  rt_loss_options common;
  int norm;
} attention_options;

static const rt_option options[] = {
    RT_LOSS_OPTION_COMMON,
    RT_LOSS_OPTION_LAYERS,
    {"norm", RT_OPT_CHOICE, offsetof(attention_options, norm), "squared", .choices = "squared|euclidean",
     .help = "mean of squares, or the paper's distance"},
    {0},
};

static rt_value *attention(const rt_loss_build *b, rt_value *x) {
  rt_value *map = rt_loss_op(b, "mean", rt_loss_op(b, "square", x, NULL), "axes=1 keepdim");
  return rt_loss_unit(b, rt_loss_vectors(b, map), "1");
}

static rt_value *distance(const rt_loss_build *b, rt_value *difference, int norm) {
  rt_value *square = rt_loss_op(b, "square", difference, NULL);
  if (norm == SQUARED) return rt_loss_op(b, "mean", square, "axes=1");
  rt_value *sum = rt_loss_add(b, rt_loss_op(b, "sum", square, "axes=1"), rt_loss_number(b, 1e-24));
  return rt_loss_op(b, "sqrt", sum, NULL);
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  const attention_options *o = given;
  rt_loss_value total = {0};
  for (int i = 0; i < b->pairs; i++) {
    rt_value *s = b->pair[i].student, *t = b->pair[i].teacher;
    rt_loss_match_size(b, &s, &t);
    rt_value *difference = rt_loss_sub(b, attention(b, s), attention(b, t));
    total = rt_loss_more(b, total, rt_loss_samples(b, distance(b, difference, o->norm)));
  }
  return total;
}

const rt_loss_row rt_loss_row_attention_transfer = {
    .name = "attention_transfer",
    .formula = "mean of (Qₛ − Qₜ)², Q the mean over channels of F² as a vector of norm 1",
    .paper = "Zagoruyko, Komodakis 2017",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 1,
    .options = options,
    .options_size = sizeof(attention_options),
    .build = build,
};
