#include "format/element.h"

static const rt_element table[] = {
#define ELEMENT(name, size, dtype, torch, numpy, safetensors) {#name, size, dtype, torch, numpy, safetensors},
#include "format/element.def"
#undef ELEMENT
};
enum { N = sizeof table / sizeof *table };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian, and so must be the machine");

static bool same(const char *text, const char *other, size_t length) {
  return length && strlen(text) == length && memcmp(text, other, length) == 0;
}

const rt_element *rt_element_of_torch(const char *storage, size_t length) {
  for (int i = 0; i < N; i++)
    if (same(table[i].torch, storage, length)) return &table[i];
  return NULL;
}

const rt_element *rt_element_of_numpy(const char *code, size_t length) {
  for (int i = 0; i < N; i++)
    if (same(table[i].numpy, code, length)) return &table[i];
  return NULL;
}

const rt_element *rt_element_of_safetensors(const char *name) {
  for (int i = 0; i < N; i++)
    if (same(table[i].safetensors, name, strlen(name))) return &table[i];
  return NULL;
}

const rt_element *rt_element_of_name(const char *name) {
  for (int i = 0; i < N; i++)
    if (strcmp(table[i].name, name) == 0) return &table[i];
  return NULL;
}

const rt_element *rt_element_of(rt_dtype dtype) {
  for (int i = 0; i < N; i++)
    if (table[i].dtype == dtype) return &table[i];
  return NULL;
}

int64_t rt_shape_elements(int rank, const int64_t *dim) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++)
    if (dim[i] < 0) return -1;
  for (int i = 0; i < rank; i++)
    if (dim[i] == 0) return 0;
  for (int i = 0; i < rank; i++)
    if (__builtin_mul_overflow(n, dim[i], &n)) return -1;
  return n;
}

/* Narrow integers become wide ones; what a bool isn't 0 is true. */
static void widen(const rt_element *e, const unsigned char *from, int64_t n, unsigned char *to) {
  bool is_signed = e->name[0] == 's';
  for (int64_t i = 0; i < n; i++, from += e->size) {
    uint32_t u = 0;
    memcpy(&u, from, e->size);
    int64_t v = is_signed ? (int16_t)u : (int64_t)u;
    if (e->dtype == RT_BOOL) {
      to[i] = v != 0;
    } else if (e->dtype == RT_S32) {
      int32_t w = (int32_t)v;
      memcpy(to + i * (int64_t)sizeof w, &w, sizeof w);
    } else {
      memcpy(to + i * (int64_t)sizeof v, &v, sizeof v);
    }
  }
}

void rt_element_copy(const rt_element *e, const void *from, int64_t n, void *to) {
  if (n <= 0) return;
  if (e->size == rt_dtype_size(e->dtype) && e->dtype != RT_BOOL)
    memcpy(to, from, (size_t)n * e->size);
  else
    widen(e, from, n, to);
}

void rt_element_gather(const rt_element *e, const void *from, int rank, const int64_t *dim, const int64_t *stride,
                       void *to) {
  int64_t total = rt_shape_elements(rank, dim), run = 1, index[RT_MAX_RANK] = {0};
  int outer = rank; /* dimensions that are left after the row-major tail, which is copied in one go */
  while (outer > 0 && (dim[outer - 1] == 1 || stride[outer - 1] == run)) run *= dim[--outer];
  const unsigned char *at = from;
  unsigned char *out = to;
  for (int64_t done = 0; done < total; done += run) {
    rt_element_copy(e, at, run, out);
    out += run * (int64_t)rt_dtype_size(e->dtype);
    for (int d = outer - 1; d >= 0; d--) {
      at += stride[d] * (int64_t)e->size;
      if (++index[d] < dim[d]) break;
      at -= index[d] * stride[d] * (int64_t)e->size;
      index[d] = 0;
    }
  }
}
