#include "base/alloc.h"
#include "op/op.h"
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- equalization of layers (Nagel et al. 2019) ----
 * Between two convolutions with nothing but relu in between, channel c of the first may be divided by s[c] and that of the second
 * multiplied by it: the network stays the same. s[c] = √(r₁/r₂) evens out the largest weights r₁, r₂ of the channel. */

enum { ROUNDS = 10 };

typedef struct pair {
  const rt_node *first, *second;
} pair;

static bool is_plain(const rt_node *node) {
  return node->op == RT_OP(conv2d) && node->in[1]->kind == RT_VALUE_VARIABLE && (node->n_in < 4 || !node->in[3]);
}

static bool find_pair(const rt_graph *g, const rt_node *first, pair *out) {
  if (!is_plain(first)) return false;
  const rt_node *next = rt_quantize_only_reader(g, first->out[0]);
  if (next && next->op == RT_OP(relu)) next = rt_quantize_only_reader(g, next->out[0]);
  if (!next || next->op != RT_OP(conv2d) || next->in[1]->kind != RT_VALUE_VARIABLE) return false;
  if (next->n_in > 3 && next->in[3] && next->in[3]->node == first) return false; /* it is the residual */
  const rt_conv2d_attr *a = next->attr;
  int64_t channels = first->in[1]->type.dim[0];
  bool depthwise = a->groups == channels && next->in[1]->type.dim[0] == channels;
  *out = (pair){first, next};
  return a->groups == 1 || depthwise;
}

static double largest(const float *w, int64_t n) {
  float most = 0;
  for (int64_t i = 0; i < n; i++)
    if (fabsf(w[i]) > most) most = fabsf(w[i]);
  return (double)most;
}

/* Weights of the second layer that read channel c: [O][C][taps], or [C][1][taps] where it is depthwise. */
static void second_channel(const pair *p, int64_t c, double factor, double *most) {
  const rt_type *t = &p->second->in[1]->type;
  float *w = p->second->in[1]->var->data;
  bool depthwise = ((const rt_conv2d_attr *)p->second->attr)->groups > 1;
  int64_t taps = t->dim[2] * t->dim[3], filters = depthwise ? 1 : t->dim[0], inner = depthwise ? 1 : t->dim[1];
  for (int64_t o = 0; o < filters; o++) {
    float *v = w + (depthwise ? c : o * inner + c) * taps;
    for (int64_t i = 0; i < taps; i++) v[i] = (float)((double)v[i] * factor);
    *most = fmax(*most, largest(v, taps));
  }
}

static void equalize(const pair *p) {
  const rt_type *t = &p->first->in[1]->type;
  float *w = p->first->in[1]->var->data, *b = p->first->n_in > 2 && p->first->in[2] ? p->first->in[2]->var->data : NULL;
  int64_t filters = t->dim[0], size = t->dim[1] * t->dim[2] * t->dim[3];
  for (int64_t c = 0; c < filters; c++) {
    double r1 = largest(w + c * size, size), r2 = 0, ignored = 0;
    second_channel(p, c, 1, &r2);
    if (!(r1 > 0 && r2 > 0)) continue; /* a dead channel */
    double s = sqrt(r1 / r2);
    for (int64_t i = 0; i < size; i++) w[c * size + i] = (float)((double)w[c * size + i] / s);
    if (b) b[c] = (float)((double)b[c] / s);
    second_channel(p, c, s, &ignored);
  }
  p->first->in[1]->var->version++;
  p->second->in[1]->var->version++;
  if (b) p->first->in[2]->var->version++;
}

rt_status rt_quantize_equalize(rt_quantizer *q, int *pairs) {
  const rt_graph *g = q->folded;
  pair *list = rt_alloc_array((size_t)g->n_nodes + 1, sizeof *list);
  if (!list) return RT_E_MEMORY;
  *pairs = 0;
  for (int i = 0; i < g->n_nodes; i++) *pairs += find_pair(g, g->node[i], &list[*pairs]);
  for (int round = 0; round < ROUNDS; round++)
    for (int i = 0; i < *pairs; i++) equalize(&list[i]);
  rt_free(list);
  return RT_OK;
}

/* ---- biases ---- */

/* The error that rounding adds to filter o on average, were the image endless: Σ_c E[x_c]·Σ_taps (ŵ − w). */
static double mean_error(const float *w, const int8_t *now, double scale, const rt_type *t, int64_t o, int64_t groups,
                         const double *mean) {
  int64_t channels = t->dim[1], taps = t->rank == 4 ? t->dim[2] * t->dim[3] : 1,
          first = o / (t->dim[0] / groups) * channels;
  double sum = 0;
  for (int64_t c = 0; c < channels; c++) {
    double error = 0;
    for (int64_t i = 0; i < taps; i++) {
      int64_t at = (o * channels + c) * taps + i;
      error += scale * now[at] - (double)w[at];
    }
    sum += error * mean[first + c];
  }
  return sum;
}

static rt_status correct(rt_quantizer *q, const rt_record_node *n, rt_store *int8) {
  char name[300];
  const rt_node *node = rt_quantize_node(q->folded, n->node, NULL);
  const rt_value *x = node->in[0];
  const rt_watched *seen = rt_ranges_find(&q->ranges, x->node ? x->node->name : x->name);
  rt_var *bias = node->n_in > 2 && node->in[2] ? node->in[2]->var : NULL;
  int64_t groups = node->op == RT_OP(conv2d) ? ((const rt_conv2d_attr *)node->attr)->groups : 1;
  const rt_type *t = &node->in[1]->type;
  if (!bias || !seen || seen->channels != t->dim[1] * groups) return RT_OK;
  snprintf(name, sizeof name, "%s.weight", n->node);
  const rt_var *weight = rt_store_find(int8, name);
  snprintf(name, sizeof name, "%s.weight_scale", n->node);
  const rt_var *scale = rt_store_find(int8, name);
  for (int64_t o = 0; o < t->dim[0]; o++) {
    double s = (double)((const float *)scale->data)[o];
    ((float *)bias->data)[o] -= (float)mean_error(node->in[1]->var->data, weight->data, s, t, o, groups, seen->mean);
  }
  bias->version++;
  return RT_OK;
}

rt_status rt_quantize_correct(rt_quantizer *q) {
  rt_store *int8 = NULL;
  rt_graph *graph = NULL;
  rt_status s = rt_record_build(&q->record, q->folded, &int8, &graph);
  for (int i = 0; i < q->record.n && s == RT_OK; i++)
    if (rt_record_is_product(&q->record.node[i])) s = correct(q, &q->record.node[i], int8);
  rt_graph_free(graph);
  rt_store_free(int8);
  return s;
}
