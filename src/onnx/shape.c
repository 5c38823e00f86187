/* Reshape, Flatten, Transpose, Squeeze, Unsqueeze, Concat, Split, Slice, Gather, Pad. Of integers that are known, the
 * result is known as well. */
#include "onnx/export.h"
#include "onnx/import.h"

#include <math.h>

/* The elements of a known tensor in another shape, or some of them: y[i] = k[at[i]]. */
static rt_known *known_like(rt_onnx_import *c, const rt_known *k, int rank, const int64_t *dim) {
  rt_known *y = rt_known_new(c, k->dtype, rank, dim);
  for (int64_t i = 0; y && i < y->n && i < k->n; i++) y->v[i] = k->v[i];
  return y;
}

/* Row major, as a view of its elements. */
static void known_strides(const rt_known *k, int64_t *dim, int64_t *stride) {
  int64_t step = 1;
  for (int d = k->rank; d-- > 0; step *= k->dim[d]) dim[d] = k->dim[d], stride[d] = step;
}

static rt_known *known_view(rt_onnx_import *c, const rt_known *k, int rank, const int64_t *dim, int64_t at,
                            const int64_t *stride) {
  rt_known *y = rt_known_new(c, k->dtype, rank, dim);
  for (int64_t i = 0; y && i < y->n; i++) {
    int64_t from = at, rest = i;
    for (int d = rank; d-- > 0; rest /= dim[d]) from += rest % dim[d] * stride[d];
    y->v[i] = k->v[from];
  }
  return y;
}

/* ---- Reshape ---- */

/* The file's fixed batch where ours is open: the graph keeps its own. */
static bool is_batch(const rt_onnx_import *c, const rt_value *x, int d, int64_t n) {
  return d == 0 && c->batch > 0 && n == c->batch && x->type.rank > 0 && x->type.dim[0] == c->batch_dim;
}

/* The shape for our reshape: 0 where a dimension of x stays, at most one -1. False: refused. */
static bool target_shape(rt_onnx_import *c, const rt_value *x, const rt_known *k, bool allow_zero, int64_t *shape) {
  int open = -1;
  for (int d = 0; d < k->n; d++) {
    rt_number n = k->v[d];
    rt_dim same = d < x->type.rank ? x->type.dim[d] : 0;
    shape[d] = n.symbol && n.symbol == same ? 0 : n.symbol ? -1 : n.v;
    if (!n.symbol && is_batch(c, x, d, n.v)) shape[d] = 0;
    if (!n.symbol && n.v == 0 && allow_zero) {
      rt_onnx_cant(c, "to a shape with a 0");
      return false;
    }
    if (shape[d] != -1) continue;
    if (open >= 0) {
      rt_onnx_cant(c, "to a shape of which more than one dimension isn't known before it runs");
      return false;
    }
    open = d;
  }
  return true;
}

static void import_reshape(rt_onnx_import *c) {
  const rt_known *data = rt_onnx_known_in(c, 0), *k = NULL;
  rt_ints list;
  rt_known of_attribute = {.rank = 1};
  rt_number number[RT_MAX_INTS];
  if (c->m->opset < 5 || !rt_onnx_given(c, 1)) {
    if (!rt_onnx_ints(c, "shape", &list)) {
      rt_onnx_cant(c, "without a shape");
      return;
    }
    for (int i = 0; i < list.n; i++) number[i] = (rt_number){list.v[i], 0};
    of_attribute.n = list.n;
    of_attribute.v = number;
    k = &of_attribute;
  } else {
    k = rt_onnx_known_in(c, 1);
  }
  if (!k || k->n > RT_MAX_RANK) {
    rt_onnx_cant(c, "to a shape that is computed, or has more than %d dimensions", RT_MAX_RANK);
    return;
  }
  int64_t shape[RT_MAX_RANK];
  bool zero = rt_onnx_int(c, "allowzero", 0) != 0;
  if (data) {
    int64_t rest = data->n;
    int open = -1;
    for (int d = 0; d < k->n; d++) {
      shape[d] = k->v[d].v == 0 && !zero && d < data->rank ? data->dim[d] : k->v[d].v;
      if (k->v[d].symbol || shape[d] < -1) shape[d] = 0;
      if (shape[d] == -1)
        open = d;
      else if (shape[d] > 0)
        rest /= shape[d];
    }
    if (open >= 0) shape[open] = rest;
    if (rt_shape_elements((int)k->n, shape) != data->n)
      rt_onnx_cant(c, "its elements don't fit its shape");
    else
      rt_onnx_give_known(c, 0, known_like(c, data, (int)k->n, shape));
    return;
  }
  rt_value *x = rt_onnx_in(c, 0);
  if (x && target_shape(c, x, k, zero, shape)) rt_onnx_give(c, 0, rt_onnx_reshape(c, x, (int)k->n, shape));
}

/* The axes before `axis` joined, and those from it on. */
static void import_flatten(rt_onnx_import *c) {
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  int64_t axis = rt_onnx_int(c, "axis", 1);
  int rank = x->type.rank, at = axis == rank ? rank : rt_onnx_axis(c, axis, rank);
  if (at == 0 || at == rank) {
    rt_onnx_give(c, 0, rt_onnx_reshape(c, x, 2, at == 0 ? (int64_t[]){1, -1} : (int64_t[]){-1, 1}));
    return;
  }
  rt_value *y = at == rank - 1 ? x : rt_onnx_emit(c, RT_OP(flatten), &(rt_flatten_attr){at, -1}, 1, x);
  rt_onnx_give(c, 0, at == 1 ? y : rt_onnx_emit(c, RT_OP(flatten), &(rt_flatten_attr){0, at - 1}, 1, y));
}

static void transpose_known(rt_onnx_import *c, const rt_known *k, const rt_ints *perm) {
  int64_t from[RT_MAX_RANK], stride[RT_MAX_RANK], dim[RT_MAX_RANK], step[RT_MAX_RANK];
  unsigned seen = 0;
  known_strides(k, from, stride);
  if (perm->n && perm->n != k->rank) rt_onnx_cant(c, "%d axes of a tensor of rank %d", perm->n, k->rank);
  for (int d = 0; d < k->rank && !c->refuses; d++) {
    int axis = perm->n ? rt_onnx_axis(c, perm->v[d], k->rank) : k->rank - 1 - d;
    if (seen >> axis & 1) rt_onnx_cant(c, "names an axis twice");
    seen |= 1u << axis;
    dim[d] = from[axis];
    step[d] = stride[axis];
  }
  if (!c->refuses) rt_onnx_give_known(c, 0, known_view(c, k, k->rank, dim, 0, step));
}

static void import_transpose(rt_onnx_import *c) {
  rt_transpose_attr attr;
  const rt_known *k = rt_onnx_known_in(c, 0);
  rt_value *x = k ? NULL : rt_onnx_in(c, 0);
  rt_onnx_ints(c, "perm", &attr.perm);
  if (c->refuses) return;
  if (k)
    transpose_known(c, k, &attr.perm);
  else if (x)
    rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(transpose), &attr, 1, x));
}

/* ---- Squeeze, Unsqueeze ---- */

/* A reshape that keeps all other dimensions in order: each has a 0 if it stays in its place, its number, or is the one
 * that -1 finds. */
static void regroup(rt_onnx_import *c, rt_value *x, int rank, const rt_dim *dim) {
  int64_t shape[RT_MAX_RANK];
  int open = -1;
  for (int d = 0; d < rank; d++) {
    bool stays = d < x->type.rank && x->type.dim[d] == dim[d];
    shape[d] = stays ? 0 : dim[d] < 0 ? -1 : dim[d];
    if (shape[d] == -1 && open >= 0) {
      rt_onnx_cant(c, "moves two dimensions that aren't known before it runs");
      return;
    }
    if (shape[d] == -1) open = d;
  }
  rt_onnx_give(c, 0, rt_onnx_reshape(c, x, rank, shape));
}

static unsigned axis_mask(rt_onnx_import *c, const rt_ints *axes, int rank) {
  unsigned mask = 0;
  for (int i = 0; i < axes->n; i++) mask |= 1u << rt_onnx_axis(c, axes->v[i], rank);
  return mask;
}

static void squeeze_known(rt_onnx_import *c, const rt_known *k, bool listed, const rt_ints *axes) {
  int64_t dim[RT_MAX_RANK];
  int n = 0;
  unsigned mask = axis_mask(c, axes, k->rank);
  for (int d = 0; d < k->rank; d++)
    if (!(listed ? mask >> d & 1 : k->dim[d] == 1)) dim[n++] = k->dim[d];
  if (rt_shape_elements(n, dim) != k->n) rt_onnx_cant(c, "an axis that isn't of size 1");
  if (!c->refuses) rt_onnx_give_known(c, 0, known_like(c, k, n, dim));
}

static void import_squeeze(rt_onnx_import *c) {
  rt_ints axes;
  const rt_known *k = rt_onnx_known_in(c, 0);
  bool listed = rt_onnx_list(c, "axes", 1, &axes);
  if (c->refuses) return;
  if (k) {
    squeeze_known(c, k, listed, &axes);
    return;
  }
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  rt_dim dim[RT_MAX_RANK];
  int n = 0;
  unsigned mask = axis_mask(c, &axes, x->type.rank);
  for (int d = 0; d < x->type.rank; d++)
    if (!(listed ? mask >> d & 1 : x->type.dim[d] == 1)) dim[n++] = x->type.dim[d];
  if (!c->refuses) regroup(c, x, n, dim);
}

static void import_unsqueeze(rt_onnx_import *c) {
  rt_ints axes;
  const rt_known *k = rt_onnx_known_in(c, 0);
  rt_value *x = k ? NULL : rt_onnx_in(c, 0);
  if (!rt_onnx_list(c, "axes", 1, &axes) || (!k && !x)) {
    rt_onnx_cant(c, "without axes");
    return;
  }
  int from = k ? k->rank : x->type.rank, rank = from + axes.n;
  if (rank > RT_MAX_RANK) {
    rt_onnx_cant(c, "to rank %d; at most %d is possible", rank, RT_MAX_RANK);
    return;
  }
  const int64_t *old = k ? k->dim : x->type.dim;
  int64_t dim[RT_MAX_RANK];
  unsigned mask = axis_mask(c, &axes, rank);
  int at = 0;
  for (int d = 0; d < rank; d++) dim[d] = mask >> d & 1 ? 1 : at < from ? old[at++] : 0;
  if (at != from) rt_onnx_cant(c, "names an axis twice");
  if (c->refuses) return;
  if (k)
    rt_onnx_give_known(c, 0, known_like(c, k, rank, dim));
  else
    regroup(c, x, rank, dim);
}

/* ---- Concat, Split ---- */

static bool concat_known(rt_onnx_import *c) {
  int64_t n = 0;
  for (size_t i = 0; i < c->node->n_input; i++) {
    const rt_known *k = rt_onnx_known_in(c, (int)i);
    if (!k || k->rank != 1) return false;
    n += k->n;
  }
  rt_known *y = rt_known_new(c, rt_onnx_known_in(c, 0)->dtype, 1, &n);
  int64_t at = 0;
  for (size_t i = 0; y && i < c->node->n_input; i++) {
    const rt_known *k = rt_onnx_known_in(c, (int)i);
    for (int64_t j = 0; j < k->n; j++) y->v[at++] = k->v[j];
  }
  rt_onnx_give_known(c, 0, y);
  return true;
}

static void import_concat(rt_onnx_import *c) {
  rt_axis_attr attr = {rt_onnx_int(c, "axis", 1)};
  int n = (int)c->node->n_input;
  if (n < 1 || concat_known(c)) return;
  rt_value **in = rt_arena_alloc(&c->g->arena, (size_t)n * sizeof(rt_value *));
  if (!in) {
    rt_graph_failed(c->g, RT_E_MEMORY);
    return;
  }
  for (int i = 0; i < n; i++)
    if (!(in[i] = rt_onnx_in(c, i))) return;
  rt_onnx_give(c, 0, n == 1 ? in[0] : rt_graph_add(c->g, RT_OP(concat), c->name, in, n, &attr));
}

static void import_split(rt_onnx_import *c) {
  rt_ints sizes;
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  int axis = rt_onnx_axis(c, rt_onnx_int(c, "axis", 0), x->type.rank);
  bool listed = rt_onnx_list(c, "split", 1, &sizes);
  int64_t parts = (int64_t)c->node->n_output, dim = x->type.rank ? x->type.dim[axis] : 0, at = 0;
  if (c->refuses) return;
  if (!listed && dim < 1) {
    rt_onnx_cant(c, "in equal parts of an axis whose size isn't known");
    return;
  }
  if (listed && sizes.n != parts) {
    rt_onnx_cant(c, "into %d sizes and %lld outputs", sizes.n, (long long)parts);
    return;
  }
  int64_t share = listed ? 0 : (dim + parts - 1) / parts;
  for (int64_t i = 0; i < parts; i++) {
    int64_t size = listed ? sizes.v[i] : share, end;
    bool fits = !__builtin_add_overflow(at, size, &end);
    if (!listed && end > dim) end = dim;
    if (!fits || end <= at || (dim > 0 && end > dim)) {
      rt_onnx_cant(c, "into a part that is empty or outside of the axis");
      return;
    }
    rt_slice_attr attr = {axis, at, end, 1};
    rt_onnx_give(c, (int)i, rt_onnx_emit(c, RT_OP(slice), &attr, 1, x));
    at = end;
  }
}

/* ---- Slice, Gather ---- */

/* start:end:step of an axis of n elements that are known: where it begins, and of how many. Ends are cut as Python does. */
static int64_t cut(const rt_slice_attr *a, int64_t n, int64_t *start) {
  bool ahead = a->step > 0;
  int64_t least = ahead ? 0 : -1, most = ahead ? n : n - 1, end = a->end < 0 ? a->end + n : a->end;
  uint64_t step = ahead ? (uint64_t)a->step : -(uint64_t)a->step;
  *start = a->start < 0 ? a->start + n : a->start;
  if (n == 0) return 0;
  *start = *start < 0 ? 0 : *start > most ? most : *start;
  end = end < least ? least : end > most ? most : end;
  int64_t span = ahead ? end - *start : *start - end;
  return span > 0 ? (int64_t)((uint64_t)(span - 1) / step) + 1 : 0;
}

static void slice_known(rt_onnx_import *c, const rt_known *k, const rt_slice_attr *attr, int n) {
  int64_t dim[RT_MAX_RANK], stride[RT_MAX_RANK], at = 0, start;
  known_strides(k, dim, stride);
  for (int i = 0; i < n; i++) {
    int axis = rt_onnx_axis(c, attr[i].axis, k->rank);
    if (c->refuses) return;
    dim[axis] = cut(&attr[i], dim[axis], &start);
    if (dim[axis] > 0) at += start * stride[axis];
    if (dim[axis] > 1) stride[axis] *= attr[i].step;
  }
  rt_onnx_give_known(c, 0, known_view(c, k, k->rank, dim, at, stride));
}

static void slice_value(rt_onnx_import *c, rt_value *x, const rt_slice_attr *attr, int n) {
  for (int i = 0; i < n && x; i++) {
    rt_slice_attr a = attr[i];
    int64_t dim = x->type.dim[rt_onnx_axis(c, a.axis, x->type.rank)];
    if (dim > 0 && a.start <= -dim) a.start = 0;
    if (!(a.start == 0 && a.end >= (dim > 0 ? dim : INT64_MAX / 2) && a.step == 1))
      x = rt_onnx_emit(c, RT_OP(slice), &a, 1, x);
  }
  rt_onnx_give(c, 0, x);
}

static void import_slice(rt_onnx_import *c) {
  rt_ints start, end, axes, steps;
  bool good = rt_onnx_list(c, "starts", 1, &start) && rt_onnx_list(c, "ends", 2, &end) && start.n == end.n;
  bool named = good && rt_onnx_list(c, "axes", 3, &axes), stepped = good && rt_onnx_list(c, "steps", 4, &steps);
  if (!good || (named && axes.n != start.n) || (stepped && steps.n != start.n)) {
    rt_onnx_cant(c, "its starts, ends, axes and steps aren't equally many");
    return;
  }
  const rt_known *k = rt_onnx_known_in(c, 0);
  rt_value *x = k ? NULL : rt_onnx_in(c, 0);
  if (c->refuses || (!k && !x)) return;
  rt_slice_attr attr[RT_MAX_INTS];
  for (int i = 0; i < start.n; i++) {
    attr[i] = (rt_slice_attr){named ? axes.v[i] : i, start.v[i], end.v[i], stepped ? steps.v[i] : 1};
    if (k ? attr[i].step == 0 : attr[i].step < 1) rt_onnx_cant(c, "with step %lld", (long long)attr[i].step);
  }
  if (c->refuses) return;
  if (k)
    slice_known(c, k, attr, start.n);
  else
    slice_value(c, x, attr, start.n);
}

static void gather_known(rt_onnx_import *c, const rt_known *k, const rt_known *index) {
  rt_known *y = rt_known_new(c, k->dtype, index->rank, index->dim);
  for (int64_t i = 0; y && i < index->n; i++) {
    int64_t at = index->v[i].v < 0 ? index->v[i].v + k->n : index->v[i].v;
    if (index->v[i].symbol || at < 0 || at >= k->n) {
      rt_onnx_cant(c, "an index is outside of 0 to %lld", (long long)k->n - 1);
      return;
    }
    y->v[i] = k->v[at];
  }
  rt_onnx_give_known(c, 0, y);
}

/* Indices below 0 count from the end: those that are known are turned into ones that don't. */
static rt_value *index_in(rt_onnx_import *c, const rt_known *index, int64_t dim) {
  rt_known *y = rt_known_new(c, index->dtype, index->rank, index->dim);
  for (int64_t i = 0; y && i < y->n; i++) {
    y->v[i] = index->v[i];
    if (y->v[i].v < 0 && !y->v[i].symbol) y->v[i].v += dim > 0 ? dim : 0;
  }
  return y ? rt_known_value(c, y) : NULL;
}

static void import_gather(rt_onnx_import *c) {
  rt_axis_attr attr = {rt_onnx_int(c, "axis", 0)};
  const rt_known *k = rt_onnx_known_in(c, 0), *index = rt_onnx_known_in(c, 1);
  if (k && index && k->rank == 1 && (attr.axis == 0 || attr.axis == -1)) {
    gather_known(c, k, index);
    return;
  }
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  int axis = rt_onnx_axis(c, attr.axis, x->type.rank);
  if (c->refuses) return;
  rt_value *at = index ? index_in(c, index, x->type.dim[axis]) : rt_onnx_in(c, 1);
  bool table = axis == 0 && x->type.rank == 2 && x->kind == RT_VALUE_VARIABLE && rt_dtype_is_float(x->type.dtype);
  if (table && !index) /* the row of a parameter: an embedding's gradient is made for that */
    rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(embedding), &(rt_embedding_attr){-1}, 2, x, at));
  else
    rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(gather), &attr, 2, x, at));
}

/* ---- Pad ---- */

static void import_pad(rt_onnx_import *c) {
  rt_ints pads, axes;
  double value = rt_onnx_float(c, "value", 0);
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  if (!rt_onnx_word(c, "mode", "constant", "constant")) {
    rt_onnx_cant(c, "in another mode than constant");
    return;
  }
  if (!rt_onnx_list(c, "pads", 1, &pads)) {
    rt_onnx_cant(c, "without pads");
    return;
  }
  if (rt_onnx_given(c, 2) && rt_onnx_floats_in(c, 2, &value, 1) < 0) rt_onnx_cant(c, "with a value that is computed");
  bool named = rt_onnx_list(c, "axes", 3, &axes);
  int rank = x->type.rank, n = named ? axes.n : rank;
  if (pads.n != 2 * n) rt_onnx_cant(c, "%d pads for %d axes", pads.n, n);
  if (c->refuses) return;
  rt_pad_attr attr = {.pads.n = 2 * rank, .value = value};
  for (int i = 0; i < n; i++) {
    int axis = named ? rt_onnx_axis(c, axes.v[i], rank) : i;
    attr.pads.v[2 * axis] = pads.v[i];
    attr.pads.v[2 * axis + 1] = pads.v[n + i];
  }
  for (int i = 0; i < attr.pads.n; i++)
    if (attr.pads.v[i] < 0 || attr.pads.v[i] > 1 << 30) rt_onnx_cant(c, "by %lld", (long long)attr.pads.v[i]);
  rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(pad), &attr, 1, x));
}

/* ---- and back ---- */

static void put_reshape(rt_onnx_export *e, const int64_t *shape, int n) {
  rt_onnx_put(e, "Reshape", rt_onnx_in_name(e, 0), rt_onnx_whole(e, shape, n), NULL);
}

static void export_reshape(rt_onnx_export *e) {
  const rt_ints *shape = &((const rt_reshape_attr *)e->node->attr)->shape;
  put_reshape(e, shape->v, shape->n);
}

/* Axes that stay are 0, those that are joined -1; behind them only numbers can be said. */
static void export_flatten(rt_onnx_export *e) {
  const rt_flatten_attr *a = e->node->attr;
  const rt_type *x = &e->node->in[0]->type;
  int rank = x->rank, start = (int)(a->start < 0 ? a->start + rank : a->start), n = 0;
  int end = (int)(a->end < 0 ? a->end + rank : a->end);
  int64_t shape[RT_MAX_RANK];
  if (start == 1 && end == rank - 1) {
    rt_onnx_put(e, "Flatten", rt_onnx_in_name(e, 0), NULL);
    return;
  }
  for (; n < start; n++) shape[n] = 0;
  shape[n++] = -1;
  for (int d = end + 1; d < rank; d++) {
    if (x->dim[d] < 1) rt_onnx_cannot(e, "before an axis whose size isn't known");
    shape[n++] = x->dim[d];
  }
  put_reshape(e, shape, n);
}

static void export_reshape_to(rt_onnx_export *e) {
  const char *shape = rt_onnx_via(e, "Shape", rt_onnx_in_name(e, 1), NULL);
  rt_onnx_put(e, "Reshape", rt_onnx_in_name(e, 0), shape, NULL);
}

static void export_transpose(rt_onnx_export *e) {
  const rt_ints *perm = &((const rt_transpose_attr *)e->node->attr)->perm;
  int rank = e->node->in[0]->type.rank;
  int64_t axis[RT_MAX_RANK];
  for (int d = 0; d < perm->n; d++) axis[d] = perm->v[d] < 0 ? perm->v[d] + rank : perm->v[d];
  rt_onnx_put(e, "Transpose", rt_onnx_in_name(e, 0), NULL);
  if (perm->n) rt_onnx_set_ints(e, rt_onnx_last(e), "perm", axis, perm->n);
}

static void export_concat(rt_onnx_export *e) {
  rt_onnx_set_int(e, rt_onnx_put_list(e, "Concat"), "axis", ((const rt_axis_attr *)e->node->attr)->axis);
}

static void export_slice(rt_onnx_export *e) {
  const rt_slice_attr *a = e->node->attr;
  const char *start = rt_onnx_whole(e, &a->start, 1), *end = rt_onnx_whole(e, &a->end, 1);
  const char *axis = rt_onnx_whole(e, &a->axis, 1), *step = rt_onnx_whole(e, &a->step, 1);
  rt_onnx_put(e, "Slice", rt_onnx_in_name(e, 0), start, end, axis, step, NULL);
}

static void export_gather(rt_onnx_export *e) {
  rt_onnx_set_int(e, rt_onnx_put_list(e, "Gather"), "axis", ((const rt_axis_attr *)e->node->attr)->axis);
}

static void export_embedding(rt_onnx_export *e) { rt_onnx_put_list(e, "Gather"); }

static void export_pad(rt_onnx_export *e) {
  const rt_pad_attr *a = e->node->attr;
  int rank = a->pads.n / 2;
  int64_t pads[2 * RT_MAX_RANK];
  float value = (float)a->value;
  for (int d = 0; d < rank; d++) {
    pads[d] = a->pads.v[2 * d];
    pads[rank + d] = a->pads.v[2 * d + 1];
  }
  const char *list = rt_onnx_whole(e, pads, 2 * rank);
  const char *frame = e->node->in[0]->type.dtype == RT_U8 ? rt_onnx_byte(e, (int64_t)fmin(fmax(a->value, 0), 255))
                                                          : rt_onnx_floats(e, &value, 1, 0);
  rt_onnx_put(e, "Pad", rt_onnx_in_name(e, 0), list, frame, NULL);
}

#define ROW_OF(name, import, op, export) const rt_onnx_row rt_onnx_row_##name = {#name, import, op, export};
ROW_OF(Reshape, import_reshape, RT_OP(reshape), export_reshape)
ROW_OF(Flatten, import_flatten, RT_OP(flatten), export_flatten)
ROW_OF(Transpose, import_transpose, RT_OP(transpose), export_transpose)
ROW_OF(Squeeze, import_squeeze, NULL, NULL)
ROW_OF(Unsqueeze, import_unsqueeze, NULL, NULL)
ROW_OF(Concat, import_concat, RT_OP(concat), export_concat)
ROW_OF(Split, import_split, NULL, NULL)
ROW_OF(Slice, import_slice, RT_OP(slice), export_slice)
ROW_OF(Gather, import_gather, RT_OP(gather), export_gather)
ROW_OF(Pad, import_pad, RT_OP(pad), export_pad)
const rt_onnx_row rt_onnx_row_reshape_to = {NULL, NULL, RT_OP(reshape_to), export_reshape_to};
const rt_onnx_row rt_onnx_row_embedding = {NULL, NULL, RT_OP(embedding), export_embedding};
