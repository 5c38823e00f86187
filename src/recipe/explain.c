/* What a recipe would do, before it does it. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "op/op.h"
#include "recipe/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, TRAINING_PER_FORWARD = 3 };

typedef struct sizes {
  double parameters, macs, seconds; /* an image, forward */
  bool known;
} sizes;

enum { MOST_MODELS = 64 };

typedef struct explanation {
  const rt_recipe *recipe;
  struct {
    const char *model;
    sizes sizes;
  } seen[MOST_MODELS]; /* of the data set that is open */
  int n;
  rt_strbuf text;
  const char *data_text; /* of the data set that is open */
  char options_text[2048];
  rt_data *data;
  rt_data_info info;
  double total;
} explanation;

/* ---- a model, untrained ---- */

static rt_status count(rt_store *store, rt_graph **graph, const char *name, const char *options,
                       const rt_data_info *d) {
  rt_dim x[] = {rt_symbol(*graph, "batch"), d->channels, d->height, d->width};
  rt_mark_output(*graph, "logits", rt_model(*graph, name, rt_input(*graph, "x", RT_F32, 4, x), options));
  rt_status s = rt_graph_status(*graph);
  if (s == RT_OK) s = rt_store_init(store, 0);
  if (s == RT_OK) s = rt_pass_eval(graph, NULL);
  if (s == RT_OK) s = rt_pass_fold_batch_norm(graph, NULL);
  if (s == RT_OK) s = rt_pass_fuse(graph, NULL);
  if (s == RT_OK) s = rt_pass_layout(graph);
  return s == RT_OK ? rt_pass_prune(graph) : s;
}

/* The fastest of some runs: others may want the processors too. A slow one is believed at once. */
static rt_status time_plan(rt_plan *plan, const rt_data_info *d, sizes *out) {
  int64_t dim[] = {BATCH, d->channels, d->height, d->width};
  float *x = rt_alloc_array((size_t)(BATCH * d->channels * d->height * d->width), sizeof *x);
  rt_status s = x ? RT_OK : RT_E_MEMORY;
  out->seconds = INFINITY;
  double end = rt_now() + 0.2;
  for (int i = 0; s == RT_OK && (i < 2 || rt_now() < end) && !(out->seconds * BATCH > 0.5 && out->seconds < INFINITY);
       i++) {
    double began = rt_now();
    s = rt_plan_run(plan, &(rt_feed){"x", 4, dim, x}, 1);
    double took = rt_now() - began;
    if (i || took > 0.5) out->seconds = fmin(out->seconds, took / BATCH);
  }
  rt_free(x);
  for (int i = 0; i < rt_plan_steps(plan) && s == RT_OK; i++) {
    rt_step_info step;
    rt_plan_step(plan, i, &step);
    const rt_op *op = rt_op_find(step.op);
    out->macs += op && op->precision == RT_PRECISION_LOW ? step.flops / 2 / BATCH : 0;
  }
  return s;
}

static void find_sizes(const char *model, const rt_data_info *d, sizes *out) {
  rt_store *store;
  rt_graph *graph = NULL;
  rt_plan *plan = NULL;
  char name[64], options[512];
  const char *colon = strchr(model, ':');
  snprintf(name, sizeof name, "%.*s", (int)strcspn(model, ":"), model);
  snprintf(options, sizeof options, "classes=%lld %s", (long long)d->classes, colon ? colon + 1 : "");
  rt_status s = rt_store_new(&store);
  if (s == RT_OK) s = rt_graph_new(store, &graph);
  if (s == RT_OK) s = count(store, &graph, name, options, d);
  for (int i = 0; s == RT_OK && i < rt_store_count(store); i++) {
    rt_variable_info v;
    double n = 1;
    rt_store_info(store, i, &v);
    for (int k = 0; k < v.rank; k++) n *= (double)v.dim[k];
    out->parameters += v.parameter ? n : 0;
  }
  if (s == RT_OK) s = rt_plan_new(graph, NULL, &plan);
  if (s == RT_OK) s = time_plan(plan, d, out);
  out->known = s == RT_OK;
  rt_plan_free(plan);
  rt_graph_free(graph);
  rt_store_free(store);
}

/* ---- a stage ---- */

static rt_status open_data(explanation *e, const rt_stage *stage) {
  const char *data = rt_stage_text(stage, "data"), *options = rt_stage_text(stage, "data_options");
  const char *validation = rt_stage_text(stage, "validation");
  char text[2048];
  snprintf(text, sizeof text, "validation=%s %s", validation ? validation : "0.1", options ? options : "");
  if (e->data && strcmp(e->data_text, data) == 0 && strcmp(e->options_text, text) == 0) return RT_OK;
  rt_data_free(e->data);
  e->data = NULL;
  e->n = 0;
  e->data_text = data;
  snprintf(e->options_text, sizeof e->options_text, "%s", text);
  rt_status s = rt_data_open(data, text, &e->data);
  if (s == RT_OK) rt_data_describe(e->data, &e->info);
  return s;
}

static void add_time(rt_strbuf *text, double seconds) {
  if (seconds < 100)
    rt_strbuf_add(text, "%.0f s", seconds);
  else if (seconds < 6000)
    rt_strbuf_add(text, "%.0f min", seconds / 60);
  else
    rt_strbuf_add(text, "%.1f h", seconds / 3600);
}

static sizes sizes_of(explanation *e, const char *model) {
  sizes found = {0};
  for (int i = 0; i < e->n; i++)
    if (strcmp(e->seen[i].model, model) == 0) return e->seen[i].sizes;
  find_sizes(model, &e->info, &found);
  if (e->n < MOST_MODELS && found.known) {
    e->seen[e->n].model = model;
    e->seen[e->n++].sizes = found;
  }
  return found;
}

/* A training run costs three forward passes an image and epoch, and one of every teacher. */
static rt_status explain_training(explanation *e, const rt_stage *stage) {
  const char *epochs = rt_stage_text(stage, "epochs");
  rt_status s = open_data(e, stage);
  if (s != RT_OK) return s;
  sizes own = sizes_of(e, rt_stage_text(stage, "model"));
  if (!own.known) return rt_fail_in(RT_E_ARGUMENT, "%s", stage->name);
  double each = own.seconds * TRAINING_PER_FORWARD;
  for (int i = 0; i < stage->n_needs; i++) {
    const rt_stage *of = &e->recipe->stage[stage->needs[i]];
    if (rt_stage_text(of, "model")) each += sizes_of(e, rt_stage_text(of, "model")).seconds;
  }
  double n = epochs ? strtod(epochs, NULL) : 20, seconds = n * (double)e->info.count[RT_TRAIN] * each;
  e->total += seconds;
  rt_strbuf_add(&e->text, "%s, %.0f parameters, %.1f million MACs, %.0f epochs of %lld images, about ",
                rt_stage_text(stage, "model"), own.parameters, own.macs / 1e6, n, (long long)e->info.count[RT_TRAIN]);
  add_time(&e->text, seconds);
  return RT_OK;
}

static bool trains(const rt_stage_kind *kind) {
  rt_setting s;
  for (int i = 0; kind->setting(i, &s) == RT_OK; i++)
    if (strcmp(s.name, "epochs") == 0) return true;
  return false;
}

static rt_status explain_stage(explanation *e, int i) {
  const rt_stage *stage = &e->recipe->stage[i];
  rt_status s = RT_OK;
  rt_strbuf_add(&e->text, "%3d %-28s %-8s ", i + 1, stage->name, stage->kind->name);
  if (trains(stage->kind))
    s = explain_training(e, stage);
  else
    rt_strbuf_add(&e->text, "%s", stage->kind->summary);
  for (int k = 0; k < stage->n_needs && stage->n_needs < 5; k++)
    rt_strbuf_add(&e->text, "%s%s", k ? ", " : "; of ", e->recipe->stage[stage->needs[k]].name);
  rt_strbuf_add(&e->text, "\n");
  return s;
}

rt_status rt_recipe_explain(const rt_recipe *recipe, char **out) {
  explanation e = {.recipe = recipe};
  rt_status s = RT_OK;
  rt_strbuf_add(&e.text, "%s: %d stage%s\n", recipe->name, recipe->n, recipe->n == 1 ? "" : "s");
  for (int i = 0; i < recipe->n && s == RT_OK; i++) s = explain_stage(&e, i);
  rt_strbuf_add(&e.text, "about ");
  add_time(&e.text, e.total);
  rt_strbuf_add(&e.text, " of training in fp32 on %d thread%s\n", rt_threads(), rt_threads() == 1 ? "" : "s");
  rt_data_free(e.data);
  if (s == RT_OK && e.text.failed) s = RT_E_MEMORY;
  *out = s == RT_OK ? e.text.text : NULL;
  if (s != RT_OK) rt_strbuf_release(&e.text);
  return s;
}
