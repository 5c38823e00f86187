/* The int8 network beside its fake-quantized twin: by how many levels their results differ where both read the same levels. The
 * twin is cut at its grids: what a node reads there comes from the int8 network. */
#include "base/alloc.h"
#include "op/op.h"
#include "pass/pass.h"
#include "plan/plan.h"
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { IMAGES = 8, MOST_NAME = 32 };

/* What a node of the int8 network makes, and its twin. */
typedef struct seam {
  const rt_value *int8, *twin;
  const rt_record_node *node; /* of the record: who makes it */
  char in[MOST_NAME], out[MOST_NAME];
  int64_t dim[RT_MAX_RANK], n;
  int rank;
  void *made; /* n levels or floats */
} seam;

typedef struct pair {
  rt_quantizer *q;
  rt_store *store[2]; /* of the int8 network, of the twin */
  rt_graph *graph[2], *marked[2];
  rt_plan *plan[2];
  seam *seam;
  int n;
} pair;

/* ---- where they meet ---- */

static bool makes_levels(const rt_node *n) {
  return n->n_out && n->out[0]->type.dtype == RT_U8 && !n->op->moves && n->op != RT_OP(pad);
}

static bool is_product(const rt_node *n) {
  return n->op == RT_OP(conv2d_int8) || n->op == RT_OP(conv2d_winograd_int8) || n->op == RT_OP(linear_int8);
}

/* The twin of what int8 node `n` makes: the last of the nodes of its name, and of the same kind. */
static const rt_node *twin_of(const pair *p, const rt_node *n) {
  const rt_graph *twin = p->graph[1];
  for (int i = twin->n_nodes; i-- > 0;) {
    const rt_node *node = twin->node[i];
    if (node->n_out && node->out[0]->type.dtype == n->out[0]->type.dtype && strcmp(node->name, n->name) == 0)
      return node;
  }
  return NULL;
}

static rt_status find_seams(pair *p) {
  const rt_graph *g = p->graph[0];
  p->seam = rt_alloc_array((size_t)g->n_nodes + 1, sizeof *p->seam);
  if (!p->seam) return RT_E_MEMORY;
  for (int i = 0; i < g->n_nodes; i++) {
    const rt_node *n = g->node[i];
    if (!makes_levels(n) && !is_product(n)) continue;
    const rt_node *twin = twin_of(p, n);
    if (!twin) return rt_fail(RT_E_INTERNAL, "int8: %s has no twin", n->name);
    seam *s = &p->seam[p->n];
    *s = (seam){.int8 = n->out[0], .twin = twin->out[0], .node = rt_record_find(&p->q->record, n->name)};
    snprintf(s->in, sizeof s->in, "in.%d", p->n);
    snprintf(s->out, sizeof s->out, "out.%d", p->n++);
  }
  return RT_OK;
}

/* The graph again with its seams marked; of the twin, what is rounded there is read from an input. */
static rt_status mark(pair *p, int k) {
  rt_rewrite rw;
  rt_status s = rt_rewrite_begin(&rw, p->graph[k]);
  if (s != RT_OK) return s;
  for (int i = 0; i < p->graph[k]->n_nodes; i++) {
    const rt_node *node = p->graph[k]->node[i];
    rt_rewrite_node(&rw, node);
    for (int j = 0; j < p->n; j++) {
      const rt_value *v = k ? p->seam[j].twin : p->seam[j].int8;
      if (v->node != node) continue;
      rt_mark_output(rw.to, p->seam[j].out, rt_rewrite_value(&rw, v));
      if (k && p->seam[j].int8->type.dtype == RT_U8)
        rt_rewrite_set(&rw, v, rt_input(rw.to, p->seam[j].in, RT_U8, v->type.rank, v->type.dim));
    }
  }
  const rt_plan_options exact = {.kernels = RT_KERNELS_DIRECT};
  s = rt_rewrite_end(&rw, &p->marked[k]);
  if (s == RT_OK) s = rt_pass_layout(&p->marked[k]);
  return s == RT_OK ? rt_plan_new(p->marked[k], k ? &exact : NULL, &p->plan[k]) : s;
}

/* ---- images through both ---- */

/* What the int8 network made there. */
static rt_status keep(pair *p, seam *s) {
  rt_result r;
  rt_status status = rt_plan_result(p->plan[0], s->out, &r);
  if (status != RT_OK) return status;
  s->n = 1;
  s->rank = r.rank;
  for (int d = 0; d < r.rank; d++) s->n *= s->dim[d] = r.dim[d];
  size_t bytes = (size_t)s->n * (r.dtype == RT_U8 ? 1 : sizeof(float));
  s->made = rt_alloc(bytes + 1);
  if (!s->made) return RT_E_MEMORY;
  memcpy(s->made, r.data, bytes);
  return RT_OK;
}

/* Levels, or floats in steps of the grid that the record has for them. */
static rt_status compare(const pair *p, const seam *s) {
  rt_result r;
  rt_status status = rt_plan_result(p->plan[1], s->out, &r);
  double most = 0;
  bool levels = s->int8->type.dtype == RT_U8;
  if (status != RT_OK || !s->node || (!levels && !(s->node->scale > 0))) return status;
  for (int64_t i = 0; i < s->n; i++) {
    double a = levels ? (double)((const uint8_t *)s->made)[i] : (double)((const float *)s->made)[i];
    double b = levels ? (double)((const uint8_t *)r.data)[i] : (double)((const float *)r.data)[i];
    double steps = fabs(a - b) / (levels ? 1 : s->node->scale);
    if (steps > most) most = steps; /* not fmax: gcc 12 for aarch64 breaks off there */
  }
  p->q->cost[s->node - p->q->record.node].steps = most;
  return RT_OK;
}

static rt_status run(pair *p, const rt_feed *x) {
  rt_feed *feed = rt_alloc_array((size_t)p->n + 1, sizeof *feed);
  int n = 0;
  if (!feed) return RT_E_MEMORY;
  feed[n++] = *x;
  rt_status s = rt_plan_run(p->plan[0], x, 1);
  for (int i = 0; i < p->n && s == RT_OK; i++) {
    seam *at = &p->seam[i];
    s = keep(p, at);
    if (at->int8->type.dtype == RT_U8) feed[n++] = (rt_feed){at->in, at->rank, at->dim, at->made};
  }
  if (s == RT_OK) s = rt_plan_run(p->plan[1], feed, n);
  for (int i = 0; i < p->n && s == RT_OK; i++) s = compare(p, &p->seam[i]);
  rt_free(feed);
  return s;
}

rt_status rt_quantize_twin_steps(rt_quantizer *q, const float *images, int64_t n) {
  const rt_network_info *info = &q->network->info;
  int64_t dim[] = {n < IMAGES ? n : IMAGES, info->channels, info->height, info->width};
  const rt_feed x = {.name = "x", .rank = 4, .dim = dim, .data = images};
  pair p = {.q = q};
  rt_status s = rt_record_build(&q->record, q->folded, &p.store[0], &p.graph[0]);
  if (s == RT_OK) s = rt_twin_new(q->folded, &q->record, &p.store[1], &p.graph[1]);
  if (s == RT_OK) s = find_seams(&p);
  for (int k = 0; k < 2 && s == RT_OK; k++) s = mark(&p, k);
  if (s == RT_OK) s = run(&p, &x);
  for (int i = 0; i < p.n; i++) rt_free(p.seam[i].made);
  rt_free(p.seam);
  for (int k = 0; k < 2; k++) {
    rt_plan_free(p.plan[k]);
    rt_graph_free(p.marked[k]);
    rt_graph_free(p.graph[k]);
    rt_store_free(p.store[k]);
  }
  return s;
}
