#include "graph/graph.h"

#include "base/alloc.h"

#include <stdio.h>

void *rt_graph_failed(rt_graph *g, rt_status status) {
  if (g->status != RT_OK) return NULL;
  g->status = status;
  g->sentence = rt_copy_text(rt_error()); /* NULL is fine: rt_graph_status falls back */
  if (!g->sentence) rt_fail(status, "out of memory while a graph was built");
  return NULL;
}

rt_status rt_graph_status(const rt_graph *g) {
  if (g->status != RT_OK) rt_fail(g->status, "%s", g->sentence ? g->sentence : rt_status_name(g->status));
  return g->status;
}

rt_status rt_graph_new(rt_store *store, rt_graph **out) {
  *out = rt_alloc(sizeof **out);
  if (!*out) return RT_E_MEMORY;
  (*out)->store = store;
  return RT_OK;
}

void rt_graph_free(rt_graph *g) {
  if (!g) return;
  rt_arena_release(&g->arena);
  rt_free(g->value);
  rt_free(g->node);
  rt_free(g->symbol);
  rt_free(g->output);
  rt_free(g->alias);
  rt_free(g->sentence);
  rt_free(g);
}

/* Room for one more element in one of the graph's lists. */
static bool reserve(rt_graph *g, void *list, int n, int *capacity, size_t size) {
  if (n < *capacity) return true;
  int grown = *capacity ? *capacity * 2 : 32;
  void *p, *old;
  memcpy(&old, list, sizeof old);
  p = rt_grow(old, (size_t)n * size, (size_t)grown * size);
  if (!p) {
    rt_graph_failed(g, RT_E_MEMORY);
    return false;
  }
  memcpy(list, &p, sizeof p);
  *capacity = grown;
  return true;
}

static void *allocate(rt_graph *g, size_t bytes) {
  void *p = rt_arena_alloc(&g->arena, bytes);
  return p ? p : rt_graph_failed(g, RT_E_MEMORY);
}

/* ---- names and symbols ---- */

static const char *scoped(rt_graph *g, const char *name) {
  const char *text = rt_arena_text(&g->arena, "%s%s", g->scope, name);
  return text ? text : rt_graph_failed(g, RT_E_MEMORY);
}

void rt_scope_push(rt_graph *g, const char *name) {
  size_t n = strlen(g->scope), room = sizeof g->scope - n;
  if (strchr(name, '.')) {
    rt_graph_failed(g, rt_fail(RT_E_ARGUMENT, "scope %s: push the parts of a dotted name one by one", name));
    return;
  }
  if (strlen(name) + 2 > room) {
    rt_graph_failed(
        g, rt_fail(RT_E_ARGUMENT, "scope %s%s: names are at most %zu bytes", g->scope, name, sizeof g->scope - 1));
    return;
  }
  snprintf(g->scope + n, room, "%s.", name);
}

void rt_scope_pop(rt_graph *g) {
  size_t n = strlen(g->scope);
  if (n) n--; /* the final dot */
  while (n && g->scope[n - 1] != '.') n--;
  g->scope[n] = 0;
}

rt_dim rt_graph_symbol(rt_graph *g, const char *text) {
  for (int i = 0; i < g->n_symbols; i++)
    if (strcmp(g->symbol[i], text) == 0) return -1 - i;
  if (!reserve(g, &g->symbol, g->n_symbols, &g->symbol_capacity, sizeof *g->symbol)) return 0;
  const char *copy = rt_arena_text(&g->arena, "%s", text);
  if (!copy) {
    rt_graph_failed(g, RT_E_MEMORY);
    return 0;
  }
  g->symbol[g->n_symbols++] = copy;
  return -g->n_symbols;
}

rt_dim rt_symbol(rt_graph *g, const char *name) {
  if (g->status != RT_OK) return 0;
  if (!*name) {
    rt_graph_failed(g, rt_fail(RT_E_ARGUMENT, "a symbol needs a name"));
    return 0;
  }
  return rt_graph_symbol(g, name);
}

/* ---- values ---- */

static rt_value *new_value(rt_graph *g, rt_value_kind kind, const char *name, const rt_type *type) {
  if (!name || !reserve(g, &g->value, g->n_values, &g->value_capacity, sizeof *g->value)) return NULL;
  rt_value *v = allocate(g, sizeof *v);
  if (!v) return NULL;
  *v = (rt_value){.graph = g, .id = g->n_values, .kind = kind, .type = *type, .name = name};
  g->value[g->n_values++] = v;
  return v;
}

static bool good_rank(rt_graph *g, const char *what, const char *name, int rank) {
  if (rank >= 0 && rank <= RT_MAX_RANK) return true;
  rt_graph_failed(g, rt_fail(RT_E_SHAPE, "%s %s: rank %d is outside 0 to %d", what, name, rank, RT_MAX_RANK));
  return false;
}

static bool good_input_dims(rt_graph *g, const char *name, const rt_type *type) {
  char text[RT_TYPE_TEXT];
  for (int i = 0; i < type->rank; i++) {
    if (type->dim[i] > 0 || (type->dim[i] < 0 && -type->dim[i] <= g->n_symbols)) continue;
    rt_graph_failed(g, rt_fail(RT_E_SHAPE, "input %s: dimension %d of %s must be above 0, or a symbol of this graph",
                               name, i, rt_type_text(g, type, text, sizeof text)));
    return false;
  }
  if (rt_type_addressable(type)) return true;
  rt_graph_failed(g, rt_fail(RT_E_SHAPE, "input %s: %s is larger than what can be addressed", name,
                             rt_type_text(g, type, text, sizeof text)));
  return false;
}

rt_value *rt_input(rt_graph *g, const char *name, rt_dtype dtype, int rank, const rt_dim *dim) {
  if (g->status != RT_OK || !good_rank(g, "input", name, rank)) return NULL;
  rt_type type = rt_type_of(dtype, rank, dim);
  for (int i = 0; i < g->n_values; i++) {
    const rt_value *v = g->value[i];
    if (v->kind != RT_VALUE_INPUT || strcmp(v->name, name) != 0) continue;
    if (v->type.dtype == dtype && rt_same_shape(&v->type, &type)) return g->value[i];
    return rt_graph_failed(g, rt_fail(RT_E_ARGUMENT, "input %s is there already, with another type", name));
  }
  if (!good_input_dims(g, name, &type)) return NULL;
  char *copy = rt_arena_text(&g->arena, "%s", name);
  return copy ? new_value(g, RT_VALUE_INPUT, copy, &type) : rt_graph_failed(g, RT_E_MEMORY);
}

rt_value *rt_scalar_input(rt_graph *g, const char *name, double fallback) {
  rt_value *v = rt_input(g, name, RT_F32, 0, NULL);
  if (!v || v->data || isnan(fallback)) return v;
  float f = (float)fallback;
  v->data = rt_arena_copy(&g->arena, &f, sizeof f);
  return v->data ? v : rt_graph_failed(g, RT_E_MEMORY);
}

rt_value *rt_graph_constant(rt_graph *g, const char *name, const rt_type *type, const void *data) {
  if (g->status != RT_OK) return NULL;
  int64_t bytes = rt_type_bytes(type);
  if (bytes < 0 || !rt_type_bound(type))
    return rt_graph_failed(g, rt_fail(RT_E_SHAPE, "constant %s: its shape must be known and addressable", name));
  char *copy = rt_arena_text(&g->arena, "%s", name);
  void *bytes_copy = copy ? rt_arena_copy(&g->arena, data, (size_t)bytes) : NULL;
  if (!bytes_copy) return rt_graph_failed(g, RT_E_MEMORY);
  rt_value *v = new_value(g, RT_VALUE_CONSTANT, copy, type);
  if (v) v->data = bytes_copy;
  return v;
}

rt_value *rt_constant(rt_graph *g, rt_dtype dtype, int rank, const int64_t *dim, const void *data) {
  if (g->status != RT_OK || !good_rank(g, "constant", "", rank)) return NULL;
  rt_type type = rt_type_of(dtype, rank, dim);
  return rt_graph_constant(g, "constant", &type, data);
}

rt_value *rt_scalar(rt_graph *g, double value) {
  float f = (float)value;
  return rt_constant(g, RT_F32, 0, NULL, &f);
}

rt_value *rt_graph_variable(rt_graph *g, rt_var *var) {
  if (g->status != RT_OK) return NULL;
  for (int i = 0; i < g->n_values; i++)
    if (g->value[i]->var == var) return g->value[i];
  rt_value *v = new_value(g, RT_VALUE_VARIABLE, var->name, &var->type);
  if (v) v->var = var;
  return v;
}

static rt_value *variable(rt_graph *g, const char *name, rt_dtype dtype, int rank, const int64_t *dim,
                          rt_segment segment, rt_init init) {
  if (g->status != RT_OK || !good_rank(g, "variable", name, rank)) return NULL;
  const char *full = scoped(g, name);
  if (!full) return NULL;
  rt_type type = rt_type_of(dtype, rank, dim);
  rt_var *var;
  rt_status s = rt_store_declare(g->store, full, &type, segment, &init, &var);
  return s == RT_OK ? rt_graph_variable(g, var) : rt_graph_failed(g, s);
}

rt_value *rt_parameter(rt_graph *g, const char *name, int rank, const int64_t *dim, rt_init init) {
  return variable(g, name, RT_F32, rank, dim, RT_SEGMENT_PARAMETER, init);
}

rt_value *rt_statistic(rt_graph *g, const char *name, rt_dtype dtype, int rank, const int64_t *dim, rt_init init) {
  return variable(g, name, dtype, rank, dim, RT_SEGMENT_STATISTIC, init);
}

rt_value *rt_output(rt_value *v, int index) {
  if (!v || v->graph->status != RT_OK) return NULL;
  if (v->kind != RT_VALUE_NODE || index < 0 || index >= v->node->n_out)
    return rt_graph_failed(v->graph, rt_fail(RT_E_ARGUMENT, "%s has no output %d", v->name, index));
  return v->node->out[index];
}

void rt_mark_output(rt_graph *g, const char *name, rt_value *value) {
  if (g->status != RT_OK) return;
  if (!value || value->graph != g) {
    rt_graph_failed(g, rt_fail(RT_E_ARGUMENT, "output %s: the value is not of this graph", name));
    return;
  }
  for (int i = 0; i < g->n_outputs; i++) {
    if (strcmp(g->output[i].name, name) != 0) continue;
    rt_graph_failed(g, rt_fail(RT_E_ARGUMENT, "output %s is marked already", name));
    return;
  }
  char *copy = rt_arena_text(&g->arena, "%s", name);
  if (!copy) {
    rt_graph_failed(g, RT_E_MEMORY);
    return;
  }
  if (!reserve(g, &g->output, g->n_outputs, &g->output_capacity, sizeof *g->output)) return;
  g->output[g->n_outputs++] = (rt_named_value){copy, value};
}

void rt_graph_alias(rt_graph *g, const char *name, rt_value *value) {
  if (g->status != RT_OK || !value) return;
  char *copy = rt_arena_text(&g->arena, "%s", name);
  if (!copy) rt_graph_failed(g, RT_E_MEMORY);
  if (!copy || !reserve(g, &g->alias, g->n_aliases, &g->alias_capacity, sizeof *g->alias)) return;
  g->alias[g->n_aliases++] = (rt_named_value){copy, value};
}

rt_value_type rt_value_type_of(const rt_value *v) {
  rt_value_type t = {.dtype = v->type.dtype, .rank = v->type.rank};
  for (int i = 0; i < t.rank; i++) t.dim[i] = v->type.dim[i];
  return t;
}

rt_value *rt_find(rt_graph *g, const char *name) {
  for (int i = 0; i < g->n_outputs; i++)
    if (strcmp(g->output[i].name, name) == 0) return g->output[i].value;
  for (int i = 0; i < g->n_values; i++)
    if (g->value[i]->kind == RT_VALUE_INPUT && strcmp(g->value[i]->name, name) == 0) return g->value[i];
  return NULL;
}

/* ---- nodes ---- */

static rt_status check_inputs(const rt_graph *g, const rt_op *op, const char *name, rt_value *const *in, int n_in) {
  int least = rt_op_min_inputs(op), most = rt_op_max_inputs(op);
  if (n_in < least || n_in > most)
    return rt_fail(RT_E_ARGUMENT, "%s %s: %d inputs were given; it takes: %s", op->name, name, n_in, op->input_names);
  for (int i = 0; i < n_in; i++) {
    char text[64];
    if (!in[i] && !rt_op_input_optional(op, i))
      return rt_fail(RT_E_ARGUMENT, "%s %s: input %s is missing", op->name, name,
                     rt_op_input_name(op, i, text, sizeof text));
    if (in[i] && in[i]->graph != g)
      return rt_fail(RT_E_ARGUMENT, "%s %s: input %s belongs to another graph", op->name, name,
                     rt_op_input_name(op, i, text, sizeof text));
  }
  return RT_OK;
}

static rt_status check_outputs(const rt_graph *g, const rt_op *op, const char *name, const rt_type *out, int n_out) {
  char text[RT_TYPE_TEXT];
  for (int i = 0; i < n_out; i++)
    if (!rt_type_addressable(&out[i]))
      return rt_fail(RT_E_SHAPE, "%s %s: %s is larger than what can be addressed", op->name, name,
                     rt_type_text(g, &out[i], text, sizeof text));
  return RT_OK;
}

/* Everything of a node but its inputs' checks, in the arena. */
static rt_node *new_node(rt_graph *g, const rt_op *op, const char *name, rt_value *const *in, int n_in, int n_out,
                         const void *attr) {
  rt_node *node = allocate(g, sizeof *node);
  rt_value **ins = allocate(g, (size_t)n_in * sizeof *ins), **outs = allocate(g, (size_t)n_out * sizeof *outs);
  void *attr_copy = allocate(g, op->attr_size);
  char *name_copy = rt_arena_text(&g->arena, "%s", name);
  if (!name_copy) rt_graph_failed(g, RT_E_MEMORY);
  if (g->status != RT_OK) return NULL;
  if (op->attr_size && attr) memcpy(attr_copy, attr, op->attr_size);
  if (n_in) memcpy(ins, in, (size_t)n_in * sizeof *ins);
  *node = (rt_node){.op = op,
                    .attr = attr_copy,
                    .name = name_copy,
                    .id = g->n_nodes,
                    .n_in = n_in,
                    .n_out = n_out,
                    .in = ins,
                    .out = outs};
  return node;
}

rt_value *rt_graph_add(rt_graph *g, const rt_op *op, const char *name, rt_value *const *in, int n_in,
                       const void *attr) {
  if (g->status != RT_OK) return NULL;
  if (!name) name = op->name;
  while (n_in > rt_op_min_inputs(op) && !in[n_in - 1]) n_in--; /* optional inputs left out at the end */
  rt_status s = check_inputs(g, op, name, in, n_in);
  if (s != RT_OK) return rt_graph_failed(g, s);
  int n_out = op->n_out >= 0 ? op->n_out : op->outputs(attr, n_in);
  const rt_type **types = allocate(g, (size_t)n_in * sizeof *types);
  rt_type *out = allocate(g, (size_t)n_out * sizeof *out);
  if (!types || !out) return NULL;
  for (int i = 0; i < n_in; i++) types[i] = in[i] ? &in[i]->type : NULL;
  rt_infer c = {
      .graph = g, .op = op, .attr = attr, .name = name, .in = types, .n_in = n_in, .n_out = n_out, .out = out};
  s = op->infer(&c);
  if (s == RT_OK && g->status == RT_OK) s = check_outputs(g, op, name, out, n_out);
  if (s != RT_OK || g->status != RT_OK) return rt_graph_failed(g, s != RT_OK ? s : g->status);
  rt_node *node = new_node(g, op, name, in, n_in, n_out, attr);
  if (!node || !reserve(g, &g->node, g->n_nodes, &g->node_capacity, sizeof *g->node)) return NULL;
  for (int i = 0; i < n_out; i++) {
    rt_value *v = new_value(g, RT_VALUE_NODE, node->name, &out[i]);
    if (!v) return NULL;
    v->node = node;
    v->index = i;
    node->out[i] = v;
  }
  g->node[g->n_nodes++] = node;
  return n_out ? node->out[0] : NULL;
}

void rt_graph_live(const rt_graph *g, bool *live) {
  for (int i = 0; i < g->n_nodes; i++) live[i] = g->node[i]->op->effect;
  for (int i = 0; i < g->n_outputs; i++)
    if (g->output[i].value->node) live[g->output[i].value->node->id] = true;
  for (int i = g->n_nodes; i-- > 0;) {
    const rt_node *node = g->node[i];
    for (int j = 0; live[i] && j < node->n_in; j++)
      if (node->in[j] && node->in[j]->node) live[node->in[j]->node->id] = true;
  }
}

rt_value *rt_emit(rt_graph *g, const rt_op *op, const char *name, const void *attr, int n_in, ...) {
  rt_value *in[16];
  va_list list;
  va_start(list, n_in);
  for (int i = 0; i < n_in && i < 16; i++) in[i] = va_arg(list, rt_value *);
  va_end(list);
  return rt_graph_add(g, op, name, in, n_in, attr);
}
