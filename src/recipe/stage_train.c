/* train and distill: a training run in OUT/NAME, its best model as OUT/NAME.pth. */
#include "base/file.h"
#include "recipe/recipe.h"
#include "train/train.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The table of training runs, without what is the recipe's business. */
static rt_status setting(int i, rt_setting *out) {
  for (int k = 0;; k++) {
    rt_status s = rt_train_setting(k, out);
    if (s != RT_OK) return s;
    if (strcmp(out->name, "out") != 0 && strcmp(out->name, "resume") != 0 && i-- == 0) return RT_OK;
  }
}

static rt_status check(const rt_pair *settings, int n) {
  rt_arena arena = {0};
  rt_train_settings o = {0};
  rt_status s = rt_settings_parse(&o, settings, n, &arena);
  bool whole = n > 1;
  if (s == RT_OK && whole && !*o.model) s = rt_fail(RT_E_ARGUMENT, "model is missing: which, as in model: resnet20");
  if (s == RT_OK && whole && !*o.data) s = rt_fail(RT_E_ARGUMENT, "data is missing: which, as in data: fashion-mnist");
  rt_arena_release(&arena);
  return s;
}

static rt_status check_distill(const rt_pair *settings, int n) {
  bool teacher = n == 1;
  static const char *const sources[] = {"teacher", "teacher_outputs", "through", "generations", "peers"};
  for (int i = 0; i < n; i++)
    for (size_t k = 0; k < sizeof sources / sizeof *sources; k++)
      teacher |= strcmp(settings[i].key, sources[k]) == 0 && *settings[i].text;
  if (!teacher) return rt_fail(RT_E_ARGUMENT, "distill needs teachers, as in teachers: [teacher]");
  return check(settings, n);
}

/* ---- running ---- */

bool rt_recipe_training(rt_recipe_run *run, const rt_news *news) {
  const rt_stage *stage = &run->recipe->stage[run->at];
  rt_recipe_news told = {
      .stage = stage->name, .kind = stage->kind->name, .index = run->at, .count = run->recipe->n, .training = news};
  if (run->listen && !run->listen(run->context, &told)) run->stop = true;
  return !run->stop;
}

static bool listen(void *context, const rt_news *news) { return rt_recipe_training(context, news); }

static rt_status copy_file(const char *from, const char *to) {
  rt_map map;
  rt_status s = rt_map_open(from, &map);
  if (s != RT_OK) return s;
  s = rt_write_file(to, map.data, map.size);
  rt_map_close(&map);
  return s;
}

void rt_recipe_place_cache(const rt_stage_run *r, rt_pair *pair, char path[RT_RECIPE_PATH]) {
  if (strcmp(pair->key, "cache_teacher") == 0 && *pair->text && *pair->text != '/')
    pair->text = rt_recipe_path(r->all, path, "%s", pair->text);
}

static rt_status run(rt_stage_run *r, bool *going) {
  char out[RT_RECIPE_PATH], best[RT_RECIPE_PATH], model[RT_RECIPE_PATH], cache[RT_RECIPE_PATH];
  rt_pair pair[128];
  rt_train_report report;
  struct stat there;
  rt_recipe_path(r->all, out, "%s", r->stage->name);
  int n = r->n < 120 ? r->n : 120;
  memcpy(pair, r->pair, (size_t)n * sizeof *pair);
  for (int i = 0; i < n; i++) rt_recipe_place_cache(r, &pair[i], cache);
  pair[n++] = (rt_pair){"out", out};
  if (stat(out, &there) == 0) pair[n++] = (rt_pair){"resume", "true"};
  rt_status s = rt_train(pair, n, listen, r->all, &report);
  *going = !report.interrupted;
  if (s != RT_OK || report.interrupted) return s;
  rt_stage_model(r->all, r->stage, model);
  s = copy_file(rt_recipe_path(r->all, best, "%s/%s", r->stage->name, report.model), model);
  cJSON_AddNumberToObject(r->result, "training_seconds", report.seconds);
  cJSON_AddNumberToObject(r->result, "epochs", (double)report.epochs);
  cJSON_AddStringToObject(r->result, "directory", r->stage->name);
  return s == RT_OK ? rt_measure_model(r, model, r->result) : s;
}

static const char *const refers[] = {"init", "teacher", NULL};

const rt_stage_kind rt_stage_kind_train = {.name = "train",
                                           .summary = "train a model from labels",
                                           .setting = setting,
                                           .refers = refers,
                                           .file = "teacher_outputs",
                                           .extension = "pth",
                                           .is_free = rt_setting_is_free,
                                           .check = check,
                                           .run = run};

const rt_stage_kind rt_stage_kind_distill = {.name = "distill",
                                             .summary = "train a student from teachers",
                                             .setting = setting,
                                             .refers = refers,
                                             .file = "teacher_outputs",
                                             .extension = "pth",
                                             .is_free = rt_setting_is_free,
                                             .check = check_distill,
                                             .run = run};
