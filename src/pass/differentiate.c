/* Reverse-mode differentiation that emits nodes into the same graph. A gradient may be f32 where the value is bf16
 * (parameter gradients always are); it is cast only where an op needs it in the value's own dtype. */
#include "base/alloc.h"
#include "pass/pass.h"

typedef struct sweep {
  rt_graph *graph;
  bool *needed;    /* by value id: depends on one of the wanted values */
  rt_value **grad; /* by value id: what has arrived so far */
  int n;           /* values when the sweep began */
} sweep;

static rt_value *cast_to(rt_graph *g, rt_value *v, rt_dtype dtype) {
  if (!v || v->type.dtype == dtype) return v;
  rt_cast_attr attr = {.dtype = (int)dtype};
  return rt_emit(g, RT_OP(cast), NULL, &attr, 1, v);
}

static void accumulate(sweep *s, const rt_value *v, rt_value *more) {
  rt_value **sum = &s->grad[v->id];
  if (*sum && (*sum)->type.dtype != more->type.dtype) {
    *sum = cast_to(s->graph, *sum, RT_F32);
    more = cast_to(s->graph, more, RT_F32);
  }
  *sum = *sum ? rt_emit(s->graph, RT_OP(add), NULL, NULL, 2, *sum, more) : more;
}

static void mark_needed(sweep *s, rt_value *const *wrt, int n) {
  for (int i = 0; i < n; i++) s->needed[wrt[i]->id] = true;
  for (int i = 0; i < s->graph->n_nodes; i++) {
    const rt_node *node = s->graph->node[i];
    bool any = false;
    for (int j = 0; j < node->n_in; j++)
      any |= node->in[j] && s->needed[node->in[j]->id] && !(j < 32 && (node->op->shape_only >> j & 1));
    for (int j = 0; j < node->n_out; j++) {
      bool passes = rt_dtype_is_float(node->out[j]->type.dtype) && !(j < 32 && (node->op->aux_outputs >> j & 1));
      s->needed[node->out[j]->id] |= any && passes;
    }
  }
}

static bool reached(const sweep *s, const rt_node *node) {
  bool arrives = false, wanted = false;
  for (int i = 0; i < node->n_out; i++) arrives |= s->grad[node->out[i]->id] != NULL;
  for (int i = 0; i < node->n_in; i++) wanted |= node->in[i] && s->needed[node->in[i]->id];
  return arrives && wanted;
}

static rt_status step(sweep *s, const rt_node *node) {
  rt_graph *g = s->graph;
  if (!node->op->grad)
    return rt_fail(RT_E_UNSUPPORTED, "%s %s has no gradient, and the loss depends on it; put detach in front of it",
                   node->op->name, node->name);
  size_t n_in = (size_t)node->n_in, n_out = (size_t)node->n_out;
  rt_value **dy = rt_arena_alloc(&g->arena, n_out * sizeof *dy), **dx = rt_arena_alloc(&g->arena, n_in * sizeof *dx);
  bool *want = rt_arena_alloc(&g->arena, n_in);
  if (!dy || !dx || !want) return RT_E_MEMORY;
  for (int i = 0; i < node->n_out; i++) {
    dy[i] = s->grad[node->out[i]->id];
    if (node->op != RT_OP(cast)) dy[i] = cast_to(g, dy[i], node->out[i]->type.dtype);
  }
  for (int i = 0; i < node->n_in; i++) want[i] = node->in[i] && s->needed[node->in[i]->id];
  rt_grad c = {.graph = g, .node = node, .dy = dy, .dx = dx, .want = want};
  node->op->grad(&c);
  for (int i = 0; i < node->n_in && g->status == RT_OK; i++) {
    if (!dx[i] || !want[i]) continue;
    bool fits = dx[i]->type.rank == node->in[i]->type.rank;
    for (int d = 0; fits && d < dx[i]->type.rank; d++)
      fits = !rt_dims_conflict(dx[i]->type.dim[d], node->in[i]->type.dim[d]);
    if (!fits)
      return rt_fail(RT_E_INTERNAL, "%s %s: the gradient of input %d has another shape than the input", node->op->name,
                     node->name, i);
    accumulate(s, node->in[i], dx[i]);
  }
  return rt_graph_status(g);
}

/* Nodes that a gradient function left unnamed get the name of the layer they belong to. */
static void name_after(rt_graph *g, int first, const rt_node *node) {
  for (int i = first; i < g->n_nodes; i++) {
    g->node[i]->name = node->name;
    for (int j = 0; j < g->node[i]->n_out; j++) g->node[i]->out[j]->name = node->name;
  }
}

static rt_status run(sweep *s, rt_value *loss, rt_value *const *wrt, int n, rt_value **grad) {
  rt_graph *g = s->graph;
  mark_needed(s, wrt, n);
  double one64 = 1;
  float one = 1;
  s->grad[loss->id] = rt_constant(g, loss->type.dtype == RT_F64 ? RT_F64 : RT_F32, 0, NULL,
                                  loss->type.dtype == RT_F64 ? (void *)&one64 : &one);
  rt_status status = rt_graph_status(g);
  for (int i = g->n_nodes; i-- > 0 && status == RT_OK;) {
    const rt_node *node = g->node[i];
    int first = g->n_nodes;
    if (!reached(s, node)) continue;
    status = step(s, node);
    name_after(g, first, node);
  }
  for (int i = 0; i < n; i++) grad[i] = s->grad[wrt[i]->id];
  return status;
}

rt_status rt_gradients(rt_value *loss, rt_value *const *wrt, int n, rt_value **grad) {
  char text[RT_TYPE_TEXT];
  if (!loss) return rt_fail(RT_E_ARGUMENT, "gradients: there is no loss; see rt_graph_status of its graph");
  rt_graph *g = loss->graph;
  if (g->status != RT_OK) return rt_graph_status(g);
  if (loss->type.rank != 0 || !rt_dtype_is_float(loss->type.dtype))
    return rt_fail(RT_E_SHAPE, "gradients: the loss %s must be a floating scalar, found %s", loss->name,
                   rt_type_text(g, &loss->type, text, sizeof text));
  for (int i = 0; i < n; i++)
    if (!wrt[i] || wrt[i]->graph != g)
      return rt_fail(RT_E_ARGUMENT, "gradients: value %d is not of the loss's graph", i);
  sweep s = {.graph = g, .n = g->n_values};
  s.needed = rt_alloc_array((size_t)s.n, sizeof *s.needed);
  s.grad = rt_alloc_array((size_t)s.n, sizeof *s.grad);
  rt_status status = s.needed && s.grad ? run(&s, loss, wrt, n, grad) : RT_E_MEMORY;
  rt_free(s.needed);
  rt_free(s.grad);
  return status;
}
