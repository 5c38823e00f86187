/* New batch norms behind the convolutions of a student whose exporter folded them. They begin as the identity on training images: with
 * μ and σ² of what a convolution makes of those, and b its bias, which β replaces,
 *   running mean μ − b, running variance σ², γ = √(σ² + ε), β = μ */
#include "base/alloc.h"
#include "onnx/onnx.h"
#include "op/op.h"
#include "pass/pass.h"
#include "plan/plan.h"
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { IMAGES = 1000, BATCH = 100 };
static const double EPS = 1e-5; /* of batch norm, unless told otherwise */

typedef struct layer {
  const rt_node *conv; /* of the graph without norms */
  double *sum;         /* Σ of means by channel, then Σ of mean squares; each times the images of its batch */
  int64_t channels;
} layer;

typedef struct measuring {
  rt_trainer *t;
  rt_store *store; /* the file's weights alone */
  rt_graph *graph;
  rt_plan *plan;
  rt_arena arena;
  layer *layer;
  int n;
  int64_t images;
} measuring;

static rt_var *variable(const rt_trainer *t, const rt_node *conv, const char *role) {
  char name[300];
  snprintf(name, sizeof name, "%s.norm.%s", conv->name, role);
  return rt_store_find(t->store, name);
}

static void mark(rt_graph *g, int i, char which, rt_value *v) {
  char name[32];
  rt_reduce_attr over = {.axes = {.n = 3, .v = {0, 2, 3}}};
  snprintf(name, sizeof name, "%c%d", which, i);
  rt_mark_output(g, name, rt_emit(g, RT_OP(mean), name, &over, 1, v));
}

static rt_status build(measuring *m) {
  const rt_data_info *d = &m->t->info;
  rt_onnx_options o = {.network = true, .dim = {d->channels, d->height, d->width}};
  rt_status s = rt_store_new(&m->store);
  if (s == RT_OK) s = rt_graph_new(m->store, &m->graph);
  if (s == RT_OK) s = rt_onnx_build(m->t->student, m->graph, &o);
  if (s == RT_OK) s = rt_onnx_load(m->t->student, m->store, false);
  if (s == RT_OK) s = rt_pass_eval(&m->graph, NULL);
  if (s != RT_OK) return s;
  int nodes = m->graph->n_nodes;
  m->layer = rt_arena_alloc(&m->arena, (size_t)(nodes + 1) * sizeof *m->layer);
  if (!m->layer) return RT_E_MEMORY;
  for (int i = 0; i < nodes; i++) {
    const rt_node *node = m->graph->node[i];
    rt_unary_attr plain = {0};
    if (node->op != RT_OP(conv2d) || !variable(m->t, node, "weight")) continue;
    layer *l = &m->layer[m->n];
    *l = (layer){.conv = node, .channels = node->out[0]->type.dim[1]};
    l->sum = rt_arena_alloc(&m->arena, (size_t)(2 * l->channels) * sizeof *l->sum);
    if (!l->sum) return RT_E_MEMORY;
    mark(m->graph, m->n, 'm', node->out[0]);
    mark(m->graph, m->n++, 's', rt_emit(m->graph, RT_OP(square), NULL, &plain, 1, node->out[0]));
  }
  s = rt_graph_status(m->graph);
  return s == RT_OK ? rt_plan_new(m->graph, NULL, &m->plan) : s;
}

static rt_status add_batch(measuring *m, const rt_batch *b) {
  int64_t dim[] = {b->n, b->channels, b->height, b->width};
  rt_status s = rt_plan_run(m->plan, &(rt_feed){"x", 4, dim, b->x}, 1);
  for (int i = 0; i < m->n; i++)
    for (int part = 0; part < 2 && s == RT_OK; part++) {
      char name[32];
      rt_result r;
      snprintf(name, sizeof name, "%c%d", "ms"[part], i);
      s = rt_plan_result(m->plan, name, &r);
      double *sum = m->layer[i].sum + part * m->layer[i].channels;
      for (int64_t c = 0; s == RT_OK && c < m->layer[i].channels; c++)
        sum[c] += (double)b->n * (double)((const float *)r.data)[c];
    }
  m->images += b->n;
  return s;
}

static rt_status measure(measuring *m) {
  rt_loader *loader;
  rt_batch b = {0};
  char text[512];
  snprintf(text, sizeof text, "batch=%d shuffle=true order_seed=%s%s", BATCH, m->t->o.order_seed, m->t->normal);
  rt_status s = rt_loader_new(m->t->data, RT_TRAIN, text, NULL, &loader);
  while (s == RT_OK && m->images < IMAGES && !b.last) {
    s = rt_loader_next(loader, &b);
    if (s == RT_OK) s = add_batch(m, &b);
  }
  rt_loader_free(loader);
  return s;
}

static void fill(const measuring *m, const layer *l) {
  static const char *const roles[] = {"weight", "bias", "running_mean", "running_var"};
  rt_var *v[4];
  const rt_value *bias = l->conv->n_in > 2 ? l->conv->in[2] : NULL;
  const float *b = bias && bias->var ? bias->var->data : NULL;
  for (int i = 0; i < 4; i++) v[i] = variable(m->t, l->conv, roles[i]);
  for (int64_t c = 0; c < l->channels; c++) {
    double mean = l->sum[c] / (double)m->images, square = l->sum[l->channels + c] / (double)m->images;
    double var = fmax(square - mean * mean, 0), of[] = {sqrt(var + EPS), mean, mean - (b ? (double)b[c] : 0), var};
    for (int i = 0; i < 4; i++) ((float *)v[i]->data)[c] = (float)of[i];
  }
  for (int i = 0; i < 4; i++) v[i]->version++;
}

rt_status rt_student_norms(rt_trainer *t) {
  measuring m = {.t = t};
  rt_status s = build(&m);
  if (s == RT_OK && !m.n)
    s = rt_fail(RT_E_ARGUMENT,
                "train: reinsert_batchnorm: %s has no convolution without a batch norm behind it: leave it out",
                t->o.model);
  if (s == RT_OK) s = measure(&m);
  for (int i = 0; i < m.n && s == RT_OK; i++) fill(&m, &m.layer[i]);
  if (s == RT_OK)
    s = rt_news_note(t, "%s: new batch norms behind %d convolutions; on %lld training images they change nothing yet",
                     t->o.model, m.n, (long long)m.images);
  rt_plan_free(m.plan);
  rt_graph_free(m.graph);
  rt_store_free(m.store);
  rt_arena_release(&m.arena);
  return s;
}
