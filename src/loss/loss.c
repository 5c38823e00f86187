#include "loss/loss.h"

#include "loss/inputs.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define LOSS(name) extern const rt_loss_row rt_loss_row_##name;
#include "loss/loss.def"
#undef LOSS

static const rt_loss_row *const rows[] = {
#define LOSS(name) &rt_loss_row_##name,
#include "loss/loss.def"
#undef LOSS
};

int rt_loss_count(void) { return (int)(sizeof rows / sizeof *rows); }

const rt_loss_row *rt_loss_at(int i) { return i >= 0 && i < rt_loss_count() ? rows[i] : NULL; }

const rt_loss_row *rt_loss_find(const char *name) {
  rt_nearest nearest = {.word = name};
  for (int i = 0; i < rt_loss_count(); i++) {
    if (strcmp(rows[i]->name, name) == 0) return rows[i];
    rt_nearest_offer(&nearest, rows[i]->name);
  }
  rt_nearest_fail(&nearest, "loss");
  return NULL;
}

rt_status rt_loss_describe(int i, rt_loss_info *out) {
  const rt_loss_row *r = rt_loss_at(i);
  *out = (rt_loss_info){0};
  if (!r) return rt_fail(RT_E_RANGE, "there is no loss number %d, but %d of them from 0", i, rt_loss_count());
  *out = (rt_loss_info){r->name, r->formula, r->paper, r->needs, r->least_layers, r->couples_samples};
  return RT_OK;
}

rt_status rt_loss_options_text(const char *name, char **out) {
  *out = NULL;
  const rt_loss_row *row = rt_loss_find(name);
  return row ? rt_options_help(row->options, out) : RT_E_UNKNOWN;
}

/* ---- one term ---- */

typedef struct term {
  const rt_loss_row *row;
  rt_loss_options *options; /* the row's, which begin with these */
  const char *name;
  rt_value *value;
} term;

/* Commas become spaces, as the option tables want it. */
static const char *option_text(rt_graph *g, const char *text) {
  char *copy = rt_arena_text(&g->arena, "%s", text);
  for (char *p = copy; p && *p; p++)
    if (*p == ',') *p = ' ';
  if (!copy) rt_graph_failed(g, RT_E_MEMORY);
  return copy;
}

static const char *term_name(rt_graph *g, const term *terms, int i) {
  int same = 1;
  if (*terms[i].options->as) return terms[i].options->as;
  for (int j = 0; j < i; j++) same += terms[j].row == terms[i].row && !*terms[j].options->as;
  const char *name = rt_arena_text(&g->arena, same > 1 ? "%s%d" : "%s", terms[i].row->name, same);
  if (!name) rt_graph_failed(g, RT_E_MEMORY);
  return name;
}

static void parse_term(rt_graph *g, const char *text, term *terms, int i) {
  term *t = &terms[i];
  size_t n = strcspn(text, ":");
  const char *name = rt_arena_text(&g->arena, "%.*s", (int)(n < 64 ? n : 64), text);
  const char *options = option_text(g, text[n] ? text + n + 1 : "");
  if (!name || !options) {
    rt_graph_failed(g, RT_E_MEMORY);
    return;
  }
  t->row = rt_loss_find(name);
  if (!t->row) {
    rt_graph_failed(g, RT_E_UNKNOWN);
    return;
  }
  t->options = rt_arena_alloc(&g->arena, t->row->options_size);
  rt_status s = t->options ? rt_options_parse(t->row->options, t->options, options, &g->arena, name) : RT_E_MEMORY;
  if (s == RT_OK) t->name = term_name(g, terms, i);
  if (s == RT_OK && t->name && !isfinite(t->options->weight))
    s = rt_fail(RT_E_RANGE, "%s: weight=%g isn't finite", t->name, t->options->weight);
  if (s != RT_OK) rt_graph_failed(g, s);
}

static rt_loss_build begin(rt_graph *g, const char *name, rt_dtype dtype) {
  rt_loss_build b = {.graph = g, .term = name, .node = "loss", .dtype = dtype};
  if (*name) b.node = rt_loss_text(&b, "loss.%s", name);
  return b;
}

/* The term's value as an output, and weighted: both are told at every step. */
static rt_value *build_term(rt_graph *g, term *t, const rt_loss_inputs *in, rt_dtype dtype, rt_value *weight) {
  rt_loss_build b = begin(g, t->name, dtype);
  rt_loss_take_inputs(&b, t->row, t->options, in);
  if (g->status != RT_OK) return NULL;
  rt_loss_value v = t->row->build(&b, t->options);
  t->value = rt_loss_div(&b, v.sum, v.count);
  if (!weight) weight = rt_loss_scheduled(&b, "weight", t->options->weight);
  rt_value *weighted = rt_loss_mul(&b, t->value, weight);
  rt_mark_output(g, b.node, t->value);
  rt_mark_output(g, rt_loss_text(&b, "%s.weighted", b.node), weighted);
  return weighted;
}

/* ---- all of them ---- */

enum { ALPHA_UNSAID, ALPHA_HARD, ALPHA_SOFT };

typedef struct total_options {
  double alpha; /* below 0: not given */
  int alpha_is;
} total_options;

static const rt_option total_table[] = {
    {"alpha", RT_OPT_FLOAT, offsetof(total_options, alpha), "-1", -1, 1, .help = "weight of one of two terms, 0 to 1"},
    {"alpha_is", RT_OPT_CHOICE, offsetof(total_options, alpha_is), "unsaid", .choices = "unsaid|hard|soft",
     .help = "whose weight alpha is"},
    {0},
};

static bool is_hard(const rt_loss_row *r) { return (r->needs & RT_LOSS_LABELS) && !(r->needs & RT_LOSS_TEACHER); }
static bool is_soft(const rt_loss_row *r) { return (r->needs & RT_LOSS_TEACHER) != 0; }

static rt_status check_alpha(const total_options *o, const term *terms, int n) {
  if (o->alpha < 0)
    return o->alpha_is == ALPHA_UNSAID ? RT_OK : rt_fail(RT_E_ARGUMENT, "alpha_is is given, but no alpha from 0 to 1");
  if (o->alpha_is == ALPHA_UNSAID)
    return rt_fail(
        RT_E_ARGUMENT,
        "alpha=%g alone has two readings: alpha_is=hard means %g·hard + %g·soft, alpha_is=soft means %g·hard "
        "+ %g·soft. Say which, or give each term its weight",
        o->alpha, o->alpha, 1 - o->alpha, 1 - o->alpha, o->alpha);
  int hard = 0, soft = 0;
  for (int i = 0; i < n; i++) {
    hard += is_hard(terms[i].row);
    soft += is_soft(terms[i].row);
    if (terms[i].options->weight != 1)
      return rt_fail(RT_E_ARGUMENT, "%s: weight=%g and alpha=%g both say how much it counts; give one of them",
                     terms[i].name, terms[i].options->weight, o->alpha);
  }
  if (n != 2 || hard != 1 || soft != 1)
    return rt_fail(
        RT_E_ARGUMENT,
        "alpha is for exactly one hard term (cross_entropy) and one soft term (kd, dkd …), found %d hard and "
        "%d soft among %d; give each term its weight",
        hard, soft, n);
  return RT_OK;
}

static rt_status check_weights(const total_options *o, const term *terms, int n) {
  double sum = o->alpha >= 0;
  for (int i = 0; i < n; i++) sum += terms[i].options->weight;
  return sum > 0 ? RT_OK : rt_fail(RT_E_ARGUMENT, "the weights are all zero: there is nothing to learn from");
}

/* The weight that alpha gives a term; NULL: its own. */
static rt_value *alpha_weight(rt_graph *g, const total_options *o, const rt_loss_row *row, rt_dtype dtype) {
  if (o->alpha < 0) return NULL;
  rt_loss_build b = begin(g, "", dtype);
  rt_value *alpha = rt_loss_cast(&b, rt_scalar_input(g, "alpha", o->alpha));
  if (is_hard(row) == (o->alpha_is == ALPHA_HARD)) return alpha;
  return rt_loss_sub(&b, rt_loss_number(&b, 1), alpha);
}

static rt_value *build_all(rt_graph *g, term *terms, int n, const total_options *o, const rt_loss_inputs *in) {
  rt_dtype dtype = rt_loss_dtype(in);
  rt_loss_build b = begin(g, "", dtype);
  rt_value *total = NULL;
  for (int i = 0; i < n && g->status == RT_OK; i++) {
    rt_value *weighted = build_term(g, &terms[i], in, dtype, alpha_weight(g, o, terms[i].row, dtype));
    total = total ? rt_loss_add(&b, total, weighted) : weighted;
  }
  return g->status == RT_OK ? total : NULL;
}

rt_value *rt_loss(rt_graph *g, const char *const *texts, int n, const char *options, const rt_loss_inputs *in) {
  if (rt_graph_status(g) != RT_OK) return NULL;
  if (n < 1)
    return rt_graph_failed(g, rt_fail(RT_E_ARGUMENT, "a loss needs at least one term, as in \"cross_entropy\""));
  term *terms = rt_arena_alloc(&g->arena, (size_t)n * sizeof *terms);
  if (!terms) return rt_graph_failed(g, RT_E_MEMORY);
  total_options o = {0};
  rt_status s = rt_options_parse(total_table, &o, options, &g->arena, "loss");
  if (s != RT_OK) return rt_graph_failed(g, s);
  for (int i = 0; i < n; i++) {
    parse_term(g, texts[i], terms, i);
    if (g->status != RT_OK) return NULL;
  }
  s = check_alpha(&o, terms, n);
  if (s == RT_OK) s = check_weights(&o, terms, n);
  if (s != RT_OK) return rt_graph_failed(g, s);
  return build_all(g, terms, n, &o, in);
}
