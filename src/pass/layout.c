/* Give each rank-4 value its memory order and insert reorders where one side wants another. Convolution, pooling and
 * batch norm want channels last; elementwise ops take what comes; everything else, inputs, variables and marked
 * outputs are row major. */
#include "base/alloc.h"
#include "pass/pass.h"

typedef struct orders {
  rt_value **made[2]; /* by new value id and layout: the same value in that order */
  int capacity;
} orders;

static rt_value *in_layout(rt_pass *pass, rt_value *v, rt_layout layout) {
  if (!v || v->type.rank != 4 || v->type.layout == layout) return v;
  orders *o = pass->state;
  rt_value **slot = v->id < o->capacity ? &o->made[layout][v->id] : NULL;
  if (slot && *slot) return *slot;
  rt_reorder_attr attr = {.layout = (int)layout};
  rt_value *now = rt_emit(pass->rw.to, RT_OP(reorder), v->name, &attr, 1, v);
  if (!now) return NULL;
  now->type.layout = layout;
  if (slot) *slot = now;
  if (now->id < o->capacity) o->made[v->type.layout][now->id] = v;
  return now;
}

static rt_layout wanted(const rt_node *node, rt_value *const *in) {
  if (node->op->layout == RT_LAYOUT_ROW_MAJOR) return RT_ROW_MAJOR;
  if (node->op->layout == RT_LAYOUT_IMAGE) return RT_CHANNELS_LAST;
  for (int i = 0; i < node->n_in; i++)
    if (in[i] && in[i]->type.rank == 4 && in[i]->kind == RT_VALUE_NODE && !rt_layouts_agree(&in[i]->type))
      return in[i]->type.layout;
  return RT_ROW_MAJOR;
}

static bool bit(unsigned mask, int i) { return i < 32 && (mask >> i & 1); }

static bool visit(rt_pass *pass, const rt_node *node) {
  rt_rewrite *rw = &pass->rw;
  const rt_op *op = node->op;
  rt_value **in = rt_rewrite_inputs(rw, node);
  if (!in) return true;
  rt_layout layout = wanted(node, in);
  for (int i = 0; i < node->n_in; i++)
    if (!bit(op->shape_only, i)) in[i] = in_layout(pass, in[i], bit(op->row_major_inputs, i) ? RT_ROW_MAJOR : layout);
  rt_node *now = rt_rewrite_emit(rw, node, in);
  for (int i = 0; now && i < now->n_out; i++)
    if (now->out[i]->type.rank == 4 && !bit(op->row_major_outputs, i)) now->out[i]->type.layout = layout;
  return true;
}

static rt_status restore_outputs(rt_graph *g) {
  for (int i = 0; i < g->n_outputs; i++) {
    rt_value *v = g->output[i].value;
    if (v->type.rank != 4 || v->type.layout == RT_ROW_MAJOR) continue;
    rt_reorder_attr attr = {.layout = RT_ROW_MAJOR};
    v = rt_emit(g, RT_OP(reorder), g->output[i].name, &attr, 1, v);
    if (!v) return rt_graph_status(g);
    v->type.layout = RT_ROW_MAJOR;
    g->output[i].value = v;
  }
  return RT_OK;
}

rt_status rt_pass_layout(rt_graph **graph) {
  orders o = {.capacity = 4 * (*graph)->n_values + 64};
  for (int i = 0; i < 2; i++) o.made[i] = rt_alloc_array((size_t)o.capacity, sizeof *o.made[i]);
  rt_status s = o.made[0] && o.made[1] ? rt_pass_run(graph, NULL, visit, &o) : RT_E_MEMORY;
  if (s == RT_OK) s = restore_outputs(*graph);
  for (int i = 0; i < 2; i++) rt_free(o.made[i]);
  return s;
}
