#include "base/alloc.h"
#include "pass/pass.h"
#include "plan/plan.h"
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- networks ---- */

rt_status rt_quantize_form(const rt_quantizer *q, const rt_record *record, bool profile, rt_network **out) {
  return rt_int8_network(q->network, q->folded, record, profile, out);
}

rt_status rt_quantize_keep(rt_quantizer *q) { return rt_folded_copy(q->folded, &q->untouched_store, &q->untouched); }

rt_status rt_quantize_float(const rt_quantizer *q, bool profile, rt_network **out) {
  return rt_float_network(q->network, q->untouched ? q->untouched : q->folded, profile, out);
}

/* ---- accuracy ---- */

static rt_status measure_on(rt_quantizer *q, rt_network *before, rt_network *after, rt_split split) {
  rt_metrics *m[2] = {NULL, NULL};
  rt_agreement agreement = {0};
  rt_status s = RT_OK;
  for (int i = 0; i < 2 && s == RT_OK; i++) s = rt_metrics_new(q->network->info.classes, &m[i]);
  if (s == RT_OK) s = rt_evaluate_beside(after, before, q->data, split, q->o.batch, m[0], m[1], &agreement);
  if (s == RT_OK) {
    rt_metrics_score(m[0], &q->after);
    rt_metrics_score(m[1], &q->before);
    q->agree = agreement.agree;
    q->split = split;
  }
  for (int i = 0; i < 2; i++) rt_metrics_free(m[i]);
  return s;
}

rt_status rt_quantize_measure(rt_quantizer *q, rt_network *int8) {
  rt_network *before = q->original;
  rt_data_info d;
  rt_data_describe(q->data, &d);
  if (!d.count[RT_TEST]) return RT_OK;
  rt_status s = before ? RT_OK : rt_quantize_float(q, false, &before);
  if (s != RT_OK) return s;
  s = measure_on(q, before, int8, RT_TEST);
  if (before != q->original) rt_network_free(before);
  return s;
}

/* ---- what each layer costs ---- */

typedef struct probe {
  float *x, *logits; /* images, and what the float network says of them */
  int64_t n, count;  /* images, logits */
} probe;

static rt_status probe_new(const rt_quantizer *q, rt_network *floating, probe *p) {
  const float *logits;
  rt_status s = rt_quantize_images(q, q->o.analyze_images, &p->x, &p->n);
  if (s == RT_OK) s = rt_network_run(floating, p->x, p->n, &logits);
  if (s != RT_OK) return s;
  p->count = p->n * q->network->info.classes;
  p->logits = rt_alloc_array((size_t)p->count, sizeof *p->logits);
  if (p->logits) memcpy(p->logits, logits, (size_t)p->count * sizeof *logits);
  return p->logits ? RT_OK : RT_E_MEMORY;
}

static void probe_release(probe *p) {
  rt_free(p->x);
  rt_free(p->logits);
}

/* The record with this node alone in int8. */
static rt_status alone(const rt_quantizer *q, const probe *p, int node, double *out) {
  rt_record record = q->record;
  rt_network *network = NULL;
  const float *logits;
  record.node = rt_alloc_array((size_t)record.n, sizeof *record.node);
  if (!record.node) return RT_E_MEMORY;
  memcpy(record.node, q->record.node, (size_t)record.n * sizeof *record.node);
  for (int i = 0; i < record.n; i++)
    if (i != node) record.node[i].form = RT_FORM_FP32;
  rt_status s = rt_quantize_form(q, &record, false, &network);
  if (s == RT_OK) s = rt_network_run(network, p->x, p->n, &logits);
  if (s == RT_OK) *out = rt_quantize_sqnr(p->logits, logits, p->count);
  rt_network_free(network);
  rt_free(record.node);
  return s;
}

static rt_status weight_noise(const rt_quantizer *q, const rt_network *int8, const rt_record_node *n, double *out) {
  char name[300];
  const rt_var *w = rt_quantize_node(q->folded, n->node, NULL)->in[1]->var;
  if (!w) return RT_OK; /* a constant */
  snprintf(name, sizeof name, "%s.weight", n->node);
  const rt_var *now = rt_store_find(int8->store, name);
  snprintf(name, sizeof name, "%s.weight_scale", n->node);
  const rt_var *scale = rt_store_find(int8->store, name);
  int64_t all = rt_type_elements(&w->type), size = all / w->type.dim[0];
  float *rounded = rt_alloc_array((size_t)all, sizeof *rounded);
  if (!rounded) return RT_E_MEMORY;
  for (int64_t i = 0; i < all; i++)
    rounded[i] = ((const float *)scale->data)[i / size] * (float)((const int8_t *)now->data)[i];
  *out = rt_quantize_sqnr(w->data, rounded, all);
  rt_free(rounded);
  return RT_OK;
}

static void add_times(const rt_quantizer *q, rt_network *network, bool int8) {
  rt_step_info step;
  for (int i = 0; i < rt_plan_steps(network->plan); i++) {
    rt_plan_step(network->plan, i, &step);
    for (int k = 0; k < q->record.n && step.runs; k++) {
      if (strcmp(q->record.node[k].node, step.name) != 0) continue;
      double *seconds = int8 ? &q->cost[k].int8_seconds : &q->cost[k].float_seconds;
      *seconds += step.seconds / (double)step.runs;
    }
  }
}

static rt_status time_both(rt_quantizer *q, rt_network *floating, rt_network *int8) {
  rt_network *both[] = {floating, int8};
  rt_bench ignored[2];
  rt_status s = rt_bench_run(both, 2, 1, 0.5, ignored);
  if (s != RT_OK) return s;
  add_times(q, floating, false);
  add_times(q, int8, true);
  return RT_OK;
}

/* On the test images, or all there are for calibration. */
static rt_status beside_twin(rt_quantizer *q, rt_network *int8) {
  rt_network *twin = NULL;
  rt_metrics *m[2] = {NULL, NULL};
  rt_data_info d;
  rt_data_describe(q->data, &d);
  rt_status s = d.count[RT_TEST] ? rt_twin_network(q->network, q->folded, &q->record, &twin) : RT_OK;
  for (int i = 0; i < 2 && s == RT_OK; i++) s = rt_metrics_new(q->network->info.classes, &m[i]);
  if (s == RT_OK && twin) s = rt_evaluate_beside(int8, twin, q->data, RT_TEST, q->o.batch, m[0], m[1], &q->beside_twin);
  for (int i = 0; i < 2; i++) rt_metrics_free(m[i]);
  rt_network_free(twin);
  return s;
}

static rt_status analyze(rt_quantizer *q, rt_network *floating, rt_network *int8, const probe *p) {
  rt_status s = time_both(q, floating, int8);
  if (s == RT_OK) s = rt_quantize_output_noise(q, p->x, p->n);
  if (s == RT_OK && q->record.method == RT_METHOD_STATIC) s = rt_quantize_twin_steps(q, p->x, p->n);
  for (int i = 0; i < q->record.n && s == RT_OK; i++) {
    const rt_record_node *n = &q->record.node[i];
    if (!rt_record_is_product(n)) continue;
    s = weight_noise(q, int8, n, &q->cost[i].weight_sqnr);
    if (s == RT_OK) s = alone(q, p, i, &q->cost[i].alone_sqnr);
  }
  return s;
}

rt_status rt_quantize_analyze(rt_quantizer *q) {
  rt_network *floating = NULL, *int8 = NULL;
  probe p = {0};
  if (!q->cost) q->cost = rt_alloc_array((size_t)q->record.n, sizeof *q->cost);
  rt_status s = q->cost ? rt_quantize_float(q, true, &floating) : RT_E_MEMORY;
  if (s == RT_OK) s = rt_quantize_form(q, &q->record, true, &int8);
  if (s == RT_OK) s = probe_new(q, floating, &p);
  if (s == RT_OK) s = analyze(q, floating, int8, &p);
  if (s == RT_OK && q->record.method == RT_METHOD_STATIC) s = beside_twin(q, int8);
  probe_release(&p);
  rt_network_free(floating);
  rt_network_free(int8);
  return s;
}

/* ---- the fewest layers that have to stay floating ---- */

/* The int8 node whose loss is heard most in the logits when it is alone; -1: none is left. */
static int worst(const rt_quantizer *q) {
  int found = -1;
  for (int i = 0; i < q->record.n; i++)
    if (rt_record_is_product(&q->record.node[i]) && (found < 0 || q->cost[i].alone_sqnr < q->cost[found].alone_sqnr))
      found = i;
  return found;
}

static rt_status drop(rt_quantizer *q, rt_network *floating, rt_split split, double *points) {
  rt_network *int8 = NULL;
  rt_status s = rt_quantize_form(q, &q->record, false, &int8);
  if (s == RT_OK) s = measure_on(q, floating, int8, split);
  rt_network_free(int8);
  *points = 100 * (q->before.top1 - q->after.top1);
  return s;
}

rt_status rt_quantize_max_drop(rt_quantizer *q) {
  rt_network *floating = NULL;
  rt_data_info d;
  double points = 0;
  rt_data_describe(q->data, &d);
  rt_split split = d.count[RT_VALIDATION] ? RT_VALIDATION : RT_TRAIN;
  rt_status s = rt_quantize_float(q, false, &floating);
  if (s == RT_OK) s = drop(q, floating, split, &points);
  if (s == RT_OK && points > q->o.max_drop) s = rt_quantize_analyze(q);
  while (s == RT_OK && points > q->o.max_drop) {
    int i = worst(q);
    rt_record_node *n = &q->record.node[i];
    n->form = RT_FORM_FP32;
    n->weights = RT_WEIGHTS_NONE;
    n->why = "in int8 it costs too much accuracy";
    if (worst(q) < 0) {
      s = rt_fail(RT_E_ARGUMENT, "quantize: no layer may be in int8 if at most %g points may be lost", q->o.max_drop);
      break;
    }
    s = drop(q, floating, split, &points);
    if (s == RT_OK) rt_quantize_tell(q, "%s stays floating: then %.2f points are lost", n->node, points);
  }
  rt_network_free(floating);
  return s;
}
