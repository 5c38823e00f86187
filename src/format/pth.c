/* PyTorch's files. Since 1.6 a zip archive, in which nothing is packed:
 *
 *   NAME/data.pkl   the object, pickled; a tensor refers to its storage as ("storage", torch.FloatStorage, KEY, …)
 *   NAME/data/KEY   the bytes of that storage
 *   NAME/byteorder, NAME/version …, and NAME/retort.json: our metadata, which PyTorch doesn't look at
 *
 * and before, still written with _use_new_zipfile_serialization=False, a stream:
 *
 *   pickle: magic number | pickle: 1001 | pickle: the machine | pickle: the object | pickle: [KEY, …]
 *   and for each KEY  i64 count | the bytes */
#include "format/pth.h"

#include "base/alloc.h"
#include "format/metadata.h"
#include "format/zip.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_PICKLE = 256 << 20, MOST_METADATA = 16 << 20, NAME = 512 };

/* ---- the zip form ---- */

typedef struct archive {
  rt_zip *zip;
  char prefix[NAME]; /* "NAME/" */
  int64_t cached;    /* storage that is in memory: views of one are often read one after another */
  unsigned char *bytes;
} archive;

static bool sniff_zip(const unsigned char *bytes, size_t size) { return size > 4 && memcmp(bytes, "PK\3\4", 4) == 0; }

static int64_t find_record(const archive *a, const char *name, size_t length) {
  char path[NAME * 2];
  if (length >= NAME || memchr(name, 0, length)) return -1;
  snprintf(path, sizeof path, "%s%.*s", a->prefix, (int)length, name);
  return rt_zip_find(a->zip, path);
}

static int64_t find_text(const archive *a, const char *name) { return find_record(a, name, strlen(name)); }

/* A whole record in the arena, with a 0 behind it. */
static rt_status read_record(rt_file *file, int64_t i, int64_t most, char **out, size_t *size) {
  const archive *a = file->own;
  int64_t n = rt_zip_size(a->zip, i);
  if (n > most)
    return rt_file_damaged(file, "%s in it has %" PRId64 " bytes; at most %" PRId64 " are read", rt_zip_name(a->zip, i),
                           n, most);
  *out = rt_arena_alloc(&file->arena, (size_t)n + 1);
  *size = (size_t)n;
  return *out ? rt_zip_read(a->zip, i, 0, *out, n) : RT_E_MEMORY;
}

static rt_status find_pickle(rt_file *file, int64_t *out) {
  archive *a = file->own;
  static const char pickle[] = "data.pkl";
  for (int64_t i = 0; i < rt_zip_count(a->zip); i++) {
    const char *name = rt_zip_name(a->zip, i);
    size_t n = strlen(name), m = sizeof pickle - 1;
    if (n < m || n - m >= NAME || strcmp(name + n - m, pickle) != 0 || (n > m && name[n - m - 1] != '/')) continue;
    memcpy(a->prefix, name, n - m);
    *out = i;
    return RT_OK;
  }
  return rt_file_damaged(file, "the archive has neither PyTorch's data.pkl nor NumPy's arrays");
}

static rt_status check_order(rt_file *file) {
  char *text = NULL;
  size_t n = 0;
  int64_t i = find_text(file->own, "byteorder");
  if (i < 0) return RT_OK;
  rt_status s = read_record(file, i, 64, &text, &n);
  if (s == RT_OK && strcmp(text, "little") != 0)
    s = rt_file_damaged(file, "it is %.20s-endian; only little-endian is read", text);
  return s;
}

static rt_status read_metadata(rt_file *file) {
  char *text = NULL;
  size_t n = 0;
  int64_t i = find_text(file->own, "retort.json");
  if (i < 0) return RT_OK;
  rt_status s = read_record(file, i, MOST_METADATA, &text, &n);
  if (s != RT_OK) return s;
  cJSON *json = cJSON_ParseWithLength(text, n + 1);
  s = rt_metadata_read(file, json);
  cJSON_Delete(json);
  return s;
}

/* Each tensor's storage must be there, and as large as its tensors think. */
static rt_status locate_storages(rt_file *file) {
  const archive *a = file->own;
  char name[NAME + 8];
  for (int i = 0; i < file->n; i++) {
    const rt_pickle *v = file->entry[i].from;
    if (v->kind != RT_PICKLE_TENSOR) continue;
    rt_pickle_storage *s = v->tensor->storage;
    int n = s->key_length < NAME ? snprintf(name, sizeof name, "data/%.*s", (int)s->key_length, s->key) : -1;
    s->position = n > 0 ? find_record(a, name, (size_t)n) : -1;
    if (s->position < 0)
      return rt_file_damaged(file, "the storage of tensor %s isn't in the archive", file->entry[i].name);
    if (!rt_zip_stored(a->zip, s->position))
      return rt_file_damaged(file, "the storage of tensor %s is packed, which PyTorch doesn't do", file->entry[i].name);
    if (s->count > rt_zip_size(a->zip, s->position) / (int64_t)s->element->size)
      return rt_file_damaged(file, "the storage of tensor %s claims %" PRId64 " elements and has %" PRId64 " bytes",
                             file->entry[i].name, s->count, rt_zip_size(a->zip, s->position));
  }
  return RT_OK;
}

static rt_status open_zip(rt_file *file) {
  archive *a = file->own = rt_arena_alloc(&file->arena, sizeof *a);
  if (!a) return RT_E_MEMORY;
  a->cached = -1;
  int64_t pickle = -1;
  char *bytes = NULL;
  size_t size = 0;
  rt_pickle *root = NULL;
  rt_status s = rt_zip_open(file->bytes, file->size, file->path, &a->zip);
  if (s == RT_OK) s = find_pickle(file, &pickle);
  if (s == RT_OK) s = check_order(file);
  if (s == RT_OK) s = read_metadata(file);
  if (s == RT_OK) s = read_record(file, pickle, MOST_PICKLE, &bytes, &size);
  if (s == RT_OK) s = rt_pickle_read(&file->arena, bytes, size, file->path, &root, NULL);
  if (s == RT_OK) s = rt_pth_add(file, root);
  return s == RT_OK ? locate_storages(file) : s;
}

static void close_zip(rt_file *file) {
  archive *a = file->own;
  if (!a) return;
  rt_zip_close(a->zip);
  rt_free(a->bytes);
}

static rt_status cache(archive *a, int64_t i) {
  if (a->cached == i) return RT_OK;
  rt_free(a->bytes);
  a->cached = -1;
  a->bytes = rt_alloc_large((size_t)rt_zip_size(a->zip, i));
  rt_status s = a->bytes ? rt_zip_read(a->zip, i, 0, a->bytes, rt_zip_size(a->zip, i)) : RT_E_MEMORY;
  if (s == RT_OK) a->cached = i;
  return s;
}

/* The tensor or array, from the bytes of its storage (which an array doesn't need). */
static void gather(const rt_pickle *v, const unsigned char *storage, void *to) {
  if (v->kind == RT_PICKLE_TENSOR) {
    const rt_pickle_tensor *t = v->tensor;
    rt_element_gather(t->storage->element, storage + t->offset * (int64_t)t->storage->element->size, t->rank, t->dim,
                      t->stride, to);
    return;
  }
  const rt_pickle_array *a = v->array;
  int64_t stride[RT_MAX_RANK] = {0}, step = 1;
  for (int i = 0; i < a->rank; i++) {
    int d = a->fortran ? i : a->rank - 1 - i;
    stride[d] = step;
    step *= a->dim[d];
  }
  rt_element_gather(a->element, a->data, a->rank, a->dim, stride, to);
}

/* One tensor is its whole storage, in order, as most are. */
static bool is_whole(const rt_pickle_tensor *t, const rt_entry *e, int64_t bytes) {
  int64_t step = 1;
  for (int d = t->rank - 1; d >= 0; step *= t->dim[d--])
    if (t->dim[d] != 1 && t->stride[d] != step) return false;
  return t->offset == 0 && e->bytes == bytes && t->storage->element->size == rt_dtype_size(e->element->dtype) &&
         e->element->dtype != RT_BOOL;
}

static rt_status read_zip(rt_file *file, const rt_entry *e, void *to) {
  archive *a = file->own;
  const rt_pickle *v = e->from;
  if (v->kind == RT_PICKLE_TENSOR) {
    int64_t at = v->tensor->storage->position, bytes = rt_zip_size(a->zip, at);
    if (is_whole(v->tensor, e, bytes)) return rt_zip_read(a->zip, at, 0, to, bytes);
    rt_status s = cache(a, at);
    if (s != RT_OK) return s;
  }
  gather(v, a->bytes, to);
  return RT_OK;
}

/* ---- the stream ---- */

static bool sniff_stream(const unsigned char *bytes, size_t size) {
  return size > 2 && bytes[0] == 0x80 && bytes[1] <= 5;
}

static bool is_magic(const rt_pickle *v) {
  static const unsigned char magic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
  return v->kind == RT_PICKLE_LONG && v->text.length == sizeof magic && memcmp(v->text.bytes, magic, sizeof magic) == 0;
}

static rt_status next_pickle(rt_file *file, size_t *at, rt_pickle **out, rt_pickle_storage **storages) {
  size_t used = 0;
  rt_status s =
      rt_pickle_read_storages(&file->arena, file->bytes + *at, file->size - *at, file->path, out, &used, storages);
  *at += used;
  return s;
}

static int by_key(const void *a, const void *b) {
  const rt_pickle_storage *x = *(rt_pickle_storage *const *)a, *y = *(rt_pickle_storage *const *)b;
  if (x->key_length != y->key_length) return x->key_length < y->key_length ? -1 : 1;
  return memcmp(x->key, y->key, x->key_length);
}

/* Those of this key stand together in the sorted array; the index of the first, or n. */
static size_t first_of(rt_pickle_storage *const *sorted, size_t n, const rt_pickle *key) {
  const rt_pickle_storage wanted = {.key = key->text.bytes, .key_length = key->text.length}, *w = &wanted;
  size_t low = 0, high = n;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (by_key(&sorted[middle], &w) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low < n && by_key(&sorted[low], &w) == 0 ? low : n;
}

/* The storage at *at, whose element's size is known from those that refer to it. */
static rt_status locate_one(rt_file *file, rt_pickle_storage *const *sorted, size_t n, const rt_pickle *key,
                            size_t *at) {
  int64_t count;
  if (key->kind != RT_PICKLE_TEXT) return rt_file_damaged(file, "the key of a storage is no text");
  if (file->size - *at < sizeof count) return rt_file_damaged(file, "it ends where a storage should follow");
  memcpy(&count, file->bytes + *at, sizeof count);
  *at += sizeof count;
  size_t i = first_of(sorted, n, key);
  if (i == n) return rt_file_damaged(file, "a storage in it belongs to no tensor");
  size_t size = sorted[i]->element->size;
  if (count < 0 || (uint64_t)count > (file->size - *at) / size)
    return rt_file_damaged(file, "a storage claims %" PRId64 " elements, and the file ends before", count);
  for (size_t j = i; j < n && by_key(&sorted[j], &sorted[i]) == 0; j++) {
    if (sorted[j]->position >= 0) break; /* a key that is listed again */
    if (sorted[j]->count != count || sorted[j]->element->size != size)
      return rt_file_damaged(file, "a storage has %" PRId64 " elements where its tensor says %" PRId64, count,
                             sorted[j]->count);
    sorted[j]->position = (int64_t)*at;
  }
  *at += (size_t)count * size;
  return RT_OK;
}

/* The storages stand one behind the other in the order of the keys. */
static rt_status locate_stream(rt_file *file, const rt_pickle *keys, rt_pickle_storage *storages, size_t at) {
  if (keys->kind != RT_PICKLE_LIST)
    return rt_file_damaged(file, "the list of its storages is %s", rt_pickle_kind_name(keys->kind));
  size_t n = 0, i = 0;
  for (const rt_pickle_storage *s = storages; s; s = s->next) n++;
  rt_pickle_storage **sorted = rt_alloc_array(n + 1, sizeof *sorted);
  if (!sorted) return RT_E_MEMORY;
  for (rt_pickle_storage *s = storages; s; s = s->next) sorted[i++] = s;
  qsort(sorted, n, sizeof *sorted, by_key);
  rt_status s = RT_OK;
  for (size_t k = 0; k < keys->list.n && s == RT_OK; k++) s = locate_one(file, sorted, n, keys->list.item[k], &at);
  for (i = 0; i < n && s == RT_OK; i++)
    if (sorted[i]->position < 0) s = rt_file_damaged(file, "the storage of a tensor isn't in it");
  rt_free(sorted);
  return s;
}

static rt_status open_stream(rt_file *file) {
  rt_pickle *v = NULL, *root = NULL;
  rt_pickle_storage *storages = NULL, *ignored;
  size_t at = 0;
  rt_status s = next_pickle(file, &at, &v, &ignored);
  if (s != RT_OK) return s;
  if (!is_magic(v)) return rt_file_damaged(file, "it is a pickle, and not one that PyTorch wrote");
  s = next_pickle(file, &at, &v, &ignored); /* protocol */
  if (s == RT_OK && (v->kind != RT_PICKLE_INT || v->integer != 1001))
    s = rt_file_damaged(file, "its protocol isn't 1001");
  if (s == RT_OK) s = next_pickle(file, &at, &v, &ignored); /* the machine */
  const rt_pickle *little = s == RT_OK ? rt_pickle_find(v, "little_endian") : NULL;
  if (little && little->kind == RT_PICKLE_BOOL && !little->integer)
    s = rt_file_damaged(file, "it is big-endian; only little-endian is read");
  if (s == RT_OK) s = next_pickle(file, &at, &root, &storages);
  if (s == RT_OK) s = next_pickle(file, &at, &v, &ignored); /* keys */
  if (s == RT_OK) s = rt_pth_add(file, root);
  return s == RT_OK ? locate_stream(file, v, storages, at) : s;
}

static rt_status read_stream(rt_file *file, const rt_entry *e, void *to) {
  const rt_pickle *v = e->from;
  gather(v, v->kind == RT_PICKLE_TENSOR ? file->bytes + v->tensor->storage->position : NULL, to);
  return RT_OK;
}

const rt_format rt_format_row_pth = {.name = "pth",
                                     .extensions = "pth pt th",
                                     .sniff = sniff_zip,
                                     .open = open_zip,
                                     .read = read_zip,
                                     .close = close_zip,
                                     .write = rt_pth_write};

const rt_format rt_format_row_pth_legacy = {
    .name = "pth_legacy", .sniff = sniff_stream, .open = open_stream, .read = read_stream};
