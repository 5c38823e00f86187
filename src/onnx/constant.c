/* Shape, Size, Constant, ConstantOfShape */
#include "onnx/import.h"

static void import_shape(rt_onnx_import *c) {
  const rt_known *k = rt_onnx_known_in(c, 0);
  rt_value *x = k ? NULL : rt_onnx_in(c, 0);
  if (!k && !x) return;
  int rank = k ? k->rank : x->type.rank;
  int64_t start = rt_onnx_int(c, "start", 0), end = rt_onnx_int(c, "end", rank), n;
  start = start < -rank ? 0 : start < 0 ? start + rank : start > rank ? rank : start;
  end = end < -rank ? 0 : end < 0 ? end + rank : end > rank ? rank : end;
  n = end > start ? end - start : 0;
  rt_known *y = rt_known_new(c, RT_S64, 1, &n);
  for (int64_t i = 0; y && i < n; i++) {
    rt_dim d = k ? k->dim[start + i] : x->type.dim[start + i];
    y->v[i] = d < 0 ? (rt_number){0, d} : (rt_number){d, 0};
  }
  rt_onnx_give_known(c, 0, y);
}

static void import_size(rt_onnx_import *c) {
  const rt_known *k = rt_onnx_known_in(c, 0);
  rt_value *x = k ? NULL : rt_onnx_in(c, 0);
  if (!k && !x) return;
  rt_known *y = rt_known_new(c, RT_S64, 0, NULL);
  if (x && !rt_type_bound(&x->type)) rt_onnx_cant(c, "of a shape that isn't known before it runs");
  if (y) y->v[0].v = k ? k->n : rt_type_elements(&x->type);
  rt_onnx_give_known(c, 0, y);
}

/* Numbers of an attribute's tensor: integers are known, floats a constant in f32. */
static void give_tensor(rt_onnx_import *c, const rt_onnx_tensor *t) {
  rt_entry e;
  rt_status s = rt_onnx_describe(c->m->file, t, c->name, &e);
  void *data = s == RT_OK ? rt_arena_alloc(&c->g->arena, (size_t)e.bytes) : NULL;
  if (s == RT_OK) s = data ? rt_onnx_read(c->m->file, &e, data) : RT_E_MEMORY;
  if (s != RT_OK) {
    rt_graph_failed(c->g, s);
    return;
  }
  rt_type type = rt_type_of(e.element->dtype, e.rank, e.dim), to = type;
  rt_tensor from = rt_tensor_view(&type, data);
  int64_t n = rt_type_elements(&type);
  if (!rt_dtype_is_float(type.dtype) && n <= RT_KNOWN_MOST) {
    rt_known *k = rt_known_new(c, type.dtype, e.rank, e.dim);
    for (int64_t i = 0; k && i < n; i++) k->v[i].v = rt_load_int(&from, i);
    rt_onnx_give_known(c, 0, k);
    return;
  }
  if (n < 1) {
    rt_onnx_cant(c, "it is empty");
    return;
  }
  to.dtype = rt_dtype_is_float(type.dtype) ? RT_F32 : type.dtype;
  void *converted = type.dtype == to.dtype ? data : rt_arena_alloc(&c->g->arena, (size_t)rt_type_bytes(&to));
  if (!converted) {
    rt_graph_failed(c->g, RT_E_MEMORY);
    return;
  }
  rt_tensor out = rt_tensor_view(&to, converted);
  for (int64_t i = 0; converted != data && i < n; i++) rt_store_at(&out, i, rt_load(&from, i));
  rt_onnx_give(c, 0, rt_graph_constant(c->g, c->name, &to, converted));
}

static void import_constant(rt_onnx_import *c) {
  const rt_onnx_attribute *a;
  int64_t n = 1;
  if ((a = rt_onnx_attribute_of(c, "value")) && a->t) {
    give_tensor(c, a->t);
  } else if ((a = rt_onnx_attribute_of(c, "value_float"))) {
    rt_onnx_give(c, 0, rt_graph_constant(c->g, c->name, &(rt_type){.dtype = RT_F32}, &a->f));
  } else if ((a = rt_onnx_attribute_of(c, "value_floats")) && a->n_floats) {
    rt_type type = {.dtype = RT_F32, .rank = 1, .dim = {(int64_t)a->n_floats}};
    rt_onnx_give(c, 0, rt_graph_constant(c->g, c->name, &type, a->floats));
  } else if ((a = rt_onnx_attribute_of(c, "value_int"))) {
    rt_known *k = rt_known_new(c, RT_S64, 0, NULL);
    if (k) k->v[0].v = a->i;
    rt_onnx_give_known(c, 0, k);
  } else if ((a = rt_onnx_attribute_of(c, "value_ints"))) {
    n = (int64_t)a->n_ints;
    rt_known *k = rt_known_new(c, RT_S64, 1, &n);
    for (int64_t i = 0; k && i < n; i++) k->v[i].v = a->ints[i];
    rt_onnx_give_known(c, 0, k);
  } else {
    rt_onnx_cant(c, "without a tensor of numbers");
  }
}

static void import_constant_of_shape(rt_onnx_import *c) {
  const rt_known *k = rt_onnx_known_in(c, 0);
  const rt_onnx_attribute *a = rt_onnx_attribute_of(c, "value");
  double value = 0;
  int64_t whole = 0;
  rt_dtype dtype = RT_F32;
  int64_t dim[RT_MAX_RANK];
  bool good = k && k->n <= RT_MAX_RANK;
  for (int i = 0; good && i < k->n; i++) good = rt_known_number(k, i, &dim[i]);
  int64_t n = good ? rt_shape_elements((int)k->n, dim) : -1;
  if (a && a->t) {
    rt_entry e;
    unsigned char one[8];
    rt_status s = rt_onnx_describe(c->m->file, a->t, c->name, &e);
    if (s == RT_OK && rt_shape_elements(e.rank, e.dim) != 1) {
      rt_onnx_cant(c, "its value isn't one number");
      return;
    }
    if (s == RT_OK) s = rt_onnx_read(c->m->file, &e, one);
    if (s != RT_OK) {
      rt_graph_failed(c->g, s);
      return;
    }
    rt_type type = rt_type_of(e.element->dtype, 0, NULL);
    rt_tensor t = rt_tensor_view(&type, one);
    value = rt_load(&t, 0);
    whole = rt_load_int(&t, 0);
    dtype = rt_dtype_is_float(type.dtype) ? RT_F32 : type.dtype;
  }
  if (n < 0) {
    rt_onnx_cant(c, "of a shape that isn't known before it runs");
    return;
  }
  if (!rt_dtype_is_float(dtype)) {
    rt_known *y = rt_known_new(c, dtype, (int)k->n, dim);
    for (int64_t i = 0; y && i < n; i++) y->v[i].v = whole;
    rt_onnx_give_known(c, 0, y);
    return;
  }
  float *data = rt_onnx_alloc(c, n, sizeof *data);
  if (!data) return;
  for (int64_t i = 0; i < n; i++) data[i] = (float)value;
  rt_type type = rt_type_of(RT_F32, (int)k->n, dim);
  if (n == 0)
    rt_onnx_cant(c, "it is empty");
  else
    rt_onnx_give(c, 0, rt_graph_constant(c->g, c->name, &type, data));
}

#define ROW_OF(name, function) const rt_onnx_row rt_onnx_row_##name = {#name, function};
ROW_OF(Shape, import_shape)
ROW_OF(Size, import_size)
ROW_OF(Constant, import_constant)
ROW_OF(ConstantOfShape, import_constant_of_shape)
