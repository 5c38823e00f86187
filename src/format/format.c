#include "format/format.h"

#include "base/alloc.h"
#include "base/option.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define FORMAT(name) extern const rt_format rt_format_row_##name;
#include "format/format.def"
#undef FORMAT

static const rt_format *const rows[] = {
#define FORMAT(name) &rt_format_row_##name,
#include "format/format.def"
#undef FORMAT
};
enum { ROWS = sizeof rows / sizeof *rows };

rt_status rt_file_damaged(const rt_file *file, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  rt_vfail(RT_E_FORMAT, format, arguments);
  va_end(arguments);
  return rt_fail_in(RT_E_FORMAT, "%s", file->path);
}

/* ---- what the forms add ---- */

/* Bytes of one character of UTF-8, 0 if it is none. Surrogates and numbers beyond Unicode are none. */
static size_t character(const unsigned char *p) {
  size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
  for (size_t i = 1; i < n; i++)
    if ((p[i] & 0xC0) != 0x80) return 0;
  bool bad = (p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) || (p[0] == 0xF0 && p[1] < 0x90) ||
             (p[0] == 0xF4 && p[1] > 0x8F);
  return bad ? 0 : n;
}

bool rt_printable(const char *text, bool lines) {
  const unsigned char *p = (const unsigned char *)text;
  for (size_t n; *p; p += n)
    if (!(n = character(p)) || *p == 0x7F || (*p < 0x20 && !(lines && (*p == '\n' || *p == '\t' || *p == '\r'))))
      return false;
  return true;
}

rt_status rt_file_add(rt_file *file, const rt_entry *entry) {
  if (!*entry->name || strlen(entry->name) >= 1024 || !rt_printable(entry->name, false))
    return rt_file_damaged(file, "the name of tensor %d is empty, too long or no text", file->n);
  if (file->n == file->capacity) {
    int capacity = file->capacity ? file->capacity * 2 : 64;
    rt_entry *grown = rt_grow(file->entry, (size_t)file->n * sizeof *grown, (size_t)capacity * sizeof *grown);
    if (!grown) return RT_E_MEMORY;
    file->entry = grown;
    file->capacity = capacity;
  }
  rt_entry *e = &file->entry[file->n];
  *e = *entry;
  e->name = rt_arena_text(&file->arena, "%s", entry->name);
  if (!e->name) return RT_E_MEMORY;
  int64_t n = rt_shape_elements(e->rank, e->dim);
  if (n < 0 || __builtin_mul_overflow(n, (int64_t)rt_dtype_size(e->element->dtype), &e->bytes))
    return rt_file_damaged(file, "tensor %s has a shape that no memory can hold", e->name);
  file->n++;
  return RT_OK;
}

rt_status rt_file_add_metadata(rt_file *file, const char *key, const char *text) {
  if (!*key || !rt_printable(key, false) || !rt_printable(text, true))
    return rt_file_damaged(file, "metadata %d is no text", file->n_metadata);
  if (file->n_metadata == file->metadata_capacity) {
    int capacity = file->metadata_capacity ? file->metadata_capacity * 2 : 16;
    rt_pair *grown =
        rt_grow(file->metadata, (size_t)file->n_metadata * sizeof *grown, (size_t)capacity * sizeof *grown);
    if (!grown) return RT_E_MEMORY;
    file->metadata = grown;
    file->metadata_capacity = capacity;
  }
  rt_pair p = {rt_arena_text(&file->arena, "%s", key), rt_arena_text(&file->arena, "%s", text)};
  if (!p.key || !p.text) return RT_E_MEMORY;
  file->metadata[file->n_metadata++] = p;
  return RT_OK;
}

/* ---- opening ---- */

static int by_name(const void *a, const void *b, void *context) {
  const rt_entry *entry = context;
  return strcmp(entry[*(const int *)a].name, entry[*(const int *)b].name);
}

static rt_status index_names(rt_file *file) {
  file->by_name = rt_alloc_array((size_t)file->n + 1, sizeof *file->by_name);
  if (!file->by_name) return RT_E_MEMORY;
  for (int i = 0; i < file->n; i++) file->by_name[i] = i;
  qsort_r(file->by_name, (size_t)file->n, sizeof *file->by_name, by_name, file->entry);
  for (int i = 1; i < file->n; i++) {
    const char *name = file->entry[file->by_name[i]].name;
    if (strcmp(name, file->entry[file->by_name[i - 1]].name) == 0)
      return rt_file_damaged(file, "two tensors are called %s", name);
  }
  return RT_OK;
}

static rt_status open_bytes(rt_file *file) {
  for (int i = 0; i < ROWS && !file->form; i++)
    if (rows[i]->sniff(file->bytes, file->size)) file->form = rows[i];
  if (!file->form)
    return rt_file_damaged(
        file, "its first bytes are those of no known form (PyTorch's .pth, .safetensors, .npz, .npy, .onnx)");
  rt_status s = file->form->open(file);
  return s == RT_OK ? index_names(file) : s;
}

static rt_status open_file(const char *path, const void *bytes, size_t size, rt_file **out) {
  *out = NULL;
  rt_file *file = rt_alloc(sizeof *file);
  if (!file) return RT_E_MEMORY;
  rt_status s = RT_OK;
  file->path = rt_arena_text(&file->arena, "%s", path);
  if (!file->path) s = RT_E_MEMORY;
  if (s == RT_OK && !bytes) s = rt_map_open(path, &file->map);
  file->bytes = bytes ? bytes : file->map.data;
  file->size = bytes ? size : file->map.size;
  if (s == RT_OK) s = open_bytes(file);
  if (s == RT_OK)
    *out = file;
  else
    rt_file_free(file);
  return s;
}

rt_status rt_file_open(const char *path, rt_file **out) { return open_file(path, NULL, 0, out); }

rt_status rt_file_open_bytes(const void *bytes, size_t size, const char *name, rt_file **out) {
  return open_file(name, bytes, size, out);
}

void rt_file_free(rt_file *file) {
  if (!file) return;
  if (file->form && file->form->close) file->form->close(file);
  rt_map_close(&file->map);
  rt_free(file->entry);
  rt_free(file->by_name);
  rt_free(file->metadata);
  rt_arena_release(&file->arena);
  rt_free(file);
}

/* ---- asking ---- */

const char *rt_file_form(const rt_file *file) { return file->form->name; }
int rt_file_count(const rt_file *file) { return file->n; }

static rt_file_info info(const rt_entry *e) {
  return (rt_file_info){e->name, e->element->dtype, e->rank, e->dim, e->bytes};
}

rt_status rt_file_entry(const rt_file *file, int i, rt_file_info *out) {
  if (i < 0 || i >= file->n) return rt_fail(RT_E_ARGUMENT, "%s: tensor %d of %d", file->path, i, file->n);
  *out = info(&file->entry[i]);
  return RT_OK;
}

static const rt_entry *find(const rt_file *file, const char *name) {
  int low = 0, high = file->n;
  while (low < high) {
    int middle = low + (high - low) / 2;
    const rt_entry *e = &file->entry[file->by_name[middle]];
    int order = strcmp(name, e->name);
    if (order == 0) return e;
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return NULL;
}

static rt_status locate(const rt_file *file, const char *name, const rt_entry **out) {
  *out = find(file, name);
  if (*out) return RT_OK;
  char hint[128];
  rt_nearest nearest = {.word = name};
  for (int i = 0; i < file->n; i++) rt_nearest_offer(&nearest, file->entry[i].name);
  return rt_fail(RT_E_UNKNOWN, "%s: it has no tensor %s%s", file->path, name,
                 rt_nearest_hint(&nearest, hint, sizeof hint));
}

rt_status rt_file_find(const rt_file *file, const char *name, rt_file_info *out) {
  const rt_entry *e;
  rt_status s = locate(file, name, &e);
  if (s == RT_OK) *out = info(e);
  return s;
}

rt_status rt_file_read(rt_file *file, const char *name, void *to, size_t bytes) {
  const rt_entry *e;
  rt_status s = locate(file, name, &e);
  if (s != RT_OK) return s;
  if ((uint64_t)e->bytes != bytes)
    return rt_fail(RT_E_SHAPE, "%s: tensor %s takes %" PRId64 " bytes; there is room for %zu", file->path, name,
                   e->bytes, bytes);
  return e->bytes ? file->form->read(file, e, to) : RT_OK;
}

const char *rt_file_metadata(const rt_file *file, const char *key) {
  for (int i = 0; i < file->n_metadata; i++)
    if (strcmp(file->metadata[i].key, key) == 0) return file->metadata[i].text;
  return NULL;
}

int rt_file_metadata_count(const rt_file *file) { return file->n_metadata; }

rt_status rt_file_metadata_at(const rt_file *file, int i, rt_pair *out) {
  if (i < 0 || i >= file->n_metadata)
    return rt_fail(RT_E_ARGUMENT, "%s: metadata %d of %d", file->path, i, file->n_metadata);
  *out = file->metadata[i];
  return RT_OK;
}

/* ---- writing ---- */

int64_t rt_array_bytes(const rt_array *a) {
  int64_t n = rt_shape_elements(a->rank, a->dim), bytes;
  return n < 0 || __builtin_mul_overflow(n, (int64_t)rt_dtype_size(a->dtype), &bytes) ? -1 : bytes;
}

/* Is the word one of a list with spaces between them? */
static bool listed(const char *list, const char *word) {
  size_t n = strlen(word);
  for (const char *p = list; p && *p; p += strspn(p, " ")) {
    size_t length = strcspn(p, " ");
    if (length == n && memcmp(p, word, n) == 0) return true;
    p += length;
  }
  return false;
}

static rt_status form_of(const char *path, const rt_format **out) {
  const char *dot = strrchr(path, '.');
  char known[128] = "";
  size_t n = 0;
  for (int i = 0; i < ROWS; i++) {
    *out = rows[i];
    if (!rows[i]->extensions) continue;
    if (dot && listed(rows[i]->extensions, dot + 1)) return RT_OK;
    n += (size_t)snprintf(known + n, n < sizeof known ? sizeof known - n : 0, " %s", rows[i]->extensions);
  }
  return rt_fail(RT_E_ARGUMENT, "%s: which form to write is told by the end of its name, one of%s", path, known);
}

rt_status rt_file_check_name(const char *path) {
  const rt_format *form;
  return form_of(path, &form);
}

static rt_status write_form(const rt_format *form, const char *path, const rt_array *arrays, int n,
                            const rt_pair *metadata, int n_metadata) {
  for (int i = 0; i < n; i++)
    if (!arrays[i].name || !*arrays[i].name || !rt_printable(arrays[i].name, false) || arrays[i].rank < 0 ||
        arrays[i].rank > RT_MAX_RANK || rt_array_bytes(&arrays[i]) < 0)
      return rt_fail(RT_E_ARGUMENT, "%s: array %d of %d has no proper name or shape", path, i, n);
  return form->write(path, arrays, n, metadata, n_metadata);
}

rt_status rt_file_write(const char *path, const rt_array *arrays, int n, const rt_pair *metadata, int n_metadata) {
  const rt_format *form = NULL;
  rt_status s = form_of(path, &form);
  return s == RT_OK ? write_form(form, path, arrays, n, metadata, n_metadata) : s;
}

rt_status rt_file_reserve(const char *path, const rt_array *arrays, int n, const rt_pair *metadata, int n_metadata) {
  int i = ROWS - 1;
  while (i > 0 && !rows[i]->plain) i--;
  return write_form(rows[i], path, arrays, n, metadata, n_metadata);
}

rt_status rt_file_offset(const rt_file *file, const char *name, int64_t *out) {
  const rt_entry *e;
  rt_status s = locate(file, name, &e);
  if (s != RT_OK) return s;
  if (!file->form->plain)
    return rt_fail(RT_E_FORMAT, "%s: it is %s, whose tensors don't stand in it as they are", file->path,
                   file->form->name);
  *out = (const unsigned char *)e->from - file->bytes;
  return RT_OK;
}

rt_status rt_file_convert(rt_file *file, const char *path) {
  rt_array *arrays = rt_alloc_array((size_t)file->n + 1, sizeof *arrays);
  rt_arena memory = {0};
  rt_status s = arrays ? RT_OK : RT_E_MEMORY;
  for (int i = 0; i < file->n && s == RT_OK; i++) {
    const rt_entry *e = &file->entry[i];
    void *data = rt_arena_alloc(&memory, (size_t)e->bytes);
    s = data ? rt_file_read(file, e->name, data, (size_t)e->bytes) : RT_E_MEMORY;
    arrays[i] = (rt_array){e->name, e->element->dtype, e->rank, e->dim, data};
  }
  if (s == RT_OK) s = rt_file_write(path, arrays, file->n, file->metadata, file->n_metadata);
  rt_arena_release(&memory);
  rt_free(arrays);
  return s;
}
