/* ONNX (github.com/onnx/onnx): one protobuf message, Model { Graph { nodes, initializers, inputs, outputs } }. As a file of
 * tensors it holds the initializers. protobuf-c copies every element once, out of the map, whose pages then leave memory;
 * large blocks are freed one by one (rt_onnx_forget), so that giving a store its values needs twice the file at most. */
#include "format/onnx.h"

#include "base/alloc.h"
#include "base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

enum { LARGE = 1 << 12, SLACK = 64 << 20, EXPANSION = 16, EXTERNAL = 1, MOST_FILES = 64 };

/* Codes of data types, by what their elements are. Two of 4 bits share a byte, the first in its lower half. */
static const struct code {
  const char *element;
  int32_t code;
  int bits;
} codes[] = {{"f32", 1, 32},  {"u8", 2, 8},    {"s8", 3, 8},     {"u16", 4, 16},  {"s16", 5, 16},
             {"s32", 6, 32},  {"s64", 7, 64},  {"bool", 9, 8},   {"f16", 10, 16}, {"f64", 11, 64},
             {"u32", 12, 32}, {"s64", 13, 64}, {"bf16", 16, 16}, {"u8", 21, 4},   {"s8", 22, 4}};
enum { CODES = sizeof codes / sizeof *codes };

typedef struct large {
  void *data;
  bool freed;
} large;

typedef struct external {
  const char *location;
  rt_map map;
} external;

typedef struct onnx {
  rt_arena *arena; /* the file's: small blocks */
  large *large;
  int n_large, capacity;
  size_t left; /* bytes that unpacking may still take */
  bool starved;
  rt_onnx_model *model;
  external external[MOST_FILES];
  int n_external;
} onnx;

static bool sniff(const unsigned char *bytes, size_t size) {
  /* ir_version, a small number, then another field of a model */
  static const unsigned char next[] = {0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72};
  return size > 4 && bytes[0] == 0x08 && bytes[1] > 0 && bytes[1] < 0x40 && memchr(next, bytes[2], sizeof next);
}

/* ---- unpacking within bounds ---- */

static void *take(void *context, size_t size) {
  onnx *o = context;
  if (size > o->left) {
    o->starved = true;
    return NULL;
  }
  o->left -= size;
  if (size < LARGE) return rt_arena_alloc(o->arena, size);
  if (o->n_large == o->capacity) {
    int capacity = o->capacity ? 2 * o->capacity : 64;
    large *grown = rt_grow(o->large, (size_t)o->n_large * sizeof *grown, (size_t)capacity * sizeof *grown);
    if (!grown) return NULL;
    o->large = grown;
    o->capacity = capacity;
  }
  void *data = rt_alloc_large(size);
  if (data) o->large[o->n_large++] = (large){data, false};
  return data;
}

static void give_back(void *context, void *data) {
  onnx *o = context;
  for (int i = o->n_large; i-- > 0;) {
    if (o->large[i].data != data || o->large[i].freed) continue;
    rt_free(data);
    o->large[i].freed = true;
    return;
  }
}

static void close_onnx(rt_file *file) {
  onnx *o = file->own;
  if (!o) return;
  for (int i = 0; i < o->n_large; i++)
    if (!o->large[i].freed) rt_free(o->large[i].data);
  for (int i = 0; i < o->n_external; i++) rt_map_close(&o->external[i].map);
  rt_free(o->large);
  rt_free(o);
}

/* ---- tensors ---- */

static const struct code *code_of(int32_t code) {
  for (int i = 0; i < CODES; i++)
    if (codes[i].code == code) return &codes[i];
  return NULL;
}

const rt_element *rt_onnx_element(int32_t code) {
  const struct code *c = code_of(code);
  return c ? rt_element_of_name(c->element) : NULL;
}

int32_t rt_onnx_code(rt_dtype dtype) {
  const char *name = rt_dtype_name(dtype);
  for (int i = 0; i < CODES; i++)
    if (strcmp(codes[i].element, name) == 0) return codes[i].code;
  return 0;
}

/* Bytes that the elements take in raw data. */
static size_t stored(const rt_onnx_tensor *t, int64_t n) {
  int bits = code_of(t->data_type)->bits;
  return bits == 4 ? ((size_t)n + 1) / 2 : (size_t)n * (size_t)(bits / 8);
}

static void read_raw(const rt_onnx_tensor *t, const rt_entry *e, const unsigned char *bytes, int64_t n, void *to) {
  if (code_of(t->data_type)->bits != 4) {
    rt_element_copy(e->element, bytes, n, to);
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    unsigned v = bytes[i / 2] >> 4 * (i % 2) & 15;
    ((unsigned char *)to)[i] = (unsigned char)(e->element->dtype == RT_S8 && v > 7 ? v + 240 : v);
  }
}

/* Elements of up to 32 bits that were stored as s32, by their low bits: into memory order, then as raw ones. */
static void read_words(const rt_onnx_tensor *t, const rt_entry *e, int64_t n, void *to) {
  size_t wide = rt_dtype_size(e->element->dtype);
  if (code_of(t->data_type)->bits == 4) { /* two a word */
    for (int64_t i = 0; i < n; i++) {
      unsigned v = (unsigned)t->int32_data[i / 2] >> 4 * (i % 2) & 15;
      ((unsigned char *)to)[i] = (unsigned char)(e->element->dtype == RT_S8 && v > 7 ? v + 240 : v);
    }
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    unsigned char word[sizeof(int32_t)];
    memcpy(word, &t->int32_data[i], sizeof word);
    if (e->element->dtype == RT_BOOL) word[0] = t->int32_data[i] != 0;
    rt_element_copy(e->element, word, 1, (unsigned char *)to + (size_t)i * wide);
  }
}

static bool is_within(const char *location) {
  if (!*location || *location == '/') return false;
  for (const char *p = location; p; p = strchr(p, '/')) {
    if (*p == '/') p++;
    if (p[0] == '.' && p[1] == '.' && (p[2] == '/' || !p[2])) return false;
  }
  return true;
}

/* A link inside of the model's directory may lead out of it. */
static rt_status check_inside(const rt_file *file, const char *directory, const char *path, const char *location) {
  char real[PATH_MAX], home[PATH_MAX];
  if (!realpath(path, real) || !realpath(directory, home))
    return rt_fail(RT_E_IO, "%s: its data file %.200s can't be read: %s", file->path, location, strerror(errno));
  size_t n = strlen(home);
  if (strncmp(real, home, n) == 0 && (real[n] == '/' || n == 1)) return RT_OK;
  return rt_file_damaged(file, "its data file %.200s is outside of the model's own directory", location);
}

static rt_status open_external(const rt_file *file, const char *location, rt_map *out) {
  onnx *o = file->own;
  for (int i = 0; i < o->n_external; i++) {
    *out = o->external[i].map;
    if (strcmp(o->external[i].location, location) == 0) return RT_OK;
  }
  if (!file->map.data) return rt_file_damaged(file, "its data are in another file, and it isn't one itself");
  if (!is_within(location) || !rt_printable(location, false))
    return rt_file_damaged(file, "its data file %.200s is outside of the model's own directory",
                           rt_printable(location, false) ? location : "(no text)");
  if (o->n_external == MOST_FILES) return rt_file_damaged(file, "it has more than %d data files", MOST_FILES);
  const char *slash = strrchr(file->path, '/');
  const char *directory = slash ? rt_arena_text(o->arena, "%.*s", (int)(slash - file->path) + 1, file->path)
                                : rt_arena_text(o->arena, "./");
  const char *path = directory ? rt_arena_text(o->arena, "%s%s", directory, location) : NULL;
  external *e = &o->external[o->n_external];
  e->location = rt_arena_text(o->arena, "%s", location);
  if (!path || !e->location) return RT_E_MEMORY;
  rt_status s = check_inside(file, directory, path, location);
  if (s == RT_OK) s = rt_map_open(path, &e->map);
  if (s == RT_OK) o->n_external++;
  *out = e->map;
  return s;
}

static const char *external_text(const rt_onnx_tensor *t, const char *key) {
  for (size_t i = 0; i < t->n_external_data; i++)
    if (t->external_data[i]->key && strcmp(t->external_data[i]->key, key) == 0) return t->external_data[i]->value;
  return NULL;
}

static rt_status external_number(const rt_file *file, const rt_entry *e, const char *key, uint64_t fallback,
                                 uint64_t *out) {
  const char *text = external_text(e->from, key);
  char *end = NULL;
  *out = fallback;
  if (!text || !*text) return RT_OK;
  *out = strtoull(text, &end, 10);
  if (*text >= '0' && *text <= '9' && !*end) return RT_OK;
  return rt_file_damaged(file, "tensor %.100s: its %s in the data file is \"%.40s\", and should be a number", e->name,
                         key, rt_printable(text, false) ? text : "?");
}

/* Where the elements are in another file, after everything it says of that was checked. */
static rt_status find_external(const rt_file *file, const rt_entry *e, int64_t n, const unsigned char **out) {
  const rt_onnx_tensor *t = e->from;
  const char *location = external_text(t, "location");
  size_t size = stored(t, n);
  rt_map map = {0};
  uint64_t offset, length;
  if (!location) return rt_file_damaged(file, "tensor %.100s is in another file, which isn't named", e->name);
  rt_status s = external_number(file, e, "offset", 0, &offset);
  if (s == RT_OK) s = external_number(file, e, "length", size, &length);
  if (s == RT_OK) s = open_external(file, location, &map);
  if (s != RT_OK) return s;
  if (length != size || offset > map.size || size > map.size - offset)
    return rt_file_damaged(file,
                           "tensor %.100s takes %zu bytes; it is said to be %" PRIu64 " bytes from byte %" PRIu64
                           " of %.200s, which has %zu",
                           e->name, size, length, offset, location, map.size);
  *out = map.data + offset;
  return RT_OK;
}

static bool is_external(const rt_onnx_tensor *t) { return t->has_data_location && t->data_location == EXTERNAL; }

static bool is_raw(const rt_onnx_tensor *t) {
  return t->has_raw_data && (t->raw_data.len || !(t->n_float_data + t->n_int32_data + t->n_int64_data +
                                                  t->n_double_data + t->n_uint64_data));
}

/* Elements in the field for their type: how many there are, and should be. */
static rt_status check_typed(const rt_file *file, const rt_entry *e, int64_t n) {
  const rt_onnx_tensor *t = e->from;
  rt_dtype dtype = e->element->dtype;
  size_t found = t->n_int32_data, expected = (size_t)n;
  if (dtype == RT_F32) {
    found = t->n_float_data;
  } else if (dtype == RT_F64) {
    found = t->n_double_data;
  } else if (dtype == RT_S64) { /* u32, and u64, which has no other type to go to, are in uint64_data */
    found = t->n_uint64_data ? t->n_uint64_data : t->n_int64_data;
  } else if (code_of(t->data_type)->bits == 4) {
    expected = (expected + 1) / 2;
  }
  if (found == expected) return RT_OK;
  return rt_file_damaged(file, "tensor %.100s has %zu elements, and its shape says %zu", e->name, found, expected);
}

static rt_status check_elements(const rt_file *file, const rt_entry *e, int64_t n) {
  const rt_onnx_tensor *t = e->from;
  const unsigned char *where;
  if (n == 0) return RT_OK;
  if (is_external(t)) return find_external(file, e, n, &where);
  if (!is_raw(t)) return check_typed(file, e, n);
  if (t->raw_data.len == stored(t, n)) return RT_OK;
  return rt_file_damaged(file, "tensor %.100s has %zu bytes, and its shape says %zu", e->name, t->raw_data.len,
                         stored(t, n));
}

rt_status rt_onnx_describe(const rt_file *file, const rt_onnx_tensor *t, const char *what, rt_entry *out) {
  *out = (rt_entry){.name = what, .element = rt_onnx_element(t->data_type), .from = t};
  if (!out->element)
    return rt_file_damaged(file, "tensor %.100s has data type %d, which isn't known here", what, t->data_type);
  if (t->n_dims > RT_MAX_RANK)
    return rt_file_damaged(file, "tensor %.100s has %zu dimensions; at most %d are possible", what, t->n_dims,
                           RT_MAX_RANK);
  out->rank = (int)t->n_dims;
  for (int d = 0; d < out->rank; d++) out->dim[d] = t->dims[d];
  int64_t n = rt_shape_elements(out->rank, out->dim);
  if (n < 0 || __builtin_mul_overflow(n, (int64_t)rt_dtype_size(out->element->dtype), &out->bytes))
    return rt_file_damaged(file, "tensor %.100s has a shape that no memory can hold", what);
  return check_elements(file, out, n);
}

rt_status rt_onnx_read(rt_file *file, const rt_entry *e, void *to) {
  const rt_onnx_tensor *t = e->from;
  int64_t n = rt_shape_elements(e->rank, e->dim);
  const unsigned char *where;
  rt_dtype dtype = e->element->dtype;
  rt_status s = check_elements(file, e, n); /* again: it may be forgotten */
  if (s != RT_OK || n == 0) return s;
  if (is_external(t)) {
    s = find_external(file, e, n, &where);
    if (s == RT_OK) read_raw(t, e, where, n, to);
  } else if (is_raw(t)) {
    read_raw(t, e, t->raw_data.data, n, to);
  } else if (dtype == RT_F32) {
    memcpy(to, t->float_data, (size_t)n * sizeof *t->float_data);
  } else if (dtype == RT_F64) {
    memcpy(to, t->double_data, (size_t)n * sizeof *t->double_data);
  } else if (dtype == RT_S64) {
    memcpy(to, t->n_uint64_data ? (const void *)t->uint64_data : t->int64_data, (size_t)n * sizeof *t->int64_data);
  } else {
    read_words(t, e, n, to);
  }
  return s;
}

void rt_onnx_forget(rt_file *file, int i) {
  onnx *o = file->own;
  rt_onnx_tensor *t = o->model->graph->initializer[i];
  void *data[] = {t->raw_data.data, t->float_data, t->int32_data, t->int64_data, t->double_data, t->uint64_data};
  for (size_t k = 0; k < sizeof data / sizeof *data; k++) give_back(o, data[k]);
  t->has_raw_data = false;
  t->raw_data.len = 0;
  t->n_float_data = t->n_int32_data = t->n_int64_data = t->n_double_data = t->n_uint64_data = 0;
}

/* ---- the file ---- */

static rt_status add_tensors(rt_file *file, const rt_onnx_graph *g) {
  rt_status s = RT_OK;
  if (g->n_sparse_initializer) return rt_file_damaged(file, "it has sparse initializers, which aren't read here");
  for (size_t i = 0; i < g->n_initializer && s == RT_OK; i++) {
    const rt_onnx_tensor *t = g->initializer[i];
    rt_entry e;
    if (!t->name) return rt_file_damaged(file, "initializer %zu has no name", i);
    s = rt_onnx_describe(file, t, rt_printable(t->name, false) ? t->name : "(no text)", &e);
    e.name = t->name;
    if (s == RT_OK) s = rt_file_add(file, &e);
  }
  return s;
}

static rt_status open_onnx(rt_file *file) {
  onnx *o = file->own = rt_alloc(sizeof *o);
  if (!o) return RT_E_MEMORY;
  o->arena = &file->arena;
  o->left = SLACK + EXPANSION * file->size;
  ProtobufCAllocator allocator = {take, give_back, o};
  if (file->size > INT_MAX) return rt_file_damaged(file, "it is larger than 2 GB, the most that a message may have");
  o->model = rt__onnx__model__unpack(&allocator, file->size, file->bytes);
  if (!o->model && o->starved)
    return rt_file_damaged(file, "its messages take far more memory than the file has bytes");
  if (!o->model) return rt_file_damaged(file, "it is cut short or damaged, or no ONNX model");
  if (!o->model->graph) return rt_file_damaged(file, "it has no graph");
  rt_map_rest(&file->map);
  rt_status s = add_tensors(file, o->model->graph);
  for (size_t i = 0; i < o->model->n_metadata_props && s == RT_OK; i++) {
    const Rt__Onnx__Pair *p = o->model->metadata_props[i];
    s = rt_file_add_metadata(file, p->key ? p->key : "", p->value ? p->value : "");
  }
  return s;
}

const rt_format rt_format_row_onnx = {
    .name = "onnx", .sniff = sniff, .open = open_onnx, .read = rt_onnx_read, .close = close_onnx};

const rt_onnx_model *rt_onnx_model_of(const rt_file *file) {
  return file->form == &rt_format_row_onnx ? ((const onnx *)file->own)->model : NULL;
}
