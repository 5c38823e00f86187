/* A product y = act(x·w + b + r) on the grids x = sx·(qx − zx), w = sw·qw, r = sr·(qr − zr), y = sy·(qy − zy) is
 *   qy = act(Σ qx·qw · (sx·sw/sy) + (b − sx·zx·sw·Σqw − sr·zr)/sy + zy + (sr/sy)·qr)
 * in which all but the first sum and the residual are known beforehand: scale and bias of the int8 op. A padded image gets
 * zx around it. Where nobody reads y as a quantized tensor it comes out in f32: sy = 1, zy = 0.
 * With dynamic ranges sx and zx are values of the graph, and y is f32.
 * The twins in float take the same decisions here; what they make of a node is in twins.c. */
#include "base/alloc.h"
#include "pass/lowering.h"

#include <stdio.h>

/* ---- the table ---- */

static const rt_int8_node *entry(const rt_lowering *l, const char *name) {
  for (int i = 0; i < l->table->n; i++)
    if (strcmp(l->table->node[i].node, name) == 0) return &l->table->node[i];
  return NULL;
}

/* Known before an image is: made of variables. */
static bool is_derived(const rt_value *v) {
  if (v->kind == RT_VALUE_VARIABLE || v->kind == RT_VALUE_CONSTANT) return true;
  if (v->kind != RT_VALUE_NODE) return false;
  for (int i = 0; i < v->node->n_in; i++)
    if (v->node->in[i] && !is_derived(v->node->in[i])) return false;
  return true;
}

static const char *regrid_obstacle(const rt_node *node) {
  for (int i = 1; node->op->regrids != node->op && i < node->n_in; i++)
    if (!rt_same_shape(&node->in[i]->type, &node->in[0]->type)) return "its inputs have different shapes";
  for (int i = 0; i < node->n_in; i++)
    if (is_derived(node->in[i])) return "a weight is one of its inputs";
  return node->out[0]->type.rank < 2 ? "its result is a vector" : NULL;
}

const char *rt_int8_obstacle(const rt_node *node) {
  if (node->op->regrids) return regrid_obstacle(node);
  if (!node->op->int8) return "there is no int8 form of it";
  if (!is_derived(node->in[1])) return "its weight is computed from activations";
  if (node->in[0]->type.rank < 2) return "its input is a vector";
  return NULL;
}

bool rt_int8_winograd_applies(const rt_node *node) {
  if (node->op != RT_OP(conv2d) || node->in[1]->type.rank != 4) return false;
  const rt_conv2d_attr *a = node->attr;
  for (int i = 0; i < 2; i++)
    if (a->stride[i] != 1 || a->dilation[i] != 1 || a->padding[i] > 2 || node->in[1]->type.dim[2 + i] != 3)
      return false;
  return a->groups == 1;
}

static bool wanted(const rt_lowering *l, const rt_node *node) {
  const rt_int8_node *e = entry(l, node->name);
  return e && e->int8 && !rt_int8_obstacle(node);
}

/* It is a product in int8. */
static bool is_int8(const rt_lowering *l, const rt_node *node) { return node->op->int8 && wanted(l, node); }

static const char *name_of(const rt_value *v) { return v->node ? v->node->name : v->name; }

/* ---- values on grids ---- */

/* A float brought onto its grid: u8, or a float there. */
static rt_value *rounded(rt_lowering *l, const rt_int8_node *e, rt_value *x) {
  rt_quantize_attr attr = {.scale = e->scale, .zero_point = e->zero_point, .high = l->table->high};
  return l->fake ? rt_fake_rounded(l, e, x) : rt_emit(l->rw.to, RT_OP(quantize), e->node, &attr, 1, x);
}

/* A float on the grid of its own range. */
static rt_quantized found(rt_lowering *l, const char *name, rt_value *x) {
  rt_graph *g = l->rw.to;
  rt_observe_attr attr = {.high = l->table->high};
  rt_value *range = rt_emit(g, RT_OP(observe), name, &attr, 1, x);
  rt_quantized now = {.scale = 1, .found_scale = rt_output(range, 2), .found_zero = rt_output(range, 3)};
  now.q = rt_emit(g, RT_OP(quantize_by), name, &attr, 3, x, now.found_scale, now.found_zero);
  return now;
}

rt_value *rt_lower_as_float(rt_lowering *l, const rt_value *v) {
  rt_value *now = v ? rt_rewrite_value(&l->rw, v) : NULL;
  if (!v || now) return now;
  const rt_quantized *g = &l->grid[v->id];
  if (l->fake) {
    if (g->q) rt_rewrite_set(&l->rw, v, g->q);
    return g->q;
  }
  rt_quantize_attr attr = {.scale = g->scale, .zero_point = g->zero_point, .high = l->table->high};
  if (g->q) now = rt_emit(l->rw.to, RT_OP(dequantize), name_of(v), &attr, 1, g->q);
  rt_rewrite_set(&l->rw, v, now);
  return now;
}

static rt_status as_grid(rt_lowering *l, const rt_value *v, const rt_quantized **out) {
  rt_quantized *g = &l->grid[v->id];
  *out = g;
  if (g->q) return RT_OK;
  if (l->table->dynamic) {
    *g = found(l, name_of(v), rt_lower_as_float(l, v));
    return rt_graph_status(l->rw.to);
  }
  const rt_int8_node *e = entry(l, name_of(v));
  if (!e || !(e->scale > 0))
    return rt_fail(RT_E_ARGUMENT, "int8: the output of %s has no scale, and an int8 node reads it", name_of(v));
  *g = (rt_quantized){.q = rounded(l, e, rt_rewrite_value(&l->rw, v)), .scale = e->scale, .zero_point = e->zero_point};
  return g->q ? RT_OK : rt_graph_status(l->rw.to);
}

/* ---- variables of a product ---- */

static rt_value *variable(rt_lowering *l, const rt_node *node, const char *role, rt_dtype dtype, int rank,
                          const rt_dim *dim) {
  char name[300];
  rt_type type = rt_type_of(dtype, rank, dim);
  rt_init zero = {RT_INIT_ZERO, 0, 0};
  rt_var *var;
  snprintf(name, sizeof name, "%s.%s", node->name, role);
  rt_status s = rt_store_declare(l->rw.to->store, name, &type, RT_SEGMENT_PARAMETER, &zero, &var);
  return s == RT_OK ? rt_graph_variable(l->rw.to, var) : rt_graph_failed(l->rw.to, s);
}

rt_value *rt_lower_cast(rt_graph *g, const char *name, rt_dtype dtype, rt_value *v) {
  rt_cast_attr attr = {.dtype = dtype};
  return rt_emit(g, RT_OP(cast), name, &attr, 1, v);
}

/* Σqw of each filter, in f32: exact, for 2²⁴/127 weights and more. */
static rt_value *filter_sums(rt_graph *g, const char *name, rt_value *weight) {
  rt_reduce_attr all = {.axes = {.n = weight ? weight->type.rank - 1 : 0, .v = {1, 2, 3}}};
  return rt_emit(g, RT_OP(sum), name, &all, 1, rt_lower_cast(g, name, RT_F32, weight));
}

/* (b − sx·zx·sw·Σqw − sr·zr)/sy + zy */
static rt_value *bias_of(rt_lowering *l, const rt_product *p, rt_value *weight, rt_value *weight_scale,
                         rt_value *bias) {
  rt_graph *g = l->rw.to;
  const char *name = p->node->name;
  if (p->x->zero_point || p->x->found_zero) {
    rt_value *sum = rt_emit(g, RT_OP(mul), name, NULL, 2, filter_sums(g, name, weight), weight_scale);
    rt_value *zero = p->x->found_zero ? rt_emit(g, RT_OP(mul), name, NULL, 2, p->x->found_scale, p->x->found_zero)
                                      : rt_scalar(g, p->x->scale * p->x->zero_point);
    bias = rt_emit(g, RT_OP(sub), name, NULL, 2, bias, rt_emit(g, RT_OP(mul), name, NULL, 2, sum, zero));
  }
  double shift = p->y.zero_point * p->y.scale - (p->residual ? p->residual->scale * p->residual->zero_point : 0);
  if (shift != 0) bias = rt_emit(g, RT_OP(add), name, NULL, 2, bias, rt_scalar(g, shift));
  return p->y.scale == 1 ? bias : rt_emit(g, RT_OP(mul), name, NULL, 2, bias, rt_scalar(g, 1 / p->y.scale));
}

/* An image with its zero point around it, so that padding needs no case of its own; one whose range isn't known yet gets
 * zeros around it before. */
static rt_value *padded(rt_lowering *l, rt_product *p, rt_conv2d_attr *conv) {
  rt_pad_attr pad = {
      .pads = {.n = 8, .v = {0, 0, 0, 0, conv->padding[0], conv->padding[0], conv->padding[1], conv->padding[1]}},
      .value = p->x->zero_point};
  bool none = !conv->padding[0] && !conv->padding[1];
  if (none || (!p->x->zero_point && !p->x->found_zero)) return p->x->q;
  conv->padding[0] = conv->padding[1] = 0;
  if (!p->x->found_zero) return rt_emit(l->rw.to, RT_OP(pad), p->node->name, &pad, 1, p->x->q);
  rt_value *x = rt_emit(l->rw.to, RT_OP(pad), p->node->name, &pad, 1, rt_lower_as_float(l, p->node->in[0]));
  p->framed = found(l, p->node->name, x);
  p->x = &p->framed;
  return p->framed.q;
}

static rt_conv2d_winograd_int8_attr winograd_of(const rt_conv2d_int8_attr *a, const int *numbers) {
  rt_conv2d_winograd_int8_attr w = {.int8 = a->int8,
                                    .padding = {a->conv.padding[0], a->conv.padding[1]},
                                    .activation = a->conv.activation,
                                    .multiplier = {.n = RT_WINOGRAD_TAPS},
                                    .centre = numbers[RT_WINOGRAD_TAPS]};
  for (int i = 0; i < RT_WINOGRAD_TAPS; i++) w.multiplier.v[i] = numbers[i];
  return w;
}

/* weight s8, scale and bias: numbers of each filter, of the float product. What Winograd rounds a second time can't be said in
 * float: the twin that checks has the op itself. */
static rt_value *emit_product(rt_lowering *l, rt_product *p, rt_conv2d_int8_attr *attr, rt_value *weight,
                              rt_value *scale, rt_value *bias, rt_value *residual) {
  rt_graph *g = l->rw.to;
  const rt_node *node = p->node;
  const int *winograd = rt_int8_winograd_applies(node) && !l->table->dynamic ? p->row->winograd : NULL;
  rt_value *x = node->op == RT_OP(conv2d) ? padded(l, p, &attr->conv) : p->x->q;
  bias = bias_of(l, p, weight, scale, bias);
  rt_value *step = p->x->found_scale ? p->x->found_scale : rt_scalar(g, p->x->scale / p->y.scale);
  scale = rt_emit(g, RT_OP(mul), node->name, NULL, 2, scale, step);
  rt_value *in[] = {x, weight, scale, bias, residual};
  int n = residual ? 5 : 4;
  if (l->twin && !winograd) return rt_twin_product(l, p, attr, in);
  if (!winograd) return rt_graph_add(g, node->op->int8, node->name, in, n, attr);
  rt_conv2d_winograd_int8_attr by_tiles = winograd_of(attr, winograd);
  return rt_graph_add(g, RT_OP(conv2d_winograd_int8), node->name, in, n, &by_tiles);
}

static rt_conv2d_int8_attr attr_of(const rt_lowering *l, const rt_product *p, bool f32) {
  rt_conv2d_int8_attr attr = {.int8 = {.residual_scale = p->residual ? p->residual->scale / p->y.scale : 1,
                                       .high = l->table->high,
                                       .x_high = l->table->high,
                                       .f32 = f32}};
  if (p->node->op == RT_OP(conv2d)) attr.conv = *(const rt_conv2d_attr *)p->node->attr;
  if (p->act) attr.conv.activation = RT_ACTIVATION_RELU;
  return attr;
}

static rt_value *emit_int8(rt_lowering *l, rt_product *p, rt_value *residual, bool f32) {
  const rt_type *w = &p->node->in[1]->type;
  rt_conv2d_int8_attr attr = attr_of(l, p, f32);
  rt_value *weight, *scale, *bias;
  if (l->twin) {
    weight = rt_twin_weight(l, p, &scale, &bias);
  } else {
    weight = variable(l, p->node, "weight", RT_S8, w->rank, w->dim);
    scale = variable(l, p->node, "weight_scale", RT_F32, 1, w->dim);
    bias = variable(l, p->node, "bias", RT_F32, 1, w->dim);
  }
  return emit_product(l, p, &attr, weight, scale, bias, residual);
}

/* ---- nodes ---- */

/* relu6 behind a product is nothing but the end of its grid, relu a product's own activation. */
static const rt_node *ending(const rt_lowering *l, const rt_node *node) {
  const rt_node *next = l->reads[node->out[0]->id];
  if (!next || (next->op != RT_OP(relu6) && next->op != RT_OP(relu)) || l->table->dynamic) return NULL;
  const rt_int8_node *e = entry(l, next->name);
  if (!e || !(e->scale > 0) || e->zero_point) return NULL;
  bool ends = next->op == RT_OP(relu) || e->scale * (double)l->table->high <= 6 * (1 + 1e-5);
  return ends ? next : NULL;
}

static const rt_node *follower(const rt_lowering *l, const rt_node *node) {
  const rt_node *next = ending(l, node);
  return next && l->readers[next->out[0]->id] ? next : NULL;
}

static const rt_value *residual_of(const rt_product *p) {
  const rt_node *n = p->norm ? p->norm : p->node;
  int i = p->norm ? RT_NORM_RESIDUAL : RT_CONV_RESIDUAL;
  return (p->norm || n->op == RT_OP(conv2d)) && n->n_in > i ? n->in[i] : NULL;
}

/* Nothing stands between a layer and the norm behind it: folding takes no other. */
static bool is_bare(const rt_node *layer) {
  if (layer->op != RT_OP(conv2d)) return true;
  const rt_conv2d_attr *a = layer->attr;
  return a->activation == RT_ACTIVATION_NONE && (layer->n_in <= RT_CONV_RESIDUAL || !layer->in[RT_CONV_RESIDUAL]);
}

/* The product that ends at this node: itself, or the convolution whose batch norm it is. */
static bool match(const rt_lowering *l, const rt_node *node, rt_product *p) {
  bool norm = l->fake && (node->op == RT_OP(batch_norm_train) || node->op == RT_OP(batch_norm));
  const rt_node *layer = norm ? node->in[0]->node : node;
  if (!layer || !is_int8(l, layer)) return false;
  if (norm && (l->reads[layer->out[0]->id] != node || !is_bare(layer))) return false;
  *p = (rt_product){.node = layer, .norm = norm ? node : NULL, .row = entry(l, layer->name), .y = {.scale = 1}};
  return true;
}

/* A batch norm comes with its convolution, and the other way round. */
static bool waits_for_norm(const rt_lowering *l, const rt_node *node) {
  rt_product p;
  const rt_node *next = l->reads[node->out[0]->id];
  return next && match(l, next, &p) && p.norm && p.node == node;
}

static rt_status lower_product(rt_lowering *l, rt_product *p) {
  const rt_node *end = p->norm ? p->norm : p->node;
  p->act = follower(l, end);
  const rt_value *y = p->act ? p->act->out[0] : end->out[0], *r = residual_of(p);
  const rt_int8_node *e = p->act ? entry(l, p->act->name) : p->row;
  bool quantized = e->scale > 0 && l->readers[y->id] && !l->table->dynamic;
  rt_value *residual = NULL;
  if (quantized) p->y = (rt_quantized){.scale = e->scale, .zero_point = e->zero_point};
  rt_status s = as_grid(l, p->node->in[0], &p->x);
  if (s == RT_OK && r && quantized) s = as_grid(l, r, &p->residual);
  if (s != RT_OK) return s;
  if (r) residual = quantized ? p->residual->q : rt_lower_as_float(l, r);
  rt_value *now =
      l->fake ? rt_fake_product(l, p, residual, quantized ? e : NULL) : emit_int8(l, p, residual, !quantized);
  if (!now) return rt_graph_status(l->rw.to);
  p->y.q = now;
  if (quantized)
    l->grid[y->id] = p->y;
  else
    rt_rewrite_set(&l->rw, y, now);
  return RT_OK;
}

/* Moved elements stay on their grid, and a frame of zeros is one of zero points. */
static bool moves(const rt_lowering *l, const rt_node *node) {
  if (!node->op->moves || !l->readers[node->out[0]->id] || l->table->dynamic) return false;
  if (node->n_out > 1 && !l->fake && l->reads[node->out[1]->id]) return false;
  return node->op != RT_OP(pad) || ((const rt_pad_attr *)node->attr)->value == 0;
}

static bool move_quantized(rt_lowering *l, const rt_node *node) {
  const rt_quantized *x = &l->grid[node->in[0]->id];
  if (!x->q || !moves(l, node)) return false;
  rt_value **in = rt_rewrite_inputs(&l->rw, node);
  if (!in) return true;
  in[0] = x->q;
  rt_pad_attr pad;
  const void *attr = node->attr;
  if (node->op == RT_OP(pad) && !l->fake) {
    pad = *(const rt_pad_attr *)attr;
    pad.value = x->zero_point;
    attr = &pad;
  }
  rt_value *now = rt_graph_add(l->rw.to, l->fake ? node->op : node->op->moves, node->name, in, node->n_in, attr);
  l->grid[node->out[0]->id] = (rt_quantized){.q = now, .scale = x->scale, .zero_point = x->zero_point};
  for (int i = 1; l->fake && now && i < node->n_out; i++) rt_rewrite_set(&l->rw, node->out[i], now->node->out[i]);
  return true;
}

/* ---- levels of some grids to levels of another ---- */

static bool can_regrid(const rt_lowering *l, const rt_node *node) {
  if (!node->op->regrids || l->table->dynamic || !wanted(l, node) || !(entry(l, node->name)->scale > 0)) return false;
  for (int i = 0; i < node->n_in; i++)
    if (!l->levels[node->in[i]->id]) return false;
  return true;
}

static bool regrids(const rt_lowering *l, const rt_node *node) {
  return can_regrid(l, node) && l->readers[node->out[0]->id];
}

static rt_regrid_attr onto(const rt_lowering *l, const rt_int8_node *e, const rt_quantized *const *in, int n) {
  rt_regrid_attr a = {.zero_point = e->zero_point, .high = l->table->high};
  for (int i = 0; i < n && i < 2; i++) {
    a.scale[i] = in[i]->scale / e->scale;
    a.from[i] = in[i]->zero_point;
  }
  return a;
}

/* Inputs of a node that joins: all on the grid of its result. */
static rt_value *joined(rt_lowering *l, const rt_node *node, const rt_int8_node *e, const rt_quantized *const *from,
                        rt_value **in) {
  for (int i = 0; i < node->n_in; i++) {
    rt_regrid_attr a = onto(l, e, &from[i], 1);
    in[i] = from[i]->q;
    if (from[i]->scale != e->scale || from[i]->zero_point != e->zero_point)
      in[i] = rt_emit(l->rw.to, RT_OP(requantize), node->name, &a, 1, in[i]);
  }
  return rt_graph_add(l->rw.to, node->op, node->name, in, node->n_in, node->attr);
}

static rt_value *regridded(rt_lowering *l, const rt_node *node, const rt_int8_node *e, const rt_quantized *const *from,
                           rt_value **in) {
  const rt_op *op = node->op->regrids;
  char *attr = rt_arena_alloc(&l->rw.to->arena, op->attr_size);
  rt_regrid_attr a = onto(l, e, from, node->n_in);
  if (!attr) return rt_graph_failed(l->rw.to, RT_E_MEMORY);
  memcpy(attr, &a, sizeof a);
  if (node->op->attr_size) memcpy(attr + sizeof a, node->attr, node->op->attr_size);
  for (int i = 0; i < node->n_in; i++) in[i] = from[i]->q;
  return rt_graph_add(l->rw.to, op, node->name, in, node->n_in, attr);
}

static rt_status regrid_node(rt_lowering *l, const rt_node *node) {
  const rt_int8_node *e = entry(l, node->name);
  rt_value **in = rt_arena_alloc(&l->rw.to->arena, (size_t)node->n_in * sizeof *in);
  const rt_quantized **from = rt_arena_alloc(&l->rw.to->arena, (size_t)node->n_in * sizeof *from);
  rt_status s = in && from ? RT_OK : RT_E_MEMORY;
  for (int i = 0; i < node->n_in && s == RT_OK; i++) {
    s = as_grid(l, node->in[i], &from[i]);
    if (s == RT_OK) in[i] = l->twin ? rt_lower_as_float(l, node->in[i]) : from[i]->q;
  }
  if (s != RT_OK) return s;
  rt_value *now;
  if (l->fake || l->twin) {
    now = rt_graph_add(l->rw.to, node->op, node->name, in, node->n_in, node->attr);
    if (now) now = rounded(l, e, now);
  } else {
    now = node->op->regrids == node->op ? joined(l, node, e, from, in) : regridded(l, node, e, from, in);
  }
  l->grid[node->out[0]->id] = (rt_quantized){.q = now, .scale = e->scale, .zero_point = e->zero_point};
  return rt_graph_status(l->rw.to);
}

static rt_status copy_node(rt_lowering *l, const rt_node *node) {
  rt_value **in = rt_arena_alloc(&l->rw.to->arena, (size_t)(node->n_in + 1) * sizeof *in);
  if (!in) return RT_E_MEMORY;
  for (int j = 0; j < node->n_in; j++) {
    const rt_value *v = node->in[j];
    in[j] = rt_lower_as_float(l, v);
    if (!v || in[j] || v->kind != RT_VALUE_VARIABLE) continue;
    rt_var *var;
    rt_status s = rt_store_declare(l->rw.to->store, v->var->name, &v->type, v->var->segment, &v->var->init, &var);
    if (s != RT_OK) return s;
    in[j] = rt_graph_variable(l->rw.to, var);
    rt_rewrite_set(&l->rw, v, in[j]);
  }
  rt_rewrite_emit(&l->rw, node, in);
  return rt_graph_status(l->rw.to);
}

static rt_status lower_node(rt_lowering *l, const rt_node *node) {
  bool done = true;
  for (int j = 0; j < node->n_out; j++) done = done && (l->grid[node->out[j]->id].q || l->rw.map[node->out[j]->id]);
  if (done) return RT_OK; /* it went with the product in front of it */
  rt_product p;
  if (waits_for_norm(l, node)) return RT_OK;
  if (match(l, node, &p)) return lower_product(l, &p);
  if (regrids(l, node)) return regrid_node(l, node);
  return move_quantized(l, node) ? rt_graph_status(l->rw.to) : copy_node(l, node);
}

/* ---- who reads what ---- */

static void find_uses(rt_lowering *l) {
  const rt_graph *g = l->from;
  int *uses = l->readers + g->n_values;
  for (int i = 0; i < g->n_outputs; i++) { /* a layer's own result is there beside its norm's, in floats */
    const rt_value *v = g->output[i].value;
    if (!l->fake || !v->node || !v->node->op->int8) uses[v->id] += 2;
  }
  for (int i = 0; i < g->n_nodes; i++)
    for (int j = 0; j < g->node[i]->n_in; j++) {
      const rt_value *v = g->node[i]->in[j];
      if (v) l->reads[v->id] = uses[v->id]++ ? NULL : g->node[i];
    }
}

static bool can_make_levels(const rt_lowering *l, const rt_node *node) {
  const rt_value *x = node->n_in ? node->in[0] : NULL;
  rt_product p;
  if (match(l, node, &p) || can_regrid(l, node)) return true;
  if (x && node->op->moves) return l->levels[x->id];
  return x && x->node && match(l, x->node, &p) && ending(l, x->node) == node;
}

static void find_readers(rt_lowering *l) {
  const rt_graph *g = l->from;
  for (int i = g->n_nodes - 1; i >= 0; i--) {
    const rt_node *node = g->node[i];
    if (is_int8(l, node) || moves(l, node)) l->readers[node->in[0]->id]++;
    for (int j = 0; regrids(l, node) && j < node->n_in; j++) l->readers[node->in[j]->id]++;
    rt_product p;
    const rt_value *r = match(l, node, &p) ? residual_of(&p) : NULL;
    if (r) l->readers[r->id]++;
  }
}

static rt_status lower(rt_lowering *l, rt_graph **out) {
  rt_status s = RT_OK;
  find_uses(l);
  for (int i = 0; i < l->from->n_nodes; i++) {
    const rt_node *node = l->from->node[i];
    if (node->n_out) l->levels[node->out[0]->id] = can_make_levels(l, node);
  }
  find_readers(l);
  for (int i = 0; i < l->from->n_nodes && s == RT_OK; i++) s = lower_node(l, l->from->node[i]);
  for (int i = 0; i < l->from->n_outputs && s == RT_OK; i++)
    if (!rt_lower_as_float(l, l->from->output[i].value)) s = rt_graph_status(l->rw.to);
  for (int i = 0; i < l->n_changes; i++)
    rt_emit(l->rw.to, RT_OP(assign), l->change[i].variable->name, NULL, 2, l->change[i].variable, l->change[i].value);
  if (s == RT_OK) return rt_rewrite_end(&l->rw, out);
  rt_free(l->rw.map);
  rt_graph_free(l->rw.to);
  return s;
}

rt_status rt_lower_run(rt_lowering *l, rt_store *to, rt_graph **out) {
  size_t n = (size_t)l->from->n_values + 1;
  l->grid = rt_alloc_array(n, sizeof *l->grid);
  l->reads = rt_alloc_array(n, sizeof *l->reads);
  l->readers = rt_alloc_array(2 * n, sizeof *l->readers);
  l->levels = rt_alloc(n);
  l->change = rt_alloc_array(4 * n, sizeof *l->change);
  *out = NULL;
  bool all = l->grid && l->reads && l->readers && l->levels && l->change;
  rt_status s = all ? rt_rewrite_begin_over(&l->rw, l->from, to) : RT_E_MEMORY;
  if (s == RT_OK) s = lower(l, out);
  if (s == RT_OK) s = rt_pass_prune(out);
  rt_free(l->grid);
  rt_free(l->reads);
  rt_free(l->readers);
  rt_free(l->levels);
  rt_free(l->change);
  return s;
}

rt_status rt_lower_int8(const rt_graph *from, const rt_int8_table *table, rt_store *to, rt_graph **out) {
  rt_lowering l = {.from = from, .table = table};
  return rt_lower_run(&l, to, out);
}
