/* What the gradients read of the forward pass is kept in memory until then; half of it in a residual network is cheap
 * to make again: batch norm's output from its input, which is kept anyway, and the output of a 1×1 convolution that widens
 * its input. Chains of them are made again together; a batch norm with a residual is not, or the whole network would be
 * one chain. */
#include "base/alloc.h"
#include "pass/pass.h"

typedef struct again {
  int boundary;
  rt_value **made; /* by old value id */
} again;

static bool widens(const rt_node *node) {
  const rt_conv2d_attr *a = node->attr;
  const rt_type *x = &node->in[0]->type, *w = &node->in[1]->type;
  bool pointwise =
      w->dim[2] == 1 && w->dim[3] == 1 && a->stride[0] == 1 && a->stride[1] == 1 && !a->padding[0] && !a->padding[1];
  return pointwise && a->groups == 1 && a->activation == RT_ACTIVATION_NONE && node->n_in < 4 && x->dim[1] > 0 &&
         w->dim[0] >= 2 * x->dim[1];
}

static bool is_cheap(const rt_node *node) {
  if (node->op == RT_OP(batch_norm_train)) return node->n_in < 6;
  return node->op == RT_OP(conv2d) && widens(node);
}

/* The value as a gradient may read it: mapped, or made again. */
static rt_value *read(rt_pass *pass, const rt_value *v) {
  again *a = pass->state;
  rt_graph *g = pass->rw.to;
  const rt_node *node = v ? v->node : NULL;
  if (!node || node->id >= a->boundary || v->index != 0 || !is_cheap(node)) return rt_rewrite_value(&pass->rw, v);
  if (a->made[v->id]) return a->made[v->id];
  rt_value *in[5] = {0};
  int n = node->n_in < 5 ? node->n_in : 5;
  for (int i = 0; i < n; i++) in[i] = read(pass, node->in[i]);
  const rt_op *op = node->op;
  if (op == RT_OP(batch_norm_train)) {
    op = RT_OP(batch_norm_apply);
    for (int i = 0; i < 2; i++) in[3 + i] = rt_rewrite_value(&pass->rw, node->out[1 + i]);
  }
  a->made[v->id] = rt_graph_add(g, op, node->name, in, n, node->attr);
  return a->made[v->id];
}

static bool visit(rt_pass *pass, const rt_node *node) {
  const again *a = pass->state;
  if (node->id < a->boundary || node->op->effect) return false;
  rt_value **in = rt_rewrite_inputs(&pass->rw, node);
  if (!in) return true;
  for (int i = 0; i < node->n_in; i++)
    if (!(i < 32 && (node->op->shape_only >> i & 1))) in[i] = read(pass, node->in[i]);
  rt_rewrite_emit(&pass->rw, node, in);
  return true;
}

rt_status rt_recompute(rt_graph **graph, int boundary) {
  again a = {boundary, rt_alloc_array((size_t)(*graph)->n_values + 1, sizeof *a.made)};
  if (!a.made) return RT_E_MEMORY;
  rt_status s = rt_pass_run(graph, NULL, visit, &a);
  rt_free(a.made);
  return s;
}
