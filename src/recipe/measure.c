/* What is measured of every model: how right it is, image by image, and what it takes. */
#include "base/alloc.h"
#include "recipe/recipe.h"
#include "train/train.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { BATCH = 100 };

/* At which the entropy of the outputs is recorded. */
static const double temperatures[] = {0.5, 1, 2, 3, 4, 5, 8, 10, 20};
enum { TEMPERATURES = sizeof temperatures / sizeof *temperatures };

typedef struct measurement {
  rt_network *network;
  const rt_data *data;
  rt_network_info info;
  rt_metrics *metrics;
  double entropy[TEMPERATURES]; /* sum over images */
  rt_strbuf right;              /* a bit an image, in hexadecimal: 1 where it was right, the first the highest */
  unsigned bits;
  int64_t images;
} measurement;

/* Natural logarithm; of softmax(z/T). */
static double entropy(const float *z, int64_t n, double t) {
  double most = -INFINITY, sum = 0, weighted = 0;
  for (int64_t c = 0; c < n; c++) most = z[c] > most ? z[c] : most;
  for (int64_t c = 0; c < n; c++) {
    double x = (z[c] - most) / t, e = exp(x);
    sum += e;
    weighted += e * x;
  }
  return log(fmax(sum, 1)) - weighted / fmax(sum, 1); /* the largest adds 1 */
}

static void note_image(measurement *m, const float *logits, int64_t label) {
  int64_t best = 0, n = m->info.classes;
  for (int64_t c = 1; c < n; c++)
    if (logits[c] > logits[best]) best = c;
  m->bits = m->bits << 1 | (best == label);
  if (++m->images % 4 == 0) {
    rt_strbuf_add(&m->right, "%x", m->bits & 15);
    m->bits = 0;
  }
  for (int k = 0; k < TEMPERATURES; k++) m->entropy[k] += entropy(logits, n, temperatures[k]);
}

static rt_status run_batch(measurement *m, const rt_batch *b) {
  const float *logits;
  rt_status s = rt_network_run(m->network, b->x, b->n, &logits);
  if (s == RT_OK) s = rt_metrics_add(m->metrics, logits, b->label, b->n);
  for (int64_t i = 0; i < b->n && s == RT_OK; i++) note_image(m, logits + i * m->info.classes, b->label[i]);
  return s;
}

static rt_status run_over(measurement *m) {
  rt_loader *loader = NULL;
  rt_batch b = {0};
  rt_status s = rt_network_batches(m->network, m->data, RT_TEST, BATCH, &loader);
  while (s == RT_OK && !b.last) {
    s = rt_loader_next(loader, &b);
    if (s == RT_OK) s = run_batch(m, &b);
  }
  rt_loader_free(loader);
  return s;
}

/* ---- the record ---- */

static rt_status write_result(const measurement *m, const char *path, cJSON *to) {
  char *text;
  char name[16];
  struct stat st;
  rt_status s = rt_metrics_json(m->metrics, m->info.class_name, true, &text);
  if (s != RT_OK) return s;
  cJSON *accuracy = cJSON_Parse(text);
  rt_text_free(text);
  if (!accuracy) return rt_fail(RT_E_MEMORY, "%s: out of memory", path);
  cJSON *by_temperature = cJSON_AddObjectToObject(accuracy, "entropy");
  for (int k = 0; k < TEMPERATURES && m->images; k++) {
    snprintf(name, sizeof name, "%g", temperatures[k]);
    cJSON_AddNumberToObject(by_temperature, name, m->entropy[k] / (double)m->images);
  }
  cJSON_AddStringToObject(accuracy, "right", m->right.text ? m->right.text : "");
  cJSON_AddItemToObject(to, "test", accuracy);
  cJSON_AddStringToObject(to, "model", m->info.model);
  cJSON_AddStringToObject(to, "options", m->info.options);
  if (stat(path, &st) == 0) cJSON_AddNumberToObject(to, "file_bytes", (double)st.st_size);
  rt_sizes sizes;
  const int64_t image[] = {m->info.channels, m->info.height, m->info.width};
  s = m->network->input ? rt_network_sizes(m->network, &sizes)
                        : rt_model_sizes(m->info.model, m->info.options, image, &sizes);
  cJSON_AddNumberToObject(to, "parameters", sizes.parameters);
  cJSON_AddNumberToObject(to, "macs", sizes.macs);
  return s;
}

rt_status rt_recipe_open_data(rt_stage_run *r) {
  rt_recipe_run *run = r->all;
  const char *name = rt_stage_run_text(r, "data"), *options = rt_stage_run_text(r, "data_options");
  rt_strbuf key = {0};
  rt_data *data = NULL;
  if (!*name) return RT_OK;
  rt_strbuf_add(&key, "%s %s", name, options);
  rt_status s = key.failed ? RT_E_MEMORY : RT_OK;
  bool open = s == RT_OK && run->data && strcmp(run->data_text, key.text) == 0;
  if (s == RT_OK && !open)
    s = rt_data_open(name, options, &data); /* before the last one is freed: they may share images */
  if (s != RT_OK || open) {
    rt_strbuf_release(&key);
    return s;
  }
  rt_data_free(run->data);
  rt_free(run->data_text);
  run->data = data;
  run->data_text = key.text;
  return RT_OK;
}

rt_status rt_measure_model(rt_stage_run *r, const char *path, cJSON *to) {
  rt_recipe_run *run = r->all;
  measurement m = {0};
  if (!*rt_stage_run_text(r, "data"))
    return rt_fail(RT_E_ARGUMENT, "models are measured on test images, and the recipe names none: data: fashion-mnist");
  rt_status s = rt_network_open(path, NULL, &m.network);
  if (s != RT_OK) return s;
  m.data = run->data;
  rt_network_describe(m.network, &m.info);
  s = rt_metrics_new(m.info.classes, &m.metrics);
  if (s == RT_OK) s = run_over(&m);
  if (m.images % 4) rt_strbuf_add(&m.right, "%x", m.bits << (4 - m.images % 4) & 15);
  if (s == RT_OK) s = m.right.failed ? RT_E_MEMORY : write_result(&m, path, to);
  rt_strbuf_release(&m.right);
  rt_metrics_free(m.metrics);
  rt_network_free(m.network);
  return s;
}

/* ---- several seeds ---- */

/* 0.975 quantile of Student's t. */
static double student(int freedom) {
  static const double table[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                                 2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
                                 2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
  int n = sizeof table / sizeof *table;
  return freedom <= n ? table[freedom - 1] : 1.96 + 2.4 / freedom;
}

cJSON *rt_statistics(const double *value, int n) {
  double mean = 0, squares = 0;
  for (int i = 0; i < n; i++) mean += value[i] / n;
  for (int i = 0; i < n; i++) squares += (value[i] - mean) * (value[i] - mean);
  cJSON *o = cJSON_CreateObject();
  cJSON_AddNumberToObject(o, "n", n);
  cJSON_AddNumberToObject(o, "mean", mean);
  if (n > 1) {
    double sd = sqrt(squares / (n - 1));
    cJSON_AddNumberToObject(o, "sd", sd);
    cJSON_AddNumberToObject(o, "half_interval", student(n - 1) * sd / sqrt(n));
  }
  cJSON_AddItemToObject(o, "values", cJSON_CreateDoubleArray(value, n));
  return o;
}
