/* A state dict as torch.save writes it: an OrderedDict of tensors, pickled with protocol 2, in a zip archive whose entries
 * are stored and aligned. No memo: names that come again are written again. */
#include "base/alloc.h"
#include "base/strbuf.h"
#include "format/metadata.h"
#include "format/pth.h"
#include "format/zip.h"

#include <stdio.h>

static void put_byte(rt_strbuf *p, unsigned char byte) { rt_strbuf_put(p, &byte, 1); }

static void put_number(rt_strbuf *p, uint64_t v, int width) {
  for (int i = 0; i < width; i++) put_byte(p, (unsigned char)(v >> 8 * i));
}

static void put_int(rt_strbuf *p, int64_t v) {
  if (v >= 0 && v < 256) {
    put_byte(p, 'K');
    put_number(p, (uint64_t)v, 1);
  } else if (v >= INT32_MIN && v <= INT32_MAX) {
    put_byte(p, 'J');
    put_number(p, (uint64_t)v, 4);
  } else {
    put_number(p, 0x088a, 2); /* LONG1 of eight bytes */
    put_number(p, (uint64_t)v, 8);
  }
}

static void put_text(rt_strbuf *p, const char *text) {
  put_byte(p, 'X');
  put_number(p, strlen(text), 4);
  rt_strbuf_put(p, text, strlen(text));
}

static void put_ints(rt_strbuf *p, const int64_t *v, int n) {
  put_byte(p, '(');
  for (int i = 0; i < n; i++) put_int(p, v[i]);
  put_byte(p, 't');
}

static void put_ordered_dict(rt_strbuf *p) { rt_strbuf_add(p, "ccollections\nOrderedDict\n)R"); }

/* _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()) */
static void put_tensor(rt_strbuf *p, const rt_array *a, int storage) {
  char key[16];
  int64_t n = rt_shape_elements(a->rank, a->dim), stride[RT_MAX_RANK], step = 1;
  for (int d = a->rank - 1; d >= 0; step *= a->dim[d] > 0 ? a->dim[d] : 1, d--) stride[d] = step;
  snprintf(key, sizeof key, "%d", storage);
  rt_strbuf_add(p, "ctorch._utils\n_rebuild_tensor_v2\n((");
  put_text(p, "storage");
  rt_strbuf_add(p, "ctorch\n%s\n", rt_element_of(a->dtype)->torch);
  put_text(p, key);
  put_text(p, "cpu");
  put_int(p, n);
  rt_strbuf_add(p, "tQ");
  put_int(p, 0);
  put_ints(p, a->dim, a->rank);
  put_ints(p, stride, a->rank);
  put_byte(p, 0x89);
  put_ordered_dict(p);
  rt_strbuf_add(p, "tR");
}

/* Arrays over the same bytes (tied weights) share the storage of the first of them. */
static int storage_of(const rt_array *arrays, int i) {
  for (int j = 0; j < i; j++)
    if (arrays[j].data == arrays[i].data && arrays[j].dtype == arrays[i].dtype &&
        rt_array_bytes(&arrays[j]) == rt_array_bytes(&arrays[i]))
      return j;
  return i;
}

static void put_state_dict(rt_strbuf *p, const rt_array *arrays, int n) {
  put_number(p, 0x0280, 2);
  put_ordered_dict(p);
  put_byte(p, '(');
  for (int i = 0; i < n; i++) {
    put_text(p, arrays[i].name);
    put_tensor(p, &arrays[i], storage_of(arrays, i));
  }
  rt_strbuf_add(p, "u.");
}

static rt_status add_storages(rt_zip_writer *w, rt_arena *arena, const rt_array *arrays, int n) {
  rt_status s = RT_OK;
  for (int i = 0; i < n && s == RT_OK; i++) {
    if (storage_of(arrays, i) != i) continue;
    char *name = rt_arena_text(arena, "archive/data/%d", i);
    s = name ? rt_zip_add(w, name, NULL, 0, arrays[i].data, (size_t)rt_array_bytes(&arrays[i])) : RT_E_MEMORY;
  }
  return s;
}

static rt_status add_all(rt_zip_writer *w, rt_arena *arena, const rt_strbuf *pickle, const char *json,
                         const rt_array *arrays, int n) {
  rt_status s = rt_zip_add(w, "archive/data.pkl", NULL, 0, pickle->text, pickle->length);
  if (s == RT_OK) s = rt_zip_add(w, "archive/byteorder", NULL, 0, "little", 6);
  if (s == RT_OK) s = add_storages(w, arena, arrays, n);
  if (s == RT_OK) s = rt_zip_add(w, "archive/version", NULL, 0, "3\n", 2);
  if (s == RT_OK && json) s = rt_zip_add(w, "archive/retort.json", NULL, 0, json, strlen(json));
  return s;
}

rt_status rt_pth_write(const char *path, const rt_array *arrays, int n, const rt_pair *metadata, int n_metadata) {
  rt_strbuf pickle = {0};
  rt_arena arena = {0};
  cJSON *object = n_metadata ? rt_metadata_json(metadata, n_metadata) : NULL;
  char *json = object ? cJSON_Print(object) : NULL;
  put_state_dict(&pickle, arrays, n);
  rt_status s = pickle.failed || (n_metadata && !json) ? rt_fail(RT_E_MEMORY, "%s: out of memory", path) : RT_OK;
  rt_zip_writer w;
  if (s == RT_OK && (s = rt_zip_create(&w, path)) == RT_OK) {
    s = add_all(&w, &arena, &pickle, json, arrays, n);
    if (s == RT_OK)
      s = rt_zip_commit(&w);
    else
      rt_zip_discard(&w);
  }
  cJSON_free(json);
  cJSON_Delete(object);
  rt_arena_release(&arena);
  rt_strbuf_release(&pickle);
  return s;
}
