/* An int8 network that came as a graph with its grids in it, quantize and dequantize around products of integer weights (QDQ), as
 * the float network and the record that it amounts to, and that lowered. A rounding that no int8 node reads is left out: its
 * value is computed as exactly as it can be, but ends where the grid does, which may be all that a file has of a relu. */
#include "base/alloc.h"
#include "op/op.h"
#include "pass/pass.h"
#include "record/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- weights: (q − z)·s with s known ---- */

typedef struct steps {
  const float *scale; /* one, or one a filter */
  int64_t n;
} steps;

static bool numbers_of(const rt_value *v, steps *out) {
  while (v->node && v->node->op == RT_OP(reshape)) v = v->node->in[0];
  const void *data = v->kind == RT_VALUE_CONSTANT ? v->data : v->kind == RT_VALUE_VARIABLE ? v->var->data : NULL;
  *out = (steps){data, rt_type_elements(&v->type)};
  return data && v->type.dtype == RT_F32;
}

/* The steps of a weight whose first dimension are the filters. */
static bool steps_of(const rt_value *w, steps *out) {
  int axis = 0;
  for (; w->node && (w->node->op == RT_OP(transpose) || w->node->op == RT_OP(reshape)); w = w->node->in[0]) {
    if (w->node->op == RT_OP(transpose) && w->type.rank != 2) return false;
    if (w->node->op == RT_OP(reshape) && (axis || w->type.dim[0] != w->node->in[0]->type.dim[0])) return false;
    axis ^= w->node->op == RT_OP(transpose);
  }
  if (!w->node || w->node->op != RT_OP(mul)) return false;
  const rt_value *q = w->node->in[0], *s = w->node->in[1];
  if (q->node && q->node->op == RT_OP(sub)) q = q->node->in[0];
  if (!q->node || q->node->op != RT_OP(cast) || rt_dtype_is_float(q->node->in[0]->type.dtype)) return false;
  return numbers_of(s, out) && (out->n == 1 || (s->type.rank > axis && s->type.dim[axis] == out->n));
}

static bool is_product(const rt_node *node, steps *out) {
  return node->op->int8 && !rt_int8_obstacle(node) && steps_of(node->in[1], out);
}

/* ---- levels up to 127, and roundings that nobody reads ---- */

/* What is cut where level 127 is, for CPUs whose sums would saturate else. */
static bool is_cut(const rt_node *quantize) {
  const rt_quantize_attr *a = quantize->attr;
  const rt_node *n = quantize->in[0]->node;
  steps most;
  if (!n || n->op != RT_OP(minimum) || !numbers_of(n->in[1], &most) || most.n != 1) return false;
  double end = a->scale * (double)(127 - a->zero_point);
  return fabs((double)most.scale[0] - end) <= 1e-5 * fabs(end);
}

typedef struct dropping {
  bool *int8; /* by id of a value: products in int8, or nodes that move, read it */
  bool narrow;
} dropping;

static bool is_positive(const rt_value *x) {
  const rt_node *n = x->node;
  if (!n) return false;
  return n->op == RT_OP(relu) || n->op == RT_OP(relu6) ||
         (n->op == RT_OP(conv2d) && ((const rt_conv2d_attr *)n->attr)->activation == RT_ACTIVATION_RELU);
}

/* x from level 0 to level `high`. */
static rt_value *ended(rt_graph *g, const char *name, rt_value *x, const rt_quantize_attr *a, int high) {
  static const rt_unary_attr plain;
  double low = a->scale * (double)-a->zero_point, most = a->scale * (double)(high - a->zero_point);
  bool positive = x && is_positive(x);
  if (a->zero_point > 0)
    x = rt_emit(g, RT_OP(maximum), name, NULL, 2, x, rt_scalar(g, low));
  else if (!positive)
    x = rt_emit(g, RT_OP(relu), name, &plain, 1, x);
  return rt_emit(g, RT_OP(minimum), name, NULL, 2, x, rt_scalar(g, most));
}

static bool drop(rt_pass *pass, const rt_node *node) {
  const dropping *d = pass->state;
  const rt_node *q = node->in[0]->node;
  if (d->narrow && node->op == RT_OP(minimum)) {
    for (int i = 0; i < pass->rw.from->n_nodes; i++) {
      const rt_node *reader = pass->rw.from->node[i];
      if (reader->op != RT_OP(quantize) || reader->in[0] != node->out[0]) continue;
      rt_rewrite_set(&pass->rw, node->out[0], rt_rewrite_value(&pass->rw, node->in[0]));
      return true;
    }
  }
  if (node->op != RT_OP(dequantize) || !q || q->op != RT_OP(quantize) || d->int8[node->out[0]->id]) return false;
  const rt_quantize_attr *a = q->attr, *b = node->attr;
  if (a->scale != b->scale || a->zero_point != b->zero_point) return false;
  rt_value *x = rt_rewrite_value(&pass->rw, q->in[0]);
  rt_rewrite_set(&pass->rw, node->out[0], ended(pass->rw.to, q->name, x, a, d->narrow ? 127 : 255));
  return true;
}

/* Is it what a convolution in int8 makes, rounded or not? */
static bool is_of_product(const rt_value *v) {
  steps unused;
  if (v->node && v->node->op == RT_OP(dequantize)) v = v->node->in[0];
  if (v->node && v->node->op == RT_OP(quantize)) v = v->node->in[0];
  return v->node && v->node->op == RT_OP(conv2d) && is_product(v->node, &unused);
}

/* A sum becomes part of a convolution whose result it takes; the other operand is read there as levels. */
static bool keep_residual(dropping *d, const rt_node *node) {
  for (int i = 0; node->op == RT_OP(add) && i < 2; i++)
    if (is_of_product(node->in[i])) {
      d->int8[node->in[1 - i]->id] = true;
      return true;
    }
  return false;
}

static bool is_rounded(const rt_graph *g, const rt_value *v) {
  for (int i = 0; i < g->n_nodes; i++)
    if (g->node[i]->op == RT_OP(quantize) && g->node[i]->in[0] == v) return true;
  return false;
}

static rt_status drop_unread(rt_graph **g, bool *narrow) {
  dropping d = {.int8 = rt_alloc((size_t)(*g)->n_values + 1), .narrow = true};
  steps unused;
  if (!d.int8) return RT_E_MEMORY;
  for (int i = 0; i < (*g)->n_nodes; i++) {
    const rt_node *node = (*g)->node[i];
    if (node->op == RT_OP(quantize)) d.narrow = d.narrow && is_cut(node);
    if (node->op->moves || is_product(node, &unused)) d.int8[node->in[0]->id] = true;
    if (keep_residual(&d, node) || !node->op->regrids || !is_rounded(*g, node->out[0])) continue;
    for (int j = 0; j < node->n_in; j++) d.int8[node->in[j]->id] = true;
  }
  *narrow = d.narrow;
  rt_status s = rt_pass_run(g, NULL, drop, &d);
  rt_free(d.int8);
  return s;
}

/* ---- the float network: pairs of quantize and dequantize become grids of their values ---- */

typedef struct grid {
  const rt_value *value; /* of the float network */
  double scale;
  int zero_point,
      of_file; /* here and there: levels below 0 are of no use behind a relu, which our products end at level 0 */
} grid;

typedef struct product {
  const rt_node *node; /* of the float network */
  steps steps;
} product;

typedef struct stripping {
  rt_rewrite rw;
  rt_value **twin; /* by id of an old value in u8: the float that it is a rounding of */
  grid *grid;
  product *product;
  int n_grids, n_products;
} stripping;

static const grid *grid_of(const stripping *t, const rt_value *v) {
  for (int i = 0; i < t->n_grids; i++)
    if (t->grid[i].value == v) return &t->grid[i];
  return v->node && v->node->op->moves ? grid_of(t, v->node->in[0]) : NULL;
}

/* A value has one grid: a second, different rounding of it stays a node. */
static bool strip_quantize(stripping *t, const rt_node *q) {
  const rt_quantize_attr *a = q->attr;
  rt_value *x = rt_rewrite_value(&t->rw, q->in[0]);
  if (!x) return false;
  int i = 0;
  while (i < t->n_grids && t->grid[i].value != x) i++;
  if (i < t->n_grids && (t->grid[i].scale != a->scale || t->grid[i].of_file != a->zero_point)) return false;
  int zero = (int)a->zero_point;
  if (i == t->n_grids) t->grid[t->n_grids++] = (grid){x, a->scale, is_positive(x) ? 0 : zero, zero};
  t->twin[q->out[0]->id] = x;
  return true;
}

static bool strip_dequantize(stripping *t, const rt_node *node) {
  const rt_quantize_attr *a = node->attr;
  rt_value *x = t->twin[node->in[0]->id];
  const grid *g = x ? grid_of(t, x) : NULL;
  if (!g || g->scale != a->scale || g->of_file != a->zero_point) return false;
  rt_rewrite_set(&t->rw, node->out[0], x);
  return true;
}

/* Elements moved as levels are moved as floats, and a frame of zero points is one of zeros. */
static bool strip_move(stripping *t, const rt_node *node) {
  rt_value *x = node->n_in ? t->twin[node->in[0]->id] : NULL;
  const grid *g = x ? grid_of(t, x) : NULL;
  rt_pad_attr pad = {0};
  const void *attr = node->attr;
  if (!g || node->op->moves != node->op) return false;
  if (node->op == RT_OP(pad)) {
    pad = *(const rt_pad_attr *)attr;
    if (pad.value != g->of_file) return false;
    pad.value = 0;
    attr = &pad;
  }
  rt_value **in = rt_rewrite_inputs(&t->rw, node);
  if (!in) return true;
  in[0] = x;
  rt_value *y = rt_graph_add(t->rw.to, node->op, node->name, in, node->n_in, attr);
  t->twin[node->out[0]->id] = y;
  if (y) t->grid[t->n_grids++] = (grid){y, g->scale, g->zero_point, g->of_file};
  return true;
}

/* The record speaks of nodes by name. */
static rt_status name_apart(rt_graph *g, int first) {
  for (int i = first; i < g->n_nodes; i++) {
    rt_node *node = g->node[i];
    const char *name = node->name;
    int k = 1;
    for (int j = 0; j < i; j++) {
      if (strcmp(g->node[j]->name, node->name) != 0) continue;
      node->name = rt_arena_text(&g->arena, "%s.%d", name, ++k);
      if (!node->name) return RT_E_MEMORY;
      j = -1;
    }
  }
  return RT_OK;
}

static rt_status copy_node(stripping *t, const rt_node *node) {
  rt_value **in = rt_rewrite_inputs(&t->rw, node);
  if (!in) return RT_E_MEMORY;
  for (int i = 0; i < node->n_in; i++) {
    rt_value *twin = node->in[i] && !in[i] ? t->twin[node->in[i]->id] : NULL;
    const grid *g = twin ? grid_of(t, twin) : NULL;
    rt_quantize_attr attr = {.scale = g ? g->scale : 1, .zero_point = g ? g->of_file : 0, .high = 255};
    if (twin) in[i] = rt_emit(t->rw.to, RT_OP(quantize), node->name, &attr, 1, twin);
  }
  rt_node *now = rt_rewrite_emit(&t->rw, node, in);
  steps found;
  if (now && is_product(node, &found) && grid_of(t, now->in[0])) t->product[t->n_products++] = (product){now, found};
  return rt_graph_status(t->rw.to);
}

static rt_status strip_nodes(stripping *t) {
  const rt_graph *from = t->rw.from;
  rt_status s = RT_OK;
  for (int i = 0; i < from->n_nodes && s == RT_OK; i++) {
    const rt_node *node = from->node[i];
    int first = t->rw.to->n_nodes;
    bool gone = node->op == RT_OP(quantize)     ? strip_quantize(t, node)
                : node->op == RT_OP(dequantize) ? strip_dequantize(t, node)
                                                : strip_move(t, node);
    s = gone ? rt_graph_status(t->rw.to) : copy_node(t, node);
    if (s == RT_OK) s = name_apart(t->rw.to, first);
  }
  return s;
}

/* ---- the record ---- */

/* Steps as the variable that the int8 network has, and whether the folded weight is whole numbers of them: the reason why not. */
static rt_status keep_steps(const product *p, rt_store *folded, const rt_var *w, const char **why) {
  int64_t filters = w->type.dim[0], size = rt_type_elements(&w->type) / filters;
  rt_type type = rt_type_of(RT_F32, 1, &filters);
  rt_init zero = {RT_INIT_ZERO, 0, 0};
  rt_var *scale;
  char name[300];
  snprintf(name, sizeof name, "%s.weight_scale", p->node->name);
  rt_status s = rt_store_declare(folded, name, &type, RT_SEGMENT_PARAMETER, &zero, &scale);
  if (s == RT_OK) s = rt_store_allocate(folded);
  *why = "";
  for (int64_t o = 0; s == RT_OK && o < filters; o++) {
    float step = p->steps.scale[p->steps.n == 1 ? 0 : o];
    ((float *)scale->data)[o] = step;
    for (int64_t i = o * size; i < (o + 1) * size; i++) {
      float q = ((const float *)w->data)[i] / step, whole = nearbyintf(q);
      if (!(fabsf(q - whole) <= 0.01f && whole >= -128 && whole <= 127))
        *why = "its weights have a zero point, and don't fit 8 bits around 0";
    }
  }
  return s;
}

static const grid *grid_named(const stripping *t, const char *name) {
  const grid *found = NULL;
  for (int i = 0; i < t->n_grids; i++)
    if (t->grid[i].value->node && strcmp(t->grid[i].value->node->name, name) == 0) found = &t->grid[i];
  return found;
}

static const product *find_product(const stripping *t, const char *name) {
  for (int i = 0; i < t->n_products; i++)
    if (strcmp(t->product[i].node->name, name) == 0) return &t->product[i];
  return NULL;
}

/* All that it reads and makes is on grids. */
static bool regrids(const stripping *t, const rt_node *node) {
  if (!node->op->regrids || !grid_named(t, node->name)) return false;
  for (int i = 0; i < node->n_in; i++)
    if (!node->in[i]->node || !grid_named(t, node->in[i]->node->name)) return false;
  return true;
}

static rt_status add_node(const stripping *t, const rt_node *node, rt_store *folded, rt_record *record) {
  const product *p = find_product(t, node->name);
  const char *obstacle = node->op->moves ? "it only moves values, in whatever form they come" : rt_int8_obstacle(node);
  rt_record_node n = {
      .node = node->name, .op = node->op->name, .why = obstacle ? obstacle : "the file has it in floats"};
  char weight[300];
  rt_status s = RT_OK;
  snprintf(weight, sizeof weight, "%s.weight", node->name);
  if (p && strcmp(node->in[1]->var->name, weight) != 0) {
    n.why = "another layer has the same weight";
  } else if (p) {
    s = keep_steps(p, folded, node->in[1]->var, &n.why);
    n.form = *n.why ? RT_FORM_FP32 : RT_FORM_INT8;
    n.weights = *n.why ? RT_WEIGHTS_NONE : p->steps.n == 1 ? RT_WEIGHTS_PER_TENSOR : RT_WEIGHTS_PER_CHANNEL;
  }
  if (!obstacle && regrids(t, node)) {
    n.form = RT_FORM_INT8;
    n.why = "";
  }
  const grid *g = grid_named(t, node->name);
  if (g) {
    n.scale = (double)(float)g->scale;
    n.zero_point = g->zero_point;
  }
  return s == RT_OK ? rt_record_add(record, &n) : s;
}

static rt_status make_record(const stripping *t, const rt_graph *graph, rt_store *folded, bool narrow, rt_record *r) {
  *r = (rt_record){.method = RT_METHOD_STATIC, .cpu = "", .data = ""};
  r->target = narrow ? RT_TARGET_FBGEMM : RT_TARGET_VNNI;
  rt_status s = RT_OK;
  for (int i = 0; i < t->n_grids && s == RT_OK; i++) {
    const grid *g = &t->grid[i];
    if (!g->value->node)
      s = rt_record_add(r, &(rt_record_node){.node = g->value->name,
                                             .op = "input",
                                             .why = "it comes in floating",
                                             .scale = (double)(float)g->scale,
                                             .zero_point = g->zero_point});
  }
  for (int i = 0; i < graph->n_nodes && s == RT_OK; i++) s = add_node(t, graph->node[i], folded, r);
  return s;
}

/* ---- door ---- */

bool rt_record_has_grids(const rt_graph *g) {
  for (int i = 0; i < g->n_nodes; i++)
    if (g->node[i]->op == RT_OP(quantize)) return true;
  return false;
}

static rt_status lower(const stripping *t, const rt_graph *plain, bool narrow, rt_record *record, rt_store **store,
                       rt_graph **out) {
  rt_store *folded_store = NULL;
  rt_graph *folded = NULL;
  rt_status s = rt_folded_new(plain, true, &folded_store, &folded);
  if (s == RT_OK) s = make_record(t, folded, folded_store, narrow, record);
  if (s == RT_OK) s = rt_record_build(record, folded, store, out);
  rt_graph_free(folded);
  rt_store_free(folded_store);
  return s;
}

static rt_status strip(stripping *t, bool narrow, rt_record *record, rt_store **store, rt_graph **out) {
  rt_graph *plain = NULL;
  rt_status s = strip_nodes(t);
  if (s != RT_OK) {
    rt_free(t->rw.map);
    rt_graph_free(t->rw.to);
    return s;
  }
  s = rt_rewrite_end(&t->rw, &plain);
  if (s == RT_OK) s = lower(t, plain, narrow, record, store, out);
  rt_graph_free(plain);
  return s;
}

rt_status rt_record_of_grids(rt_graph **from, rt_record *record, rt_store **store, rt_graph **out) {
  bool narrow;
  *record = (rt_record){0};
  *store = NULL;
  *out = NULL;
  rt_status s = rt_pass_eval(from, NULL);
  if (s == RT_OK) s = drop_unread(from, &narrow);
  if (s == RT_OK) s = rt_pass_prune(from); /* what nobody reads any more may not keep layers apart */
  if (s == RT_OK) s = rt_pass_fuse(from, NULL);
  if (s != RT_OK) return s;
  size_t n = (size_t)(*from)->n_values + 1;
  stripping t = {.twin = rt_alloc_array(n, sizeof *t.twin),
                 .grid = rt_alloc_array(n, sizeof *t.grid),
                 .product = rt_alloc_array(n, sizeof *t.product)};
  s = t.twin && t.grid && t.product ? rt_rewrite_begin(&t.rw, *from) : RT_E_MEMORY;
  if (s == RT_OK) s = strip(&t, narrow, record, store, out);
  rt_free(t.twin);
  rt_free(t.grid);
  rt_free(t.product);
  if (s != RT_OK) {
    rt_graph_free(*out);
    rt_store_free(*store);
    rt_record_release(record);
    *store = NULL;
    *out = NULL;
  }
  return s;
}
