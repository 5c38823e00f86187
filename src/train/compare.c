/* A student beside its teacher, image by image. */
#include "data/data.h"
#include "train/network.h"
#include "train/train.h"

#include <string.h>

static int64_t top(const float *z, int64_t n) {
  int64_t best = 0;
  for (int64_t c = 1; c < n; c++)
    if (z[c] > z[best]) best = c;
  return best;
}

void rt_soft_targets(const float *z, int64_t n, double temperature, double *p) {
  double most = (double)z[top(z, n)], sum = 0;
  for (int64_t c = 0; c < n; c++) sum += p[c] = exp(((double)z[c] - most) / temperature);
  for (int64_t c = 0; c < n; c++) p[c] /= sum;
}

/* Σ pₜ (ln pₜ − ln pₛ) of one image, with ln p = z − max − ln Σ exp(z − max). */
static double divergence(const float *t, const float *s, int64_t n) {
  double most_t = (double)t[top(t, n)], most_s = (double)s[top(s, n)], sum_t = 0, sum_s = 0, kl = 0;
  for (int64_t c = 0; c < n; c++) {
    sum_t += exp((double)t[c] - most_t);
    sum_s += exp((double)s[c] - most_s);
  }
  for (int64_t c = 0; c < n; c++) {
    double log_t = (double)t[c] - most_t - log(sum_t);
    kl += exp(log_t) * (log_t - ((double)s[c] - most_s - log(sum_s)));
  }
  return kl;
}

static void count(rt_agreement *a, const float *teacher, const float *student, int64_t classes, int64_t n) {
  for (int64_t i = 0; i < n; i++, teacher += classes, student += classes) {
    a->agree += top(teacher, classes) == top(student, classes);
    a->kl += divergence(teacher, student, classes);
  }
  a->images += n;
}

/* Each network reads the same images, normalised its own way. */
static rt_status compare(rt_network *const network[2], rt_loader *const loader[2], rt_metrics *const metrics[2],
                         rt_agreement *a) {
  rt_status s = RT_OK;
  for (rt_batch b[2] = {{0}}; s == RT_OK && !b[0].last;) {
    const float *logits[2];
    for (int k = 0; k < 2 && s == RT_OK; k++) {
      s = rt_loader_next(loader[k], &b[k]);
      if (s == RT_OK) s = rt_network_run(network[k], b[k].x, b[k].n, &logits[k]);
      if (s == RT_OK) s = rt_metrics_add(metrics[k], logits[k], b[k].label, b[k].n);
    }
    if (s == RT_OK) count(a, logits[1], logits[0], network[0]->info.classes, b[0].n);
  }
  if (a->images) a->kl /= (double)a->images;
  return s;
}

rt_status rt_evaluate_beside(rt_network *student, rt_network *teacher, const rt_data *data, rt_split split,
                             int64_t batch, rt_metrics *metrics, rt_metrics *teacher_metrics, rt_agreement *out) {
  rt_network *const network[] = {student, teacher};
  rt_metrics *const counted[] = {metrics, teacher_metrics};
  rt_loader *loader[2] = {NULL, NULL};
  rt_status s = RT_OK;
  *out = (rt_agreement){0};
  for (int k = 0; k < 2 && s == RT_OK; k++) s = rt_network_batches(network[k], data, split, batch, &loader[k]);
  if (s == RT_OK) s = compare(network, loader, counted, out);
  for (int k = 0; k < 2; k++) rt_loader_free(loader[k]);
  return s;
}
