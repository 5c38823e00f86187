#include "recipe/recipe.h"

#include "base/alloc.h"
#include "base/option.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- kinds ---- */

#define STAGE(name) extern const rt_stage_kind rt_stage_kind_##name;
#include "recipe/stage.def"
#undef STAGE

static const rt_stage_kind *const kinds[] = {
#define STAGE(name) &rt_stage_kind_##name,
#include "recipe/stage.def"
#undef STAGE
};

const rt_stage_kind *rt_stage_kind_at(int i) {
  return i >= 0 && i < (int)(sizeof kinds / sizeof *kinds) ? kinds[i] : NULL;
}

static const rt_stage_kind *find_kind(const char *name) {
  int i = 0;
  while (rt_stage_kind_at(i) && strcmp(rt_stage_kind_at(i)->name, name) != 0) i++;
  return rt_stage_kind_at(i);
}

rt_status rt_setting_at(const rt_setting *table, size_t n, int i, rt_setting *out) {
  if (i < 0 || (size_t)i >= n) return RT_E_RANGE;
  *out = table[i];
  return RT_OK;
}

/* ---- errors ---- */

rt_status rt_recipe_fail(const rt_recipe *recipe, rt_yaml_place place, rt_status status, const char *format, ...) {
  char text[1024];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  if (!place.line) return rt_fail(status, "%s: %s", recipe->path, text);
  return rt_fail(status, "%s:%d:%d: %s", recipe->path, place.line, place.column, text);
}

rt_status rt_recipe_fail_in(const rt_recipe *recipe, rt_yaml_place place, rt_status status) {
  if (!place.line) return rt_fail_in(status, "%s", recipe->path);
  return rt_fail_in(status, "%s:%d:%d", recipe->path, place.line, place.column);
}

/* ---- stages ---- */

const char *rt_stage_text(const rt_stage *stage, const char *name) {
  for (int i = 0; i < stage->n; i++)
    if (strcmp(stage->setting[i].name, name) == 0) return stage->setting[i].text;
  return NULL;
}

int rt_recipe_find(const rt_recipe *recipe, const char *name) {
  int i = recipe->n - 1;
  while (i >= 0 && strcmp(recipe->stage[i].name, name) != 0) i--;
  return i;
}

rt_stage *rt_recipe_add(rt_recipe *recipe) {
  if (recipe->n == recipe->capacity) {
    int more = recipe->capacity ? 2 * recipe->capacity : 16;
    rt_stage *grown = rt_grow(recipe->stage, (size_t)recipe->capacity * sizeof *grown, (size_t)more * sizeof *grown);
    if (!grown) return NULL;
    recipe->stage = grown;
    recipe->capacity = more;
  }
  rt_stage *stage = &recipe->stage[recipe->n++];
  *stage = (rt_stage){0};
  return stage;
}

/* "teachers" for teacher, "loss" for losses, "from" for what the kind takes in. */
static bool is_called(const rt_stage_kind *kind, const rt_setting *s, const char *key) {
  size_t n = strlen(s->name);
  if (strcmp(s->name, key) == 0 || (s->one && strcmp(s->one, key) == 0)) return true;
  if (s->join && strncmp(s->name, key, n) == 0 && strcmp(key + n, "s") == 0) return true;
  return kind->input && strcmp(kind->input, s->name) == 0 && strcmp(key, "from") == 0;
}

static bool find_setting(const rt_stage_kind *kind, const char *key, rt_setting *out) {
  for (int i = 0; kind->setting(i, out) == RT_OK; i++)
    if (is_called(kind, out, key)) return true;
  return false;
}

static rt_status unknown_setting(const rt_recipe *recipe, const rt_stage_kind *kind, const rt_yaml *y) {
  char hint[128];
  rt_setting s;
  rt_nearest nearest = {.word = y->key};
  for (int i = 0; kind->setting(i, &s) == RT_OK; i++) rt_nearest_offer(&nearest, s.name);
  rt_nearest_offer(&nearest, "as");
  return rt_recipe_fail(recipe, y->key_place, RT_E_UNKNOWN, "%s has no setting %s%s", kind->name, y->key,
                        rt_nearest_hint(&nearest, hint, sizeof hint));
}

static rt_stage_setting *given(rt_stage *stage, const char *name) {
  for (int i = 0; i < stage->n; i++)
    if (strcmp(stage->setting[i].name, name) == 0) return &stage->setting[i];
  return NULL;
}

enum { MOST_SETTINGS = 96 };

static rt_status put_text(rt_recipe *recipe, rt_stage *stage, const rt_stage_setting *setting) {
  rt_stage_setting *to = given(stage, setting->name);
  if (!to) {
    if (stage->n == MOST_SETTINGS)
      return rt_recipe_fail(recipe, setting->place, RT_E_RANGE, "more than %d settings", MOST_SETTINGS);
    to = &stage->setting[stage->n++];
  }
  *to = *setting;
  return RT_OK;
}

static rt_status read_setting(rt_recipe *recipe, const rt_yaml *y, rt_stage *stage) {
  rt_setting s;
  rt_strbuf text = {0};
  if (!find_setting(stage->kind, y->key, &s)) return unknown_setting(recipe, stage->kind, y);
  rt_status status = rt_recipe_value(recipe, y, &s, &text);
  const char *kept = status == RT_OK ? rt_arena_text(&recipe->arena, "%s", text.text ? text.text : "") : NULL;
  rt_strbuf_release(&text);
  if (!kept) return status == RT_OK ? RT_E_MEMORY : status;
  return put_text(recipe, stage, &(rt_stage_setting){s.name, kept, y->place});
}

static bool good_name(const char *name) {
  if (!*name || *name == '.' || strlen(name) > 100) return false;
  for (const char *c = name; *c; c++)
    if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.=,+", *c)) return false;
  return true;
}

static rt_status read_name(rt_recipe *recipe, const rt_yaml *body, rt_stage *stage) {
  const rt_yaml *as = rt_yaml_find(body, "as");
  stage->name = as && as->kind == RT_YAML_TEXT ? as->text : stage->kind->name;
  if (as && (as->kind != RT_YAML_TEXT || !good_name(as->text)))
    return rt_recipe_fail(recipe, as->place, RT_E_ARGUMENT,
                          "as: expected a name of letters, digits and any of _-.=,+ (files are called after it)");
  return RT_OK;
}

static rt_status read_kind(rt_recipe *recipe, const rt_yaml *item, rt_stage *stage) {
  char hint[128];
  if (item->kind != RT_YAML_MAP || !item->child || item->child->next)
    return rt_recipe_fail(recipe, item->place, RT_E_FORMAT, "a stage is one mapping, as in - train: {model: resnet20}");
  stage->kind = find_kind(item->child->key);
  stage->place = item->child->key_place;
  rt_nearest nearest = {.word = item->child->key};
  for (int i = 0; rt_stage_kind_at(i); i++) rt_nearest_offer(&nearest, rt_stage_kind_at(i)->name);
  if (!stage->kind)
    return rt_recipe_fail(recipe, stage->place, RT_E_UNKNOWN, "there is no stage of the kind %s%s", item->child->key,
                          rt_nearest_hint(&nearest, hint, sizeof hint));
  bool empty = item->child->kind == RT_YAML_TEXT && !*item->child->text;
  if (item->child->kind != RT_YAML_MAP && !empty)
    return rt_recipe_fail(recipe, item->child->place, RT_E_FORMAT, "%s: expected a mapping of settings",
                          stage->kind->name);
  return RT_OK;
}

rt_status rt_recipe_read_stage(rt_recipe *recipe, const rt_yaml *item, const rt_defaults *defaults, rt_stage *stage) {
  rt_setting unused;
  rt_status s = read_kind(recipe, item, stage);
  if (s != RT_OK) return s;
  stage->setting = rt_arena_alloc(&recipe->arena, MOST_SETTINGS * sizeof *stage->setting);
  if (!stage->setting) return RT_E_MEMORY;
  for (int i = 0; i < defaults->n && s == RT_OK; i++)
    if (find_setting(stage->kind, defaults->setting[i].name, &unused))
      s = put_text(recipe, stage, &defaults->setting[i]);
  const rt_yaml *body = item->child;
  if (s == RT_OK) s = read_name(recipe, body, stage);
  for (const rt_yaml *y = body->kind == RT_YAML_MAP ? body->child : NULL; y && s == RT_OK; y = y->next)
    if (strcmp(y->key, "as") != 0) s = read_setting(recipe, y, stage);
  return s;
}

/* ---- references ---- */

bool rt_next_element(const char **text, char *element, size_t size) {
  while (**text == ';' || **text == ' ') ++*text;
  size_t n = strcspn(*text, ";");
  snprintf(element, size, "%.*s", (int)n, *text);
  *text += n;
  return n > 0;
}

static rt_status add_need(rt_recipe *recipe, rt_stage *stage, int i) {
  for (int k = 0; k < stage->n_needs; k++)
    if (stage->needs[k] == i) return RT_OK;
  int *more = rt_arena_alloc(&recipe->arena, (size_t)(stage->n_needs + 1) * sizeof *more);
  if (!more) return RT_E_MEMORY;
  if (stage->n_needs) memcpy(more, stage->needs, (size_t)stage->n_needs * sizeof *more);
  more[stage->n_needs++] = i;
  stage->needs = more;
  return RT_OK;
}

static rt_status unknown_stage(const rt_recipe *recipe, const rt_stage_setting *setting, const char *name) {
  char hint[160];
  rt_nearest nearest = {.word = name};
  for (int i = 0; i < recipe->n; i++) rt_nearest_offer(&nearest, recipe->stage[i].name);
  return rt_recipe_fail(recipe, setting->place, RT_E_UNKNOWN,
                        "%s: no stage before this one makes %s, and there is no such file%s", setting->name, name,
                        rt_nearest_hint(&nearest, hint, sizeof hint));
}

/* "all" is every model made before. */
static rt_status refer(rt_recipe *recipe, rt_stage *stage, const rt_stage_setting *setting) {
  const char *text = setting->text;
  char name[1024];
  rt_status s = RT_OK;
  if (strcmp(text, "all") == 0) {
    for (int i = 0; i < recipe->n && s == RT_OK; i++)
      if (recipe->stage[i].kind->extension && !recipe->stage[i].sweep) s = add_need(recipe, stage, i);
    return s;
  }
  while (s == RT_OK && rt_next_element(&text, name, sizeof name)) {
    int i = rt_recipe_find(recipe, name);
    if (i >= 0 && !recipe->stage[i].kind->extension)
      s = rt_recipe_fail(recipe, setting->place, RT_E_ARGUMENT, "%s: %s is a stage that makes no model", setting->name,
                         name);
    else if (i >= 0)
      s = add_need(recipe, stage, i);
    else if (access(name, F_OK) != 0)
      s = unknown_stage(recipe, setting, name);
  }
  return s;
}

static rt_status check_settings(const rt_recipe *recipe, const rt_stage *stage) {
  rt_pair pair[MOST_SETTINGS];
  rt_status s = RT_OK;
  for (int i = 0; i < stage->n && s == RT_OK; i++) {
    pair[i] = (rt_pair){stage->setting[i].name, stage->setting[i].text};
    if (stage->kind->check) s = stage->kind->check(&pair[i], 1);
    if (s != RT_OK) return rt_recipe_fail_in(recipe, stage->setting[i].place, s);
  }
  s = stage->kind->check ? stage->kind->check(pair, stage->n) : RT_OK;
  return s == RT_OK ? s : rt_recipe_fail_in(recipe, stage->place, s);
}

/* Do both say the same, or leave the same to the table? */
static bool same_settings(const rt_stage *a, const rt_stage *b) {
  rt_setting s;
  for (int i = 0; a->kind->setting(i, &s) == RT_OK; i++) {
    if (a->kind->is_free && a->kind->is_free(s.name)) continue;
    const char *own = rt_stage_text(a, s.name), *other = rt_stage_text(b, s.name),
               *fallback = s.fallback ? s.fallback : "";
    if (strcmp(own ? own : fallback, other ? other : fallback) != 0) return false;
  }
  return true;
}

/* A point of a sweep that an earlier stage is too isn't made again. */
static void find_same(const rt_recipe *recipe, rt_stage *stage) {
  for (int i = 0; stage->sweep && !stage->same_as && i < recipe->n; i++) {
    const rt_stage *other = &recipe->stage[i];
    if (other->kind == stage->kind && same_settings(stage, other)) stage->same_as = rt_stage_file(other);
  }
}

rt_status rt_recipe_finish_stage(rt_recipe *recipe, rt_stage *stage) {
  if (rt_recipe_find(recipe, stage->name) >= 0)
    return rt_recipe_fail(recipe, stage->place, RT_E_ARGUMENT,
                          "two stages are called %s: name one with as:", stage->name);
  rt_status s = check_settings(recipe, stage);
  for (const char *const *r = stage->kind->refers; r && *r && s == RT_OK; r++) {
    const rt_stage_setting *setting = given(stage, *r);
    if (setting) s = refer(recipe, stage, setting);
  }
  if (s != RT_OK) return s;
  find_same(recipe, stage);
  rt_stage *to = rt_recipe_add(recipe);
  if (!to) return RT_E_MEMORY;
  *to = *stage;
  return RT_OK;
}

/* ---- the file ---- */

static const rt_setting data_setting = {.name = "data"}, options_setting = {.name = "data_options"};

/* A setting of any kind of stage. */
static bool find_any(const char *key, rt_setting *out) {
  for (int i = 0; rt_stage_kind_at(i); i++)
    if (find_setting(rt_stage_kind_at(i), key, out)) return true;
  return false;
}

static rt_status add_default(rt_recipe *recipe, const rt_yaml *y, const rt_setting *s, const char *prefix,
                             rt_defaults *defaults) {
  rt_strbuf text = {0};
  rt_status status = rt_recipe_value(recipe, y, s, &text);
  const char *kept = status == RT_OK ? rt_arena_text(&recipe->arena, "%s%s", prefix, text.text ? text.text : "") : NULL;
  rt_strbuf_release(&text);
  if (!kept) return status == RT_OK ? RT_E_MEMORY : status;
  if (defaults->n == (int)(sizeof defaults->setting / sizeof *defaults->setting))
    return rt_recipe_fail(recipe, y->place, RT_E_RANGE, "too many defaults");
  defaults->setting[defaults->n++] = (rt_stage_setting){s->name, kept, y->place};
  return RT_OK;
}

static rt_status read_defaults(rt_recipe *recipe, const rt_yaml *map, rt_defaults *defaults) {
  rt_status s = RT_OK;
  rt_setting setting;
  for (const rt_yaml *y = map->child; y && s == RT_OK; y = y->next) {
    if (!find_any(y->key, &setting))
      s = rt_recipe_fail(recipe, y->key_place, RT_E_UNKNOWN, "no stage has a setting %s", y->key);
    else
      s = add_default(recipe, y, &setting, "", defaults);
  }
  return s;
}

/* data: fashion-mnist, or {name: cifar10, path: DIR, options: {subset: 5000}, batch: 128, augment: […]} */
static rt_status read_data(rt_recipe *recipe, const rt_yaml *data, rt_defaults *defaults) {
  if (data->kind == RT_YAML_TEXT) return add_default(recipe, data, &data_setting, "", defaults);
  const rt_yaml *name = rt_yaml_find(data, "name"), *path = rt_yaml_find(data, "path");
  if (!name || name->kind != RT_YAML_TEXT)
    return rt_recipe_fail(recipe, data->place, RT_E_FORMAT, "data: expected a name, as in {name: fashion-mnist}");
  const char *prefix = path ? rt_arena_text(&recipe->arena, "%s:", name->text) : "";
  if (!prefix) return RT_E_MEMORY;
  rt_status s = add_default(recipe, path ? path : name, &data_setting, prefix, defaults);
  for (const rt_yaml *y = data->child; y && s == RT_OK; y = y->next) {
    rt_setting setting;
    if (y == name || y == path) continue;
    if (strcmp(y->key, "options") == 0)
      s = add_default(recipe, y, &options_setting, "", defaults);
    else if (find_any(y->key, &setting))
      s = add_default(recipe, y, &setting, "", defaults);
    else
      s = rt_recipe_fail(recipe, y->key_place, RT_E_UNKNOWN,
                         "data: %s is neither name, path, options nor a setting of stages", y->key);
  }
  return s;
}

static rt_status read_stages(rt_recipe *recipe, const rt_yaml *stages, const rt_defaults *defaults) {
  rt_status s = RT_OK;
  if (!stages || stages->kind != RT_YAML_LIST || !stages->child)
    return rt_recipe_fail(recipe, stages ? stages->place : (rt_yaml_place){0}, RT_E_FORMAT,
                          "stages: expected a list, as in - train: {model: resnet20, data: fashion-mnist}");
  for (const rt_yaml *item = stages->child; item && s == RT_OK; item = item->next) {
    rt_stage stage = {0};
    if (item->kind == RT_YAML_MAP && item->child && strcmp(item->child->key, "sweep") == 0 && !item->child->next) {
      s = rt_recipe_expand(recipe, item->child, defaults);
      continue;
    }
    s = rt_recipe_read_stage(recipe, item, defaults, &stage);
    if (s == RT_OK) s = rt_recipe_finish_stage(recipe, &stage);
  }
  return s;
}

static rt_status read_all(rt_recipe *recipe, const rt_yaml *top) {
  static const char *const keys[] = {"name", "description", "data", "defaults", "stages"};
  rt_defaults defaults = {.n = 0};
  for (const rt_yaml *y = top->child; y; y = y->next) {
    char hint[64];
    rt_nearest nearest = {.word = y->key};
    bool known = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
      known |= strcmp(y->key, keys[i]) == 0;
      rt_nearest_offer(&nearest, keys[i]);
    }
    if (!known)
      return rt_recipe_fail(recipe, y->key_place, RT_E_UNKNOWN, "a recipe has no %s%s", y->key,
                            rt_nearest_hint(&nearest, hint, sizeof hint));
  }
  const rt_yaml *name = rt_yaml_find(top, "name"), *data = rt_yaml_find(top, "data");
  const rt_yaml *more = rt_yaml_find(top, "defaults");
  if (!name || name->kind != RT_YAML_TEXT || !good_name(name->text))
    return rt_recipe_fail(recipe, top->place, RT_E_FORMAT,
                          "name: expected a name of letters, digits and any of _-.=,+");
  recipe->name = name->text;
  rt_status s = data ? read_data(recipe, data, &defaults) : RT_OK;
  if (s == RT_OK && more) s = read_defaults(recipe, more, &defaults);
  return s == RT_OK ? read_stages(recipe, rt_yaml_find(top, "stages"), &defaults) : s;
}

rt_status rt_recipe_open(const char *path, const char *const *set, int n, rt_recipe **out) {
  rt_yaml *top;
  rt_recipe *recipe = *out = rt_alloc(sizeof *recipe);
  if (!recipe) return RT_E_MEMORY;
  recipe->path = rt_arena_text(&recipe->arena, "%s", path);
  rt_status s = recipe->path ? rt_yaml_read(path, set, n, &recipe->arena, &top, &recipe->resolved) : RT_E_MEMORY;
  if (s == RT_OK) s = read_all(recipe, top);
  if (s == RT_OK) return s;
  rt_recipe_free(recipe);
  *out = NULL;
  return s;
}

void rt_recipe_free(rt_recipe *recipe) {
  if (!recipe) return;
  rt_free(recipe->resolved);
  rt_free(recipe->stage);
  rt_arena_release(&recipe->arena);
  rt_free(recipe);
}

const char *rt_recipe_name(const rt_recipe *recipe) { return recipe->name; }
