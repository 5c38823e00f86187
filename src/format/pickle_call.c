#include "format/pickle_call.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

rt_status rt_pickle_fail(const rt_pickle_reader *r, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  rt_vfail(RT_E_FORMAT, format, arguments);
  va_end(arguments);
  return rt_fail_in(RT_E_FORMAT, "%s", r->what);
}

rt_pickle *rt_pickle_new(const rt_pickle_reader *r, rt_pickle_kind kind) {
  rt_pickle *v = rt_arena_alloc(r->arena, sizeof *v);
  if (v) v->kind = kind;
  return v;
}

static rt_status spend(const rt_pickle_reader *r, size_t n) {
  if (n > *r->budget) return rt_pickle_fail(r, "the pickle copies the same values again and again");
  *r->budget -= n;
  return RT_OK;
}

/* ---- arguments ---- */

static const rt_pickle *item(const rt_pickle *v, size_t i) {
  return v && (v->kind == RT_PICKLE_TUPLE || v->kind == RT_PICKLE_LIST) && i < v->list.n ? v->list.item[i] : NULL;
}

static bool is(const rt_pickle *v, rt_pickle_kind kind) { return v && v->kind == kind; }
static bool is_bytes(const rt_pickle *v) { return is(v, RT_PICKLE_TEXT) || is(v, RT_PICKLE_BYTES); }

/* A tuple of at most RT_MAX_RANK numbers; a number alone is a tuple of one. */
static bool sizes(const rt_pickle *v, int *rank, int64_t *dim) {
  if (is(v, RT_PICKLE_INT)) {
    *rank = 1;
    dim[0] = v->integer;
    return true;
  }
  if (!v || (v->kind != RT_PICKLE_TUPLE && v->kind != RT_PICKLE_LIST) || v->list.n > RT_MAX_RANK) return false;
  *rank = (int)v->list.n;
  for (int i = 0; i < *rank; i++) {
    if (!is(v->list.item[i], RT_PICKLE_INT)) return false;
    dim[i] = v->list.item[i]->integer;
  }
  return true;
}

/* ---- PyTorch ---- */

/* The last element that the view reaches lies in the storage. A view may repeat elements (strides of 0), but a small
 * storage can't claim to be a huge tensor. */
static bool within(const rt_pickle_tensor *t) {
  enum { REPEATED = 1 << 20 };
  int64_t n = rt_shape_elements(t->rank, t->dim), last = t->offset;
  if (n < 0 || t->offset < 0) return false;
  for (int i = 0; i < t->rank; i++)
    if (t->stride[i] < 0) return false;
  if (n == 0) return true;
  for (int i = 0; i < t->rank; i++) {
    int64_t reach;
    if (__builtin_mul_overflow(t->dim[i] - 1, t->stride[i], &reach) || __builtin_add_overflow(last, reach, &last))
      return false;
  }
  return last < t->storage->count && (n <= t->storage->count || n <= REPEATED);
}

/* (storage, offset, size, stride, requires_grad, hooks …) */
static rt_status rebuild_tensor(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out) {
  const rt_pickle *storage = item(arguments, 0), *offset = item(arguments, 1);
  rt_pickle *v = rt_pickle_new(r, RT_PICKLE_TENSOR);
  rt_pickle_tensor *t = v ? rt_arena_alloc(r->arena, sizeof *t) : NULL;
  int strides;
  if (!t) return RT_E_MEMORY;
  if (!is(storage, RT_PICKLE_STORAGE) || !is(offset, RT_PICKLE_INT) || !sizes(item(arguments, 2), &t->rank, t->dim) ||
      !sizes(item(arguments, 3), &strides, t->stride) || strides != t->rank)
    return rt_pickle_fail(r, "a tensor is described in a way that PyTorch doesn't (at most %d dimensions)",
                          RT_MAX_RANK);
  t->storage = storage->storage;
  t->offset = offset->integer;
  if (!within(t))
    return rt_pickle_fail(r, "a tensor reaches outside of its storage \"%.*s\" of %" PRId64 " elements",
                          t->storage->key_length > 40 ? 40 : (int)t->storage->key_length, t->storage->key,
                          t->storage->count);
  v->tensor = t;
  *out = v;
  return RT_OK;
}

/* (tensor, requires_grad, hooks) */
static rt_status rebuild_parameter(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out) {
  if (!is(item(arguments, 0), RT_PICKLE_TENSOR))
    return rt_pickle_fail(r, "a parameter is made of something that is no tensor");
  *out = arguments->list.item[0];
  return RT_OK;
}

static rt_status same_tuple(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out) {
  if (!is(item(arguments, 0), RT_PICKLE_TUPLE))
    return rt_pickle_fail(r, "a size is made of something that is no tuple");
  *out = arguments->list.item[0];
  return RT_OK;
}

rt_status rt_pickle_storage_of(const rt_pickle_reader *r, const rt_pickle *id, rt_pickle **out) {
  const rt_pickle *type = item(id, 1), *key = item(id, 2), *count = item(id, 4), *view = item(id, 5);
  rt_pickle *v = rt_pickle_new(r, RT_PICKLE_STORAGE);
  rt_pickle_storage *s = v ? rt_arena_alloc(r->arena, sizeof *s) : NULL;
  if (!s) return RT_E_MEMORY;
  if (!rt_pickle_is_text(item(id, 0), "storage") || !is(type, RT_PICKLE_GLOBAL) || !is_bytes(key) ||
      !is(count, RT_PICKLE_INT) || count->integer < 0)
    return rt_pickle_fail(r, "something outside of the pickle is referred to that is no tensor storage");
  if (view && view->kind != RT_PICKLE_NONE)
    return rt_pickle_fail(r,
                          "a storage is a part of another one, as before PyTorch 0.4: write the file with a newer one");
  const char *name = memchr(type->text.bytes, ' ', type->text.length);
  size_t length = name ? type->text.length - (size_t)(name + 1 - type->text.bytes) : 0;
  *s = (rt_pickle_storage){.element = name ? rt_element_of_torch(name + 1, length) : NULL,
                           .key = key->text.bytes,
                           .key_length = key->text.length,
                           .count = count->integer,
                           .position = -1,
                           .next = *r->storages};
  if (!s->element)
    return rt_pickle_fail(r, "tensors in a %.*s can't be read", (int)type->text.length, type->text.bytes);
  *r->storages = s;
  v->storage = s;
  *out = v;
  return RT_OK;
}

/* ---- containers ---- */

/* OrderedDict(), or of a list of pairs, as Python 2 pickles it. */
static rt_status ordered_dict(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out) {
  static const rt_pickle none = {.kind = RT_PICKLE_LIST};
  const rt_pickle *pairs = item(arguments, 0) ? item(arguments, 0) : &none;
  rt_pickle *v = rt_pickle_new(r, RT_PICKLE_DICT);
  if (!v) return RT_E_MEMORY;
  if (pairs->kind != RT_PICKLE_LIST)
    return rt_pickle_fail(r, "an OrderedDict is made of %s", rt_pickle_kind_name(pairs->kind));
  size_t n = pairs->list.n;
  rt_status s = spend(r, n);
  if (s != RT_OK) return s;
  if (n && !(v->list.item = rt_arena_alloc(r->arena, 2 * n * sizeof *v->list.item))) return RT_E_MEMORY;
  v->list.capacity = 2 * n;
  for (size_t i = 0; i < n; i++) {
    const rt_pickle *pair = pairs->list.item[i];
    if (!item(pair, 1)) return rt_pickle_fail(r, "an OrderedDict is made of something that is no pair");
    v->list.item[v->list.n++] = pair->list.item[0];
    v->list.item[v->list.n++] = pair->list.item[1];
  }
  *out = v;
  return RT_OK;
}

/* codecs.encode(text, "latin1"): how protocol 2 carries bytes, each as the character of that number in UTF-8. */
static rt_status encode(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out) {
  const rt_pickle *text = item(arguments, 0), *codec = item(arguments, 1);
  if (!is(text, RT_PICKLE_TEXT) || (!rt_pickle_is_text(codec, "latin1") && !rt_pickle_is_text(codec, "latin-1")))
    return rt_pickle_fail(r, "bytes are written in another way than as latin1");
  rt_status s = spend(r, text->text.length);
  if (s != RT_OK) return s;
  rt_pickle *v = rt_pickle_new(r, RT_PICKLE_BYTES);
  unsigned char *bytes = v ? rt_arena_alloc(r->arena, text->text.length + 1) : NULL;
  if (!bytes) return RT_E_MEMORY;
  const unsigned char *p = (const unsigned char *)text->text.bytes, *end = p + text->text.length;
  size_t n = 0;
  while (p < end) {
    if (*p < 0x80) {
      bytes[n++] = *p++;
    } else if ((*p == 0xC2 || *p == 0xC3) && end - p > 1 && (p[1] & 0xC0) == 0x80) {
      bytes[n++] = (unsigned char)(p[0] << 6 | (p[1] & 0x3F));
      p += 2;
    } else {
      return rt_pickle_fail(r, "bytes that are written as latin1 hold a character that isn't in it");
    }
  }
  v->text.bytes = (const char *)bytes;
  v->text.length = n;
  *out = v;
  return RT_OK;
}

static rt_status empty_bytes(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out) {
  if (item(arguments, 0)) return rt_pickle_fail(r, "bytes are made by a call");
  *out = rt_pickle_new(r, RT_PICKLE_BYTES);
  if (*out) (*out)->text.bytes = "";
  return *out ? RT_OK : RT_E_MEMORY;
}

/* ---- NumPy ---- */

static rt_status new_array(const rt_pickle_reader *r, rt_pickle_kind kind, rt_pickle **out) {
  *out = rt_pickle_new(r, kind);
  if (*out) (*out)->array = rt_arena_alloc(r->arena, sizeof *(*out)->array);
  return *out && (*out)->array ? RT_OK : RT_E_MEMORY;
}

/* dtype("f4", align, copy); the byte order follows as its state. */
static rt_status dtype(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out) {
  const rt_pickle *code = item(arguments, 0);
  if (!is_bytes(code)) return rt_pickle_fail(r, "a NumPy dtype has no name");
  rt_status s = new_array(r, RT_PICKLE_DTYPE, out);
  if (s == RT_OK) (*out)->array->element = rt_element_of_numpy(code->text.bytes, code->text.length);
  return s;
}

static rt_status fill_array(const rt_pickle_reader *r, rt_pickle_array *a, const rt_pickle *shape,
                            const rt_pickle *type, const rt_pickle *bytes) {
  if (!is(type, RT_PICKLE_DTYPE) || !type->array->element)
    return rt_pickle_fail(r, "a NumPy array holds something else than numbers that are known here");
  if (!sizes(shape, &a->rank, a->dim) || !is_bytes(bytes))
    return rt_pickle_fail(r, "a NumPy array is described in a way that NumPy doesn't (at most %d dimensions)",
                          RT_MAX_RANK);
  a->element = type->array->element;
  a->data = bytes->text.bytes;
  int64_t n = rt_shape_elements(a->rank, a->dim), total;
  if (n < 0 || __builtin_mul_overflow(n, (int64_t)a->element->size, &total) || (uint64_t)total != bytes->text.length)
    return rt_pickle_fail(r, "a NumPy array claims another size than the %zu bytes that it has", bytes->text.length);
  return RT_OK;
}

/* _reconstruct(ndarray, (0,), b"b"): empty; the rest follows as its state. */
static rt_status reconstruct(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out) {
  return new_array(r, RT_PICKLE_ARRAY, out);
}

/* scalar(dtype, bytes) */
static rt_status scalar(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out) {
  const rt_pickle no_dimensions = {.kind = RT_PICKLE_TUPLE};
  rt_status s = new_array(r, RT_PICKLE_ARRAY, out);
  return s == RT_OK ? fill_array(r, (*out)->array, &no_dimensions, item(arguments, 0), item(arguments, 1)) : s;
}

/* _frombuffer(bytes, dtype, shape, "C" or "F"): protocol 5. */
static rt_status from_buffer(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out) {
  rt_status s = new_array(r, RT_PICKLE_ARRAY, out);
  if (s != RT_OK) return s;
  (*out)->array->fortran = rt_pickle_is_text(item(arguments, 3), "F");
  return fill_array(r, (*out)->array, item(arguments, 2), item(arguments, 1), item(arguments, 0));
}

static rt_status build_array(const rt_pickle_reader *r, rt_pickle *v, const rt_pickle *state) {
  const rt_pickle *fortran = item(state, 3); /* (version, shape, dtype, is Fortran, bytes) */
  v->array->fortran =
      fortran && (fortran->kind == RT_PICKLE_BOOL || fortran->kind == RT_PICKLE_INT) && fortran->integer;
  return fill_array(r, v->array, item(state, 1), item(state, 2), item(state, 4));
}

static rt_status build_dtype(const rt_pickle_reader *r, rt_pickle *v, const rt_pickle *state) {
  if (rt_pickle_is_text(item(state, 1), ">") && v->array->element && v->array->element->size > 1)
    return rt_pickle_fail(r, "a NumPy array is big-endian; only little-endian ones are read");
  return RT_OK;
}

/* ---- the table ---- */

typedef struct callable {
  const char *module, *name;
  rt_status (*call)(const rt_pickle_reader *r, const rt_pickle *arguments, rt_pickle **out); /* NULL: only a name */
} callable;

static const callable callables[] = {
    {"torch._utils", "_rebuild_tensor_v2", rebuild_tensor},
    {"torch._utils", "_rebuild_tensor", rebuild_tensor},
    {"torch._utils", "_rebuild_parameter", rebuild_parameter},
    {"torch", "Size", same_tuple},
    {"collections", "OrderedDict", ordered_dict},
    {"_codecs", "encode", encode},
    {"__builtin__", "bytes", empty_bytes},
    {"builtins", "bytes", empty_bytes},
    {"numpy", "dtype", dtype},
    {"numpy", "ndarray", NULL},
    {"numpy.core.multiarray", "_reconstruct", reconstruct},
    {"numpy._core.multiarray", "_reconstruct", reconstruct},
    {"numpy.core.multiarray", "scalar", scalar},
    {"numpy._core.multiarray", "scalar", scalar},
    {"numpy.core.numeric", "_frombuffer", from_buffer},
    {"numpy._core.numeric", "_frombuffer", from_buffer},
};

static bool says(const char *text, const char *other, size_t length) {
  return strlen(text) == length && memcmp(text, other, length) == 0;
}

static const callable *find(const char *module, size_t module_length, const char *name, size_t name_length) {
  for (size_t i = 0; i < sizeof callables / sizeof *callables; i++)
    if (says(callables[i].module, module, module_length) && says(callables[i].name, name, name_length))
      return &callables[i];
  return NULL;
}

static rt_status refuse(const rt_pickle_reader *r, const char *module, size_t module_length, const char *name,
                        size_t name_length) {
  char text[161];
  int n = snprintf(text, sizeof text, "%.*s.%.*s", module_length > 80 ? 80 : (int)module_length, module,
                   name_length > 78 ? 78 : (int)name_length, name);
  for (int i = 0; i < n; i++)
    if (text[i] < 0x20 || text[i] > 0x7E) text[i] = '?'; /* not what a terminal would obey */
  return rt_pickle_fail(
      r,
      "would call %s: refused, only tensors, arrays and containers are read. Where it comes from, save "
      "the state_dict() alone",
      text);
}

rt_status rt_pickle_import(const rt_pickle_reader *r, const char *module, size_t module_length, const char *name,
                           size_t name_length, rt_pickle **out) {
  bool storage = says("torch", module, module_length) && rt_element_of_torch(name, name_length);
  if (!storage && !find(module, module_length, name, name_length))
    return refuse(r, module, module_length, name, name_length);
  *out = rt_pickle_new(r, RT_PICKLE_GLOBAL);
  char *text = *out ? rt_arena_alloc(r->arena, module_length + name_length + 2) : NULL;
  if (!text) return RT_E_MEMORY;
  memcpy(text, module, module_length);
  text[module_length] = ' ';
  memcpy(text + module_length + 1, name, name_length);
  (*out)->text.bytes = text;
  (*out)->text.length = module_length + 1 + name_length;
  return RT_OK;
}

rt_status rt_pickle_call(const rt_pickle_reader *r, const rt_pickle *function, const rt_pickle *arguments,
                         rt_pickle **out) {
  if (function->kind != RT_PICKLE_GLOBAL || arguments->kind != RT_PICKLE_TUPLE)
    return rt_pickle_fail(r, "the pickle calls %s with %s", rt_pickle_kind_name(function->kind),
                          rt_pickle_kind_name(arguments->kind));
  const char *module = function->text.bytes, *space = memchr(module, ' ', function->text.length);
  if (!space) return rt_fail(RT_E_INTERNAL, "%s: a name without a module", r->what);
  size_t module_length = (size_t)(space - module), name_length = function->text.length - module_length - 1;
  const callable *c = find(module, module_length, space + 1, name_length);
  return c && c->call ? c->call(r, arguments, out) : refuse(r, module, module_length, space + 1, name_length);
}

rt_status rt_pickle_build(const rt_pickle_reader *r, rt_pickle *object, const rt_pickle *state) {
  switch (object->kind) {
  case RT_PICKLE_DICT: return RT_OK; /* attributes of an OrderedDict: the _metadata of a state dict */
  case RT_PICKLE_ARRAY: return build_array(r, object, state);
  case RT_PICKLE_DTYPE: return build_dtype(r, object, state);
  default: return rt_pickle_fail(r, "the pickle sets attributes of %s", rt_pickle_kind_name(object->kind));
  }
}
