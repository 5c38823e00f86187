/* What a recipe would do, before it does it. */
#include "base/strbuf.h"
#include "recipe/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRAINING_PER_FORWARD = 3 };

typedef struct sizes {
  rt_sizes of;
  double seconds; /* an image, forward */
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

static void find_sizes(const char *model, const rt_data_info *d, sizes *out) {
  char name[64], options[512];
  const char *colon = strchr(model, ':');
  int64_t image[] = {d->channels, d->height, d->width};
  snprintf(name, sizeof name, "%.*s", (int)strcspn(model, ":"), model);
  snprintf(options, sizeof options, "classes=%lld %s", (long long)d->classes, colon ? colon + 1 : "");
  out->known = rt_model_sizes(name, options, image, &out->of, &out->seconds) == RT_OK;
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
  const char *teachers = rt_stage_text(stage, "teacher");
  char name[1024];
  while (teachers && rt_next_element(&teachers, name, sizeof name)) {
    int i = rt_recipe_find(e->recipe, name);
    const rt_stage *of = i >= 0 ? &e->recipe->stage[i] : stage;
    if (of != stage && rt_stage_text(of, "model")) each += sizes_of(e, rt_stage_text(of, "model")).seconds;
  }
  double n = epochs ? strtod(epochs, NULL) : 20, seconds = n * (double)e->info.count[RT_TRAIN] * each;
  e->total += seconds;
  rt_strbuf_add(&e->text, "%s, %.0f parameters, %.1f million MACs, %.0f epochs of %lld images, about ",
                rt_stage_text(stage, "model"), own.of.parameters, own.of.macs / 1e6, n,
                (long long)e->info.count[RT_TRAIN]);
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
  rt_strbuf_add(&e.text, " of training in fp32 on %d thread%s\n", rt_threads(), rt_threads() == 1 ? "" : "s");
  rt_data_free(e.data);
  if (s == RT_OK && e.text.failed) s = RT_E_MEMORY;
  *out = s == RT_OK ? e.text.text : NULL;
  if (s != RT_OK) rt_strbuf_release(&e.text);
  return s;
}
