/* The picture of dark knowledge: test images with what the teacher and the student say of them, at several temperatures,
 * as data for whoever draws it. dark_knowledge.json, beside an image file for each:
 *   {"data", "split", "classes": [name…], "temperatures": [T…], "images": [{
 *     "image": "dark_knowledge/ID.png", "id", "label", "chosen": "unsure"|"disagree"|"sure",
 *     "teacher": [[p…] for each T], "student": [[p…] for each T]}]}
 * Chosen are, of the first 1,000 test images: those that the teacher gets right and is least sure of, those on which student and
 * teacher disagree most, and those it is surest of. */
#include "base/alloc.h"
#include "base/file.h"
#include "data/data.h"
#include "train/train.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LOOKED_AT = 1000, EACH = 4, KINDS = 3, CHOSEN = EACH * KINDS, BATCH = 100, TEMPERATURES = 5 };

static const double temperatures[TEMPERATURES] = {1, 2, 4, 8, 16};
static const char *const kinds[KINDS] = {"unsure", "disagree", "sure"};

typedef struct choice {
  int64_t image; /* -1: none */
  double score;
} choice;

typedef struct gallery {
  const rt_trainer *t;
  int64_t n, classes;
  float *teacher, *student; /* n×classes */
  choice best[KINDS][EACH];
} gallery;

/* ---- what they say ---- */

/* Logits of the first images, added to `z` with a weight. */
static rt_status add_logits(const gallery *g, rt_network *network, double weight, float *z) {
  rt_loader *loader;
  rt_batch b = {0};
  const float *logits;
  rt_status s = rt_network_batches(network, g->t->data, RT_TEST, BATCH, &loader);
  for (int64_t done = 0; s == RT_OK && done < g->n; done += b.n) {
    s = rt_loader_next(loader, &b);
    if (s == RT_OK) s = rt_network_run(network, b.x, b.n, &logits);
    for (int64_t i = 0; s == RT_OK && i < b.n && done + i < g->n; i++)
      for (int64_t c = 0; c < g->classes; c++)
        z[(done + i) * g->classes + c] += (float)(weight * (double)logits[i * g->classes + c]);
  }
  rt_loader_free(loader);
  return s;
}

static rt_status ask_teachers(const gallery *g) {
  const rt_trainer *t = g->t;
  rt_network_options o = rt_teacher_options(t);
  rt_status s = RT_OK;
  for (int k = 0; k < t->objective.teachers && s == RT_OK; k++) {
    const rt_teacher *teacher = &t->objective.teacher[k];
    rt_network *network;
    s = rt_network_open(teacher->text, &o, &network);
    if (s != RT_OK) return s;
    s = add_logits(g, network, teacher->weight, g->teacher);
    rt_network_free(network);
  }
  return s;
}

/* ---- which images ---- */

static void offer(choice list[EACH], int64_t image, double score) {
  for (int i = 0; i < EACH; i++) {
    if (list[i].image >= 0 && list[i].score >= score) continue;
    memmove(list + i + 1, list + i, (size_t)(EACH - 1 - i) * sizeof *list);
    list[i] = (choice){image, score};
    return;
  }
}

static double entropy(const double *p, int64_t n) {
  double h = 0;
  for (int64_t c = 0; c < n; c++)
    if (p[c] > 0) h -= p[c] * log(p[c]);
  return h;
}

static rt_status choose(gallery *g) {
  double *p = rt_alloc_array((size_t)(2 * g->classes), sizeof *p);
  if (!p) return RT_E_MEMORY;
  double *q = p + g->classes;
  for (int k = 0; k < KINDS; k++)
    for (int i = 0; i < EACH; i++) g->best[k][i] = (choice){.image = -1};
  for (int64_t i = 0; i < g->n; i++) {
    int64_t id, label, top = 0;
    double apart = 0;
    rt_data_sample(g->t->data, RT_TEST, i, &id, &label);
    rt_soft_targets(g->teacher + i * g->classes, g->classes, 1, p);
    rt_soft_targets(g->student + i * g->classes, g->classes, 1, q);
    for (int64_t c = 0; c < g->classes; c++) {
      if (p[c] > p[top]) top = c;
      apart += fabs(p[c] - q[c]);
    }
    double h = entropy(p, g->classes);
    if (top == label) offer(g->best[0], i, h);
    offer(g->best[1], i, apart);
    if (top == label) offer(g->best[2], i, -h);
  }
  rt_free(p);
  return RT_OK;
}

/* ---- the record ---- */

static bool add_probabilities(cJSON *image, const char *name, const float *z, int64_t classes, double *p) {
  cJSON *list = cJSON_AddArrayToObject(image, name);
  for (int k = 0; list && k < TEMPERATURES; k++) {
    rt_soft_targets(z, classes, temperatures[k], p);
    if (!cJSON_AddItemToArray(list, cJSON_CreateDoubleArray(p, (int)classes))) return false;
  }
  return list != NULL;
}

static rt_status add_image(const gallery *g, cJSON *list, int64_t i, const char *kind, double *p) {
  char name[64];
  int64_t id, label;
  cJSON *image = cJSON_CreateObject();
  rt_status s = rt_data_sample(g->t->data, RT_TEST, i, &id, &label);
  if (!cJSON_AddItemToArray(list, image)) return RT_E_MEMORY;
  snprintf(name, sizeof name, "dark_knowledge/%lld.png", (long long)id);
  bool good = cJSON_AddStringToObject(image, "image", name) && cJSON_AddNumberToObject(image, "id", (double)id) &&
              cJSON_AddNumberToObject(image, "label", (double)label) &&
              cJSON_AddStringToObject(image, "chosen", kind) &&
              add_probabilities(image, "teacher", g->teacher + i * g->classes, g->classes, p) &&
              add_probabilities(image, "student", g->student + i * g->classes, g->classes, p);
  return s != RT_OK ? s : good ? RT_OK : RT_E_MEMORY;
}

static rt_status describe(const gallery *g, cJSON *o) {
  const rt_data_info *d = &g->t->info;
  double *p = rt_alloc_array((size_t)g->classes, sizeof *p);
  cJSON_AddStringToObject(o, "data", d->kind);
  cJSON_AddStringToObject(o, "split", "test");
  cJSON *classes = cJSON_AddArrayToObject(o, "classes");
  for (int64_t c = 0; c < g->classes; c++) cJSON_AddItemToArray(classes, cJSON_CreateString(d->class_name[c]));
  cJSON_AddItemToObject(o, "temperatures", cJSON_CreateDoubleArray(temperatures, TEMPERATURES));
  cJSON *images = cJSON_AddArrayToObject(o, "images");
  rt_status s = p && images ? RT_OK : RT_E_MEMORY;
  for (int k = 0; k < KINDS; k++)
    for (int i = 0; i < EACH && s == RT_OK; i++)
      if (g->best[k][i].image >= 0) s = add_image(g, images, g->best[k][i].image, kinds[k], p);
  rt_free(p);
  return s;
}

static rt_status write_record(const gallery *g) {
  char path[RT_RUN_PATH];
  cJSON *o = cJSON_CreateObject();
  rt_status s = o ? describe(g, o) : RT_E_MEMORY;
  char *text = s == RT_OK ? cJSON_PrintUnformatted(o) : NULL;
  cJSON_Delete(o);
  if (!text) return rt_fail(RT_E_MEMORY, "dark_knowledge.json: out of memory");
  s = rt_write_line(rt_run_path(&g->t->run, "dark_knowledge.json", path), text);
  cJSON_free(text);
  return s;
}

/* ---- image files ---- */

static bool is_chosen(const gallery *g, int64_t i) {
  for (int k = 0; k < KINDS; k++)
    for (int j = 0; j < EACH; j++)
      if (g->best[k][j].image == i) return true;
  return false;
}

static rt_status write_images(const gallery *g) {
  const rt_trainer *t = g->t;
  rt_loader *loader;
  rt_batch b = {0};
  char path[RT_RUN_PATH], name[64], options[512];
  mkdir(rt_run_path(&t->run, "dark_knowledge", path), 0777); /* if it can't be made, its files say so */
  snprintf(options, sizeof options, "batch=100%s", t->normal);
  rt_status s = rt_loader_new(t->data, RT_TEST, options, NULL, &loader);
  for (int64_t done = 0; s == RT_OK && done < g->n; done += b.n) {
    s = rt_loader_next(loader, &b);
    for (int64_t i = 0; s == RT_OK && i < b.n && done + i < g->n; i++) {
      rt_image image;
      if (!is_chosen(g, done + i)) continue;
      s = rt_news_level(t, b.x + i * b.channels * b.height * b.width, &image);
      snprintf(name, sizeof name, "dark_knowledge/%lld.png", (long long)b.id[i]);
      if (s == RT_OK) s = rt_image_write(rt_run_path(&t->run, name, path), &image);
      rt_image_release(&image);
    }
  }
  rt_loader_free(loader);
  return s;
}

rt_status rt_dark_knowledge(const rt_trainer *t, rt_network *student) {
  const rt_data_info *d = &t->info;
  gallery g = {.t = t, .n = d->count[RT_TEST] < LOOKED_AT ? d->count[RT_TEST] : LOOKED_AT, .classes = d->classes};
  bool pictures = d->dtype == RT_U8 && (d->channels == 1 || d->channels == 3), logits = t->objective.teachers > 0;
  for (int k = 0; k < t->objective.teachers; k++) {
    const rt_teacher *teacher = &t->objective.teacher[k];
    logits &= teacher->trained && rt_teacher_runs(t, k) && teacher->network->info.classes == d->classes;
  }
  if (!pictures || !logits || !g.n) return RT_OK;
  g.teacher = rt_alloc_array((size_t)(g.n * g.classes), sizeof *g.teacher);
  g.student = rt_alloc_array((size_t)(g.n * g.classes), sizeof *g.student);
  rt_status s = g.teacher && g.student ? ask_teachers(&g) : RT_E_MEMORY;
  if (s == RT_OK) s = add_logits(&g, student, 1, g.student);
  if (s == RT_OK) s = choose(&g);
  if (s == RT_OK) s = write_images(&g);
  if (s == RT_OK) s = write_record(&g);
  rt_free(g.teacher);
  rt_free(g.student);
  return s;
}
