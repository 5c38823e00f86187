/* records/NAME.json: {"stage", "kind", "hash", "done", "seconds", "settings": {…}, "result": {…}}. */
#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "recipe/recipe.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint64_t add(uint64_t h, const char *text) { return rt_hash(h, text, strlen(text) + 1); }

/* By what is in it, which a copy or another mount doesn't change; read once. 0: there is none. */
static uint64_t file_hash(rt_recipe *recipe, const char *path) {
  rt_recipe_file *f = recipe->files;
  rt_map map;
  while (f && strcmp(f->path, path) != 0) f = f->next;
  if (f) return f->hash;
  uint64_t hash = 0;
  if (rt_map_open(path, &map) == RT_OK) {
    hash = rt_hash(RT_HASH_EMPTY, map.data, map.size);
    rt_map_close(&map);
  }
  f = rt_arena_alloc(&recipe->arena, sizeof *f);
  const char *name = f ? rt_arena_text(&recipe->arena, "%s", path) : NULL;
  if (!name) return hash;
  *f = (rt_recipe_file){name, hash, recipe->files};
  recipe->files = f;
  return hash;
}

static uint64_t add_file(uint64_t h, rt_recipe *recipe, const char *path) {
  uint64_t hash = file_hash(recipe, path);
  return rt_hash(h, &hash, sizeof hash);
}

/* Everything a stage depends on: its settings but those that change nothing, the stages it takes models from and all they depend on, files from elsewhere. */
uint64_t rt_stage_hash(rt_recipe *recipe, const rt_stage *stage) {
  uint64_t h = add(rt_hash_text(rt_version()), stage->kind->name);
  for (int i = 0; i < stage->n; i++) {
    const rt_stage_setting *setting = &stage->setting[i];
    if (!stage->kind->is_free || !stage->kind->is_free(setting->name)) h = add(add(h, setting->name), setting->text);
  }
  const char *file = stage->kind->file ? rt_stage_text(stage, stage->kind->file) : NULL;
  if (file && *file) h = add_file(h, recipe, file);
  for (const char *const *r = stage->kind->refers; r && *r; r++) {
    const char *text = rt_stage_text(stage, *r);
    char name[1024];
    while (text && rt_next_element(&text, name, sizeof name))
      if (rt_recipe_find(recipe, name) < 0) h = add_file(h, recipe, name);
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
