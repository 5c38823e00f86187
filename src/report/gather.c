#include "base/alloc.h"
#include "base/file.h"
#include "report/report.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 2048, MOST_POINTS = 240, MOST_PICTURE = 1 << 20, MOST_RECORDS = 4096 };

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static rt_status read_json(const char *path, cJSON **out) {
  rt_map map;
  rt_status s = rt_map_open(path, &map);
  *out = NULL;
  if (s != RT_OK) return s;
  *out = cJSON_ParseWithLength((const char *)map.data, map.size);
  rt_map_close(&map);
  return *out ? RT_OK : rt_fail(RT_E_FORMAT, "%s: isn't JSON", path);
}

static const char *text_of(const cJSON *o, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
  return cJSON_IsString(item) ? item->valuestring : "";
}

static double number_of(const cJSON *o, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
  return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* ---- metrics.jsonl ---- */

static bool is_event(const cJSON *line, const char *event) { return strcmp(text_of(line, "event"), event) == 0; }

/* Every k-th of the steps, so that there are few enough to draw. */
static void thin(cJSON *steps) {
  int n = cJSON_GetArraySize(steps), k = (n + MOST_POINTS - 1) / MOST_POINTS;
  for (int i = n - 1; i >= 0 && k > 1; i--)
    if (i % k && i != n - 1) cJSON_DeleteItemFromArray(steps, i);
}

/* What steps say of an epoch, as its mean: the norm of the gradients. Both lists are in order. */
static void average(cJSON *epochs, const cJSON *steps) {
  const cJSON *step = steps->child;
  cJSON *epoch;
  cJSON_ArrayForEach(epoch, epochs) {
    double sum = 0, at = number_of(epoch, "epoch");
    int n = 0;
    for (; step && number_of(step, "epoch") <= at; step = step->next) {
      if (number_of(step, "epoch") < at || !cJSON_HasObjectItem(step, "grad_norm")) continue;
      sum += number_of(step, "grad_norm");
      n++;
    }
    if (n) cJSON_AddNumberToObject(epoch, "grad_norm", sum / n);
  }
}

/* {"begin": line, "steps": [line…], "epochs": [line…], "end": line} */
static rt_status read_metrics(const char *path, cJSON **out) {
  rt_map map;
  *out = NULL;
  rt_status s = rt_map_open(path, &map);
  if (s != RT_OK) return s;
  cJSON *o = cJSON_CreateObject(), *steps = cJSON_AddArrayToObject(o, "steps"),
        *epochs = cJSON_AddArrayToObject(o, "epochs");
  const char *p = (const char *)map.data, *end = p + map.size;
  while (p < end) {
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    size_t length = (size_t)((newline ? newline : end) - p);
    cJSON *line = cJSON_ParseWithLength(p, length);
    p += length + 1;
    if (is_event(line, "step") && cJSON_GetArraySize(steps) < 1 << 20)
      cJSON_AddItemToArray(steps, line);
    else if (is_event(line, "epoch"))
      cJSON_AddItemToArray(epochs, line);
    else if (is_event(line, "begin") || is_event(line, "end")) {
      cJSON_DeleteItemFromObjectCaseSensitive(o, text_of(line, "event"));
      cJSON_AddItemToObject(o, text_of(line, "event"), line);
    } else
      cJSON_Delete(line);
  }
  rt_map_close(&map);
  average(epochs, steps);
  thin(steps);
  *out = o;
  return RT_OK;
}

/* ---- pictures ---- */

static void add_base64(rt_strbuf *text, const unsigned char *b, size_t n) {
  static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < n; i += 3) {
    unsigned v = (unsigned)b[i] << 16 | (i + 1 < n ? (unsigned)b[i + 1] << 8 : 0) | (i + 2 < n ? b[i + 2] : 0);
    char four[4] = {digit[v >> 18], digit[v >> 12 & 63], i + 1 < n ? digit[v >> 6 & 63] : '=',
                    i + 2 < n ? digit[v & 63] : '='};
    rt_strbuf_put(text, four, 4);
  }
}

static bool good_picture_name(const char *name) {
  return strncmp(name, "dark_knowledge/", 15) == 0 && !strstr(name, "..") &&
         strspn(name + 15, "0123456789.png") == strlen(name + 15);
}

/* The picture's file becomes what a page can hold. */
static rt_status embed_picture(const char *directory, cJSON *image) {
  char path[PATH_SIZE];
  const char *name = text_of(image, "image");
  rt_map map;
  rt_strbuf text = {0};
  snprintf(path, sizeof path, "%s/%s", directory, name);
  if (!good_picture_name(name))
    return rt_fail(RT_E_FORMAT, "%s/dark_knowledge.json: %s is no picture of it", directory, name);
  rt_status s = rt_map_open(path, &map);
  if (s != RT_OK) return s;
  if (map.size > MOST_PICTURE) s = rt_fail(RT_E_FORMAT, "%s: larger than a picture of a data set", path);
  rt_strbuf_add(&text, "data:image/png;base64,");
  if (s == RT_OK) add_base64(&text, map.data, map.size);
  rt_map_close(&map);
  if (s == RT_OK && text.failed) s = RT_E_MEMORY;
  if (s == RT_OK) cJSON_ReplaceItemInObjectCaseSensitive(image, "image", cJSON_CreateString(text.text));
  rt_strbuf_release(&text);
  return s;
}

static rt_status read_dark_knowledge(const char *directory, const char *path, cJSON **out) {
  rt_status s = read_json(path, out);
  cJSON *image;
  if (s != RT_OK) return s;
  cJSON_ArrayForEach(image, cJSON_GetObjectItemCaseSensitive(*out, "images")) if (s == RT_OK) s =
      embed_picture(directory, image);
  if (s != RT_OK) cJSON_Delete(*out);
  return s;
}

/* ---- a training run's directory ---- */

static rt_status add_run(cJSON *record, const char *directory, bool small) {
  char path[PATH_SIZE];
  cJSON *part;
  rt_status s = RT_OK;
  snprintf(path, sizeof path, "%s/metrics.jsonl", directory);
  if (exists(path) && (s = read_metrics(path, &part)) == RT_OK) {
    if (small) cJSON_DeleteItemFromObjectCaseSensitive(part, "steps");
    cJSON_AddItemToObject(record, "metrics", part);
  }
  snprintf(path, sizeof path, "%s/dark_knowledge.json", directory);
  if (s == RT_OK && !small && exists(path) && (s = read_dark_knowledge(directory, path, &part)) == RT_OK)
    cJSON_AddItemToObject(record, "dark_knowledge", part);
  return s;
}

/* A run that no recipe made: its record is what its last line says. */
static rt_status add_plain_run(cJSON *stages, const char *directory) {
  cJSON *record = cJSON_CreateObject();
  const char *slash = strrchr(directory, '/');
  cJSON_AddStringToObject(record, "stage", slash && slash[1] ? slash + 1 : directory);
  cJSON_AddStringToObject(record, "kind", "train");
  cJSON_AddItemToArray(stages, record);
  rt_status s = add_run(record, directory, false);
  const cJSON *metrics = cJSON_GetObjectItemCaseSensitive(record, "metrics");
  const cJSON *begin = cJSON_GetObjectItemCaseSensitive(metrics, "begin");
  const cJSON *end = cJSON_GetObjectItemCaseSensitive(metrics, "end");
  const cJSON *test = cJSON_GetObjectItemCaseSensitive(end, "test");
  const cJSON *parameters = cJSON_GetObjectItemCaseSensitive(begin, "parameters");
  cJSON *result = cJSON_AddObjectToObject(record, "result");
  cJSON_AddStringToObject(result, "model", text_of(begin, "model"));
  if (parameters) cJSON_AddItemToObject(result, "parameters", cJSON_Duplicate(parameters, true));
  if (test) cJSON_AddItemToObject(result, "test", cJSON_Duplicate(test, true));
  return s;
}

/* ---- a recipe's directory ---- */

static rt_status add_stage(cJSON *stages, const char *directory, const char *name) {
  char path[PATH_SIZE];
  cJSON *record;
  snprintf(path, sizeof path, "%s/records/%s.json", directory, name);
  if (strchr(name, '/')) return rt_fail(RT_E_FORMAT, "%s/run.json: %s is no name of a stage", directory, name);
  if (!exists(path)) return RT_OK; /* not made yet */
  rt_status s = read_json(path, &record);
  if (s != RT_OK) return s;
  cJSON_AddItemToArray(stages, record);
  snprintf(path, sizeof path, "%s/%s", directory, name);
  return add_run(record, path, cJSON_HasObjectItem(record, "sweep"));
}

static rt_status add_text(cJSON *to, const char *key, const char *path) {
  rt_map map;
  rt_strbuf text = {0};
  if (!exists(path)) return RT_OK;
  rt_status s = rt_map_open(path, &map);
  if (s != RT_OK) return s;
  rt_strbuf_add(&text, "%.*s", (int)map.size, map.data ? (const char *)map.data : "");
  rt_map_close(&map);
  if (!text.failed) cJSON_AddStringToObject(to, key, text.text);
  rt_strbuf_release(&text);
  return RT_OK;
}

static rt_status add_recipe(cJSON *o, cJSON *stages, const char *directory, const char *run_path) {
  char path[PATH_SIZE];
  cJSON *run, *name;
  rt_status s = read_json(run_path, &run);
  if (s != RT_OK) return s;
  cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(run, "stages")) if (s == RT_OK && cJSON_IsString(name)) s =
      add_stage(stages, directory, name->valuestring);
  cJSON_DeleteItemFromObjectCaseSensitive(o, "run");
  cJSON_AddItemToObject(o, "run", run);
  snprintf(path, sizeof path, "%s/recipe.yaml", directory);
  cJSON_DeleteItemFromObjectCaseSensitive(o, "recipe");
  return s == RT_OK ? add_text(o, "recipe", path) : s;
}

rt_status rt_report_gather(const char *const *directories, int n, const char *baseline, cJSON **out) {
  char path[PATH_SIZE];
  cJSON *o = *out = cJSON_CreateObject(), *stages = cJSON_AddArrayToObject(o, "stages");
  rt_status s = stages ? RT_OK : rt_fail(RT_E_MEMORY, "report: out of memory");
  if (stages) cJSON_AddStringToObject(o, "baseline", baseline ? baseline : "");
  for (int i = 0; i < n && s == RT_OK; i++) {
    snprintf(path, sizeof path, "%s/run.json", directories[i]);
    if (exists(path)) {
      s = add_recipe(o, stages, directories[i], path);
      continue;
    }
    snprintf(path, sizeof path, "%s/metrics.jsonl", directories[i]);
    s = exists(path)
            ? add_plain_run(stages, directories[i])
            : rt_fail(
                  RT_E_ARGUMENT,
                  "%s: expected the directory of retort run (with run.json) or of a training run (with metrics.jsonl)",
                  directories[i]);
  }
  if (s == RT_OK) return s;
  cJSON_Delete(o);
  *out = NULL;
  return s;
}
