/* safetensors (github.com/huggingface/safetensors):
 *
 *   u64 N | N bytes of JSON, padded with spaces | data
 *
 *   {"__metadata__": {"key": "text", …}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …}
 *
 * Offsets count from the begin of the data; tensors are row major, without gaps or overlaps. */
#include "base/alloc.h"
#include "format/metadata.h"

#include <inttypes.h>
#include <stdlib.h>

enum { LENGTH = 8, MOST_HEADER = 16 << 20, ALIGN = 64 };

static const double LARGEST = 9007199254740992.0; /* 2^53: whole numbers are exact up to here */

static bool sniff(const unsigned char *bytes, size_t size) { return size > LENGTH && bytes[LENGTH] == '{'; }

static uint64_t little_endian(const unsigned char *p) {
  uint64_t v = 0;
  for (int i = 0; i < LENGTH; i++) v |= (uint64_t)p[i] << 8 * i;
  return v;
}

/* Whole numbers of an array, at most `most`; how many, or -1 if it isn't that. */
static int whole_numbers(const cJSON *array, int64_t *out, int most) {
  int n = 0;
  if (!cJSON_IsArray(array)) return -1;
  for (const cJSON *item = array->child; item; item = item->next) {
    double v = item->valuedouble;
    if (n == most || !cJSON_IsNumber(item) || !(v >= 0 && v <= LARGEST) || v != (double)(int64_t)v) return -1;
    out[n++] = (int64_t)v;
  }
  return n;
}

typedef struct span {
  int64_t begin, end;
} span;

static rt_status add_tensor(rt_file *file, const cJSON *item, size_t data, span *where) {
  const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
  const char *name = item->string, *code = cJSON_GetStringValue(dtype);
  int64_t offset[2], total;
  rt_entry e = {.name = name, .element = code ? rt_element_of_safetensors(code) : NULL};
  if (code && !e.element)
    return rt_file_damaged(file, "tensor %.100s has dtype %.20s, which isn't known here", name, code);
  e.rank = whole_numbers(cJSON_GetObjectItemCaseSensitive(item, "shape"), e.dim, RT_MAX_RANK);
  if (!code || e.rank < 0 || whole_numbers(cJSON_GetObjectItemCaseSensitive(item, "data_offsets"), offset, 2) != 2)
    return rt_file_damaged(file, "tensor %.100s needs dtype, shape (at most %d dimensions) and data_offsets", name,
                           RT_MAX_RANK);
  int64_t n = rt_shape_elements(e.rank, e.dim);
  if (offset[0] > offset[1] || (uint64_t)offset[1] > file->size - data)
    return rt_file_damaged(file, "tensor %.100s is at bytes %" PRId64 " to %" PRId64 " of %zu", name, offset[0],
                           offset[1], file->size - data);
  if (n < 0 || __builtin_mul_overflow(n, (int64_t)e.element->size, &total) || total != offset[1] - offset[0])
    return rt_file_damaged(file, "tensor %.100s has %" PRId64 " bytes, and its shape says otherwise", name,
                           offset[1] - offset[0]);
  e.from = file->bytes + data + offset[0];
  *where = (span){offset[0], offset[1]};
  return rt_file_add(file, &e);
}

static int by_begin(const void *a, const void *b) {
  const span *x = a, *y = b;
  return x->begin != y->begin ? (x->begin > y->begin) - (x->begin < y->begin) : (x->end > y->end) - (x->end < y->end);
}

static rt_status check_cover(const rt_file *file, span *spans, int n, size_t size) {
  int64_t at = 0;
  if (n) qsort(spans, (size_t)n, sizeof *spans, by_begin);
  for (int i = 0; i < n; at = spans[i++].end)
    if (spans[i].begin != at)
      return rt_file_damaged(file, "tensors %s at byte %" PRId64 " of the data",
                             spans[i].begin < at ? "overlap" : "leave a gap", at);
  return (uint64_t)at == size ? RT_OK
                              : rt_file_damaged(file, "%zu bytes of data belong to no tensor", size - (size_t)at);
}

static rt_status read_header(rt_file *file, const cJSON *header, size_t data) {
  if (!cJSON_IsObject(header)) return rt_file_damaged(file, "its header is no JSON object");
  int count = 0;
  for (const cJSON *item = header->child; item; item = item->next) count++;
  span *spans = rt_alloc_array((size_t)count + 1, sizeof *spans);
  rt_status s = spans ? RT_OK : RT_E_MEMORY;
  for (const cJSON *item = header->child; item && s == RT_OK; item = item->next)
    s = strcmp(item->string, "__metadata__") == 0 ? rt_metadata_read(file, item)
                                                  : add_tensor(file, item, data, &spans[file->n]);
  if (s == RT_OK) s = check_cover(file, spans, file->n, file->size - data);
  rt_free(spans);
  return s;
}

static rt_status open(rt_file *file) {
  uint64_t length = little_endian(file->bytes);
  if (length > file->size - LENGTH || length > MOST_HEADER)
    return rt_file_damaged(file, "it claims a header of %" PRIu64 " bytes; the file has %zu (at most %d are read)",
                           length, file->size, MOST_HEADER);
  char *text = rt_alloc((size_t)length + 1); /* with a 0 behind it, whatever the parser may look at */
  if (!text) return RT_E_MEMORY;
  memcpy(text, file->bytes + LENGTH, (size_t)length);
  cJSON *header = cJSON_ParseWithLength(text, (size_t)length + 1);
  rt_free(text);
  if (!header) return rt_file_damaged(file, "its header is no JSON");
  rt_status s = read_header(file, header, LENGTH + (size_t)length);
  cJSON_Delete(header);
  return s;
}

static rt_status read(rt_file *file, const rt_entry *e, void *to) {
  rt_element_copy(e->element, e->from, rt_shape_elements(e->rank, e->dim), to);
  return RT_OK;
}

/* ---- writing ---- */

static bool describe(cJSON *header, const rt_array *a, int64_t begin, int64_t end) {
  cJSON *item = cJSON_AddObjectToObject(header, a->name);
  bool good = item && cJSON_AddStringToObject(item, "dtype", rt_element_of(a->dtype)->safetensors);
  cJSON *shape = good ? cJSON_AddArrayToObject(item, "shape") : NULL;
  good = shape != NULL;
  for (int d = 0; d < a->rank && good; d++) good = cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)a->dim[d]));
  cJSON *offsets = good ? cJSON_AddArrayToObject(item, "data_offsets") : NULL;
  return offsets && cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)begin)) &&
         cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)end));
}

static char *header_text(const rt_array *arrays, int n, const rt_pair *metadata, int n_metadata) {
  cJSON *header = cJSON_CreateObject(), *object = n_metadata ? rt_metadata_json(metadata, n_metadata) : NULL;
  bool good = header && (!n_metadata || object);
  int64_t at = 0;
  if (good && object) good = cJSON_AddItemToObject(header, "__metadata__", object);
  for (int i = 0; i < n && good; i++) {
    int64_t end = at + rt_array_bytes(&arrays[i]);
    good = describe(header, &arrays[i], at, end);
    at = end;
  }
  char *text = good ? cJSON_PrintUnformatted(header) : NULL;
  cJSON_Delete(header);
  return text;
}

static rt_status write(const char *path, const rt_array *arrays, int n, const rt_pair *metadata, int n_metadata) {
  char *text = header_text(arrays, n, metadata, n_metadata);
  if (!text) return rt_fail(RT_E_MEMORY, "%s: out of memory for the header", path);
  size_t length = strlen(text), padded = (LENGTH + length + ALIGN - 1) / ALIGN * ALIGN - LENGTH;
  unsigned char size[LENGTH];
  for (int i = 0; i < LENGTH; i++) size[i] = (unsigned char)((uint64_t)padded >> 8 * i);
  rt_writer w;
  rt_status s = rt_writer_open(&w, path);
  if (s == RT_OK) {
    rt_writer_put(&w, size, LENGTH);
    rt_writer_put(&w, text, length);
    while (length++ < padded) rt_writer_put(&w, " ", 1);
    for (int i = 0; i < n; i++)
      if (arrays[i].data)
        rt_writer_put(&w, arrays[i].data, (size_t)rt_array_bytes(&arrays[i]));
      else
        rt_writer_skip(&w, rt_array_bytes(&arrays[i]));
    s = rt_writer_commit(&w);
  }
  cJSON_free(text);
  return s;
}

const rt_format rt_format_row_safetensors = {.name = "safetensors",
                                             .extensions = "safetensors",
                                             .sniff = sniff,
                                             .open = open,
                                             .read = read,
                                             .write = write,
                                             .plain = true};
