/* The twins of an int8 network, in float: what they make of a node where int8 makes something else (lower_int8.c).
 * The one that trains takes the same decisions and rounds the same values: x, w, r, and y where it is read.
 * The one that checks computes the line at the head of lower_int8.c: of levels, because sums of whole numbers are exact in f32 up to
 * 2²⁴. Of x = sx·qx they would be rounded at every term, which now and then ends on another level, and behind twenty layers on many. */
#include "pass/lowering.h"

#include <stdio.h>

/* ---- the one that trains ---- */

/* A number of a grid in the store: "NODE.out.scale". */
static rt_value *number(rt_lowering *l, const char *name, const char *role, double value, bool trained) {
  char full[300];
  rt_type type = rt_type_of(RT_F32, 0, NULL);
  rt_init init = {RT_INIT_CONSTANT, value, 0};
  rt_var *var;
  snprintf(full, sizeof full, "%s.out.%s", name, role);
  rt_segment segment = trained ? RT_SEGMENT_PARAMETER : RT_SEGMENT_STATISTIC;
  rt_status s = rt_store_declare(l->rw.to->store, full, &type, segment, &init, &var);
  return s == RT_OK ? rt_graph_variable(l->rw.to, var) : rt_graph_failed(l->rw.to, s);
}

/* The range of x moves that of its grid, from the next step on. */
static void observe(rt_lowering *l, const rt_int8_node *e, rt_value *x, rt_value *scale, rt_value *zero) {
  rt_graph *g = l->rw.to;
  rt_observe_attr attr = {.high = l->table->high};
  double low = -e->zero_point * e->scale, high = ((double)l->table->high - e->zero_point) * e->scale;
  rt_value *variable[] = {number(l, e->node, "low", low, false), number(l, e->node, "high", high, false), scale, zero};
  rt_value *now = rt_emit(g, RT_OP(observe), e->node, &attr, 4, x, variable[0], variable[1],
                          rt_scalar_input(g, "observer_rate", 0.01));
  for (int i = 0; now && i < 4; i++) l->change[l->n_changes++] = (rt_change){variable[i], rt_output(now, i)};
}

rt_value *rt_fake_rounded(rt_lowering *l, const rt_int8_node *row, rt_value *x) {
  bool learned = l->grids == RT_GRIDS_LEARNED;
  rt_fake_quant_attr attr = {.high = l->table->high, .learned = learned, .scaled = learned};
  rt_value *scale = number(l, row->node, "scale", row->scale, learned),
           *zero = number(l, row->node, "zero_point", row->zero_point, false);
  if (l->grids == RT_GRIDS_OBSERVED) observe(l, row, x, scale, zero);
  return rt_emit(l->rw.to, RT_OP(fake_quant), row->node, &attr, 3, x, scale, zero);
}

/* γ/√(var + ε): what the batch norm behind a convolution will multiply its filters by. */
static rt_value *norm_factor(rt_lowering *l, const rt_node *norm) {
  rt_graph *g = l->rw.to;
  const rt_batch_norm_attr *a = norm->attr;
  rt_unary_attr plain = {0};
  rt_value *deviation =
      rt_emit(g, RT_OP(add), norm->name, NULL, 2, rt_rewrite_value(&l->rw, norm->in[4]), rt_scalar(g, a->eps));
  deviation = rt_emit(g, RT_OP(sqrt), norm->name, &plain, 1, deviation);
  return rt_emit(g, RT_OP(div), norm->name, NULL, 2, rt_rewrite_value(&l->rw, norm->in[1]), deviation);
}

/* A factor on a filter is one on its scale, and matters where filters share a scale. */
static rt_value *rounded_weight(rt_lowering *l, const rt_product *p, rt_value *weight) {
  rt_fake_quant_weight_attr attr = {.per_tensor = p->row->per_tensor};
  rt_value *in[] = {weight, attr.per_tensor && p->norm ? norm_factor(l, p->norm) : NULL};
  return rt_graph_add(l->rw.to, RT_OP(fake_quant_weight), p->node->name, in, in[1] ? 2 : 1, &attr);
}

/* A node of p again with its first input and its residual replaced, and a weight that is rounded. */
static rt_value *again(rt_lowering *l, const rt_product *p, const rt_node *node, rt_value *x, int residual_input,
                       rt_value *residual) {
  rt_value **in = rt_arena_alloc(&l->rw.to->arena, (size_t)(node->n_in + 1) * sizeof *in);
  if (!in) return rt_graph_failed(l->rw.to, RT_E_MEMORY);
  for (int i = 1; i < node->n_in; i++) in[i] = i == residual_input ? residual : rt_lower_as_float(l, node->in[i]);
  in[0] = x;
  if (node == p->node) in[1] = rounded_weight(l, p, in[1]);
  rt_value *y = rt_graph_add(l->rw.to, node->op, node->name, in, node->n_in, node->attr);
  for (int i = 1; y && i < node->n_out; i++) rt_rewrite_set(&l->rw, node->out[i], y->node->out[i]);
  return y;
}

rt_value *rt_fake_product(rt_lowering *l, const rt_product *p, rt_value *residual, const rt_int8_node *row) {
  rt_value *y = again(l, p, p->node, p->x->q, p->norm ? -1 : RT_CONV_RESIDUAL, residual);
  if (p->norm) {
    rt_rewrite_set(&l->rw, p->node->out[0], y); /* it may be marked */
    y = again(l, p, p->norm, y, RT_NORM_RESIDUAL, residual);
  }
  if (p->act) {
    rt_rewrite_set(&l->rw, (p->norm ? p->norm : p->node)->out[0], y);
    y = again(l, p, p->act, y, -1, NULL);
  }
  return row ? rt_fake_rounded(l, row, y) : y;
}

rt_status rt_fake_quant(const rt_graph *from, const rt_int8_table *table, rt_grids grids, rt_graph **out) {
  rt_lowering l = {.from = from, .table = table, .fake = true, .grids = grids};
  return rt_lower_run(&l, from->store, out);
}

/* ---- the one that checks ---- */

/* The levels of a rounded weight, and what one of each filter is worth: max |w|/127 of it, or of all. */
static rt_value *weight_levels(rt_lowering *l, const rt_product *p, rt_value *weight, rt_value **scale) {
  static const rt_quantize_attr whole = {.scale = 1, .zero_point = 128, .high = 255}; /* from −128 on */
  rt_graph *g = l->rw.to;
  const char *name = p->node->name;
  rt_unary_attr plain = {0};
  rt_reshape_attr vector = {.shape = {.n = 1, .v = {-1}}};
  rt_reduce_attr filters = {.axes = {.n = weight->type.rank - 1, .v = {1, 2, 3}}, .keepdim = true};
  rt_reduce_attr all = {.axes = {.n = 1, .v = {0}}, .keepdim = true};
  rt_value *most = rt_emit(g, RT_OP(max), name, &filters, 1, rt_emit(g, RT_OP(abs), name, &plain, 1, weight));
  if (p->row->per_tensor) /* the most of all, for every filter */
    most = rt_emit(g, RT_OP(maximum), name, NULL, 2, most, rt_emit(g, RT_OP(max), name, &all, 1, most));
  most = rt_emit(g, RT_OP(maximum), name, NULL, 2, most, rt_scalar(g, 127 * 0x1p-23)); /* a dead filter */
  rt_value *step = rt_emit(g, RT_OP(div), name, NULL, 2, most, rt_scalar(g, 127));
  rt_value *q = rt_emit(g, RT_OP(div), name, NULL, 2, rounded_weight(l, p, weight), step);
  *scale = rt_emit(g, RT_OP(reshape), name, &vector, 1, step);
  q = rt_lower_cast(g, name, RT_F32, rt_emit(g, RT_OP(quantize), name, &whole, 1, q));
  return rt_lower_cast(g, name, RT_S8, rt_emit(g, RT_OP(sub), name, NULL, 2, q, rt_scalar(g, 128)));
}

rt_value *rt_twin_weight(rt_lowering *l, const rt_product *p, rt_value **scale, rt_value **bias) {
  const rt_node *node = p->node;
  rt_value *weight = weight_levels(l, p, rt_lower_as_float(l, node->in[1]), scale);
  *bias = node->n_in > 2 && node->in[2]
              ? rt_lower_as_float(l, node->in[2])
              : rt_emit(l->rw.to, RT_OP(mul), node->name, NULL, 2, *scale, rt_scalar(l->rw.to, 0));
  return weight;
}

rt_value *rt_twin_product(rt_lowering *l, const rt_product *p, const rt_conv2d_int8_attr *attr, rt_value *const in[5]) {
  rt_quantize_attr level = {.scale = 1, .high = l->table->high};
  rt_graph *g = l->rw.to;
  const char *name = p->node->name;
  bool convolves = p->node->op == RT_OP(conv2d), relu = convolves && attr->conv.activation == RT_ACTIVATION_RELU;
  rt_reshape_attr channel = {.shape = {.n = 3, .v = {-1, 1, 1}}};
  rt_conv2d_attr bare = attr->conv;
  rt_unary_attr plain = {0};
  rt_value *of[] = {rt_lower_cast(g, name, RT_F32, in[0]), rt_lower_cast(g, name, RT_F32, in[1])}, *number[2];
  bare.activation = RT_ACTIVATION_NONE;
  for (int i = 0; i < 2; i++)
    number[i] = convolves ? rt_emit(g, RT_OP(reshape), name, &channel, 1, in[2 + i]) : in[2 + i];
  rt_value *y = rt_graph_add(g, p->node->op, name, of, 2, convolves ? &bare : p->node->attr);
  y = rt_emit(g, RT_OP(add), name, NULL, 2, rt_emit(g, RT_OP(mul), name, NULL, 2, y, number[0]), number[1]);
  if (in[4]) {
    rt_value *more = rt_emit(g, RT_OP(mul), name, NULL, 2, rt_lower_cast(g, name, RT_F32, in[4]),
                             rt_scalar(g, attr->int8.residual_scale));
    y = rt_emit(g, RT_OP(add), name, NULL, 2, y, more);
  }
  if (relu) y = rt_emit(g, RT_OP(relu), name, &plain, 1, y);
  return attr->int8.f32 ? y : rt_emit(g, RT_OP(quantize), name, &level, 1, y);
}

rt_status rt_int8_twin(const rt_graph *from, const rt_int8_table *table, rt_graph **out) {
  rt_lowering l = {.from = from, .table = table, .twin = true};
  return rt_lower_run(&l, from->store, out);
}
