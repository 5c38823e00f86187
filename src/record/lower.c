#include "base/alloc.h"
#include "pass/pass.h"
#include "record/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const rt_levels WEIGHTS = {.low = -127, .high = 127, .symmetric = true};

/* ---- the graph ---- */

static const rt_node *find_node(const rt_graph *g, const char *name) {
  for (int i = 0; i < g->n_nodes; i++)
    if (strcmp(g->node[i]->name, name) == 0) return g->node[i];
  return NULL;
}

static rt_status check_record(const rt_record *r, const rt_graph *g) {
  int high = rt_target_activations(r->target).high;
  for (int i = 0; i < r->n; i++) {
    const rt_record_node *n = &r->node[i];
    const rt_node *node = find_node(g, n->node);
    if (n->scale > 0 && (n->zero_point < 0 || n->zero_point > high))
      return rt_fail(RT_E_ARGUMENT, "the quantization record gives %s the zero point %d: for %s levels go from 0 to %d",
                     n->node, n->zero_point, rt_target_name(r->target), high);
    if (n->form != RT_FORM_INT8) continue;
    if (!node || strcmp(node->op->name, n->op) != 0)
      return rt_fail(RT_E_ARGUMENT,
                     "the quantization record is of another network: it has a %s %s, and this network hasn't", n->op,
                     n->node);
    const char *why = rt_int8_obstacle(node);
    if (why) return rt_fail(RT_E_ARGUMENT, "the quantization record wants %s in int8: %s", n->node, why);
    if (*n->winograd && !rt_int8_winograd_applies(node))
      return rt_fail(RT_E_ARGUMENT,
                     "the quantization record wants %s by Winograd: only 3×3 convolutions of stride 1 can be", n->node);
  }
  for (int i = 0; i < g->n_nodes; i++)
    if (g->node[i]->op->int8 && !rt_record_find(r, g->node[i]->name))
      return rt_fail(RT_E_ARGUMENT, "the quantization record is of another network: it says nothing of %s %s",
                     g->node[i]->op->name, g->node[i]->name);
  return RT_OK;
}

static rt_status declare(rt_store *to, const char *node, const char *role, rt_dtype dtype) {
  char name[300];
  rt_type type = rt_type_of(dtype, 0, NULL);
  rt_init zero = {RT_INIT_ZERO, 0, 0};
  rt_var *var;
  snprintf(name, sizeof name, "%s.%s", node, role);
  return rt_store_declare(to, name, &type, RT_SEGMENT_STATISTIC, &zero, &var);
}

rt_status rt_record_table(const rt_record *r, rt_int8_table *out) {
  rt_int8_node *node = rt_alloc_array((size_t)r->n + 1, sizeof *node);
  *out = (rt_int8_table){.node = node,
                         .n = r->n,
                         .high = rt_target_activations(r->target).high,
                         .dynamic = r->method == RT_METHOD_DYNAMIC};
  for (int i = 0; node && i < r->n; i++) {
    const rt_record_node *n = &r->node[i];
    node[i] = (rt_int8_node){n->node,       n->form == RT_FORM_INT8,           n->scale,
                             n->zero_point, *n->winograd ? n->winograd : NULL, n->weights == RT_WEIGHTS_PER_TENSOR};
  }
  return node ? RT_OK : RT_E_MEMORY;
}

rt_status rt_record_lower(const rt_record *r, const rt_graph *folded, rt_store *to, rt_graph **out) {
  rt_int8_table table;
  *out = NULL;
  rt_status s = rt_record_table(r, &table);
  if (s == RT_OK) s = check_record(r, folded);
  if (s == RT_OK) s = rt_lower_int8(folded, &table, to, out);
  for (int i = 0; i < r->n && s == RT_OK; i++) {
    if (!(r->node[i].scale > 0)) continue;
    s = declare(to, r->node[i].node, "out_scale", RT_F32);
    if (s == RT_OK) s = declare(to, r->node[i].node, "out_zero_point", RT_S32);
  }
  rt_free((void *)table.node);
  return s;
}

static bool makes_levels(const rt_graph *g, const char *name) {
  for (int i = 0; i < g->n_nodes; i++)
    if (strcmp(g->node[i]->name, name) == 0 && g->node[i]->op != RT_OP(quantize) &&
        g->node[i]->out[0]->type.dtype == RT_U8)
      return true;
  return false;
}

rt_status rt_record_settle(rt_record *r, const rt_graph *folded) {
  rt_store *store = NULL;
  rt_graph *graph = NULL;
  rt_status s = rt_store_new(&store);
  if (s == RT_OK) s = rt_record_lower(r, folded, store, &graph);
  for (int i = 0; i < r->n && s == RT_OK; i++) {
    rt_record_node *n = &r->node[i];
    if (n->form != RT_FORM_INT8 || rt_record_is_product(n) || makes_levels(graph, n->node)) continue;
    n->form = RT_FORM_FP32;
    n->why = "what is in front of it or behind it is floating";
  }
  rt_graph_free(graph);
  rt_store_free(store);
  return s;
}

/* ---- its variables ---- */

static rt_var *variable(const rt_store *store, const char *node, const char *role) {
  char name[300];
  snprintf(name, sizeof name, "%s.%s", node, role);
  return rt_store_find(store, name);
}

static double largest(const float *w, int64_t n) {
  double most = 0;
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(w[i])) return NAN;
    most = fmax(most, fabs((double)w[i]));
  }
  return most;
}

/* s = max|w|/127 of a filter, or of all of them; where the network came with s, that. */
static rt_status fill_weight(const rt_record_node *n, const float *w, rt_var *weight, rt_var *scale) {
  int8_t *q = weight->data;
  float *s = scale->data;
  int64_t filters = weight->type.dim[0], size = rt_type_elements(&weight->type) / filters;
  bool given = s[0] > 0;
  double all = largest(w, filters * size), low = given ? -128 : -127;
  if (isnan(all))
    return rt_fail(RT_E_RANGE, "a weight of %s isn't finite: the model has diverged or is damaged", n->node);
  for (int64_t o = 0; o < filters; o++) {
    double most = n->weights == RT_WEIGHTS_PER_TENSOR ? all : largest(w + o * size, size);
    if (!given) s[o] = (float)rt_scale_of((rt_range){-most, most}, WEIGHTS).scale;
    float inverse = 1 / s[o]; /* as `fake_quant_weight` does it: what is rounded up in training is here, too */
    for (int64_t i = o * size; i < (o + 1) * size; i++)
      q[i] = (int8_t)fmin(fmax(nearbyint((double)(w[i] * inverse)), low), 127);
  }
  weight->version++;
  scale->version++;
  return RT_OK;
}

/* Of a variable or a constant. */
static const float *data_of(const rt_node *node, int input) {
  const rt_value *v = node->n_in > input ? node->in[input] : NULL;
  return !v ? NULL : v->var ? v->var->data : v->data;
}

static rt_status fill_node(const rt_record_node *n, const rt_graph *folded, rt_store *to) {
  const rt_node *node = find_node(folded, n->node);
  const float *w = node ? data_of(node, 1) : NULL, *b = node ? data_of(node, 2) : NULL;
  rt_var *weight = variable(to, n->node, "weight"), *scale = variable(to, n->node, "weight_scale"),
         *bias = variable(to, n->node, "bias");
  if (!w || !weight || !scale || !bias) return rt_fail(RT_E_INTERNAL, "int8: %s has no weight", n->node);
  rt_status s = fill_weight(n, w, weight, scale);
  if (s != RT_OK || !b) return s; /* a bias that isn't there stays 0 */
  if (isnan(largest(b, bias->type.dim[0])))
    return rt_fail(RT_E_RANGE, "a bias of %s isn't finite: the model has diverged or is damaged", n->node);
  return rt_store_set(to, bias->name, b, (size_t)rt_type_bytes(&bias->type));
}

static rt_status copy_rest(const rt_store *folded, rt_store *to) {
  rt_status s = RT_OK;
  for (int i = 0; i < folded->n && s == RT_OK; i++) {
    const rt_var *from = folded->var[i], *var = rt_store_find(to, from->name);
    if (var && var->type.dtype == from->type.dtype && rt_same_shape(&var->type, &from->type))
      s = rt_store_set(to, from->name, from->data, (size_t)rt_type_bytes(&from->type));
  }
  return s;
}

rt_status rt_record_fill(const rt_record *r, const rt_graph *folded, rt_store *to) {
  rt_status s = rt_store_init(to, 0);
  if (s == RT_OK) s = copy_rest(folded->store, to);
  for (int i = 0; i < r->n && s == RT_OK; i++) {
    const rt_record_node *n = &r->node[i];
    rt_var *scale = variable(to, n->node, "out_scale"), *zero = variable(to, n->node, "out_zero_point");
    if (scale) *(float *)scale->data = (float)n->scale;
    if (zero) *(int32_t *)zero->data = n->zero_point;
    if (rt_record_is_product(n)) s = fill_node(n, folded, to);
  }
  return s;
}

rt_status rt_record_build(const rt_record *r, const rt_graph *folded, rt_store **store, rt_graph **graph) {
  *graph = NULL;
  rt_status s = rt_store_new(store);
  if (s == RT_OK) s = rt_record_lower(r, folded, *store, graph);
  return s == RT_OK ? rt_record_fill(r, folded, *store) : s;
}

rt_status rt_record_check(const rt_record *r, rt_store *store) {
  for (int i = 0; i < r->n; i++) {
    const rt_record_node *n = &r->node[i];
    const rt_var *scale = variable(store, n->node, "out_scale"), *zero = variable(store, n->node, "out_zero_point"),
                 *weight_scale = variable(store, n->node, "weight_scale");
    if (scale && (*(const float *)scale->data != (float)n->scale || *(const int32_t *)zero->data != n->zero_point))
      return rt_fail(
          RT_E_FORMAT,
          "%s.out_scale and out_zero_point are %g and %d, and the quantization record says %g and %d: it isn't "
          "this file's",
          n->node, (double)*(const float *)scale->data, (int)*(const int32_t *)zero->data, n->scale, n->zero_point);
    for (int64_t o = 0; weight_scale && o < weight_scale->type.dim[0]; o++) {
      float s = ((const float *)weight_scale->data)[o];
      if (!(s > 0 && isfinite(s)))
        return rt_fail(RT_E_FORMAT, "%s.weight_scale has the value %g: expected numbers above 0", n->node, (double)s);
    }
  }
  return RT_OK;
}
