/* A sweep becomes plain stages:
 *
 *   sweep:
 *     as: temperature
 *     over: {T: [1, 4, 16]}      $T in the settings below
 *     seeds: [0, 1, 2]           $seed; a stage's seed unless it says another
 *     baseline: alone            the stage that others are compared with, seed by seed
 *     stages: [distill: {as: student, …, losses: [{kd: {temperature: $T}}]}]
 *
 * A stage is made once for every combination of what it depends on, by itself or through the stages it takes models from; so a
 * teacher whose settings mention neither T nor seed is trained once; and what an earlier stage, of this sweep or not, has made with
 * the same settings is taken from there. "temperature.student.T=4.seed=1" is what one is called. */
#include "recipe/recipe.h"

#include "base/option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PARTS = 16 };

typedef struct variable {
  const char *name;
  const rt_yaml *values; /* a list */
} variable;

typedef struct sweep {
  rt_recipe *recipe;
  const char *name;
  const rt_yaml *baseline; /* NULL: there is none */
  variable variable[RT_MOST_VARIABLES];
  int n;
  const rt_yaml *part[MOST_PARTS]; /* the stages in it */
  unsigned uses[MOST_PARTS];       /* bit k: depends on variable k */
  const char *part_name[MOST_PARTS];
  int parts;
  const char *value[RT_MOST_VARIABLES]; /* of this combination */
} sweep;

/* ---- "$T" ---- */

static bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static int variable_at(const sweep *w, const char *dollar, size_t *length) {
  size_t n = 0;
  while (is_word(dollar[1 + n])) n++;
  *length = n + 1;
  for (int k = 0; k < w->n; k++)
    if (strlen(w->variable[k].name) == n && memcmp(w->variable[k].name, dollar + 1, n) == 0) return k;
  return -1;
}

static rt_status substitute(const sweep *w, rt_stage_setting *setting) {
  rt_strbuf text = {0};
  size_t length;
  if (!strchr(setting->text, '$')) return RT_OK;
  for (const char *p = setting->text; *p; p += length) {
    int k = -1;
    length = 1;
    if (*p == '$') k = variable_at(w, p, &length);
    if (*p == '$' && k < 0) {
      rt_strbuf_release(&text);
      return rt_recipe_fail(w->recipe, setting->place, RT_E_UNKNOWN, "%s: %.*s is no variable of the sweep %s",
                            setting->name, (int)length, p, w->name);
    }
    if (k >= 0)
      rt_strbuf_add(&text, "%s", w->value[k]);
    else
      rt_strbuf_put(&text, p, 1);
  }
  setting->text = rt_arena_text(&w->recipe->arena, "%s", text.text ? text.text : "");
  rt_strbuf_release(&text);
  return setting->text ? RT_OK : RT_E_MEMORY;
}

static unsigned used_by(const sweep *w, const char *text) {
  unsigned uses = 0;
  size_t length;
  for (const char *p = text; (p = strchr(p, '$')); p++) {
    int k = variable_at(w, p, &length);
    if (k >= 0) uses |= 1u << k;
  }
  return uses;
}

/* ---- what depends on what ---- */

static int part_called(const sweep *w, const char *name, int before) {
  for (int i = 0; i < before; i++)
    if (strcmp(w->part_name[i], name) == 0) return i;
  return -1;
}

static bool refers(const rt_stage_kind *kind, const char *setting) {
  for (const char *const *r = kind->refers; r && *r; r++)
    if (strcmp(*r, setting) == 0) return true;
  return false;
}

static unsigned used_through(const sweep *w, const rt_stage *stage, const rt_stage_setting *setting, int before) {
  char name[1024];
  unsigned uses = 0;
  const char *text = setting->text;
  while (refers(stage->kind, setting->name) && rt_next_element(&text, name, sizeof name)) {
    int i = part_called(w, name, before);
    if (i >= 0) uses |= w->uses[i];
  }
  return uses;
}

/* Stages that can be seeded are, unless they say how. */
static rt_status seed(const sweep *w, rt_stage *stage) {
  rt_setting s;
  int k = -1;
  for (int i = 0; i < w->n; i++)
    if (strcmp(w->variable[i].name, "seed") == 0) k = i;
  if (k < 0 || rt_stage_text(stage, "seed")) return RT_OK;
  for (int i = 0; stage->kind->setting(i, &s) == RT_OK; i++)
    if (strcmp(s.name, "seed") == 0) stage->setting[stage->n++] = (rt_stage_setting){s.name, "$seed", stage->place};
  return RT_OK;
}

static rt_status read_part(sweep *w, int i, const rt_defaults *defaults, rt_stage *stage) {
  rt_status s = rt_recipe_read_stage(w->recipe, w->part[i], defaults, stage);
  return s == RT_OK ? seed(w, stage) : s;
}

static rt_status look_at_part(sweep *w, int i, const rt_defaults *defaults) {
  rt_stage stage = {0};
  rt_status s = read_part(w, i, defaults, &stage);
  if (s != RT_OK) return s;
  if (part_called(w, stage.name, i) >= 0)
    return rt_recipe_fail(w->recipe, stage.place, RT_E_ARGUMENT, "two stages of the sweep are called %s", stage.name);
  w->part_name[i] = stage.name;
  for (int k = 0; k < stage.n; k++)
    w->uses[i] |= used_by(w, stage.setting[k].text) | used_through(w, &stage, &stage.setting[k], i);
  return RT_OK;
}

/* ---- one combination ---- */

static const char *point_name(const sweep *w, int i) {
  rt_strbuf name = {0};
  rt_strbuf_add(&name, "%s.%s", w->name, w->part_name[i]);
  for (int k = 0; k < w->n; k++) {
    if (!(w->uses[i] & 1u << k)) continue;
    rt_strbuf_add(&name, ".%s=", w->variable[k].name);
    for (const char *c = w->value[k]; *c; c++) rt_strbuf_add(&name, "%c", is_word(*c) || strchr(",.-+", *c) ? *c : '_');
  }
  const char *kept = rt_arena_text(&w->recipe->arena, "%s", name.text ? name.text : "");
  rt_strbuf_release(&name);
  return kept;
}

/* Names of stages in the sweep are those of this combination. */
static rt_status point_references(const sweep *w, const rt_stage *stage, rt_stage_setting *setting, int before) {
  char name[1024];
  rt_strbuf text = {0};
  const char *p = setting->text;
  if (!refers(stage->kind, setting->name)) return RT_OK;
  while (rt_next_element(&p, name, sizeof name)) {
    int i = part_called(w, name, before);
    const char *full = i >= 0 ? point_name(w, i) : name;
    rt_strbuf_add(&text, "%s%s", text.length ? ";" : "", full ? full : "");
  }
  setting->text = rt_arena_text(&w->recipe->arena, "%s", text.text ? text.text : "");
  rt_strbuf_release(&text);
  return setting->text ? RT_OK : RT_E_MEMORY;
}

static rt_status make_point(sweep *w, int i, const rt_defaults *defaults) {
  rt_stage stage = {0};
  rt_status s = read_part(w, i, defaults, &stage);
  stage.name = s == RT_OK ? point_name(w, i) : NULL;
  if (!stage.name) return s == RT_OK ? RT_E_MEMORY : s;
  if (rt_recipe_find(w->recipe, stage.name) >= 0) return RT_OK;
  stage.sweep = w->name;
  stage.part = w->part_name[i];
  for (int k = 0; k < stage.n && s == RT_OK; k++) {
    s = substitute(w, &stage.setting[k]);
    if (s == RT_OK) s = point_references(w, &stage, &stage.setting[k], i);
  }
  for (int k = 0; k < w->n; k++)
    if (w->uses[i] & 1u << k) stage.variable[stage.n_variables++] = (rt_pair){w->variable[k].name, w->value[k]};
  return s == RT_OK ? rt_recipe_finish_stage(w->recipe, &stage) : s;
}

static rt_status combine(sweep *w, int k, const rt_defaults *defaults) {
  rt_status s = RT_OK;
  if (k == w->n) {
    for (int i = 0; i < w->parts && s == RT_OK; i++) s = make_point(w, i, defaults);
    return s;
  }
  for (const rt_yaml *v = w->variable[k].values->child; v && s == RT_OK; v = v->next) {
    w->value[k] = v->text;
    s = combine(w, k + 1, defaults);
  }
  return s;
}

/* ---- the mapping ---- */

static rt_status add_variable(sweep *w, const char *name, const rt_yaml *y) {
  if (y->kind != RT_YAML_LIST || !y->child)
    return rt_recipe_fail(w->recipe, y->place, RT_E_FORMAT, "%s: expected a list of values", name);
  for (const rt_yaml *v = y->child; v; v = v->next)
    if (v->kind != RT_YAML_TEXT)
      return rt_recipe_fail(w->recipe, v->place, RT_E_FORMAT, "%s: expected plain values; quote one with commas", name);
  if (w->n == RT_MOST_VARIABLES)
    return rt_recipe_fail(w->recipe, y->place, RT_E_RANGE, "a sweep over more than %d variables", RT_MOST_VARIABLES);
  w->variable[w->n++] = (variable){name, y};
  return RT_OK;
}

static rt_status read_sweep(sweep *w, const rt_yaml *body) {
  static const char *const keys[] = {"as", "over", "seeds", "baseline", "stages"};
  rt_status s = RT_OK;
  const rt_yaml *stages = NULL;
  for (const rt_yaml *y = body->child; y && s == RT_OK; y = y->next) {
    rt_nearest nearest = {.word = y->key};
    char hint[64];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) rt_nearest_offer(&nearest, keys[i]);
    if (strcmp(y->key, "as") == 0 && y->kind == RT_YAML_TEXT)
      w->name = y->text;
    else if (strcmp(y->key, "baseline") == 0 && y->kind == RT_YAML_TEXT)
      w->baseline = y;
    else if (strcmp(y->key, "seeds") == 0)
      s = add_variable(w, "seed", y);
    else if (strcmp(y->key, "over") == 0 && y->kind == RT_YAML_MAP)
      for (const rt_yaml *v = y->child; v && s == RT_OK; v = v->next) s = add_variable(w, v->key, v);
    else if (strcmp(y->key, "stages") == 0 && y->kind == RT_YAML_LIST)
      stages = y->child;
    else
      s = rt_recipe_fail(
          w->recipe, y->key_place, RT_E_UNKNOWN,
          "sweep: %s: expected as, over (a mapping of lists), seeds (a list), baseline (a stage), stages "
          "(a list)%s",
          y->key, rt_nearest_hint(&nearest, hint, sizeof hint));
  }
  for (; stages && s == RT_OK; stages = stages->next) {
    if (w->parts == MOST_PARTS)
      return rt_recipe_fail(w->recipe, stages->place, RT_E_RANGE, "a sweep of more than %d stages", MOST_PARTS);
    w->part[w->parts++] = stages;
  }
  return s;
}

/* The stage that puts the points together. */
static rt_status add_summary(const sweep *w, const rt_yaml *body, int first) {
  rt_stage stage = {.name = w->name, .place = body->place};
  for (int i = 0; rt_stage_kind_at(i); i++)
    if (strcmp(rt_stage_kind_at(i)->name, "sweep") == 0) stage.kind = rt_stage_kind_at(i);
  stage.n_needs = w->recipe->n - first;
  stage.needs = rt_arena_alloc(&w->recipe->arena, (size_t)(stage.n_needs + 1) * sizeof *stage.needs);
  stage.setting = rt_arena_alloc(&w->recipe->arena, sizeof *stage.setting);
  if (!stage.needs || !stage.setting) return RT_E_MEMORY;
  if (w->baseline) stage.setting[stage.n++] = (rt_stage_setting){"baseline", w->baseline->text, w->baseline->place};
  for (int i = 0; i < stage.n_needs; i++) stage.needs[i] = first + i;
  return rt_recipe_finish_stage(w->recipe, &stage);
}

rt_status rt_recipe_expand(rt_recipe *recipe, const rt_yaml *body, const rt_defaults *defaults) {
  sweep w = {.recipe = recipe, .name = "sweep"};
  int first = recipe->n;
  if (body->kind != RT_YAML_MAP)
    return rt_recipe_fail(recipe, body->place, RT_E_FORMAT, "sweep: expected a mapping with over, seeds and stages");
  rt_status s = read_sweep(&w, body);
  if (s == RT_OK && (!w.parts || !w.n))
    s = rt_recipe_fail(recipe, body->place, RT_E_FORMAT, "sweep %s: expected stages, and over or seeds", w.name);
  for (int i = 0; i < w.parts && s == RT_OK; i++) s = look_at_part(&w, i, defaults);
  if (s == RT_OK && w.baseline && part_called(&w, w.baseline->text, w.parts) < 0)
    s = rt_recipe_fail(recipe, w.baseline->place, RT_E_UNKNOWN, "sweep %s: its baseline %s is none of its stages",
                       w.name, w.baseline->text);
  if (s == RT_OK) s = combine(&w, 0, defaults);
  return s == RT_OK ? add_summary(&w, body, first) : s;
}
