/* The ops that only move elements; own_copy does the work. */
#include "kernel/own_copy.h"

#include "op/row.h"

static bool same_dtype(const rt_site *site) {
  for (int i = 0; i < site->n_in; i++)
    if (site->in[i]->dtype != site->out->dtype) return false;
  return true;
}

static rt_status run_reorder(const rt_kernel_call *call) {
  own_copy(call->in[0], call->out);
  return RT_OK;
}

static rt_status run_transpose(const rt_kernel_call *call) {
  const rt_transpose_attr *attr = call->site->attr;
  const rt_tensor *x = call->in[0];
  rt_tensor view = *x;
  for (int d = 0; d < x->rank; d++) {
    int from = attr->perm.n ? rt_axis(attr->perm.v[d], x->rank) : x->rank - 1 - d;
    view.dim[d] = x->dim[from];
    view.stride[d] = x->stride[from];
  }
  own_copy(&view, call->out);
  return RT_OK;
}

/* The part of the joined tensor that is piece's, the next from *at on. */
static rt_tensor part(const rt_kernel_call *call, const rt_tensor *joined, const rt_tensor *piece, int64_t *at) {
  int axis = rt_axis(((const rt_axis_attr *)call->site->attr)->axis, joined->rank);
  rt_tensor view = rt_view_slice(joined, axis, *at, piece->dim[axis], 1);
  *at += piece->dim[axis];
  return view;
}

static rt_status run_concat(const rt_kernel_call *call) {
  int64_t at = 0;
  for (int i = 0; i < call->site->n_in; i++) {
    rt_tensor y = part(call, call->out, call->in[i], &at);
    own_copy(call->in[i], &y);
  }
  return RT_OK;
}

static rt_status run_concat_backward(const rt_kernel_call *call) {
  int64_t at = 0;
  for (int i = 0; i < call->site->n_out; i++) {
    rt_tensor dy = part(call, call->in[0], &call->out[i], &at);
    own_copy(&dy, &call->out[i]);
  }
  return RT_OK;
}

static bool accepts_slice(const rt_site *site) {
  return ((const rt_slice_attr *)site->attr)->step >= 1 && same_dtype(site);
}

/* What slice takes of x: as many as there are in `taken`. */
static rt_tensor sliced(const rt_kernel_call *call, const rt_tensor *x, const rt_tensor *taken) {
  const rt_slice_attr *attr = call->site->attr;
  int axis = rt_axis(attr->axis, x->rank);
  int64_t start = attr->start < 0 ? attr->start + x->dim[axis] : attr->start;
  return rt_view_slice(x, axis, start < 0 ? 0 : start, taken->dim[axis], attr->step);
}

static rt_status run_slice(const rt_kernel_call *call) {
  rt_tensor view = sliced(call, call->in[0], call->out);
  own_copy(&view, call->out);
  return RT_OK;
}

static rt_status run_slice_backward(const rt_kernel_call *call) {
  rt_tensor view = sliced(call, call->out, call->in[0]);
  memset(call->out->data, 0, (size_t)rt_type_bytes(call->site->out));
  own_copy(call->in[0], &view);
  return RT_OK;
}

/* What the frame of `padded` leaves for `inside`. */
static rt_tensor interior(const rt_kernel_call *call, const rt_tensor *padded, const rt_tensor *inside) {
  const rt_ints *pads = &((const rt_pad_attr *)call->site->attr)->pads;
  rt_tensor view = *padded;
  for (int d = 0; d < padded->rank; d++) view = rt_view_slice(&view, d, pads->v[2 * d], inside->dim[d], 1);
  return view;
}

static void fill(rt_tensor *one, const rt_tensor *part) {
  memcpy(one->dim, part->dim, sizeof one->dim);
  if (rt_tensor_elements(part)) own_copy(one, part);
}

static rt_status run_pad(const rt_kernel_call *call) {
  const rt_pad_attr *attr = call->site->attr;
  int64_t value; /* one element, repeated over the frame: axis by axis before and after what is inside */
  rt_tensor one = *call->out, rest = *call->out;
  one.data = &value;
  memset(one.stride, 0, sizeof one.stride);
  rt_store_at(&one, 0, attr->value);
  for (int d = 0; d < rest.rank; d++) {
    int64_t before = attr->pads.v[2 * d], n = call->in[0]->dim[d], after = rest.dim[d] - before - n;
    rt_tensor head = rt_view_slice(&rest, d, 0, before, 1), tail = rt_view_slice(&rest, d, before + n, after, 1);
    fill(&one, &head);
    fill(&one, &tail);
    rest = rt_view_slice(&rest, d, before, n, 1);
  }
  own_copy(call->in[0], &rest);
  return RT_OK;
}

static rt_status run_pad_backward(const rt_kernel_call *call) {
  rt_tensor inside = interior(call, call->in[0], call->out);
  own_copy(&inside, call->out);
  return RT_OK;
}

/* g repeated over the output; with mean, g is divided first, in the workspace: its elements, not their repetitions. */
static rt_status run_expand_to(const rt_kernel_call *call) {
  const rt_expand_to_attr *attr = call->site->attr;
  const rt_ints *axes = &attr->reduce.axes;
  rt_tensor g = *call->in[0];
  if (attr->mean) {
    double count = (double)rt_tensor_elements(call->out) / (double)rt_tensor_elements(&g);
    g.data = call->workspace;
    for (int64_t i = 0, n = rt_tensor_elements(&g); i < n; i++) rt_store_at(&g, i, rt_load(call->in[0], i) / count);
  }
  if (axes->n && !attr->reduce.keepdim) {
    unsigned mask = rt_axes_mask(axes, call->out->rank);
    rt_tensor view = {.dtype = g.dtype, .rank = call->out->rank, .data = g.data};
    for (int d = 0, from = 0; d < view.rank; d++) {
      bool reduced = mask >> d & 1;
      view.dim[d] = reduced ? 1 : g.dim[from];
      view.stride[d] = reduced ? 0 : g.stride[from];
      from += !reduced;
    }
    g = view;
  }
  g = rt_view_broadcast(&g, call->out);
  own_copy(&g, call->out);
  return RT_OK;
}

static bool accepts_expand_to(const rt_site *site) { return site->in[0]->dtype == site->out->dtype; }

static rt_status prepare_expand_to(rt_site *site) {
  site->workspace = ((const rt_expand_to_attr *)site->attr)->mean ? rt_type_bytes(site->in[0]) : 0;
  return RT_OK;
}

const rt_kernel rt_kernel_reorder = {"own_reorder", RT_OP(reorder), same_dtype, NULL, run_reorder, NULL};
const rt_kernel rt_kernel_transpose = {"own_transpose", RT_OP(transpose), same_dtype, NULL, run_transpose, NULL};
const rt_kernel rt_kernel_concat = {"own_concat", RT_OP(concat), same_dtype, NULL, run_concat, NULL};
const rt_kernel rt_kernel_concat_backward = {
    "own_concat_backward", RT_OP(concat_backward), same_dtype, NULL, run_concat_backward, NULL};
const rt_kernel rt_kernel_slice = {"own_slice", RT_OP(slice), accepts_slice, NULL, run_slice, NULL};
const rt_kernel rt_kernel_slice_backward = {
    "own_slice_backward", RT_OP(slice_backward), accepts_slice, NULL, run_slice_backward, NULL};
const rt_kernel rt_kernel_pad = {"own_pad", RT_OP(pad), same_dtype, NULL, run_pad, NULL};
const rt_kernel rt_kernel_pad_backward = {
    "own_pad_backward", RT_OP(pad_backward), same_dtype, NULL, run_pad_backward, NULL};
const rt_kernel rt_kernel_expand_to = {"own_expand_to",   RT_OP(expand_to), accepts_expand_to,
                                       prepare_expand_to, run_expand_to,    NULL};
