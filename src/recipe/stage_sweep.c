/* sweep: the points of a sweep put together: for every stage in it and every value of its variables, means over the seeds, and
 * of the differences from the baseline's accuracy with the same seed. */
#include "recipe/recipe.h"

#include <cjson/cJSON.h>
#include <string.h>

enum { MOST_SEEDS = 256 };

static rt_status setting(int i, rt_setting *out) {
  (void)i;
  (void)out;
  return RT_E_RANGE; /* recipe/expand.c reads them */
}

static bool same_point(const rt_stage *a, const rt_stage *b) {
  if (strcmp(a->part, b->part) != 0 || a->n_variables != b->n_variables) return false;
  for (int i = 0; i < a->n_variables; i++)
    if (strcmp(a->variable[i].key, "seed") != 0 && strcmp(a->variable[i].text, b->variable[i].text) != 0) return false;
  return true;
}

static double number(const cJSON *o, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
  return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

typedef struct point {
  double top1[MOST_SEEDS], loss[MOST_SEEDS], ece[MOST_SEEDS], gain[MOST_SEEDS];
  const char *seed[MOST_SEEDS];
  int n, gains;     /* of those seeds that the baseline has too */
  int wins, losses; /* of all of them: images right here and wrong there, and the reverse */
  cJSON *first;     /* record of its first seed */
} point;

static const char *value_of(const rt_stage *stage, const char *variable) {
  for (int i = 0; i < stage->n_variables; i++)
    if (strcmp(stage->variable[i].key, variable) == 0) return stage->variable[i].text;
  return NULL;
}

/* The baseline's stage of these values, as far as it depends on them; NULL: there is none, or this is one. */
static const rt_stage *find_baseline(const rt_stage_run *r, const rt_stage *stage) {
  const char *name = rt_stage_run_text(r, "baseline");
  for (int i = 0; i < r->stage->n_needs; i++) {
    const rt_stage *other = &r->all->recipe->stage[r->stage->needs[i]];
    bool same = strcmp(other->part, name) == 0 && strcmp(stage->part, name) != 0;
    for (int k = 0; k < other->n_variables && same; k++) {
      const char *value = value_of(stage, other->variable[k].key);
      same = value && strcmp(value, other->variable[k].text) == 0;
    }
    if (same) return other;
  }
  return NULL;
}

static const cJSON *test_of(const cJSON *record) {
  return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(record, "result"), "test");
}

static int digit(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

/* Of bits in hexadecimal: how many are set in a and not in b. */
static int only(const char *a, const char *b) {
  int n = 0;
  for (; a && b && *a && *b; a++, b++) n += __builtin_popcount((unsigned)(digit(*a) & ~digit(*b) & 15));
  return n;
}

static const char *right_of(const cJSON *test) {
  return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(test, "right"));
}

static rt_status add_gain(const rt_stage_run *r, const rt_stage *stage, const cJSON *own, point *p) {
  const rt_stage *baseline = find_baseline(r, stage);
  cJSON *record = NULL;
  rt_status s = baseline ? rt_record_read(r->all, rt_stage_file(baseline), &record) : RT_OK;
  const cJSON *test = test_of(record);
  if (test) {
    p->gain[p->gains++] = number(own, "top1") - number(test, "top1");
    p->wins += only(right_of(own), right_of(test));
    p->losses += only(right_of(test), right_of(own));
  }
  cJSON_Delete(record);
  return s;
}

static rt_status add_record(const rt_stage_run *r, const rt_stage *stage, point *p) {
  cJSON *record;
  rt_status s = rt_record_read(r->all, rt_stage_file(stage), &record);
  const cJSON *test = test_of(record);
  if (s == RT_OK && (!test || p->n == MOST_SEEDS))
    s = rt_fail(RT_E_FORMAT, "%s: its record has no accuracy", stage->name);
  if (s == RT_OK) {
    p->top1[p->n] = number(test, "top1");
    p->loss[p->n] = number(test, "loss");
    p->ece[p->n] = number(test, "ece");
    const char *seed = value_of(stage, "seed");
    p->seed[p->n++] = seed ? seed : "";
  }
  if (s == RT_OK) s = add_gain(r, stage, test, p);
  if (s == RT_OK && !p->first)
    p->first = record;
  else
    cJSON_Delete(record);
  return s;
}

static void write_point(const rt_stage *stage, const point *p, cJSON *points) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "stage", stage->part);
  cJSON *variables = cJSON_AddObjectToObject(o, "variables");
  for (int i = 0; i < stage->n_variables; i++)
    if (strcmp(stage->variable[i].key, "seed") != 0)
      cJSON_AddStringToObject(variables, stage->variable[i].key, stage->variable[i].text);
  cJSON_AddItemToObject(o, "top1", rt_statistics(p->top1, p->n));
  cJSON_AddItemToObject(o, "loss", rt_statistics(p->loss, p->n));
  cJSON_AddItemToObject(o, "ece", rt_statistics(p->ece, p->n));
  if (p->gains) {
    cJSON_AddItemToObject(o, "gain", rt_statistics(p->gain, p->gains));
    cJSON_AddNumberToObject(o, "wins", p->wins);
    cJSON_AddNumberToObject(o, "losses", p->losses);
  }
  cJSON_AddItemToObject(o, "seeds", cJSON_CreateStringArray(p->seed, p->n));
  const cJSON *result = cJSON_GetObjectItemCaseSensitive(p->first, "result");
  cJSON_AddNumberToObject(o, "parameters", number(result, "parameters"));
  const cJSON *entropy = cJSON_GetObjectItemCaseSensitive(test_of(p->first), "entropy");
  if (entropy) cJSON_AddItemToObject(o, "entropy", cJSON_Duplicate(entropy, true));
  cJSON_AddItemToArray(points, o);
}

/* Points in the order of their first stage. */
static rt_status run(rt_stage_run *r, bool *going) {
  const rt_recipe *recipe = r->all->recipe;
  cJSON *points = cJSON_AddArrayToObject(r->result, "points");
  rt_status s = RT_OK;
  *going = true;
  for (int i = 0; i < r->stage->n_needs && s == RT_OK; i++) {
    const rt_stage *stage = &recipe->stage[r->stage->needs[i]];
    bool first = stage->kind->extension != NULL;
    for (int k = 0; k < i && first; k++) first = !same_point(stage, &recipe->stage[r->stage->needs[k]]);
    if (!first) continue;
    point p = {.n = 0};
    for (int k = i; k < r->stage->n_needs && s == RT_OK; k++) {
      const rt_stage *other = &recipe->stage[r->stage->needs[k]];
      if (same_point(stage, other)) s = add_record(r, other, &p);
    }
    if (s == RT_OK) write_point(stage, &p, points);
    cJSON_Delete(p.first);
  }
  return s;
}

const rt_stage_kind rt_stage_kind_sweep = {
    .name = "sweep", .summary = "stages over values and seeds", .setting = setting, .run = run};
