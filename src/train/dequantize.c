/* Weights of an int8 file in fp32. */
#include "base/alloc.h"
#include "format/format.h"
#include "graph/graph.h"
#include "train/network.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* w = weight·weight_scale, a scale a filter. */
static rt_status scale(rt_file *file, const char *name, const rt_file_info *from, float *to) {
  char text[300];
  rt_file_info info;
  int64_t filters = from->rank ? from->dim[0] : 0;
  snprintf(text, sizeof text, "%s_scale", name);
  rt_status s = rt_file_find(file, text, &info);
  if (s != RT_OK || info.dtype != RT_F32 || info.rank != 1 || info.dim[0] != filters || !filters)
    return rt_fail(RT_E_FORMAT, "%s is int8: expected %s beside it, f32[%lld]", name, text, (long long)filters);
  int8_t *q = rt_alloc_array((size_t)from->bytes, 1);
  float *each = rt_alloc_array((size_t)filters, sizeof *each);
  s = q && each ? rt_file_read(file, name, q, (size_t)from->bytes) : RT_E_MEMORY;
  if (s == RT_OK) s = rt_file_read(file, text, each, (size_t)filters * sizeof *each);
  for (int64_t i = 0; i < from->bytes && s == RT_OK; i++) {
    float unit = each[i / (from->bytes / filters)];
    if (!(unit > 0 && isfinite(unit)))
      s = rt_fail(RT_E_FORMAT, "%s has the value %g: expected numbers above 0", text, (double)unit);
    to[i] = (float)q[i] * unit;
  }
  rt_free(q);
  rt_free(each);
  return s;
}

static rt_status fill(rt_file *file, rt_var *var) {
  rt_file_info info;
  rt_status s = rt_file_find(file, var->name, &info);
  if (s != RT_OK) return s;
  rt_type type = rt_type_of(var->type.dtype, info.rank, info.dim);
  if (!rt_same_shape(&type, &var->type) || (info.dtype != RT_S8 && info.dtype != var->type.dtype))
    return rt_fail(RT_E_SHAPE, "%s has another shape or kind of number than its model's", var->name);
  if (info.dtype == RT_S8) return scale(file, var->name, &info, var->data);
  return rt_file_read(file, var->name, var->data, (size_t)rt_type_bytes(&var->type));
}

/* The file's metadata but for what is of int8 only. */
static rt_status save(const rt_file *file, rt_store *store, const char *out) {
  static const char *const left[] = {"quantization", "accuracy", RT_FOLDED};
  int n = 0;
  rt_pair *pair = rt_alloc_array((size_t)file->n_metadata + 1, sizeof *pair);
  if (!pair) return RT_E_MEMORY;
  for (int i = 0; i < file->n_metadata; i++) {
    bool stays = true;
    for (int k = 0; k < 3; k++) stays &= strcmp(file->metadata[i].key, left[k]) != 0;
    if (stays) pair[n++] = file->metadata[i];
  }
  pair[n++] = (rt_pair){RT_FOLDED, "true"};
  rt_status s = rt_store_save(store, out, RT_MODEL, pair, n);
  rt_free(pair);
  return s;
}

static rt_status write(rt_file *file, const char *out, int *tensors) {
  rt_network *n;
  if (strcmp(rt_file_form(file), "onnx") == 0)
    return rt_fail(RT_E_ARGUMENT,
                   "%s: an ONNX file keeps biases in its graph: give the .pth or .safetensors that it was written from",
                   file->path);
  if (!rt_file_metadata(file, "quantization"))
    return rt_fail(RT_E_ARGUMENT, "%s: it isn't quantized, its weights are fp32 already", file->path);
  rt_status s = rt_network_folded(file, &n);
  if (s != RT_OK) return s;
  s = rt_store_init(n->store, 0);
  for (int i = 0; i < n->store->n && s == RT_OK; i++) s = fill(file, n->store->var[i]);
  if (s != RT_OK) s = rt_fail_in(s, "%s", file->path);
  if (s == RT_OK) s = save(file, n->store, out);
  if (tensors) *tensors = n->store->n;
  rt_network_free(n);
  return s;
}

rt_status rt_dequantize(const char *path, const char *out, int *tensors) {
  rt_file *file;
  rt_status s = rt_file_open(path, &file);
  if (s != RT_OK) return s;
  s = write(file, out, tensors);
  rt_file_free(file);
  return s;
}
