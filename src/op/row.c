#include "op/row.h"

#include <stdio.h>

void rt_move(const rt_tensor *from, int64_t i, const rt_tensor *to, int64_t j) {
  size_t size = rt_dtype_size(to->dtype);
  memcpy((char *)to->data + rt_tensor_offset(to, j) * (int64_t)size,
         (const char *)from->data + rt_tensor_offset(from, i) * (int64_t)size, size);
}

void rt_copy(const rt_tensor *from, const rt_tensor *to) {
  int64_t n = rt_tensor_elements(to);
  bool same = from->dtype == to->dtype;
  if (same && from->data == to->data) return; /* the planner made them one */
  if (same && rt_tensor_is_row_major(from) && rt_tensor_is_row_major(to)) {
    memcpy(to->data, from->data, (size_t)n * rt_dtype_size(to->dtype));
    return;
  }
  for (int64_t i = 0; i < n; i++)
    if (same)
      rt_move(from, i, to, i);
    else
      rt_put(to, i, rt_get(from, i));
}

void rt_fill(const rt_tensor *t, double value) {
  for (int64_t i = 0, n = rt_tensor_elements(t); i < n; i++) rt_put(t, i, value);
}

rt_status rt_call_fail(const rt_call *c, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (strcmp(c->op->name, c->name) == 0) return rt_fail(RT_E_RANGE, "%s: %s", c->name, text);
  return rt_fail(RT_E_RANGE, "%s %s: %s", c->op->name, c->name, text);
}

rt_tensor rt_view_slice(const rt_tensor *t, int axis, int64_t start, int64_t count, int64_t step) {
  rt_tensor view = *t;
  view.data = (char *)t->data + start * t->stride[axis] * (int64_t)rt_dtype_size(t->dtype);
  view.dim[axis] = count;
  view.stride[axis] *= step;
  return view;
}

rt_tensor rt_view_broadcast(const rt_tensor *x, const rt_tensor *to) {
  rt_tensor view = {.dtype = x->dtype, .rank = to->rank, .data = x->data};
  int lead = to->rank - x->rank;
  for (int d = 0; d < to->rank; d++) {
    view.dim[d] = to->dim[d];
    view.stride[d] = d < lead || x->dim[d - lead] == 1 ? 0 : x->stride[d - lead];
  }
  return view;
}

rt_tensor rt_view_axes(const rt_tensor *t, unsigned mask) {
  rt_tensor view = *t;
  for (int d = 0; d < t->rank; d++)
    if (!(mask >> d & 1)) view.dim[d] = 1;
  return view;
}

void rt_sum_axes(const rt_tensor *x, unsigned mask, double scale, const rt_tensor *y) {
  rt_tensor kept = rt_view_axes(x, ~mask), reduced = rt_view_axes(x, mask);
  int64_t n = rt_tensor_elements(&reduced);
  for (int64_t i = 0; i < rt_tensor_elements(&kept); i++) {
    int64_t at = rt_tensor_offset(&kept, i);
    double sum = 0;
    for (int64_t j = 0; j < n; j++) sum += rt_load(x, at + rt_tensor_offset(&reduced, j));
    rt_put(y, i, scale * sum);
  }
}

unsigned rt_axes_mask(const rt_ints *axes, int rank) {
  unsigned mask = 0;
  for (int i = 0; i < axes->n; i++) mask |= 1u << rt_axis(axes->v[i], rank);
  return axes->n ? mask : (1u << rank) - 1;
}

rt_status rt_infer_axes(const rt_infer *c, const rt_ints *axes, int rank, unsigned *mask) {
  unsigned seen = 0;
  for (int i = 0; i < axes->n; i++) {
    int axis;
    rt_status s = rt_infer_axis(c, axes->v[i], rank, &axis);
    if (s != RT_OK) return s;
    if (seen >> axis & 1) return rt_infer_fail(c, "axis %d is named twice", axis);
    seen |= 1u << axis;
  }
  *mask = rt_axes_mask(axes, rank);
  return RT_OK;
}

rt_status rt_infer_index(const rt_infer *c, int input) {
  char name[64];
  rt_dtype dtype = c->in[input]->dtype;
  if (dtype == RT_S64 || dtype == RT_S32) return RT_OK;
  return rt_infer_fail(c, "expected %s to be s64 or s32, got %s", rt_op_input_name(c->op, input, name, sizeof name),
                       rt_dtype_name(dtype));
}

/* Two different symbols may yet turn out equal, or one of them 1: only binding tells. */
static rt_dim broadcast_dim(const rt_infer *c, rt_dim a, rt_dim b) {
  char ta[RT_TYPE_TEXT], tb[RT_TYPE_TEXT];
  if (a == b || b == 1) return a;
  if (a == 1) return b;
  if (a > 0 || b > 0) return a > 0 ? a : b;
  return rt_dim_derive(c, "broadcast(%s,%s)", rt_dim_text(c->graph, a, ta, sizeof ta),
                       rt_dim_text(c->graph, b, tb, sizeof tb));
}

rt_status rt_infer_broadcast(const rt_infer *c, const rt_type *a, const rt_type *b, rt_type *out) {
  char ta[RT_TYPE_TEXT], tb[RT_TYPE_TEXT];
  out->rank = a->rank > b->rank ? a->rank : b->rank;
  for (int d = 0; d < out->rank; d++) {
    int da = d - (out->rank - a->rank), db = d - (out->rank - b->rank);
    rt_dim x = da < 0 ? 1 : a->dim[da], y = db < 0 ? 1 : b->dim[db];
    if (x != 1 && y != 1 && rt_dims_conflict(x, y))
      return rt_infer_fail(c, "%s and %s do not broadcast: on axis %d, counted from the end, expected equal sizes or 1",
                           rt_type_text(c->graph, a, ta, sizeof ta), rt_type_text(c->graph, b, tb, sizeof tb),
                           d - out->rank);
    out->dim[d] = broadcast_dim(c, x, y);
  }
  return RT_OK;
}

rt_type rt_reduced_type(const rt_type *t, unsigned mask, bool keepdim) {
  rt_type out = {.dtype = t->dtype};
  for (int d = 0; d < t->rank; d++)
    if (!(mask >> d & 1))
      out.dim[out.rank++] = t->dim[d];
    else if (keepdim)
      out.dim[out.rank++] = 1;
  return out;
}

rt_value *rt_emit_sum_to(rt_graph *graph, rt_value *g, rt_value *like) {
  rt_sum_to_attr attr = {.f32 = false};
  if (!g || rt_same_shape(&g->type, &like->type)) return g;
  return rt_emit(graph, RT_OP(sum_to), NULL, &attr, 2, g, like);
}

int rt_inplace_first(int n_in, int out) {
  (void)n_in;
  return out == 0 ? 0 : -1;
}

double rt_flops_none(const rt_type *const *in, const rt_type *out, const void *attr) {
  (void)in, (void)out, (void)attr;
  return 0;
}

double rt_flops_first(const rt_type *const *in, const rt_type *out, const void *attr) {
  (void)out, (void)attr;
  return (double)rt_type_elements(in[0]);
}
