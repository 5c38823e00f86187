/* What every layer makes, in the float network and in the int8 one, of the same images. */
#include "base/alloc.h"
#include "op/op.h"
#include "pass/pass.h"
#include "plan/plan.h"
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { IMAGES = 8 };

const rt_node *rt_quantize_only_reader(const rt_graph *g, const rt_value *v) {
  const rt_node *found = NULL;
  for (int i = 0; i < g->n_outputs; i++)
    if (g->output[i].value == v) return NULL;
  for (int i = 0; i < g->n_nodes; i++)
    for (int j = 0; j < g->node[i]->n_in; j++) {
      if (g->node[i]->in[j] != v) continue;
      if (found) return NULL;
      found = g->node[i];
    }
  return found;
}

double rt_quantize_sqnr(const float *clean, const float *noisy, int64_t n) {
  double signal = 0, noise = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = (double)clean[i] - (double)noisy[i];
    signal += (double)clean[i] * (double)clean[i];
    noise += d * d;
  }
  return noise > 0 ? 10 * log10(signal / noise) : INFINITY;
}

const rt_node *rt_quantize_node(const rt_graph *g, const char *name, const rt_op *op) {
  for (int i = 0; i < g->n_nodes; i++)
    if ((!op || g->node[i]->op == op) && strcmp(g->node[i]->name, name) == 0) return g->node[i];
  return NULL;
}

/* The node whose result is that of int8 node `name`: its own, or its activation's behind it. */
static const rt_node *last_of(const rt_graph *g, const char *name) {
  const rt_node *node = rt_quantize_node(g, name, NULL), *next = node ? rt_quantize_only_reader(g, node->out[0]) : NULL;
  return next && (next->op == RT_OP(relu) || next->op == RT_OP(relu6)) ? next : node;
}

/* Mark value `v` of `from`, by the node's number in the record, in a copy. */
static rt_status marked_plan(const rt_quantizer *q, const rt_graph *from, bool int8, rt_graph **graph, rt_plan **plan) {
  rt_rewrite rw;
  rt_status s = rt_rewrite_begin(&rw, from);
  if (s != RT_OK) return s;
  for (int i = 0; i < from->n_nodes; i++) rt_rewrite_node(&rw, from->node[i]);
  for (int i = 0; i < q->record.n; i++) {
    char name[32];
    const rt_record_node *n = &q->record.node[i];
    if (n->form != RT_FORM_INT8) continue;
    const rt_node *product = rt_quantize_node(q->folded, n->node, NULL);
    const rt_op *op = *n->winograd           ? RT_OP(conv2d_winograd_int8)
                      : product->op->regrids ? product->op->regrids
                                             : product->op->int8;
    const rt_node *node = int8 ? rt_quantize_node(from, n->node, op) : last_of(from, n->node);
    snprintf(name, sizeof name, "%d", i);
    if (node) rt_mark_output(rw.to, name, rt_rewrite_value(&rw, node->out[0]));
  }
  s = rt_rewrite_end(&rw, graph);
  if (s == RT_OK) s = rt_pass_layout(graph);
  return s == RT_OK ? rt_plan_new(*graph, NULL, plan) : s;
}

static void to_float(const rt_result *r, double scale, int zero_point, float *out, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    out[i] =
        r->dtype == RT_U8 ? (float)(scale * (((const uint8_t *)r->data)[i] - zero_point)) : ((const float *)r->data)[i];
}

static rt_status compare(rt_quantizer *q, rt_plan *floating, rt_plan *int8, const rt_feed *x, int i) {
  char name[32];
  rt_result clean, noisy;
  int64_t n = 1;
  snprintf(name, sizeof name, "%d", i);
  rt_status s = rt_plan_run(floating, x, 1);
  if (s == RT_OK) s = rt_plan_result(floating, name, &clean);
  if (s != RT_OK) return s;
  for (int d = 0; d < clean.rank; d++) n *= clean.dim[d];
  float *kept = rt_alloc_array((size_t)(2 * n), sizeof *kept);
  if (!kept) return RT_E_MEMORY;
  memcpy(kept, clean.data, (size_t)n * sizeof *kept); /* the other plan may run in the same arena */
  s = rt_plan_run(int8, x, 1);
  if (s == RT_OK) s = rt_plan_result(int8, name, &noisy);
  const rt_record_node *grid = rt_record_find(&q->record, last_of(q->folded, q->record.node[i].node)->name);
  if (s == RT_OK) to_float(&noisy, grid->scale, grid->zero_point, kept + n, n);
  if (s == RT_OK) q->cost[i].output_sqnr = rt_quantize_sqnr(kept, kept + n, n);
  rt_free(kept);
  return s;
}

rt_status rt_quantize_output_noise(rt_quantizer *q, const float *images, int64_t n) {
  const rt_network_info *info = &q->network->info;
  int64_t dim[] = {n < IMAGES ? n : IMAGES, info->channels, info->height, info->width};
  const rt_feed x = {.name = "x", .rank = 4, .dim = dim, .data = images};
  rt_graph *graph[2] = {NULL, NULL}, *lowered = NULL;
  rt_plan *plan[2] = {NULL, NULL};
  rt_store *store = NULL;
  rt_status s = rt_record_build(&q->record, q->folded, &store, &lowered);
  if (s == RT_OK) s = marked_plan(q, q->folded, false, &graph[0], &plan[0]);
  if (s == RT_OK) s = marked_plan(q, lowered, true, &graph[1], &plan[1]);
  for (int i = 0; i < q->record.n && s == RT_OK; i++)
    if (q->record.node[i].form == RT_FORM_INT8) s = compare(q, plan[0], plan[1], &x, i);
  for (int k = 0; k < 2; k++) {
    rt_plan_free(plan[k]);
    rt_graph_free(graph[k]);
  }
  rt_graph_free(lowered);
  rt_store_free(store);
  return s;
}
