#include "base/alloc.h"
#include "base/status.h"
#include "base/strbuf.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BINS = 15, MOST_CLASSES = 1 << 16 };

/* Images whose confidence, the probability of the class they were taken for, is in ((b)/15, (b+1)/15]. */
typedef struct bin {
  int64_t images, correct;
  double confidence; /* sum */
} bin;

struct rt_metrics {
  int64_t classes, images, correct, correct5;
  double loss; /* sum */
  bin bins[BINS];
  int64_t *confusion; /* classes×classes */
};

rt_status rt_metrics_new(int64_t classes, rt_metrics **out) {
  *out = NULL;
  if (classes < 1 || classes > MOST_CLASSES)
    return rt_fail(RT_E_ARGUMENT, "metrics of %" PRId64 " classes: expected 1 to %d", classes, MOST_CLASSES);
  rt_metrics *m = rt_alloc(sizeof *m);
  if (!m) return RT_E_MEMORY;
  m->classes = classes;
  m->confusion = rt_alloc_array((size_t)(classes * classes), sizeof *m->confusion);
  if (!m->confusion) {
    rt_metrics_free(m);
    return RT_E_MEMORY;
  }
  *out = m;
  return RT_OK;
}

void rt_metrics_free(rt_metrics *m) {
  if (!m) return;
  rt_free(m->confusion);
  rt_free(m);
}

void rt_metrics_clear(rt_metrics *m) {
  int64_t *confusion = m->confusion, classes = m->classes;
  memset(confusion, 0, (size_t)(classes * classes) * sizeof *confusion);
  *m = (rt_metrics){.classes = classes, .confusion = confusion};
}

static rt_status check(const rt_metrics *m, const float *logits, const int64_t *label, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    if (label[i] < 0 || label[i] >= m->classes)
      return rt_fail(RT_E_RANGE, "image %" PRId64 " of a batch has the label %" PRId64 ": expected 0 to %" PRId64, i,
                     label[i], m->classes - 1);
    for (int64_t c = 0; c < m->classes; c++)
      if (!isfinite(logits[i * m->classes + c]))
        return rt_fail(RT_E_RANGE,
                       "image %" PRId64 " of a batch has the logit %g for class %" PRId64
                       ": the network's weights have diverged or are damaged",
                       i, (double)logits[i * m->classes + c], c);
  }
  return RT_OK;
}

static void add_one(rt_metrics *m, const float *logits, int64_t label) {
  int64_t taken = 0, before = 0; /* classes that come before the label's */
  double sum = 0;
  for (int64_t c = 1; c < m->classes; c++)
    if (logits[c] > logits[taken]) taken = c;
  for (int64_t c = 0; c < m->classes; c++) {
    sum += exp((double)logits[c] - (double)logits[taken]);
    before += logits[c] > logits[label] || (c < label && logits[c] == logits[label]);
  }
  double confidence = 1 / sum;
  int b = (int)ceil(confidence * BINS) - 1;
  bin *to = &m->bins[b < 0 ? 0 : b];
  to->images++;
  to->correct += before == 0;
  to->confidence += confidence;
  m->images++;
  m->correct += before == 0;
  m->correct5 += before < 5;
  m->loss += log(sum) + (double)logits[taken] - (double)logits[label];
  m->confusion[label * m->classes + taken]++;
}

rt_status rt_metrics_add(rt_metrics *m, const float *logits, const int64_t *label, int64_t n) {
  rt_status s = check(m, logits, label, n);
  for (int64_t i = 0; i < n && s == RT_OK; i++) add_one(m, logits + i * m->classes, label[i]);
  return s;
}

void rt_metrics_score(const rt_metrics *m, rt_score *out) {
  *out = (rt_score){.images = m->images, .correct = m->correct, .correct5 = m->correct5};
  if (!m->images) return;
  double n = (double)m->images, error = 0;
  for (int b = 0; b < BINS; b++) error += fabs((double)m->bins[b].correct - m->bins[b].confidence);
  out->top1 = (double)m->correct / n;
  out->top5 = (double)m->correct5 / n;
  out->loss = m->loss / n;
  out->ece = error / n;
}

const int64_t *rt_metrics_confusion(const rt_metrics *m) { return m->confusion; }

/* ---- as JSON ---- */

static bool add_number(cJSON *object, const char *key, double value) {
  return cJSON_AddNumberToObject(object, key, value) != NULL;
}

static bool add_class(cJSON *list, const rt_metrics *m, int64_t c, const char *name) {
  const int64_t *row = m->confusion + c * m->classes;
  int64_t images = 0;
  char number[24];
  for (int64_t k = 0; k < m->classes; k++) images += row[k];
  snprintf(number, sizeof number, "%" PRId64, c);
  cJSON *item = cJSON_CreateObject();
  if (!cJSON_AddItemToArray(list, item)) return false;
  return cJSON_AddStringToObject(item, "name", name ? name : number) && add_number(item, "images", (double)images) &&
         add_number(item, "correct", (double)row[c]) &&
         add_number(item, "accuracy", images ? (double)row[c] / (double)images : 0);
}

static bool add_row(cJSON *list, const rt_metrics *m, int64_t c) {
  cJSON *row = cJSON_CreateArray();
  if (!cJSON_AddItemToArray(list, row)) return false;
  for (int64_t k = 0; k < m->classes; k++)
    if (!cJSON_AddItemToArray(row, cJSON_CreateNumber((double)m->confusion[c * m->classes + k]))) return false;
  return true;
}

static bool add_detail(cJSON *object, const rt_metrics *m, const char *const *class_name) {
  cJSON *classes = cJSON_AddArrayToObject(object, "classes"), *confusion = cJSON_AddArrayToObject(object, "confusion");
  bool good = classes && confusion;
  for (int64_t c = 0; c < m->classes && good; c++)
    good = add_class(classes, m, c, class_name ? class_name[c] : NULL) && add_row(confusion, m, c);
  return good;
}

rt_status rt_metrics_json(const rt_metrics *m, const char *const *class_name, bool detail, char **out) {
  rt_score score;
  rt_metrics_score(m, &score);
  cJSON *o = cJSON_CreateObject();
  bool good = o && add_number(o, "images", (double)score.images) && add_number(o, "correct", (double)score.correct) &&
              add_number(o, "top1", score.top1) && add_number(o, "top5", score.top5) &&
              add_number(o, "loss", score.loss) && add_number(o, "ece", score.ece) &&
              (!detail || add_detail(o, m, class_name));
  char *text = good ? cJSON_PrintUnformatted(o) : NULL;
  *out = text ? rt_copy_text(text) : NULL;
  cJSON_free(text);
  cJSON_Delete(o);
  return *out ? RT_OK : rt_fail(RT_E_MEMORY, "out of memory for metrics");
}
