#include "op/layer.h"

#include "base/alloc.h"

rt_status rt_infer_expected(const rt_infer *c, int input, const char *what) {
  char name[64], found[RT_TYPE_TEXT];
  return rt_infer_fail(c, "%s must be %s, found %s", rt_op_input_name(c->op, input, name, sizeof name), what,
                       rt_type_text(c->graph, c->in[input], found, sizeof found));
}

rt_status rt_infer_scalar(const rt_infer *c, int input) {
  const rt_type *t = c->in[input];
  return t->rank == 0 && rt_dtype_is_float(t->dtype) ? RT_OK : rt_infer_expected(c, input, "a floating scalar");
}

rt_status rt_infer_vector(const rt_infer *c, int input, int x, int axis) {
  const rt_type *t = rt_infer_in(c, input);
  if (!t) return RT_OK;
  rt_type want = rt_type_of(rt_wide(c->in[x]->dtype), 1, &c->in[x]->dim[axis]);
  if (t->rank == 1 && t->dtype == want.dtype && !rt_dims_conflict(t->dim[0], want.dim[0])) return RT_OK;
  char text[RT_TYPE_TEXT];
  return rt_infer_expected(c, input, rt_type_text(c->graph, &want, text, sizeof text));
}

rt_status rt_infer_shape(const rt_infer *c, int input, int rank, rt_dim *dim) {
  const rt_type *t = c->in[input];
  bool same = t->rank == rank;
  for (int i = 0; same && i < rank; i++) same = !rt_dims_conflict(t->dim[i], dim[i]);
  if (!same) {
    char text[RT_TYPE_TEXT];
    rt_type want = rt_type_of(t->dtype, rank, dim);
    return rt_infer_expected(c, input, rt_type_text(c->graph, &want, text, sizeof text));
  }
  for (int i = 0; i < rank; i++) dim[i] = rt_dim_known(dim[i], t->dim[i]);
  return RT_OK;
}

rt_status rt_infer_window(const rt_infer *c, int input, int axis, const rt_window *w, rt_dim *out) {
  *out = rt_dim_window(c, c->in[input]->dim[axis], w->kernel, w->stride, w->padding, w->padding, w->dilation, w->ceil);
  if (*out != 0) return RT_OK;
  char name[64], found[RT_TYPE_TEXT];
  return rt_infer_fail(
      c, "a kernel of %lld (dilation %lld) is larger than dimension %d of %s with its padding of %lld: %s",
      (long long)w->kernel, (long long)w->dilation, axis, rt_op_input_name(c->op, input, name, sizeof name),
      (long long)w->padding, rt_type_text(c->graph, c->in[input], found, sizeof found));
}

double *rt_dense_zero(const rt_tensor *t) { return rt_alloc_array((size_t)rt_tensor_elements(t), sizeof(double)); }

double *rt_dense(const rt_tensor *t) {
  double *dense = rt_dense_zero(t);
  int64_t n = dense ? rt_tensor_elements(t) : 0;
  bool in_order = rt_tensor_is_row_major(t);
  for (int64_t i = 0; i < n; i++) dense[i] = rt_load(t, in_order ? i : rt_tensor_offset(t, i));
  return dense;
}

void rt_dense_store(const rt_tensor *t, const double *dense) {
  int64_t n = rt_tensor_elements(t);
  bool in_order = rt_tensor_is_row_major(t);
  for (int64_t i = 0; i < n; i++) rt_store_at(t, in_order ? i : rt_tensor_offset(t, i), dense[i]);
}

rt_status rt_infer_int8(const rt_infer *c) {
  rt_status s = RT_OK;
  if (c->in[0]->dtype != RT_U8) return rt_infer_expected(c, 0, "u8");
  if (c->in[1]->dtype != RT_S8) return rt_infer_expected(c, 1, "s8");
  for (int i = 2; i < 4 && s == RT_OK; i++) {
    s = rt_infer_rank(c, i, 1, 1);
    if (s == RT_OK && c->in[i]->dtype != RT_F32) s = rt_infer_expected(c, i, "f32");
    if (s == RT_OK) s = rt_infer_same(c, i, 0, 1, 0);
  }
  return s;
}
