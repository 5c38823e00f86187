/* What a recipe would do, before it does it. */
#include "base/strbuf.h"
#include "recipe/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A model on images of a data set; batch: of its training steps, 0 where it is only run. */
typedef struct trial {
  const char *model;
  int64_t image[3], classes, batch;
  bool low, recompute;
  rt_sizes sizes;
  rt_cost cost;
} trial;

enum { MOST_TRIALS = 128 };

typedef struct explanation {
  const rt_recipe *recipe;
  trial seen[MOST_TRIALS];
  int n;
  const char *cache[MOST_TRIALS]; /* of what teachers say: filled by an earlier stage */
  int caches;
  rt_strbuf text;
  const char *data_text; /* of the data set that is open */
  char options_text[2048];
  rt_data *data;
  rt_data_info info;
  double total;
} explanation;

/* ---- a model, untrained ---- */

static bool same_trial(const trial *a, const trial *b) {
  return strcmp(a->model, b->model) == 0 && memcmp(a->image, b->image, sizeof a->image) == 0 &&
         a->classes == b->classes && a->batch == b->batch && a->low == b->low && a->recompute == b->recompute;
}

static rt_status try_out(explanation *e, const char *model, int64_t batch, bool low, bool recompute, trial *out) {
  char options[32];
  const rt_data_info *d = &e->info;
  *out = (trial){.model = model,
                 .image = {d->channels, d->height, d->width},
                 .classes = d->classes,
                 .batch = batch,
                 .low = low,
                 .recompute = recompute};
  for (int i = 0; i < e->n; i++)
    if (same_trial(&e->seen[i], out)) {
      *out = e->seen[i];
      return RT_OK;
    }
  snprintf(options, sizeof options, "classes=%lld", (long long)d->classes);
  rt_status s = rt_model_sizes(model, options, out->image, &out->sizes);
  if (s == RT_OK) s = rt_model_cost(model, options, out->image, batch, low, recompute, &out->cost);
  if (s == RT_OK && e->n < MOST_TRIALS) e->seen[e->n++] = *out;
  return s;
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

static double number(const rt_stage *stage, const char *setting, double fallback) {
  const char *text = rt_stage_text(stage, setting);
  return text && *text ? strtod(text, NULL) : fallback;
}

static bool computes_in_bf16(const rt_stage *stage) {
  const char *text = rt_stage_text(stage, "precision");
  rt_machine machine;
  rt_machine_info(&machine);
  return text && strcmp(text, "auto") != 0 ? strcmp(text, "bf16") == 0 : machine.bf16;
}

/* A model of the table; of a stage that goes on from another one's model, that one's. NULL: a file, which isn't opened here. */
static const char *model_of(const explanation *e, const rt_stage *stage) {
  const char *text = rt_stage_text(stage, "model");
  int i = text ? rt_recipe_find(e->recipe, text) : -1;
  if (i >= 0) return model_of(e, &e->recipe->stage[i]);
  return text && *text && !strchr(text, '/') && !strstr(text, ".onnx") ? text : NULL;
}

/* Passes of the teachers over the training images: what is kept on disk is said once. */
static double teacher_passes(explanation *e, const rt_stage *stage, double epochs) {
  const char *cache = rt_stage_text(stage, "cache_teacher"), *augment = rt_stage_text(stage, "augment");
  if (!cache || !*cache) return epochs;
  for (int i = 0; i < e->caches; i++)
    if (strcmp(e->cache[i], cache) == 0) return 0;
  if (e->caches < MOST_TRIALS) e->cache[e->caches++] = cache;
  double variants = augment && strcmp(augment, "none") == 0 ? 1 : number(stage, "draws", 0);
  return variants > 0 && variants < epochs ? variants : epochs;
}

/* Seconds an image of all teachers that are stages, forward; their memory is added. */
static rt_status add_teachers(explanation *e, const rt_stage *stage, double *seconds, double *bytes) {
  const char *teachers = rt_stage_text(stage, "teacher");
  char name[1024];
  rt_status s = RT_OK;
  while (teachers && s == RT_OK && rt_next_element(&teachers, name, sizeof name)) {
    int i = rt_recipe_find(e->recipe, name);
    const char *model = i >= 0 ? model_of(e, &e->recipe->stage[i]) : NULL;
    trial t;
    if (!model) continue;
    s = try_out(e, model, 0, computes_in_bf16(stage), true, &t);
    if (s == RT_OK) *seconds += t.cost.seconds;
    if (s == RT_OK) *bytes += t.sizes.parameters * 8;
  }
  return s;
}

/* Measured: a step of the student, a forward pass of every teacher. */
static rt_status explain_training(explanation *e, const rt_stage *stage) {
  const char *model = model_of(e, stage);
  trial own;
  double taught = 0, epochs = number(stage, "epochs", 20);
  rt_status s = model ? open_data(e, stage) : RT_OK;
  if (!model) rt_strbuf_add(&e->text, "%s: of a file", rt_stage_text(stage, "model"));
  if (s != RT_OK || !model) return s;
  const char *recompute = rt_stage_text(stage, "recompute");
  bool keeps = recompute && strcmp(recompute, "false") == 0;
  s = try_out(e, model, (int64_t)number(stage, "batch", 128), computes_in_bf16(stage), !keeps, &own);
  double bytes = (double)own.cost.bytes;
  if (s == RT_OK) s = add_teachers(e, stage, &taught, &bytes);
  if (s != RT_OK) return rt_fail_in(s, "%s", stage->name);
  double images = (double)e->info.count[RT_TRAIN], passes = taught > 0 ? teacher_passes(e, stage, epochs) : 0;
  double seconds = images * (epochs * own.cost.seconds + passes * taught);
  e->total += seconds;
  rt_strbuf_add(&e->text, "%s, %.0f parameters, %.1f million MACs, %.0f MB, %.0f epochs of %.0f images, about ", model,
                own.sizes.parameters, own.sizes.macs / 1e6, bytes / 1e6, epochs, images);
  add_time(&e->text, seconds);
  return RT_OK;
}

static bool trains(const rt_stage_kind *kind) {
  rt_setting s;
  for (int i = 0; kind->setting(i, &s) == RT_OK; i++)
    if (strcmp(s.name, "optimizer") == 0) return true;
  return false;
}

static rt_status explain_stage(explanation *e, int i) {
  const rt_stage *stage = &e->recipe->stage[i];
  rt_status s = RT_OK;
  rt_strbuf_add(&e->text, "%3d %-28s %-8s ", i + 1, stage->name, stage->kind->name);
  if (stage->same_as)
    rt_strbuf_add(&e->text, "the same as %s", stage->same_as);
  else if (trains(stage->kind))
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
  rt_strbuf_add(&e.text, " of training on %d thread%s\n", rt_threads(), rt_threads() == 1 ? "" : "s");
  rt_data_free(e.data);
  if (s == RT_OK && e.text.failed) s = RT_E_MEMORY;
  *out = s == RT_OK ? e.text.text : NULL;
  if (s != RT_OK) rt_strbuf_release(&e.text);
  return s;
}
