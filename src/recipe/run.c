#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "recipe/recipe.h"
#include "train/train.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *rt_recipe_path(const rt_recipe_run *run, char buffer[RT_RECIPE_PATH], const char *format, ...) {
  int n = snprintf(buffer, RT_RECIPE_PATH, "%s/", run->out);
  va_list list;
  va_start(list, format);
  if (n < RT_RECIPE_PATH) vsnprintf(buffer + n, (size_t)(RT_RECIPE_PATH - n), format, list);
  va_end(list);
  return buffer;
}

const char *rt_stage_run_text(const rt_stage_run *run, const char *name) {
  for (int i = 0; i < run->n; i++)
    if (strcmp(run->pair[i].key, name) == 0) return run->pair[i].text;
  return "";
}

/* What a network that came as ONNX becomes is ONNX again. */
static bool makes_onnx(const rt_recipe *recipe, const rt_stage *stage) {
  const char *text = rt_stage_text(stage, "model");
  int i = text && stage->kind->input ? rt_recipe_find(recipe, text) : -1;
  return i >= 0 ? makes_onnx(recipe, &recipe->stage[i]) : text && rt_is_onnx(text);
}

const char *rt_stage_model(const rt_recipe_run *run, const rt_stage *stage, char buffer[RT_RECIPE_PATH]) {
  return rt_recipe_path(run, buffer, "%s.%s", rt_stage_file(stage),
                        makes_onnx(run->recipe, stage) ? "onnx" : stage->kind->extension);
}

static void tell(rt_recipe_run *run, const char *text) {
  const rt_stage *stage = &run->recipe->stage[run->at];
  rt_recipe_news news = {
      .stage = stage->name, .kind = stage->kind->name, .index = run->at, .count = run->recipe->n, .text = text};
  if (run->listen && !run->listen(run->context, &news)) run->stop = true;
}

void rt_recipe_say(rt_recipe_run *run, const char *format, ...) {
  char text[1024];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  tell(run, text);
}

/* ---- one stage ---- */

/* Names of stages become names of their files. */
static rt_status resolve(rt_stage_run *r, const rt_stage_setting *setting, rt_arena *arena, rt_pair *out) {
  const rt_recipe *recipe = r->all->recipe;
  const char *const *refers = r->stage->kind->refers;
  while (refers && *refers && strcmp(*refers, setting->name) != 0) refers++;
  *out = (rt_pair){setting->name, setting->text};
  if (!refers || !*refers || strcmp(setting->text, "all") == 0) return RT_OK;
  rt_strbuf text = {0};
  char name[1024], path[RT_RECIPE_PATH];
  const char *p = setting->text;
  while (rt_next_element(&p, name, sizeof name)) {
    int i = rt_recipe_find(recipe, name);
    rt_strbuf_add(&text, "%s%s", text.length ? ";" : "",
                  i >= 0 ? rt_stage_model(r->all, &recipe->stage[i], path) : name);
  }
  out->text = rt_arena_text(arena, "%s", text.text ? text.text : "");
  rt_strbuf_release(&text);
  return out->text ? RT_OK : RT_E_MEMORY;
}

static cJSON *new_record(const rt_stage *stage, const char *hash) {
  cJSON *record = cJSON_CreateObject();
  cJSON_AddStringToObject(record, "stage", stage->name);
  cJSON_AddStringToObject(record, "kind", stage->kind->name);
  cJSON_AddStringToObject(record, "hash", hash);
  cJSON_AddBoolToObject(record, "done", false);
  if (stage->sweep) {
    cJSON_AddStringToObject(record, "sweep", stage->sweep);
    cJSON_AddStringToObject(record, "part", stage->part);
    cJSON *variables = cJSON_AddObjectToObject(record, "variables");
    for (int i = 0; i < stage->n_variables; i++)
      cJSON_AddStringToObject(variables, stage->variable[i].key, stage->variable[i].text);
  }
  cJSON *settings = cJSON_AddObjectToObject(record, "settings");
  for (int i = 0; i < stage->n; i++) cJSON_AddStringToObject(settings, stage->setting[i].name, stage->setting[i].text);
  return record;
}

static bool says(const cJSON *record, const char *key, const char *text) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(record, key);
  return cJSON_IsString(item) && strcmp(item->valuestring, text) == 0;
}

/* What was made with other settings is kept under another name. */
static rt_status put_aside(rt_recipe_run *run, const rt_stage *stage) {
  char from[RT_RECIPE_PATH], to[RT_RECIPE_PATH];
  struct stat there;
  rt_recipe_path(run, from, "%s", stage->name);
  if (stat(from, &there) != 0) return RT_OK;
  for (int i = 1; i < 10000; i++) {
    rt_recipe_path(run, to, "%s.old-%d", stage->name, i);
    if (stat(to, &there) == 0) continue;
    if (rename(from, to) != 0) return rt_fail(RT_E_IO, "%s: can't be renamed: %s", from, strerror(errno));
    rt_recipe_say(run, "its settings, or what it depends on, have changed: what was there is kept as %s.old-%d",
                  stage->name, i);
    return RT_OK;
  }
  return rt_fail(RT_E_IO, "%s: too many old runs: remove some", from);
}

static rt_status run_stage(rt_recipe_run *run, const rt_stage *stage, cJSON *record, bool *going) {
  rt_arena arena = {0};
  rt_stage_run r = {.all = run, .stage = stage, .result = cJSON_AddObjectToObject(record, "result")};
  double began = rt_now();
  rt_status s = RT_OK;
  r.pair = rt_arena_alloc(&arena, (size_t)(stage->n + 1) * sizeof *r.pair);
  if (!r.pair || !r.result) s = RT_E_MEMORY;
  for (int i = 0; i < stage->n && s == RT_OK; i++) s = resolve(&r, &stage->setting[i], &arena, &r.pair[r.n++]);
  if (s == RT_OK) s = rt_recipe_open_data(&r);
  if (s == RT_OK) s = stage->kind->run(&r, going);
  rt_arena_release(&arena);
  if (s != RT_OK) return rt_fail_in(s, "%s", stage->name);
  if (!*going) return RT_OK;
  cJSON_ReplaceItemInObjectCaseSensitive(record, "done", cJSON_CreateBool(true));
  cJSON_AddNumberToObject(record, "seconds", rt_now() - began);
  return rt_record_write(run, stage->name, record);
}

/* A stage whose record has the same hash is done, or goes on; another one begins anew. */
static rt_status make_stage(rt_recipe_run *run, bool *going) {
  const rt_stage *stage = &run->recipe->stage[run->at];
  char hash[32], path[RT_RECIPE_PATH];
  cJSON *old;
  *going = true;
  if (stage->same_as) {
    rt_recipe_say(run, "the same as %s", stage->same_as);
    return RT_OK;
  }
  snprintf(hash, sizeof hash, "%016" PRIx64, rt_stage_hash(run->recipe, stage));
  rt_status s = rt_record_read(run, stage->name, &old);
  if (s != RT_OK) return s;
  bool same = old && says(old, "hash", hash);
  bool there = !stage->kind->extension || access(rt_stage_model(run, stage, path), F_OK) == 0;
  bool done = same && there && !stage->kind->always && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(old, "done"));
  cJSON_Delete(old);
  if (done) {
    tell(run, "done before");
    return RT_OK;
  }
  tell(run, NULL);
  if (run->stop) return RT_OK;
  if (!same) s = put_aside(run, stage);
  cJSON *record = new_record(stage, hash);
  if (s == RT_OK) s = rt_record_write(run, stage->name, record);
  if (s == RT_OK) s = run_stage(run, stage, record, going);
  cJSON_Delete(record);
  return s;
}

/* ---- all of them ---- */

/* run.json: which stages there are, in order, and the machine. */
static rt_status write_machine(const rt_recipe_run *run) {
  rt_machine m;
  char path[RT_RECIPE_PATH];
  rt_machine_info(&m);
  cJSON *o = cJSON_CreateObject(), *stages = cJSON_AddArrayToObject(o, "stages");
  for (int i = 0; i < run->recipe->n; i++) cJSON_AddItemToArray(stages, cJSON_CreateString(run->recipe->stage[i].name));
  cJSON_AddStringToObject(o, "recipe", run->recipe->name);
  cJSON_AddStringToObject(o, "retort", rt_version());
  cJSON_AddStringToObject(o, "cpu", m.cpu);
  cJSON_AddStringToObject(o, "isa", m.isa);
  cJSON_AddStringToObject(o, "backend", m.backend);
  cJSON_AddNumberToObject(o, "threads", rt_threads());
  cJSON_AddNumberToObject(o, "memory", (double)m.memory);
  rt_status s = rt_recipe_write_json(rt_recipe_path(run, path, "run.json"), o);
  cJSON_Delete(o);
  return s;
}

static rt_status prepare(const rt_recipe_run *run) {
  char path[RT_RECIPE_PATH];
  if (strlen(run->out) > 1000) return rt_fail(RT_E_ARGUMENT, "the directory's name is longer than 1000 bytes");
  const char *resolved = run->recipe->resolved;
  rt_status s = rt_make_parents(rt_recipe_path(run, path, "records/x"));
  if (s == RT_OK) s = rt_write_file(rt_recipe_path(run, path, "recipe.yaml"), resolved, strlen(resolved));
  return s == RT_OK ? write_machine(run) : s;
}

rt_status rt_recipe_run_all(rt_recipe *recipe, const char *out, rt_recipe_listener *listen, void *context,
                            bool *interrupted) {
  rt_recipe_run run = {.recipe = recipe, .out = out, .listen = listen, .context = context};
  bool going = true;
  rt_status s = prepare(&run);
  for (; run.at < recipe->n && s == RT_OK && going && !run.stop; run.at++) s = make_stage(&run, &going);
  rt_data_free(run.data);
  rt_free(run.data_text);
  *interrupted = run.stop || !going;
  return s;
}
