/* Test vectors of an ONNX file: a few images, normalised, and the logits expected of them, as metadata, since runtimes complain of
 * initializers that no node reads. "verify.images" and "verify.logits" are a shape and f32 numbers, little-endian, in base64
 * (RFC 4648): "4x3x32x32 AACAPw…". */
#include "base/alloc.h"
#include "format/format.h"
#include "graph/graph.h"
#include "train/network.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { VECTOR_BYTES_MOST = 64 << 20 };
static const char *const names[] = {RT_VECTOR_IMAGES, RT_VECTOR_LOGITS};
static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Three bytes are four digits. */
static void add_base64(rt_strbuf *out, const unsigned char *bytes, size_t n) {
  for (size_t i = 0; i < n; i += 3) {
    size_t left = n - i;
    unsigned word = bytes[i] << 16u | (left > 1 ? bytes[i + 1] << 8u : 0) | (left > 2 ? bytes[i + 2] : 0u);
    char four[] = {DIGITS[word >> 18], DIGITS[word >> 12 & 63], left > 1 ? DIGITS[word >> 6 & 63] : '=',
                   left > 2 ? DIGITS[word & 63] : '='};
    rt_strbuf_put(out, four, sizeof four);
  }
}

/* False: it isn't base64 of exactly n bytes. */
static bool read_base64(const char *text, unsigned char *bytes, size_t n) {
  if (strlen(text) != (n + 2) / 3 * 4) return false;
  for (size_t i = 0; i < n; i += 3, text += 4) {
    unsigned word = 0;
    for (size_t k = 0; k < 4; k++) {
      const char *digit = i + k <= n || k < 2 ? strchr(DIGITS, text[k]) : text[k] == '=' ? DIGITS : NULL;
      if (!digit || !text[k]) return false;
      word = word << 6 | (unsigned)(digit - DIGITS);
    }
    for (size_t k = 0; k < 3 && i + k < n; k++) bytes[i + k] = (unsigned char)(word >> (16 - 8 * k));
  }
  return true;
}

static rt_status vector_text(const rt_var *v, rt_strbuf *out) {
  for (int d = 0; d < v->type.rank; d++) rt_strbuf_add(out, "%s%" PRId64, d ? "x" : "", v->type.dim[d]);
  rt_strbuf_add(out, " ");
  add_base64(out, v->data, (size_t)rt_type_bytes(&v->type));
  return out->failed ? RT_E_MEMORY : RT_OK;
}

rt_status rt_vectors_metadata(const rt_store *store, rt_arena *arena, rt_pair *pairs, int *n) {
  for (int i = 0; i < 2; i++) {
    const rt_var *v = rt_store_find(store, names[i]);
    rt_strbuf text = {0};
    if (!v) continue;
    rt_status s = vector_text(v, &text);
    pairs[*n] = (rt_pair){names[i], s == RT_OK ? rt_arena_text(arena, "%s", text.text) : NULL};
    rt_strbuf_release(&text);
    if (!pairs[(*n)++].text) return RT_E_MEMORY;
  }
  return RT_OK;
}

static rt_status read_vector(rt_store *store, const char *name, const char *text) {
  rt_type type = {.dtype = RT_F32};
  const char *p = text;
  bool more = true;
  while (more && type.rank < RT_MAX_RANK) {
    char *end;
    type.dim[type.rank++] = strtoll(p, &end, 10);
    more = end > p && *end == 'x';
    p = end + (*end != 0);
  }
  int64_t bytes = rt_type_bytes(&type);
  unsigned char *data = bytes > 0 && bytes <= VECTOR_BYTES_MOST ? rt_alloc((size_t)bytes) : NULL;
  rt_init zero = {RT_INIT_ZERO, 0, 0};
  rt_var *var;
  rt_status s = RT_OK;
  if (!data || p == text || p[-1] != ' ' || !read_base64(p, data, (size_t)bytes))
    s = rt_fail(RT_E_FORMAT, "its metadata \"%s\" is no shape with its numbers in base64", name);
  if (s == RT_OK) s = rt_store_declare(store, name, &type, RT_SEGMENT_STATISTIC, &zero, &var);
  if (s == RT_OK) s = rt_store_allocate(store);
  if (s == RT_OK) s = rt_store_set(store, name, data, (size_t)bytes);
  rt_free(data);
  return s;
}

rt_status rt_vectors_read(rt_store *store, const rt_file *file) {
  rt_status s = RT_OK;
  for (int i = 0; i < 2 && s == RT_OK; i++) {
    const char *text = rt_file_metadata(file, names[i]);
    if (text) s = read_vector(store, names[i], text);
  }
  return s;
}

rt_status rt_vectors_keep(rt_store *store, const rt_network_info *info, int64_t n, const float *x,
                          const float *logits) {
  const rt_dim image[] = {n, info->channels, info->height, info->width}, logit[] = {n, info->classes};
  const rt_type types[] = {rt_type_of(RT_F32, 4, image), rt_type_of(RT_F32, 2, logit)};
  const float *data[] = {x, logits};
  rt_init zero = {RT_INIT_ZERO, 0, 0};
  rt_status s = RT_OK;
  for (int i = 0; i < 2 && s == RT_OK; i++) {
    rt_var *var;
    s = rt_store_declare(store, names[i], &types[i], RT_SEGMENT_STATISTIC, &zero, &var);
    if (s == RT_OK) s = rt_store_set(store, names[i], data[i], (size_t)rt_type_bytes(&types[i]));
  }
  return s;
}
