/* Run the nodes of a scope in a lower precision: convolutions and matrix products (RT_PRECISION_LOW) get their inputs
 * cast, elementwise ops follow what arrives, losses and statistics are cast back. Variables stay f32: their casts are
 * derived weights. Nodes outside the scope get what they had, marked outputs keep their dtype. */
#include "base/alloc.h"
#include "pass/pass.h"

typedef struct casts {
  rt_dtype low;
  const char *scope;
  rt_value **made[2]; /* by id of the new graph's value: its cast to low, to f32 */
  int capacity;
} casts;

static rt_value *to_dtype(rt_pass *pass, rt_value *v, rt_dtype dtype) {
  if (!v || v->type.dtype == dtype || !rt_dtype_is_float(v->type.dtype) || v->type.dtype == RT_F64) return v;
  casts *c = pass->state;
  rt_value **slot = v->id < c->capacity ? &c->made[dtype == c->low ? 0 : 1][v->id] : NULL;
  if (slot && *slot) return *slot;
  rt_cast_attr attr = {.dtype = (int)dtype};
  rt_value *now = rt_emit(pass->rw.to, RT_OP(cast), v->name, &attr, 1, v);
  if (slot) *slot = now;
  return now;
}

static bool stays_f32(const rt_node *node, int i) { return i < 32 && (node->op->f32_inputs >> i & 1); }

static rt_dtype wanted(const rt_pass *pass, const rt_node *node, rt_value *const *in) {
  const casts *c = pass->state;
  if (node->op->exact && node->op->exact(node->attr)) return RT_F32;
  if (node->op->precision == RT_PRECISION_LOW) return c->low;
  if (node->op->precision == RT_PRECISION_F32) return RT_F32;
  for (int i = 0; i < node->n_in; i++)
    if (in[i] && rt_dtype_is_float(in[i]->type.dtype) && !stays_f32(node, i)) return in[i]->type.dtype;
  return RT_F32;
}

static bool visit(rt_pass *pass, const rt_node *node) {
  rt_rewrite *rw = &pass->rw;
  if (node->op == RT_OP(cast)) return false;
  rt_value **in = rt_rewrite_inputs(rw, node);
  if (!in) return true;
  bool inside = rt_in_scope(((const casts *)pass->state)->scope, node) && !node->op->effect;
  rt_dtype dtype = wanted(pass, node, in);
  for (int i = 0; i < node->n_in; i++) {
    if (!in[i]) continue;
    rt_dtype was = node->in[i]->type.dtype;
    in[i] = to_dtype(pass, in[i], !inside ? was : stays_f32(node, i) ? RT_F32 : dtype);
  }
  rt_rewrite_emit(rw, node, in);
  return true;
}

/* Results come out in the dtype they were marked with. */
static rt_status restore_outputs(rt_graph *g, const rt_dtype *was) {
  for (int i = 0; i < g->n_outputs; i++) {
    rt_cast_attr attr = {.dtype = (int)was[i]};
    rt_value *v = g->output[i].value;
    if (v->type.dtype == was[i]) continue;
    v = rt_emit(g, RT_OP(cast), g->output[i].name, &attr, 1, v);
    if (!v) return rt_graph_status(g);
    g->output[i].value = v;
  }
  return RT_OK;
}

rt_status rt_pass_cast(rt_graph **graph, const char *scope, rt_dtype dtype) {
  if (dtype != RT_BF16 && dtype != RT_F16)
    return rt_fail(RT_E_ARGUMENT, "cast: %s is not a lower precision; bf16 is", rt_dtype_name(dtype));
  rt_graph *g = *graph;
  casts c = {.low = dtype, .scope = scope, .capacity = 4 * g->n_values + 64};
  rt_dtype *was = rt_alloc_array((size_t)g->n_outputs + 1, sizeof *was);
  for (int i = 0; i < 2; i++) c.made[i] = rt_alloc_array((size_t)c.capacity, sizeof *c.made[i]);
  rt_status s = was && c.made[0] && c.made[1] ? RT_OK : RT_E_MEMORY;
  if (s == RT_OK) {
    for (int i = 0; i < g->n_outputs; i++) was[i] = g->output[i].value->type.dtype;
    s = rt_pass_run(graph, NULL, visit, &c);
  }
  if (s == RT_OK) s = restore_outputs(*graph, was);
  for (int i = 0; i < 2; i++) rt_free(c.made[i]);
  rt_free(was);
  return s;
}
