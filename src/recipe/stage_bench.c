/* bench: latency and throughput of models, alternately. */
#include "base/strbuf.h"
#include "recipe/recipe.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MODELS = 32, MOST_BATCHES = 16 };

static const rt_setting table[] = {
    {.name = "models",
     .fallback = "all",
     .help = "stages or files; all: every model made before",
     .argument = "NAME",
     .one = "model",
     .join = ";"},
    {.name = "batch", .fallback = "1,64", .help = "images at a time", .argument = "N,N"},
    {.name = "seconds", .fallback = "1", .help = "of measuring, for each model and batch", .argument = "N"},
};

static rt_status setting(int i, rt_setting *out) { return rt_setting_at(table, sizeof table / sizeof *table, i, out); }

/* Numbers with commas or spaces between; how many, 0 where it isn't that. */
static int parse_batches(const char *text, int64_t batch[MOST_BATCHES]) {
  int n = 0;
  for (const char *p = text; *p;) {
    char *end;
    long long v = strtoll(p, &end, 10);
    if (end == p || v < 1 || v > 65536 || n == MOST_BATCHES) return 0;
    batch[n++] = v;
    p = end + strspn(end, ", ");
    if (p == end && *p) return 0;
  }
  return n;
}

static rt_status check(const rt_pair *settings, int n) {
  int64_t batch[MOST_BATCHES];
  for (int i = 0; i < n; i++) {
    const char *text = settings[i].text;
    char *end = NULL;
    if (strcmp(settings[i].key, "batch") == 0 && !parse_batches(text, batch))
      return rt_fail(RT_E_RANGE, "batch=%s: expected 1 to %d numbers from 1 to 65536, as in 1,64", text, MOST_BATCHES);
    if (strcmp(settings[i].key, "seconds") == 0) {
      double v = strtod(text, &end);
      if (end == text || *end || !(v >= 0 && v <= 3600))
        return rt_fail(RT_E_RANGE, "seconds=%s: expected 0 to 3600", text);
    }
  }
  return RT_OK;
}

typedef struct model {
  char name[1024], path[RT_RECIPE_PATH];
  rt_network *network;
} model;

typedef struct bench {
  model model[MOST_MODELS];
  int n;
} bench;

static rt_status add(bench *b, const char *name, const char *path) {
  if (b->n == MOST_MODELS) return rt_fail(RT_E_RANGE, "bench: more than %d models", MOST_MODELS);
  model *m = &b->model[b->n++];
  snprintf(m->name, sizeof m->name, "%s", name);
  snprintf(m->path, sizeof m->path, "%s", path);
  return rt_network_open(path, NULL, &m->network);
}

/* Stages by their names, files by theirs. */
static rt_status open_models(rt_stage_run *r, bench *b) {
  const rt_recipe *recipe = r->all->recipe;
  const char *text = rt_stage_text(r->stage, "models");
  char name[1024], path[RT_RECIPE_PATH];
  rt_status s = RT_OK;
  if (!text || strcmp(text, "all") == 0) {
    for (int i = 0; i < r->all->at && s == RT_OK; i++)
      if (recipe->stage[i].kind->extension && !recipe->stage[i].sweep)
        s = add(b, recipe->stage[i].name, rt_stage_model(r->all, &recipe->stage[i], path));
    return s;
  }
  while (s == RT_OK && rt_next_element(&text, name, sizeof name)) {
    int i = rt_recipe_find(recipe, name);
    s = add(b, name, i >= 0 ? rt_stage_model(r->all, &recipe->stage[i], path) : name);
  }
  return s;
}

static void add_run(cJSON *runs, int64_t batch, const rt_bench *b) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddNumberToObject(o, "batch", (double)batch);
  cJSON_AddNumberToObject(o, "p50_ms", b->p50 * 1e3);
  cJSON_AddNumberToObject(o, "p90_ms", b->p90 * 1e3);
  cJSON_AddNumberToObject(o, "p99_ms", b->p99 * 1e3);
  cJSON_AddNumberToObject(o, "best_ms", b->best * 1e3);
  cJSON_AddNumberToObject(o, "images_per_second", b->p50 > 0 ? (double)batch / b->p50 : 0);
  if (!isnan(b->joules)) cJSON_AddNumberToObject(o, "joules_per_image", b->joules / (double)batch);
  cJSON_AddItemToArray(runs, o);
}

static rt_status measure(rt_stage_run *r, bench *b) {
  int64_t batch[MOST_BATCHES];
  rt_network *network[MOST_MODELS];
  rt_bench result[MOST_MODELS];
  cJSON *runs[MOST_MODELS], *models = cJSON_AddArrayToObject(r->result, "models");
  const char *text = rt_stage_run_text(r, "batch"), *seconds = rt_stage_run_text(r, "seconds");
  int batches = parse_batches(*text ? text : "1,64", batch);
  cJSON_AddNumberToObject(r->result, "threads", rt_threads());
  for (int i = 0; i < b->n; i++) {
    cJSON *o = cJSON_CreateObject();
    rt_memory m = rt_plan_memory(rt_network_plan(b->model[i].network));
    network[i] = b->model[i].network;
    cJSON_AddStringToObject(o, "name", b->model[i].name);
    cJSON_AddNumberToObject(o, "store_bytes", (double)m.store);
    runs[i] = cJSON_AddArrayToObject(o, "runs");
    cJSON_AddItemToArray(models, o);
  }
  rt_status s = RT_OK;
  for (int k = 0; k < batches && s == RT_OK; k++) {
    s = rt_bench_run(network, b->n, batch[k], *seconds ? strtod(seconds, NULL) : 1, result);
    for (int i = 0; i < b->n && s == RT_OK; i++) add_run(runs[i], batch[k], &result[i]);
  }
  return s;
}

static rt_status run(rt_stage_run *r, bool *going) {
  bench b = {.n = 0};
  *going = true;
  rt_status s = open_models(r, &b);
  if (s == RT_OK && !b.n) s = rt_fail(RT_E_ARGUMENT, "bench: there is no model before this stage");
  if (s == RT_OK) s = measure(r, &b);
  for (int i = 0; i < b.n; i++) rt_network_free(b.model[i].network);
  return s;
}

static const char *const refers[] = {"models", NULL};

const rt_stage_kind rt_stage_kind_bench = {.name = "bench",
                                           .summary = "measure latency and throughput of models",
                                           .setting = setting,
                                           .refers = refers,
                                           .input = "models",
                                           .check = check,
                                           .run = run};
