#include "onnx/export.h"

#include "base/alloc.h"
#include "base/file.h"

#include <limits.h>
#include <stdio.h>

enum { OPSET_LEAST = 13, OPSET_MOST = 21, OPSET_USUAL = 17, IR_VERSION = 8 };

static void *take(rt_onnx_export *e, size_t bytes) {
  void *p = rt_arena_alloc(&e->arena, bytes);
  if (!p) e->status = RT_E_MEMORY;
  return p;
}

void rt_onnx_cannot(rt_onnx_export *e, const char *why, ...) {
  char text[512] = "";
  va_list arguments;
  va_start(arguments, why);
  vsnprintf(text, sizeof text, why, arguments);
  va_end(arguments);
  rt_strbuf_add(&e->refused, "%s%s \"%s\"%s%s%s", e->n_refused++ ? "; " : "", e->node->op->name, e->node->name,
                *text ? " (" : "", text, *text ? ")" : "");
}

/* Room for one more pointer in a list of the arena's. */
static bool reserve(rt_onnx_export *e, void *list, size_t n, size_t *capacity) {
  if (n < *capacity) return true;
  void **old;
  memcpy(&old, list, sizeof old);
  size_t grown = *capacity ? 2 * *capacity : 64;
  void **now = take(e, grown * sizeof *now);
  if (!now) return false;
  if (n) memcpy(now, old, n * sizeof *now);
  memcpy(list, &now, sizeof now);
  *capacity = grown;
  return true;
}

/* ---- names ---- */

static bool is_used(const rt_onnx_names *names, const char *name) {
  for (size_t i = 0; i < names->n; i++)
    if (strcmp(names->name[i], name) == 0) return true;
  return false;
}

static const char *unique(rt_onnx_export *e, rt_onnx_names *names, const char *base) {
  const char *name = rt_arena_text(&e->arena, "%s", base);
  for (int k = 2; name && is_used(names, name); k++) name = rt_arena_text(&e->arena, "%s_%d", base, k);
  if (!name) e->status = RT_E_MEMORY;
  if (!name || !reserve(e, &names->name, names->n, &names->capacity)) return "";
  return names->name[names->n++] = name;
}

const char *rt_onnx_new_name(rt_onnx_export *e, const char *base) { return unique(e, &e->tensors, base); }

/* ---- initializers: their bytes stay where they are ---- */

static void put_tensor(rt_onnx_export *e, const char *name, const rt_type *type, const void *data) {
  rt_onnx_tensor *t = take(e, sizeof *t);
  int64_t *dims = take(e, ((size_t)type->rank + 1) * sizeof *dims);
  if (!t || !dims || !reserve(e, &e->graph.initializer, e->graph.n_initializer, &e->tensor_capacity)) return;
  rt__onnx__tensor__init(t);
  for (int d = 0; d < type->rank; d++) dims[d] = type->dim[d];
  t->n_dims = (size_t)type->rank;
  t->dims = dims;
  t->has_data_type = true;
  t->data_type = rt_onnx_code(type->dtype);
  t->name = (char *)(uintptr_t)name;
  t->has_raw_data = true;
  t->raw_data = (ProtobufCBinaryData){(size_t)rt_type_bytes(type), (uint8_t *)(uintptr_t)data};
  e->graph.initializer[e->graph.n_initializer++] = t;
}

const char *rt_onnx_name_of(rt_onnx_export *e, const rt_value *v) {
  const char **name = &e->value_name[v->id];
  if (*name) return *name;
  bool first = v->kind != RT_VALUE_NODE || v->index == 0;
  const char *base = first ? v->name : rt_arena_text(&e->arena, "%s.%d", v->name, v->index);
  *name = rt_onnx_new_name(e, base ? base : "value");
  if (v->kind == RT_VALUE_VARIABLE) put_tensor(e, *name, &v->type, v->var->data);
  if (v->kind == RT_VALUE_CONSTANT) put_tensor(e, *name, &v->type, v->data);
  return *name;
}

const char *rt_onnx_in_name(rt_onnx_export *e, int i) {
  return i < e->node->n_in && e->node->in[i] ? rt_onnx_name_of(e, e->node->in[i]) : "";
}

static const char *made_tensor(rt_onnx_export *e, const rt_type *type, const void *v) {
  const char *base = rt_arena_text(&e->arena, "%s.constant", e->node ? e->node->name : "input");
  const char *name = rt_onnx_new_name(e, base ? base : "constant");
  void *copy = rt_arena_copy(&e->arena, v, (size_t)rt_type_bytes(type));
  if (!copy) e->status = RT_E_MEMORY;
  if (copy) put_tensor(e, name, type, copy);
  return name;
}

const char *rt_onnx_floats(rt_onnx_export *e, const float *v, int64_t n, int rank) {
  rt_type type = rt_type_of(RT_F32, rank, &n);
  return made_tensor(e, &type, v);
}

const char *rt_onnx_byte(rt_onnx_export *e, int64_t v) {
  uint8_t byte = (uint8_t)v;
  rt_type type = {.dtype = RT_U8};
  return made_tensor(e, &type, &byte);
}

const char *rt_onnx_words(rt_onnx_export *e, const int32_t *v, int64_t n) {
  rt_type type = rt_type_of(RT_S32, 1, &n);
  return made_tensor(e, &type, v);
}

const char *rt_onnx_variable(rt_onnx_export *e, const rt_var *var) {
  const char *name = rt_onnx_new_name(e, var->name);
  put_tensor(e, name, &var->type, var->data);
  return name;
}

const char *rt_onnx_whole(rt_onnx_export *e, const int64_t *v, int64_t n) {
  rt_type type = rt_type_of(RT_S64, 1, &n);
  return made_tensor(e, &type, v);
}

/* ---- nodes ---- */

enum { IN_MOST = 256 };

static rt_onnx_node *new_node(rt_onnx_export *e, const char *op, const char *const *in, size_t n_in, const char *out,
                              const char *name) {
  rt_onnx_node *n = take(e, sizeof *n);
  const char **ins = take(e, (n_in + 1) * sizeof *ins), **outs = take(e, sizeof *outs);
  if (!n || !ins || !outs || !reserve(e, &e->graph.node, e->graph.n_node, &e->node_capacity)) return NULL;
  rt__onnx__node__init(n);
  while (n_in && !*in[n_in - 1]) n_in--; /* left out at the end */
  for (size_t i = 0; i < n_in; i++) ins[i] = in[i];
  outs[0] = out;
  n->n_input = n_in;
  n->input = (char **)ins;
  n->n_output = 1;
  n->output = (char **)outs;
  n->op_type = (char *)(uintptr_t)op;
  n->name = (char *)(uintptr_t)unique(e, &e->nodes, name);
  e->graph.node[e->graph.n_node++] = n;
  return n;
}

static size_t collect(const char **in, va_list list) {
  size_t n = 0;
  for (const char *p; (p = va_arg(list, const char *)) && n < IN_MOST;) in[n++] = p;
  return n;
}

rt_onnx_node *rt_onnx_put(rt_onnx_export *e, const char *op, ...) {
  const char *in[IN_MOST];
  va_list list;
  va_start(list, op);
  size_t n = collect(in, list);
  va_end(list);
  return new_node(e, op, in, n, rt_onnx_name_of(e, e->node->out[0]), e->node->name);
}

const char *rt_onnx_via(rt_onnx_export *e, const char *op, ...) {
  const char *in[IN_MOST];
  va_list list;
  va_start(list, op);
  size_t n = collect(in, list);
  va_end(list);
  const char *base = rt_arena_text(&e->arena, "%s.%s", e->node ? e->node->name : "input", op);
  const char *out = rt_onnx_new_name(e, base ? base : op);
  new_node(e, op, in, n, out, out);
  return out;
}

rt_onnx_node *rt_onnx_put_list(rt_onnx_export *e, const char *op) {
  const char **in = take(e, ((size_t)e->node->n_in + 1) * sizeof *in);
  if (!in) return NULL;
  for (int i = 0; i < e->node->n_in; i++) in[i] = rt_onnx_in_name(e, i);
  return new_node(e, op, in, (size_t)e->node->n_in, rt_onnx_name_of(e, e->node->out[0]), e->node->name);
}

rt_onnx_node *rt_onnx_last(rt_onnx_export *e) { return e->graph.n_node ? e->graph.node[e->graph.n_node - 1] : NULL; }

enum { FLOAT = 1, INT = 2, TEXT = 3, INTS = 7, ATTRIBUTES_MOST = 16 };

static rt_onnx_attribute *attribute(rt_onnx_export *e, rt_onnx_node *node, const char *name, int type) {
  rt_onnx_attribute *a = node ? take(e, sizeof *a) : NULL;
  if (!a || node->n_attribute == ATTRIBUTES_MOST) return NULL;
  if (!node->attribute && !(node->attribute = take(e, ATTRIBUTES_MOST * sizeof *node->attribute))) return NULL;
  rt__onnx__attribute__init(a);
  a->name = (char *)(uintptr_t)name;
  a->has_type = true;
  a->type = type;
  return node->attribute[node->n_attribute++] = a;
}

void rt_onnx_set_int(rt_onnx_export *e, rt_onnx_node *node, const char *name, int64_t v) {
  rt_onnx_attribute *a = attribute(e, node, name, INT);
  if (!a) return;
  a->has_i = true;
  a->i = v;
}

void rt_onnx_set_float(rt_onnx_export *e, rt_onnx_node *node, const char *name, double v) {
  rt_onnx_attribute *a = attribute(e, node, name, FLOAT);
  if (!a) return;
  a->has_f = true;
  a->f = (float)v;
}

void rt_onnx_set_text(rt_onnx_export *e, rt_onnx_node *node, const char *name, const char *text) {
  rt_onnx_attribute *a = attribute(e, node, name, TEXT);
  if (!a) return;
  a->has_s = true;
  a->s = (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

void rt_onnx_set_ints(rt_onnx_export *e, rt_onnx_node *node, const char *name, const int64_t *v, int n) {
  rt_onnx_attribute *a = attribute(e, node, name, INTS);
  int64_t *copy = take(e, ((size_t)n + 1) * sizeof *copy);
  if (!a || !copy) return;
  for (int i = 0; i < n; i++) copy[i] = v[i];
  a->ints = copy;
  a->n_ints = (size_t)n;
}

bool rt_onnx_has_tail(const rt_onnx_export *e, int residual, int activation) {
  return activation != RT_ACTIVATION_NONE || (residual < e->node->n_in && e->node->in[residual]);
}

void rt_onnx_tail(rt_onnx_export *e, const char *sum, int residual, int activation) {
  bool adds = residual < e->node->n_in && e->node->in[residual];
  const char *other = adds ? rt_onnx_in_name(e, residual) : "";
  if (adds && activation != RT_ACTIVATION_NONE) sum = rt_onnx_via(e, "Add", sum, other, NULL);
  if (activation != RT_ACTIVATION_NONE)
    rt_onnx_put(e, "Relu", sum, NULL);
  else if (adds)
    rt_onnx_put(e, "Add", sum, other, NULL);
}

/* ---- the graph ---- */

/* A dimension that inputs have by name stays open under that name; what is derived of it is left out. */
static bool is_plain(const char *symbol) { return !strpbrk(symbol, "()[]*/+,"); }

static Rt__Onnx__Value *port(rt_onnx_export *e, const char *name, const rt_type *type) {
  Rt__Onnx__Value *v = take(e, sizeof *v);
  Rt__Onnx__Type *t = take(e, sizeof *t);
  Rt__Onnx__TensorType *tensor = take(e, sizeof *tensor);
  Rt__Onnx__Shape *shape = take(e, sizeof *shape);
  Rt__Onnx__Dimension *dim = take(e, RT_MAX_RANK * sizeof *dim), **dims = take(e, RT_MAX_RANK * sizeof *dims);
  if (!v || !t || !tensor || !shape || !dim || !dims) return NULL;
  rt__onnx__value__init(v);
  rt__onnx__type__init(t);
  rt__onnx__tensor_type__init(tensor);
  rt__onnx__shape__init(shape);
  for (int d = 0; d < type->rank; d++) {
    rt__onnx__dimension__init(&dim[d]);
    dims[d] = &dim[d];
    dim[d].has_dim_value = type->dim[d] > 0;
    dim[d].dim_value = type->dim[d];
    if (type->dim[d] < 0 && is_plain(e->g->symbol[-type->dim[d] - 1]))
      dim[d].dim_param = (char *)(uintptr_t)e->g->symbol[-type->dim[d] - 1];
  }
  shape->n_dim = (size_t)type->rank;
  shape->dim = dims;
  tensor->has_elem_type = true;
  tensor->elem_type = rt_onnx_code(type->dtype);
  tensor->shape = shape;
  t->tensor_type = tensor;
  v->name = (char *)(uintptr_t)name;
  v->type = t;
  return v;
}

/* (pixel − 255·mean)/(255·deviation), of bytes: what the network takes, made of what an image has. */
static const char *preprocess(rt_onnx_export *e, const rt_value *x, const char *image, const rt_onnx_write *w) {
  int64_t c = w->channels;
  float *shift = take(e, (size_t)c * sizeof *shift), *scale = take(e, (size_t)c * sizeof *scale);
  if (!shift || !scale) return "";
  rt_type type = {.dtype = RT_F32, .rank = 3, .dim = {c, 1, 1}};
  for (int64_t i = 0; i < c; i++) {
    shift[i] = 255 * w->mean[i];
    scale[i] = 255 * w->deviation[i];
  }
  const char *pixel = rt_onnx_via(e, "Cast", image, NULL);
  rt_onnx_set_int(e, rt_onnx_last(e), "to", rt_onnx_code(RT_F32));
  const char *centred = rt_onnx_via(e, "Sub", pixel, made_tensor(e, &type, shift), NULL);
  const char *in[] = {centred, made_tensor(e, &type, scale)};
  new_node(e, "Div", in, 2, rt_onnx_name_of(e, x), "normalise");
  return image;
}

/* Does anything that is written read it? Passes leave inputs where what read them is gone. */
static bool is_read(const rt_onnx_export *e, const rt_value *v) {
  for (int i = 0; i < e->g->n_nodes; i++)
    for (int k = 0; e->live[i] && k < e->g->node[i]->n_in; k++)
      if (e->g->node[i]->in[k] == v) return true;
  for (int i = 0; i < e->g->n_outputs; i++)
    if (e->g->output[i].value == v) return true;
  return false;
}

static void put_inputs(rt_onnx_export *e, const rt_onnx_write *w) {
  e->graph.input = take(e, ((size_t)e->g->n_values + 1) * sizeof *e->graph.input);
  for (int i = 0; i < e->g->n_values && e->status == RT_OK; i++) {
    const rt_value *v = e->g->value[i];
    if (v->kind != RT_VALUE_INPUT || !is_read(e, v)) continue;
    bool is_x = w->input && strcmp(v->name, "x") == 0;
    rt_type type = v->type;
    if (is_x && w->mean) {
      const char *image = rt_onnx_new_name(e, "image");
      preprocess(e, v, image, w);
      type.dtype = RT_U8;
      e->graph.input[e->graph.n_input++] = port(e, image, &type);
      continue;
    }
    if (is_x) e->value_name[v->id] = rt_onnx_new_name(e, w->input);
    e->graph.input[e->graph.n_input++] = port(e, rt_onnx_name_of(e, v), &type);
  }
}

/* Marked outputs have their own names: the value that is marked takes the name, or an Identity gives it one more. */
static void put_outputs(rt_onnx_export *e, const rt_onnx_write *w) {
  e->graph.output = take(e, ((size_t)e->g->n_outputs + 1) * sizeof *e->graph.output);
  for (int i = 0; i < e->g->n_outputs && e->status == RT_OK; i++) {
    const rt_named_value *o = &e->g->output[i];
    const char *wanted = w->output && i == 0 ? w->output : o->name, *name = e->value_name[o->value->id];
    if (!name || strcmp(name, wanted) != 0) {
      const char *in[] = {rt_onnx_name_of(e, o->value)};
      name = rt_onnx_new_name(e, wanted);
      new_node(e, "Identity", in, 1, name, name);
    }
    e->graph.output[e->graph.n_output++] = port(e, name, &o->value->type);
  }
}

/* Names that the file promises to keep come before those of nodes. */
static void name_outputs(rt_onnx_export *e, const rt_onnx_write *w) {
  for (int i = 0; i < e->g->n_outputs; i++) {
    const rt_named_value *o = &e->g->output[i];
    const char **name = &e->value_name[o->value->id];
    if (o->value->kind == RT_VALUE_NODE && !*name)
      *name = rt_onnx_new_name(e, w->output && i == 0 ? w->output : o->name);
  }
}

/* What outputs need, without what a row makes anew from the store. */
static void find_live(rt_onnx_export *e) {
  const rt_graph *g = e->g;
  for (int i = 0; i < g->n_outputs; i++)
    if (g->output[i].value->node) e->live[g->output[i].value->node->id] = true;
  for (int i = g->n_nodes; i-- > 0;) {
    const rt_node *node = g->node[i];
    const rt_onnx_row *row = rt_onnx_row_for(node->op);
    for (int k = 0; e->live[i] && k < node->n_in; k++)
      if (node->in[k] && node->in[k]->node && !(row && row->unread >> k & 1)) e->live[node->in[k]->node->id] = true;
  }
}

static rt_status put_nodes(rt_onnx_export *e) {
  for (int i = 0; i < e->g->n_nodes && e->status == RT_OK; i++) {
    if (!e->live[i]) continue;
    e->node = e->g->node[i];
    const rt_onnx_row *row = rt_onnx_row_for(e->node->op);
    if (row)
      row->export(e);
    else
      rt_onnx_cannot(e, "%s", "");
  }
  e->node = NULL;
  if (e->refused.failed) return RT_E_MEMORY;
  if (e->n_refused)
    return rt_fail(RT_E_UNSUPPORTED, "%d of its %d nodes can't be written as ONNX: %s", e->n_refused, e->g->n_nodes,
                   e->refused.text);
  return e->status;
}

/* ---- the file ---- */

typedef struct stream {
  ProtobufCBuffer base;
  rt_writer writer;
} stream;

static void append(ProtobufCBuffer *buffer, size_t n, const uint8_t *bytes) {
  rt_writer_put(&((stream *)(void *)buffer)->writer, bytes, n);
}

static rt_status write_model(rt_onnx_export *e, const char *path, const rt_onnx_write *w) {
  Rt__Onnx__Model model = RT__ONNX__MODEL__INIT;
  Rt__Onnx__Opset opset = RT__ONNX__OPSET__INIT, *opsets[] = {&opset};
  Rt__Onnx__Pair *pair = take(e, ((size_t)w->n_metadata + 1) * sizeof *pair);
  Rt__Onnx__Pair **pairs = take(e, ((size_t)w->n_metadata + 1) * sizeof *pairs);
  if (!pair || !pairs) return RT_E_MEMORY;
  for (int i = 0; i < w->n_metadata; i++) {
    rt__onnx__pair__init(&pair[i]);
    pair[i].key = (char *)(uintptr_t)w->metadata[i].key;
    pair[i].value = (char *)(uintptr_t)w->metadata[i].text;
    pairs[i] = &pair[i];
  }
  opset.domain = (char *)(uintptr_t) "";
  opset.has_version = true;
  opset.version = e->opset;
  model.has_ir_version = true;
  model.ir_version = IR_VERSION;
  model.producer_name = (char *)(uintptr_t) "retort";
  model.producer_version = (char *)(uintptr_t)RT_VERSION;
  model.graph = &e->graph;
  model.n_opset_import = 1;
  model.opset_import = opsets;
  model.n_metadata_props = (size_t)w->n_metadata;
  model.metadata_props = pairs;
  if (rt__onnx__model__get_packed_size(&model) > INT_MAX)
    return rt_fail(RT_E_UNSUPPORTED, "it would be larger than 2 GB, the most that a message may have");
  stream s = {.base = {append}};
  rt_status status = rt_writer_open(&s.writer, path);
  if (status != RT_OK) return status;
  rt__onnx__model__pack_to_buffer(&model, &s.base);
  return rt_writer_commit(&s.writer);
}

rt_status rt_onnx_export_graph(rt_graph *g, const char *path, const rt_onnx_write *w) {
  rt_onnx_export e = {.g = g, .opset = w->opset ? w->opset : OPSET_USUAL};
  rt_status s = rt_graph_status(g);
  if (s == RT_OK && (e.opset < OPSET_LEAST || e.opset > OPSET_MOST))
    s = rt_fail(RT_E_ARGUMENT, "opset %lld: %d to %d can be written", (long long)e.opset, OPSET_LEAST, OPSET_MOST);
  if (s == RT_OK) s = rt_store_allocate(g->store);
  if (s != RT_OK) return rt_fail_in(s, "%s", path);
  rt__onnx__graph__init(&e.graph);
  e.graph.name = (char *)(uintptr_t) "retort";
  e.value_name = take(&e, ((size_t)g->n_values + 1) * sizeof *e.value_name);
  e.live = take(&e, (size_t)g->n_nodes + 1);
  if (e.value_name && e.live) {
    find_live(&e);
    put_inputs(&e, w);
    name_outputs(&e, w);
    s = put_nodes(&e);
    if (s == RT_OK) put_outputs(&e, w);
  }
  if (s == RT_OK) s = e.status;
  if (s != RT_OK) s = rt_fail_in(s, "%s", path);
  if (s == RT_OK) s = write_model(&e, path, w);
  rt_strbuf_release(&e.refused);
  rt_arena_release(&e.arena);
  return s;
}
