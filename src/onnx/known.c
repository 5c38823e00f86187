#include "onnx/import.h"

void *rt_onnx_alloc(rt_onnx_import *c, int64_t n, size_t size) {
  size_t bytes;
  if (n < 0 || __builtin_mul_overflow((size_t)n, size, &bytes) || bytes > c->left) {
    rt_onnx_cant(c, "what it makes, and other nodes like it, is too large for this file");
    return NULL;
  }
  c->left -= bytes;
  void *p = rt_arena_alloc(&c->g->arena, bytes);
  return p ? p : rt_graph_failed(c->g, RT_E_MEMORY);
}

rt_known *rt_known_new(rt_onnx_import *c, rt_dtype dtype, int rank, const int64_t *dim) {
  int64_t n = rank <= RT_MAX_RANK ? rt_shape_elements(rank, dim) : -1;
  if (n < 0 || n > RT_KNOWN_MOST) {
    rt_onnx_cant(c, "a tensor of integers is too large to be computed while the graph is built");
    return NULL;
  }
  rt_known *k = rt_onnx_alloc(c, 1, sizeof *k);
  rt_number *v = rt_onnx_alloc(c, n, sizeof *v);
  if (!k || !v) return NULL;
  *k = (rt_known){.dtype = dtype, .rank = rank, .n = n, .v = v};
  for (int i = 0; i < rank; i++) k->dim[i] = dim[i];
  return k;
}

bool rt_known_number(const rt_known *known, int i, int64_t *out) {
  *out = known->v[i].v;
  return !known->v[i].symbol;
}

rt_value *rt_known_value(rt_onnx_import *c, const rt_known *k) {
  rt_type type = rt_type_of(k->dtype, k->rank, k->dim);
  void *data = rt_onnx_alloc(c, k->n, rt_dtype_size(k->dtype));
  if (!data) return NULL;
  if (k->n == 0) {
    rt_onnx_cant(c, "it reads an empty tensor");
    return NULL;
  }
  rt_tensor t = rt_tensor_view(&type, data);
  for (int64_t i = 0; i < k->n; i++) {
    char text[128];
    if (k->v[i].symbol) {
      rt_onnx_cant(c, "it computes with %s, which isn't known before it runs",
                   rt_dim_text(c->g, k->v[i].symbol, text, sizeof text));
      return NULL;
    }
    if (k->dtype == RT_S64)
      ((int64_t *)data)[i] = k->v[i].v;
    else
      rt_store_at(&t, i, (double)k->v[i].v);
  }
  return rt_graph_constant(c->g, c->name, &type, data);
}
