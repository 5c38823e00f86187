/* NumPy's .npy, and .npz: a zip archive of them.
 *
 *   "\x93NUMPY" | major, minor | u16 (u32 from version 2 on) N | N bytes of text | data
 *
 *   {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
 */
#include "base/alloc.h"
#include "base/strbuf.h"
#include "format/format.h"
#include "format/zip.h"

#include <inttypes.h>
#include <stdlib.h>

static const char MAGIC[] = "\x93NUMPY";
static const char ONLY_NAME[] = "data"; /* of the array of a .npy */
enum { MAGIC_LENGTH = 6, PREFIX = 12, MOST_HEADER = 65536, ALIGN = 64 };

typedef struct origin {
  int64_t member; /* in the archive; -1: the file itself */
  int64_t data;   /* where in it the data begin */
  int64_t bytes;  /* of the data, as stored */
  bool fortran;
} origin;

/* ---- the header's text: a dictionary as Python writes it ---- */

typedef struct text {
  const char *at, *end;
} text;

static void skip_space(text *t) {
  while (t->at < t->end && (*t->at == ' ' || *t->at == '\n' || *t->at == '\t')) t->at++;
}

static bool accept(text *t, const char *word) {
  skip_space(t);
  size_t n = strlen(word);
  if ((size_t)(t->end - t->at) < n || memcmp(t->at, word, n) != 0) return false;
  t->at += n;
  return true;
}

static bool quoted(text *t, const char **word, size_t *n) {
  skip_space(t);
  if (t->at == t->end || (*t->at != '\'' && *t->at != '"')) return false;
  const char *close = memchr(t->at + 1, *t->at, (size_t)(t->end - t->at) - 1);
  if (!close) return false;
  *word = t->at + 1;
  *n = (size_t)(close - *word);
  t->at = close + 1;
  return true;
}

static bool number(text *t, int64_t *out) {
  skip_space(t);
  const char *begin = t->at;
  *out = 0;
  for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++)
    if (__builtin_mul_overflow(*out, (int64_t)10, out) || __builtin_add_overflow(*out, (int64_t)(*t->at - '0'), out))
      return false;
  return t->at > begin;
}

static bool shape(text *t, rt_entry *e) {
  if (!accept(t, "(")) return false;
  e->rank = 0;
  while (!accept(t, ")")) {
    if (e->rank == RT_MAX_RANK || !number(t, &e->dim[e->rank++])) return false;
    accept(t, "L"); /* Python 2 */
    if (!accept(t, ",")) return accept(t, ")");
  }
  return true;
}

static rt_status fail_header(const rt_file *file, const char *name) {
  return rt_file_damaged(file, "the header of array %.100s isn't one that NumPy writes (at most %d dimensions)", name,
                         RT_MAX_RANK);
}

static rt_status descr(const rt_file *file, const char *name, const char *code, size_t n, rt_entry *e) {
  if (n > 1 && code[0] == '>')
    return rt_file_damaged(file, "array %.100s is big-endian; only little-endian ones are read", name);
  e->element =
      n > 1 && (code[0] == '<' || code[0] == '|' || code[0] == '=') ? rt_element_of_numpy(code + 1, n - 1) : NULL;
  if (e->element) return RT_OK;
  return rt_file_damaged(file, "array %.100s has dtype %.*s, which isn't read here: only plain numbers are", name,
                         n > 20 ? 20 : (int)n, code);
}

static rt_status parse_header(const rt_file *file, text t, rt_entry *e, bool *fortran) {
  const char *key, *code;
  size_t n, length;
  bool has_shape = false, has_order = false;
  if (!accept(&t, "{")) return fail_header(file, e->name);
  while (!accept(&t, "}")) {
    if (!quoted(&t, &key, &n) || !accept(&t, ":")) return fail_header(file, e->name);
    if (n == 5 && memcmp(key, "descr", n) == 0) {
      if (!quoted(&t, &code, &length)) return fail_header(file, e->name);
      rt_status s = descr(file, e->name, code, length, e);
      if (s != RT_OK) return s;
    } else if (n == 5 && memcmp(key, "shape", n) == 0) {
      if (!(has_shape = shape(&t, e))) return fail_header(file, e->name);
    } else if (n == 13 && memcmp(key, "fortran_order", n) == 0) {
      *fortran = accept(&t, "True");
      if (!(has_order = *fortran || accept(&t, "False"))) return fail_header(file, e->name);
    } else {
      return fail_header(file, e->name);
    }
    accept(&t, ",");
  }
  return e->element && has_shape && has_order ? RT_OK : fail_header(file, e->name);
}

/* ---- one array: in the archive's member, or the file itself ---- */

static rt_status bytes_at(const rt_file *file, int64_t member, int64_t at, void *to, int64_t n) {
  if (member >= 0) return rt_zip_read(file->own, member, at, to, n);
  if (n < 0 || (uint64_t)at > file->size || (uint64_t)n > file->size - (uint64_t)at)
    return rt_file_damaged(file, "it ends too early");
  memcpy(to, file->bytes + at, (size_t)n);
  return RT_OK;
}

static int64_t size_of(const rt_file *file, int64_t member) {
  return member >= 0 ? rt_zip_size(file->own, member) : (int64_t)file->size;
}

/* Where the header's text begins, and how long it is. */
static rt_status find_header(const rt_file *file, int64_t member, const char *name, int64_t *at, int64_t *length) {
  unsigned char p[PREFIX];
  rt_status s = bytes_at(file, member, 0, p, PREFIX);
  if (s != RT_OK) return s;
  bool wide = p[MAGIC_LENGTH] >= 2;
  if (memcmp(p, MAGIC, MAGIC_LENGTH) != 0 || p[MAGIC_LENGTH] < 1 || p[MAGIC_LENGTH] > 3) return fail_header(file, name);
  *at = wide ? PREFIX : PREFIX - 2;
  *length = p[8] | p[9] << 8;
  if (wide) *length |= (int64_t)p[10] << 16 | (int64_t)p[11] << 24;
  int64_t size = size_of(file, member);
  if (*length > MOST_HEADER || *length > size - *at)
    return rt_file_damaged(file, "array %.100s claims a header of %" PRId64 " bytes, and has %" PRId64, name, *length,
                           size);
  return RT_OK;
}

static rt_status add_array(rt_file *file, int64_t member, const char *name) {
  int64_t at = 0, length = 0, total;
  rt_status s = find_header(file, member, name, &at, &length);
  if (s != RT_OK) return s;
  char *header = rt_alloc((size_t)length + 1);
  origin *from = rt_arena_alloc(&file->arena, sizeof *from);
  rt_entry e = {.name = name, .from = from};
  s = header && from ? bytes_at(file, member, at, header, length) : RT_E_MEMORY;
  if (s == RT_OK) s = parse_header(file, (text){header, header + length}, &e, &from->fortran);
  rt_free(header);
  if (s != RT_OK) return s;
  int64_t n = rt_shape_elements(e.rank, e.dim), size = size_of(file, member);
  if (n < 0 || __builtin_mul_overflow(n, (int64_t)e.element->size, &total) || total != size - at - length)
    return rt_file_damaged(file, "array %.100s has %" PRId64 " bytes, and its shape says otherwise", name,
                           size - at - length);
  from->member = member;
  from->data = at + length;
  from->bytes = total;
  return rt_file_add(file, &e);
}

static bool row_major(const rt_entry *e, const origin *from) { return !from->fortran || e->rank < 2; }

static rt_status read(rt_file *file, const rt_entry *e, void *to) {
  const origin *from = e->from;
  int64_t n = rt_shape_elements(e->rank, e->dim), stride[RT_MAX_RANK] = {0};
  if (row_major(e, from) && e->bytes == from->bytes && e->element->dtype != RT_BOOL)
    return bytes_at(file, from->member, from->data, to, from->bytes);
  unsigned char *stored = rt_alloc((size_t)from->bytes);
  rt_status s = stored ? bytes_at(file, from->member, from->data, stored, from->bytes) : RT_E_MEMORY;
  if (s == RT_OK && row_major(e, from)) {
    rt_element_copy(e->element, stored, n, to);
  } else if (s == RT_OK) {
    int64_t step = 1;
    for (int d = 0; d < e->rank; step *= e->dim[d++]) stride[d] = step;
    rt_element_gather(e->element, stored, e->rank, e->dim, stride, to);
  }
  rt_free(stored);
  return s;
}

static bool sniff_npy(const unsigned char *bytes, size_t size) {
  return size >= MAGIC_LENGTH && memcmp(bytes, MAGIC, MAGIC_LENGTH) == 0;
}

static rt_status open_npy(rt_file *file) { return add_array(file, -1, ONLY_NAME); }

/* An archive whose first member is a .npy. */
static bool sniff_npz(const unsigned char *bytes, size_t size) {
  if (size < 30 || memcmp(bytes, "PK\3\4", 4) != 0) return false;
  size_t n = bytes[26] | (size_t)bytes[27] << 8;
  return n >= 4 && size - 30 >= n && memcmp(bytes + 30 + n - 4, ".npy", 4) == 0;
}

static rt_status open_npz(rt_file *file) {
  rt_zip *zip;
  rt_status s = rt_zip_open(file->bytes, file->size, file->path, &zip);
  file->own = zip;
  for (int64_t i = 0; s == RT_OK && i < rt_zip_count(zip); i++) {
    const char *name = rt_zip_name(zip, i);
    size_t n = strlen(name);
    if (n < 5 || strcmp(name + n - 4, ".npy") != 0) return rt_file_damaged(file, "%.100s in it is no .npy array", name);
    char *bare = rt_arena_text(&file->arena, "%.*s", (int)n - 4, name);
    s = bare ? add_array(file, i, bare) : RT_E_MEMORY;
  }
  return s;
}

static void close_npz(rt_file *file) { rt_zip_close(file->own); }

/* ---- writing ---- */

/* The whole header, a multiple of ALIGN. */
static rt_status header_of(const rt_array *a, const char *path, rt_strbuf *out) {
  const rt_element *element = rt_element_of(a->dtype);
  if (!*element->numpy)
    return rt_fail(RT_E_UNSUPPORTED, "%s: array %s is %s, which NumPy doesn't have: write .safetensors or .pth", path,
                   a->name, rt_dtype_name(a->dtype));
  char dims[RT_MAX_RANK * 24 + 8] = "";
  size_t n = 0;
  for (int d = 0; d < a->rank; d++)
    n += (size_t)snprintf(dims + n, sizeof dims - n, "%" PRId64 "%s", a->dim[d],
                          d + 1 < a->rank ? ", "
                          : a->rank == 1  ? ","
                                          : "");
  rt_strbuf_add(out, "{'descr': '%s%s', 'fortran_order': False, 'shape': (%s), }", element->size > 1 ? "<" : "|",
                element->numpy, dims);
  if (out->failed) return RT_E_MEMORY;
  return RT_OK;
}

/* Prefix, text, spaces and a line's end, in the arena. */
static rt_status make_header(const rt_array *a, const char *path, rt_arena *arena, unsigned char **out, size_t *size) {
  rt_strbuf line = {0};
  rt_status s = header_of(a, path, &line);
  if (s == RT_OK) {
    *size = (PREFIX - 2 + line.length + 1 + ALIGN - 1) / ALIGN * ALIGN;
    size_t length = *size - (PREFIX - 2);
    unsigned char *p = *out = rt_arena_alloc(arena, *size);
    if (p) {
      memset(p, ' ', *size);
      memcpy(p, MAGIC, MAGIC_LENGTH);
      p[6] = 1;
      p[7] = 0;
      p[8] = (unsigned char)length;
      p[9] = (unsigned char)(length >> 8);
      memcpy(p + PREFIX - 2, line.text, line.length);
      p[*size - 1] = '\n';
    } else {
      s = RT_E_MEMORY;
    }
  }
  rt_strbuf_release(&line);
  return s;
}

static rt_status write_npy(const char *path, const rt_array *arrays, int n, const rt_pair *metadata, int n_metadata) {
  if (n != 1) return rt_fail(RT_E_ARGUMENT, "%s: a .npy holds one array, and there are %d: write .npz", path, n);
  rt_arena arena = {0};
  unsigned char *header = NULL;
  size_t size = 0;
  rt_writer w;
  rt_status s = make_header(arrays, path, &arena, &header, &size);
  if (s == RT_OK) s = rt_writer_open(&w, path);
  if (s == RT_OK) {
    rt_writer_put(&w, header, size);
    rt_writer_put(&w, arrays->data, (size_t)rt_array_bytes(arrays));
    s = rt_writer_commit(&w);
  }
  rt_arena_release(&arena);
  return s;
}

static rt_status write_npz(const char *path, const rt_array *arrays, int n, const rt_pair *metadata, int n_metadata) {
  rt_arena arena = {0};
  rt_zip_writer w;
  rt_status s = rt_zip_create(&w, path);
  if (s != RT_OK) return s;
  for (int i = 0; i < n && s == RT_OK; i++) {
    unsigned char *header = NULL;
    size_t size = 0;
    char *name = rt_arena_text(&arena, "%s.npy", arrays[i].name);
    s = name ? make_header(&arrays[i], path, &arena, &header, &size) : RT_E_MEMORY;
    if (s == RT_OK) s = rt_zip_add(&w, name, header, size, arrays[i].data, (size_t)rt_array_bytes(&arrays[i]));
  }
  if (s == RT_OK)
    s = rt_zip_commit(&w);
  else
    rt_zip_discard(&w);
  rt_arena_release(&arena);
  return s;
}

const rt_format rt_format_row_npy = {
    .name = "npy", .extensions = "npy", .sniff = sniff_npy, .open = open_npy, .read = read, .write = write_npy};

const rt_format rt_format_row_npz = {.name = "npz",
                                     .extensions = "npz",
                                     .sniff = sniff_npz,
                                     .open = open_npz,
                                     .read = read,
                                     .close = close_npz,
                                     .write = write_npz};
