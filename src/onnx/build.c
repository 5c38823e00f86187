#include "onnx/import.h"

#include "base/alloc.h"
#include "base/thread.h"

#include <stdio.h>

enum { MADE_MOST = 64 << 20, SQUARE = 32 };

/* ---- inputs ---- */

static rt_status check_input(const rt_onnx *m, const Rt__Onnx__Value *v, rt_dtype *dtype) {
  const Rt__Onnx__TensorType *t = v->type ? v->type->tensor_type : NULL;
  const rt_element *e = t ? rt_onnx_element(t->elem_type) : NULL;
  if (!e) return rt_file_damaged(m->file, "input %.200s is no tensor of numbers", v->name);
  if (!t->shape) return rt_file_damaged(m->file, "input %.200s has no shape, not even a rank", v->name);
  if (t->shape->n_dim > RT_MAX_RANK)
    return rt_file_damaged(m->file, "input %.200s has %zu dimensions; at most %d are possible", v->name,
                           t->shape->n_dim, RT_MAX_RANK);
  *dtype = rt_dtype_is_float(e->dtype) ? RT_F32 : e->dtype;
  return RT_OK;
}

bool rt_onnx_takes_bytes(const rt_onnx *m) {
  const Rt__Onnx__Value *v = m->n_graph_in ? m->graph->input[m->name[m->graph_in[0]].input] : NULL;
  rt_dtype dtype = RT_F32;
  return v && check_input(m, v, &dtype) == RT_OK && dtype == RT_U8;
}

static rt_dim dimension(rt_onnx_import *c, const Rt__Onnx__Value *v, int i) {
  const Rt__Onnx__Dimension *d = v->type->tensor_type->shape->dim[i];
  char text[64];
  if (c->o->network && i == 0) {
    c->batch = d->dim_value > 0 ? d->dim_value : 0;
    return c->batch_dim = rt_symbol(c->g, "batch");
  }
  if (d->dim_value > 0) return d->dim_value;
  if (c->o->network && i <= 3 && c->o->dim[i - 1] > 0) return c->o->dim[i - 1];
  if (d->dim_param && *d->dim_param && strlen(d->dim_param) < sizeof text && rt_printable(d->dim_param, false))
    return rt_symbol(c->g, d->dim_param);
  snprintf(text, sizeof text, "%.40s.%d", v->name, i);
  return rt_symbol(c->g, text);
}

/* The graph's own failure, with the file's name. */
static rt_status built(const rt_onnx_import *c) {
  rt_status s = rt_graph_status(c->g);
  return s == RT_OK ? s : rt_fail_in(s, "%s", c->m->file->path);
}

static rt_status make_inputs(rt_onnx_import *c) {
  rt_onnx *m = c->m;
  if (c->o->network && m->n_graph_in != 1)
    return rt_file_damaged(m->file, "it has %d inputs, and a classifier's images are one", m->n_graph_in);
  for (int i = 0; i < m->n_graph_in; i++) {
    const rt_onnx_name *name = &m->name[m->graph_in[i]];
    const Rt__Onnx__Value *v = m->graph->input[name->input];
    rt_dtype dtype = RT_F32;
    rt_dim dim[RT_MAX_RANK];
    rt_status s = check_input(m, v, &dtype);
    if (s != RT_OK) return s;
    int rank = (int)v->type->tensor_type->shape->n_dim;
    if (c->o->network && rank < 1)
      return rt_file_damaged(m->file, "input %.200s has no batch: it is a scalar", v->name);
    for (int d = 0; d < rank; d++) dim[d] = dimension(c, v, d);
    bool bytes = c->o->network && dtype == RT_U8;
    rt_value *x = rt_input(c->g, c->o->network ? "x" : v->name, bytes ? RT_F32 : dtype, rank, dim);
    c->slot[m->graph_in[i]].value = bytes ? rt_emit(c->g, RT_OP(mul), v->name, NULL, 2, x, rt_scalar(c->g, 255)) : x;
  }
  return built(c);
}

/* ---- nodes ---- */

/* Does it read something that couldn't be imported? Then it isn't worth a word of its own. */
static bool reads_missing(const rt_onnx_import *c) {
  for (size_t k = 0; k < c->node->n_input; k++) {
    int name = c->m->in[c->index][k];
    if (name >= 0 && c->slot[name].missing) return true;
  }
  return false;
}

static void lose_outputs(rt_onnx_import *c) {
  for (size_t k = 0; k < c->node->n_output; k++) {
    int name = c->m->out[c->index][k];
    if (name >= 0 && !c->slot[name].value && !c->slot[name].known) c->slot[name].missing = true;
  }
}

/* An output that somebody reads and the row didn't make. */
static void check_outputs(rt_onnx_import *c) {
  for (size_t k = 0; k < c->node->n_output && !c->refuses; k++) {
    int name = c->m->out[c->index][k];
    if (name >= 0 && c->m->name[name].uses && !c->slot[name].value && !c->slot[name].known)
      rt_onnx_cant(c, "its output %zu, %s, isn't computed here", k, c->node->output[k]);
  }
}

static rt_status import_node(rt_onnx_import *c, int i) {
  c->index = i;
  c->node = c->m->graph->node[i];
  c->name = rt_onnx_node_name(c->node);
  c->refuses = false;
  const rt_onnx_row *row = c->m->row[i];
  bool skipped = reads_missing(c);
  if (!row && c->node->domain && *c->node->domain)
    rt_onnx_cant(c, "of the domain %s", c->node->domain);
  else if (!row)
    rt_onnx_cant(c, "%s", "");
  else if (!skipped)
    row->import(c);
  rt_status s = rt_graph_status(c->g);
  if (s != RT_OK) return rt_fail_in(s, "node %s (%s)", c->name, c->node->op_type);
  if (!skipped && !c->refuses) check_outputs(c);
  if (skipped || c->refuses) lose_outputs(c);
  return RT_OK;
}

static rt_status import_nodes(rt_onnx_import *c) {
  rt_status s = RT_OK;
  for (int i = 0; i < c->m->n_nodes && s == RT_OK; i++) s = import_node(c, c->m->order[i]);
  if (s != RT_OK || !c->n_refused) return s;
  if (c->refused.failed) return RT_E_MEMORY;
  return rt_fail(RT_E_UNSUPPORTED, "%d of its %d nodes can't be imported: %s", c->n_refused, c->m->n_nodes,
                 c->refused.text);
}

/* ---- outputs ---- */

/* What a classifier's probabilities are made of: losses and metrics take logits. Of N×C×1×1, the N×C. */
static rt_value *logits_of(rt_onnx_import *c, rt_value *y) {
  if (y && y->node && (y->node->op == RT_OP(softmax) || y->node->op == RT_OP(log_softmax))) y = y->node->in[0];
  bool ones = y && y->type.rank > 2;
  for (int d = 2; ones && d < y->type.rank; d++) ones = y->type.dim[d] == 1;
  return ones ? rt_emit(c->g, RT_OP(flatten), "logits", &(rt_flatten_attr){1, -1}, 1, y) : y;
}

static rt_status mark_outputs(rt_onnx_import *c) {
  int n = c->o->network ? 1 : c->m->n_graph_out;
  for (int i = 0; i < n; i++) {
    int name = c->m->graph_out[i];
    rt_onnx_slot *s = &c->slot[name];
    if (!s->value && s->known) s->value = rt_known_value(c, s->known);
    if (s->value && s->shifted) s->value = rt_onnx_unshifted(c, s->value);
    s->shifted = false;
    if (!s->value && rt_graph_status(c->g) == RT_OK)
      return rt_file_damaged(c->m->file, "its output %.200s isn't computed: it is an initializer or depends on a shape",
                             c->m->name[name].text);
    rt_mark_output(c->g, c->o->network ? "logits" : c->m->name[name].text,
                   c->o->network ? logits_of(c, s->value) : s->value);
  }
  return built(c);
}

rt_status rt_onnx_build(rt_onnx *m, rt_graph *g, const rt_onnx_options *o) {
  static const rt_onnx_options none;
  rt_onnx_import c = {.m = m, .o = o ? o : &none, .g = g, .left = MADE_MOST};
  c.slot = rt_alloc_array((size_t)m->n_names + 1, sizeof *c.slot);
  rt_status s = c.slot ? make_inputs(&c) : RT_E_MEMORY;
  if (s == RT_OK) {
    s = import_nodes(&c);
    if (s != RT_OK) s = rt_fail_in(s, "%s", m->file->path);
  }
  if (s == RT_OK) s = mark_outputs(&c);
  rt_strbuf_release(&c.refused);
  rt_free(c.slot);
  return s;
}

/* ---- values of the variables ---- */

/* x K×O to y O×K in squares that stay in the cache. */
typedef struct turning {
  const float *x;
  float *y;
  int64_t rows, columns;
} turning;

static void turn(void *context, int64_t begin, int64_t end) { /* over bands of SQUARE rows of x */
  const turning *t = context;
  for (int64_t band = begin; band < end; band++)
    for (int64_t left = 0; left < t->columns; left += SQUARE)
      for (int64_t i = band * SQUARE; i < t->rows && i < (band + 1) * SQUARE; i++)
        for (int64_t k = left; k < t->columns && k < left + SQUARE; k++)
          t->y[k * t->rows + i] = t->x[i * t->columns + k];
}

/* From the file's dtype to the variable's, and from [K, O] to O×K where it was turned. */
static void convert(const rt_entry *e, void *data, bool transposed, const rt_var *v) {
  rt_type type = rt_type_of(e->element->dtype, e->rank, e->dim);
  rt_tensor from = rt_tensor_view(&type, data), to = rt_tensor_view(&v->type, v->data);
  if (transposed && e->element->dtype == RT_F32) {
    turning t = {data, v->data, e->dim[0], e->dim[1]};
    rt_parallel_for((e->dim[0] + SQUARE - 1) / SQUARE, 4, turn, &t);
    return;
  }
  int64_t n = rt_type_elements(&type), columns = transposed ? e->dim[1] : 1, rows = transposed ? e->dim[0] : n;
  for (int64_t i = 0; i < n; i++)
    rt_store_at(&to, transposed ? i % columns * rows + i / columns : i, rt_load(&from, i));
}

static rt_status load(rt_onnx *m, const rt_onnx_name *name, rt_var *v) {
  const rt_entry *e = &m->file->entry[name->entry];
  bool direct = !name->transposed && e->element->dtype == v->type.dtype;
  void *data = direct ? v->data : rt_alloc_large((size_t)e->bytes);
  rt_status s = data ? rt_onnx_read(m->file, e, data) : RT_E_MEMORY;
  if (s == RT_OK && !direct) convert(e, data, name->transposed, v);
  if (!direct) rt_free(data);
  v->version++;
  return s;
}

rt_status rt_onnx_load(rt_onnx *m, rt_store *store, bool last) {
  rt_status s = rt_store_allocate(store);
  for (int i = 0; i < m->n_names && s == RT_OK; i++) {
    const rt_onnx_name *name = &m->name[i];
    rt_var *v = name->entry >= 0 ? rt_store_find(store, name->text) : NULL;
    if (v) s = load(m, name, v);
    if (name->entry >= 0 && last) rt_onnx_forget(m->file, name->entry);
  }
  return s;
}
