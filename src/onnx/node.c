#include "onnx/import.h"

#include "base/alloc.h"

#include <stdio.h>

void rt_onnx_cant(rt_onnx_import *c, const char *why, ...) {
  if (c->refuses || rt_graph_status(c->g) != RT_OK) return;
  char text[512] = "";
  va_list arguments;
  va_start(arguments, why);
  vsnprintf(text, sizeof text, why, arguments);
  va_end(arguments);
  c->refuses = true;
  rt_strbuf_add(&c->refused, "%s%s \"%s\"%s%s%s", c->n_refused++ ? "; " : "", c->node->op_type, c->name,
                *text ? " (" : "", text, *text ? ")" : "");
}

/* ---- inputs ---- */

static int name_of(const rt_onnx_import *c, int i) { return (size_t)i < c->node->n_input ? c->m->in[c->index][i] : -1; }

bool rt_onnx_given(const rt_onnx_import *c, int i) { return name_of(c, i) >= 0; }

static const rt_entry *entry_of(const rt_onnx_import *c, int name) {
  return c->m->name[name].entry >= 0 ? &c->m->file->entry[c->m->name[name].entry] : NULL;
}

/* The elements of an initializer, in its own dtype, in the graph's arena. */
static void *read_entry(rt_onnx_import *c, const rt_entry *e) {
  void *data = rt_arena_alloc(&c->g->arena, (size_t)e->bytes);
  rt_status s = data ? rt_onnx_read(c->m->file, e, data) : RT_E_MEMORY;
  return s == RT_OK ? data : rt_graph_failed(c->g, s);
}

/* Small initializers of integers are known. */
static const rt_known *known_entry(rt_onnx_import *c, const rt_entry *e) {
  rt_dtype dtype = e->element->dtype;
  int64_t n = rt_shape_elements(e->rank, e->dim);
  if (rt_dtype_is_float(dtype) || n > RT_KNOWN_MOST) return NULL;
  rt_known *k = rt_known_new(c, dtype, e->rank, e->dim);
  void *data = k ? read_entry(c, e) : NULL;
  if (!data) return NULL;
  rt_type type = rt_type_of(dtype, 1, &n);
  rt_tensor t = rt_tensor_view(&type, data);
  for (int64_t i = 0; i < n; i++) k->v[i].v = rt_load_int(&t, i);
  return k;
}

const rt_known *rt_onnx_known_in(rt_onnx_import *c, int i) {
  int name = name_of(c, i);
  if (name < 0) return NULL;
  rt_onnx_slot *s = &c->slot[name];
  const rt_entry *e = entry_of(c, name);
  if (!s->known && !s->value && e) s->known = known_entry(c, e);
  return s->known;
}

/* A single number, or one of a few, that no training would change. */
static rt_value *constant_entry(rt_onnx_import *c, const rt_entry *e) {
  void *data = read_entry(c, e);
  float number = 0;
  if (!data) return NULL;
  rt_type from = rt_type_of(e->element->dtype, e->rank, e->dim), to = rt_type_of(RT_F32, e->rank, e->dim);
  rt_tensor t = rt_tensor_view(&from, data);
  number = (float)rt_load(&t, 0);
  return rt_graph_constant(c->g, e->name, &to, &number);
}

static rt_value *variable_entry(rt_onnx_import *c, const rt_entry *e, bool statistic) {
  int64_t n = rt_shape_elements(e->rank, e->dim);
  bool is_float = rt_dtype_is_float(e->element->dtype);
  if (n == 0) {
    rt_onnx_cant(c, "%s is empty", e->name);
    return NULL;
  }
  if (is_float && n == 1 && !statistic) return constant_entry(c, e);
  if (is_float && !statistic) return rt_parameter(c->g, e->name, e->rank, e->dim, (rt_init){0});
  return rt_statistic(c->g, e->name, is_float ? RT_F32 : e->element->dtype, e->rank, e->dim, (rt_init){0});
}

static rt_value *value_in(rt_onnx_import *c, int i, bool statistic) {
  int name = name_of(c, i);
  if (name < 0) {
    rt_onnx_cant(c, "its input %d is missing", i);
    return NULL;
  }
  rt_onnx_slot *s = &c->slot[name];
  if (s->value) return s->value;
  const rt_known *known = rt_onnx_known_in(c, i);
  const rt_entry *e = entry_of(c, name);
  if (known)
    s->value = rt_known_value(c, known);
  else if (e)
    s->value = variable_entry(c, e, statistic);
  return s->value;
}

rt_value *rt_onnx_in(rt_onnx_import *c, int i) {
  rt_value *v = value_in(c, i, false);
  return v && c->slot[name_of(c, i)].shifted ? rt_onnx_unshifted(c, v) : v;
}
rt_value *rt_onnx_grid_in(rt_onnx_import *c, int i) { return value_in(c, i, false); }
rt_value *rt_onnx_statistic_in(rt_onnx_import *c, int i) { return value_in(c, i, true); }

static bool is_matrix(const rt_entry *e) {
  return e && e->rank == 2 && rt_dtype_is_float(e->element->dtype) && e->dim[0] > 0 && e->dim[1] > 0 &&
         (e->dim[0] > 1 || e->dim[1] > 1);
}

bool rt_onnx_is_matrix(const rt_onnx_import *c, int i) {
  int name = name_of(c, i);
  return name >= 0 && is_matrix(entry_of(c, name));
}

bool rt_onnx_only_reader(const rt_onnx_import *c, int i) {
  int name = name_of(c, i);
  return name >= 0 && c->m->name[name].uses == 1;
}

rt_value *rt_onnx_weight_in(rt_onnx_import *c, int i, bool turned) {
  int name = name_of(c, i);
  const rt_entry *e = name >= 0 ? entry_of(c, name) : NULL;
  if (turned || !is_matrix(e) || c->m->name[name].uses > 1) {
    rt_value *w = rt_onnx_in(c, i);
    return turned ? w : rt_onnx_emit(c, RT_OP(transpose), &(rt_transpose_attr){0}, 1, w);
  }
  c->m->name[name].transposed = true;
  rt_onnx_slot *s = &c->slot[name];
  if (!s->value) s->value = rt_parameter(c->g, e->name, 2, (int64_t[]){e->dim[1], e->dim[0]}, (rt_init){0});
  return s->value;
}

int rt_onnx_floats_in(rt_onnx_import *c, int i, double *out, int most) {
  int name = name_of(c, i);
  if (name < 0) return -1;
  const rt_entry *e = entry_of(c, name);
  const rt_value *v = c->slot[name].value;
  rt_type type;
  void *data = NULL;
  if (v && v->kind == RT_VALUE_CONSTANT) {
    type = v->type;
    data = v->data;
  } else if (e && rt_shape_elements(e->rank, e->dim) <= most) {
    type = rt_type_of(e->element->dtype, e->rank, e->dim);
    data = read_entry(c, e);
  }
  int64_t n = data ? rt_type_elements(&type) : -1;
  if (n < 0 || n > most) return -1;
  rt_tensor t = rt_tensor_view(&type, data);
  for (int64_t k = 0; k < n; k++) out[k] = rt_load(&t, k);
  return (int)n;
}

/* ---- attributes ---- */

const rt_onnx_attribute *rt_onnx_attribute_of(const rt_onnx_import *c, const char *name) {
  for (size_t i = 0; i < c->node->n_attribute; i++)
    if (c->node->attribute[i]->name && strcmp(c->node->attribute[i]->name, name) == 0) return c->node->attribute[i];
  return NULL;
}

int64_t rt_onnx_int(const rt_onnx_import *c, const char *name, int64_t fallback) {
  const rt_onnx_attribute *a = rt_onnx_attribute_of(c, name);
  return a ? a->i : fallback;
}

double rt_onnx_float(const rt_onnx_import *c, const char *name, double fallback) {
  const rt_onnx_attribute *a = rt_onnx_attribute_of(c, name);
  return a ? (double)a->f : fallback;
}

bool rt_onnx_word(const rt_onnx_import *c, const char *name, const char *fallback, const char *expected) {
  const rt_onnx_attribute *a = rt_onnx_attribute_of(c, name);
  if (!a) return strcmp(fallback, expected) == 0;
  return a->s.len == strlen(expected) && memcmp(a->s.data, expected, a->s.len) == 0;
}

bool rt_onnx_ints(rt_onnx_import *c, const char *name, rt_ints *out) {
  const rt_onnx_attribute *a = rt_onnx_attribute_of(c, name);
  *out = (rt_ints){0};
  if (!a) return false;
  if (a->n_ints > RT_MAX_INTS) {
    rt_onnx_cant(c, "%s has %zu numbers; at most %d are read", name, a->n_ints, RT_MAX_INTS);
    return false;
  }
  out->n = (int)a->n_ints;
  for (int i = 0; i < out->n; i++) out->v[i] = a->ints[i];
  return true;
}

bool rt_onnx_list(rt_onnx_import *c, const char *name, int input, rt_ints *out) {
  *out = (rt_ints){0};
  if (rt_onnx_attribute_of(c, name)) return rt_onnx_ints(c, name, out);
  if (!rt_onnx_given(c, input)) return false;
  const rt_known *k = rt_onnx_known_in(c, input);
  bool good = k && k->n <= RT_MAX_INTS;
  for (int i = 0; good && i < k->n; i++) good = rt_known_number(k, i, &out->v[i]);
  if (!good) {
    rt_onnx_cant(c, "%s is computed, and not known before it runs", name);
    return false;
  }
  out->n = (int)k->n;
  return true;
}

int rt_onnx_axis(rt_onnx_import *c, int64_t axis, int rank) {
  if (axis >= -rank && axis < rank) return (int)(axis < 0 ? axis + rank : axis);
  rt_onnx_cant(c, "axis %lld of a tensor of rank %d", (long long)axis, rank);
  return 0;
}

/* ---- outputs ---- */

bool rt_onnx_wanted(const rt_onnx_import *c, int i) {
  int name = (size_t)i < c->node->n_output ? c->m->out[c->index][i] : -1;
  return name >= 0 && c->m->name[name].uses > 0;
}

static rt_onnx_slot *slot_out(rt_onnx_import *c, int i) {
  int name = (size_t)i < c->node->n_output ? c->m->out[c->index][i] : -1;
  return name >= 0 ? &c->slot[name] : NULL;
}

/* The value may be a node's of another name: that of a layer whose bias this one adds. */
void rt_onnx_give(rt_onnx_import *c, int i, rt_value *value) {
  rt_onnx_slot *s = slot_out(c, i);
  if (!s) return;
  s->value = value;
  rt_graph_alias(c->g, c->node->output[i], value);
  if (i == 0) rt_graph_alias(c->g, c->name, value);
}

void rt_onnx_give_grid(rt_onnx_import *c, int i, rt_value *levels, bool shifted) {
  rt_onnx_slot *s = slot_out(c, i);
  if (!s) return;
  s->value = levels;
  s->shifted = shifted;
}

void rt_onnx_give_known(rt_onnx_import *c, int i, const rt_known *known) {
  rt_onnx_slot *s = slot_out(c, i);
  if (s) s->known = known;
}

rt_value *rt_onnx_emit(rt_onnx_import *c, const rt_op *op, const void *attr, int n_in, ...) {
  rt_value *in[8];
  va_list list;
  va_start(list, n_in);
  for (int i = 0; i < n_in && i < 8; i++) in[i] = va_arg(list, rt_value *);
  va_end(list);
  return c->refuses ? NULL : rt_graph_add(c->g, op, c->name, in, n_in, attr);
}

rt_value *rt_onnx_reshape(rt_onnx_import *c, rt_value *x, int rank, const int64_t *shape) {
  rt_reshape_attr attr = {.shape.n = rank};
  for (int i = 0; i < rank; i++) attr.shape.v[i] = shape[i];
  return rt_onnx_emit(c, RT_OP(reshape), &attr, 1, x);
}

static rt_value *as(rt_onnx_import *c, rt_value *x, rt_dtype dtype) {
  rt_cast_attr attr = {.dtype = (int)dtype};
  return !x || x->type.dtype == dtype ? x : rt_onnx_emit(c, RT_OP(cast), &attr, 1, x);
}

rt_value *rt_onnx_unshifted(rt_onnx_import *c, rt_value *levels) {
  rt_value *x = as(c, levels, RT_F32);
  return as(c, rt_onnx_emit(c, RT_OP(sub), NULL, 2, x, rt_scalar(c->g, 128)), RT_S8);
}

static bool is_whole(const rt_value *x) { return x && !rt_dtype_is_float(x->type.dtype) && x->type.dtype != RT_BOOL; }

rt_value *rt_onnx_binary(rt_onnx_import *c, const rt_op *op, rt_value *a, rt_value *b) {
  if (!is_whole(a)) return rt_onnx_emit(c, op, NULL, 2, a, as(c, b, a ? a->type.dtype : RT_F32));
  return as(c, rt_onnx_emit(c, op, NULL, 2, as(c, a, RT_F64), as(c, b, RT_F64)), a->type.dtype);
}

rt_value *rt_onnx_unary(rt_onnx_import *c, const rt_op *op, rt_value *x) {
  static const rt_unary_attr plain;
  if (!is_whole(x)) return rt_onnx_emit(c, op, &plain, 1, x);
  return as(c, rt_onnx_emit(c, op, &plain, 1, as(c, x, RT_F64)), x->type.dtype);
}
