#include "tensor/tensor.h"

#include <math.h>

static const struct {
  const char *name;
  size_t size;
  bool is_float;
} dtypes[] = {
#define ROW(id, name, size, is_float) {name, size, is_float},
    RT_DTYPE_LIST(ROW)
#undef ROW
};

const char *rt_dtype_name(rt_dtype dtype) { return dtypes[dtype].name; }
size_t rt_dtype_size(rt_dtype dtype) { return dtypes[dtype].size; }
bool rt_dtype_is_float(rt_dtype dtype) { return dtypes[dtype].is_float; }

rt_type rt_type_of(rt_dtype dtype, int rank, const rt_dim *dim) {
  rt_type t = {.dtype = dtype, .rank = rank};
  for (int i = 0; i < rank; i++) t.dim[i] = dim[i];
  return t;
}

bool rt_type_bound(const rt_type *t) {
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] < 0) return false;
  return true;
}

bool rt_same_shape(const rt_type *a, const rt_type *b) {
  if (a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i]) return false;
  return true;
}

int64_t rt_type_elements(const rt_type *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++)
    if (__builtin_mul_overflow(n, t->dim[i], &n)) return -1;
  return n;
}

int64_t rt_type_bytes(const rt_type *t) {
  int64_t n = rt_type_elements(t), bytes;
  if (n < 0 || __builtin_mul_overflow(n, (int64_t)rt_dtype_size(t->dtype), &bytes)) return -1;
  return bytes <= RT_MOST_BYTES ? bytes : -1;
}

bool rt_type_addressable(const rt_type *t) {
  rt_type known = *t;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] < 0) known.dim[i] = 1;
  return rt_type_bytes(&known) >= 0;
}

bool rt_layouts_agree(const rt_type *t) { return t->rank != 4 || t->dim[1] == 1 || (t->dim[2] == 1 && t->dim[3] == 1); }

rt_tensor rt_tensor_view(const rt_type *type, void *data) {
  rt_tensor t = {.dtype = type->dtype, .rank = type->rank, .data = data};
  for (int i = 0; i < t.rank; i++) t.dim[i] = type->dim[i];
  int64_t stride = 1;
  if (type->layout == RT_CHANNELS_LAST && t.rank == 4) {
    static const int order[] = {1, 3, 2, 0};
    for (int i = 0; i < 4; i++) {
      t.stride[order[i]] = stride;
      stride *= t.dim[order[i]];
    }
    return t;
  }
  for (int i = t.rank; i-- > 0;) {
    t.stride[i] = stride;
    stride *= t.dim[i];
  }
  return t;
}

int64_t rt_tensor_elements(const rt_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++) n *= t->dim[i];
  return n;
}

bool rt_tensor_is_row_major(const rt_tensor *t) {
  int64_t stride = 1;
  for (int i = t->rank; i-- > 0;) {
    if (t->dim[i] != 1 && t->stride[i] != stride) return false;
    stride *= t->dim[i];
  }
  return true;
}

bool rt_tensors_flat(const rt_tensor *a, const rt_tensor *b) {
  /* Views are made by rt_tensor_view, so equal strides mean one of the two dense orders. */
  if (a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i] || (a->dim[i] != 1 && a->stride[i] != b->stride[i])) return false;
  return true;
}

int64_t rt_tensor_offset(const rt_tensor *t, int64_t i) {
  int64_t offset = 0;
  for (int d = t->rank; d-- > 0;) {
    offset += i % t->dim[d] * t->stride[d];
    i /= t->dim[d];
  }
  return offset;
}

double rt_load(const rt_tensor *t, int64_t i) {
  switch (t->dtype) {
  case RT_F32: return (double)((const float *)t->data)[i];
  case RT_F64: return ((const double *)t->data)[i];
  case RT_BF16: return (double)rt_bf16_to_f32(((const uint16_t *)t->data)[i]);
  case RT_F16: return (double)rt_f16_to_f32(((const uint16_t *)t->data)[i]);
  default: return (double)rt_load_int(t, i);
  }
}

/* What isn't a number is 0. */
static double clamp(double v, double low, double high) { return v < low ? low : v > high ? high : v == v ? v : 0; }
static int64_t whole(double v) { return (int64_t)clamp(v, -0x1p63, 0x1.fffffffffffffp62); }

int64_t rt_load_int(const rt_tensor *t, int64_t i) {
  switch (t->dtype) {
  case RT_S64: return ((const int64_t *)t->data)[i];
  case RT_S32: return ((const int32_t *)t->data)[i];
  case RT_S8: return ((const int8_t *)t->data)[i];
  case RT_U8:
  case RT_BOOL: return ((const uint8_t *)t->data)[i];
  default: return whole(rt_load(t, i));
  }
}

/* double -> bf16 by way of float would round twice; the sticky bit keeps the first rounding harmless. */
static float to_odd_float(double v) {
  float f = (float)v;
  uint32_t u;
  memcpy(&u, &f, 4);
  if (!isfinite(f) || (double)f == v) return f;
  if (fabs((double)f) > fabs(v)) u--; /* truncate */
  u |= 1u;
  memcpy(&f, &u, 4);
  return f;
}

void rt_store_at(const rt_tensor *t, int64_t i, double v) {
  switch (t->dtype) {
  case RT_F32: ((float *)t->data)[i] = (float)v; break;
  case RT_F64: ((double *)t->data)[i] = v; break;
  case RT_BF16: ((uint16_t *)t->data)[i] = rt_f32_to_bf16(to_odd_float(v)); break;
  case RT_F16: ((uint16_t *)t->data)[i] = rt_f32_to_f16(to_odd_float(v)); break;
  case RT_S64: ((int64_t *)t->data)[i] = whole(v); break;
  case RT_S32: ((int32_t *)t->data)[i] = (int32_t)clamp(v, INT32_MIN, INT32_MAX); break;
  case RT_S8: ((int8_t *)t->data)[i] = (int8_t)clamp(v, INT8_MIN, INT8_MAX); break;
  case RT_U8: ((uint8_t *)t->data)[i] = (uint8_t)clamp(v, 0, UINT8_MAX); break;
  case RT_BOOL: ((uint8_t *)t->data)[i] = v != 0; break;
  }
}

float rt_f16_to_f32(uint16_t h) {
  int exponent = h >> 10 & 31;
  float m = (float)(h & 1023), v;
  if (exponent == 31)
    v = m == 0 ? INFINITY : NAN;
  else
    v = exponent ? ldexpf(m + 1024, exponent - 25) : ldexpf(m, -24);
  return h & 0x8000 ? -v : v;
}

uint16_t rt_f32_to_f16(float f) {
  uint16_t sign = signbit(f) ? 0x8000 : 0;
  float a = fabsf(f);
  if (isnan(f)) return (uint16_t)(sign | 0x7E00);
  if (a >= 65520) return (uint16_t)(sign | 0x7C00);
  if (a < 0x1p-14f) return (uint16_t)(sign | (uint16_t)lrintf(a * 0x1p24f)); /* subnormal; carries into 2^-14 */
  int e;
  float m = frexpf(a, &e); /* a = m 2^e, m in [1/2, 1) */
  return (uint16_t)(sign | (uint16_t)(((e + 14) << 10) + (int)lrintf(m * 2048) - 1024));
}
