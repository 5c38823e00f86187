/* records/NAME.json: {"stage", "kind", "hash", "done", "seconds", "settings": {…}, "result": {…}}. */
#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "recipe/recipe.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t add(uint64_t h, const char *text) { return rt_hash(h, text, strlen(text) + 1); }

static uint64_t add_file(uint64_t h, const char *path) {
  struct stat st;
  if (stat(path, &st) != 0) return h;
  int64_t facts[] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
  return rt_hash(h, facts, sizeof facts);
}

/* Everything a stage depends on: its settings but those that change nothing, the stages it takes models from and all they depend on, files from elsewhere. */
uint64_t rt_stage_hash(const rt_recipe *recipe, const rt_stage *stage) {
  uint64_t h = add(rt_hash_text(rt_version()), stage->kind->name);
  for (int i = 0; i < stage->n; i++) {
    const rt_stage_setting *setting = &stage->setting[i];
    if (!stage->kind->is_free || !stage->kind->is_free(setting->name)) h = add(add(h, setting->name), setting->text);
  }
  for (const char *const *r = stage->kind->refers; r && *r; r++) {
    const char *text = rt_stage_text(stage, *r);
    char name[1024];
    while (text && rt_next_element(&text, name, sizeof name))
      if (rt_recipe_find(recipe, name) < 0) h = add_file(h, name);
  }
  for (int i = 0; i < stage->n_needs; i++) {
    const rt_stage *of = &recipe->stage[stage->needs[i]];
    uint64_t theirs = rt_stage_hash(recipe, of);
    h = rt_hash(add(h, of->name), &theirs, sizeof theirs);
  }
  return h;
}

static const char *record_path(const rt_recipe_run *run, const char *name, char buffer[RT_RECIPE_PATH]) {
  return rt_recipe_path(run, buffer, "records/%s.json", name);
}

rt_status rt_record_read(const rt_recipe_run *run, const char *name, cJSON **out) {
  char path[RT_RECIPE_PATH];
  rt_map map;
  *out = NULL;
  if (access(record_path(run, name, path), F_OK) != 0) return RT_OK;
  rt_status s = rt_map_open(path, &map);
  if (s != RT_OK) return s;
  *out = cJSON_ParseWithLength((const char *)map.data, map.size);
  rt_map_close(&map);
  return *out ? RT_OK
              : rt_fail(RT_E_FORMAT, "%s: isn't the record of a stage; remove it to have the stage made again", path);
}

rt_status rt_recipe_write_json(const char *path, cJSON *json) {
  char *text = cJSON_Print(json);
  if (!text) return rt_fail(RT_E_MEMORY, "%s: out of memory", path);
  rt_status s = rt_write_line(path, text);
  cJSON_free(text);
  return s;
}

rt_status rt_record_write(const rt_recipe_run *run, const char *name, cJSON *record) {
  char path[RT_RECIPE_PATH];
  return rt_recipe_write_json(record_path(run, name, path), record);
}
