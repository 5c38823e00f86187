/* gather: y[o, j, i] = x[o, index[j], i], with o over x's axes before `axis`, i over those behind, j over all of index:
 *   y: x.shape[:axis] + index.shape + x.shape[axis+1:], as ONNX's Gather; an index outside of the axis is an error.
 * embedding: the same with rows of weight V×D; padding_idx names a row that gets no gradient.
 * Both gradients add dy up where it came from; that of embedding, being a parameter's, in f32. */
#include "base/alloc.h"
#include "op/layer.h"

static const rt_option gather_options[] = {
    {"axis", RT_OPT_INT, offsetof(rt_axis_attr, axis), .fallback = "0", .help = "that index counts along"}, {0}};

static const rt_option embedding_options[] = {{"padding_idx", RT_OPT_INT, offsetof(rt_embedding_attr, padding_idx),
                                               .fallback = "-1", .min = -1, .max = 1e18,
                                               .help = "row of the weight that gets no gradient; -1: none"},
                                              {0}};

/* Type of x, or of something of its shape, with index in the place of an axis. */
static rt_status infer_gathered(const rt_infer *c, const rt_type *x, int index, int64_t from, rt_type *out) {
  const rt_type *ids = c->in[index];
  int axis;
  rt_status s = rt_infer_axis(c, from, x->rank, &axis);
  if (s == RT_OK) s = rt_infer_index(c, index);
  if (s == RT_OK && x->rank - 1 + ids->rank > RT_MAX_RANK)
    s = rt_infer_fail(c, "the result would have rank %d, at most %d is possible", x->rank - 1 + ids->rank, RT_MAX_RANK);
  if (s != RT_OK) return s;
  *out = rt_type_of(x->dtype, axis, x->dim);
  for (int d = 0; d < ids->rank; d++) out->dim[out->rank++] = ids->dim[d];
  for (int d = axis + 1; d < x->rank; d++) out->dim[out->rank++] = x->dim[d];
  return RT_OK;
}

/* dy, index, like: dy as the gathering of something like `like` would be. */
static rt_status infer_scattered(rt_infer *c, int64_t axis) {
  rt_type y;
  rt_status s = rt_infer_float(c, 0);
  if (s == RT_OK) s = infer_gathered(c, c->in[2], 1, axis, &y);
  if (s != RT_OK) return s;
  *c->out = *c->in[2];
  c->out->dtype = c->in[0]->dtype;
  return rt_infer_shape(c, 0, y.rank, y.dim);
}

/* x as outer × size × inner, y as outer × n × inner. */
typedef struct extent {
  int64_t outer, size, inner, n;
} extent;

static extent extent_of(const rt_tensor *x, const rt_tensor *index, int64_t from) {
  extent e = {.outer = 1, .inner = 1, .n = rt_tensor_elements(index)};
  int axis = rt_axis(from, x->rank);
  for (int d = 0; d < axis; d++) e.outer *= x->dim[d];
  for (int d = axis + 1; d < x->rank; d++) e.inner *= x->dim[d];
  e.size = x->dim[axis];
  return e;
}

static int64_t index_at(const rt_tensor *index, int64_t j) { return rt_load_int(index, rt_tensor_offset(index, j)); }

static rt_status check_range(const rt_call *c, const rt_tensor *index, int64_t size) {
  for (int64_t j = 0, n = rt_tensor_elements(index); j < n; j++) {
    int64_t id = index_at(index, j);
    if (id < 0 || id >= size)
      return rt_call_fail(c, "index %lld, element %lld of %lld, is outside 0 to %lld", (long long)id, (long long)j,
                          (long long)n, (long long)size - 1);
  }
  return RT_OK;
}

static rt_status take(const rt_call *c, int64_t axis) {
  const rt_tensor *x = c->in[0], *index = c->in[1];
  extent e = extent_of(x, index, axis);
  rt_status s = check_range(c, index, e.size);
  if (s != RT_OK) return s;
  for (int64_t o = 0; o < e.outer; o++)
    for (int64_t j = 0; j < e.n; j++) {
      int64_t from = (o * e.size + index_at(index, j)) * e.inner, to = (o * e.n + j) * e.inner;
      for (int64_t i = 0; i < e.inner; i++) rt_move(x, from + i, c->out, to + i);
    }
  return RT_OK;
}

static rt_status scatter(const rt_call *c, int64_t axis, int64_t skip) {
  const rt_tensor *dy = c->in[0], *index = c->in[1];
  extent e = extent_of(c->out, index, axis);
  rt_status s = check_range(c, index, e.size);
  if (s != RT_OK) return s;
  double *sum = rt_dense_zero(c->out);
  if (!sum) return RT_E_MEMORY;
  for (int64_t o = 0; o < e.outer; o++)
    for (int64_t j = 0; j < e.n; j++) {
      int64_t id = index_at(index, j);
      double *to = sum + (o * e.size + id) * e.inner;
      for (int64_t i = 0; id != skip && i < e.inner; i++) to[i] += rt_get(dy, (o * e.n + j) * e.inner + i);
    }
  rt_dense_store(c->out, sum);
  rt_free(sum);
  return RT_OK;
}

/* ---- gather ---- */

static int64_t axis_of(const void *attr) { return ((const rt_axis_attr *)attr)->axis; }

static rt_status gather_infer(rt_infer *c) { return infer_gathered(c, c->in[0], 1, axis_of(c->attr), c->out); }
static rt_status gather_infer_backward(rt_infer *c) { return infer_scattered(c, axis_of(c->attr)); }
static rt_status gather_reference(const rt_call *c) { return take(c, axis_of(c->attr)); }
static rt_status gather_reference_backward(const rt_call *c) { return scatter(c, axis_of(c->attr), -1); }

static void gather_grad(rt_grad *c) {
  rt_value *const *in = c->node->in;
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, RT_OP(gather_backward), NULL, c->node->attr, 3, c->dy[0], in[1], in[0]);
}

static const char *const gather_cases[] = {"x[5] s64[]<5",
                                           "x[5,3] s64[2,2]<5",
                                           "x[2,3,7,5] s32[4]<7 ; axis=2",
                                           "x[2,9] s64[3,1]<9 ; axis=-1",
                                           "x[1,1] s64[1]<1 ; axis=1",
                                           "s64[7]<99 s64[3]<7",
                                           NULL};
static const char *const gather_errors[] = {"x[5] x[2] ; => s64 or s32", "x[5] s64[2]<5 ; axis=1 => axis 1 is outside",
                                            "x[] s64[2]<5 ; => axis 0 is outside",
                                            "x[1,1,1,1,1] s64[1,1,1,1,1]<1 ; => rank 9", NULL};
static const char *const gather_cases_backward[] = {"x[] s64[]<5 x[5]", "x[2,2,3] s64[2,2]<5 x[5,3]",
                                                    "x[2,3,4,5] s32[4]<7 x[2,3,7,5] ; axis=2",
                                                    "x[33,2] s64[33]<3 x[3,2]", NULL};
static const char *const gather_errors_backward[] = {"x[3,3] s64[2]<5 x[5,3] ; => dy must be",
                                                     "x[2] x[2] x[5] ; => s64 or s32", NULL};

const rt_op rt_op_row_gather = {
    .name = "gather",
    .summary = "y = slices of x along an axis, at the places in index",
    .input_names = "x index",
    .options = gather_options,
    .attr_size = sizeof(rt_axis_attr),
    .n_out = 1,
    .infer = gather_infer,
    .grad = gather_grad,
    .reference = gather_reference,
    .layout = RT_LAYOUT_ROW_MAJOR,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = gather_cases,
    .errors = gather_errors,
};

const rt_op rt_op_row_gather_backward = {
    .name = "gather_backward",
    .summary = "dx = dy added up at the places in index; dx of the shape of like",
    .input_names = "dy index like",
    .options = gather_options,
    .attr_size = sizeof(rt_axis_attr),
    .n_out = 1,
    .shape_only = 1u << 2,
    .infer = gather_infer_backward,
    .reference = gather_reference_backward,
    .layout = RT_LAYOUT_ROW_MAJOR,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_first,
    .cases = gather_cases_backward,
    .errors = gather_errors_backward,
};

/* ---- embedding ---- */

static rt_status check_weight(const rt_infer *c, int weight) {
  int64_t padding = ((const rt_embedding_attr *)c->attr)->padding_idx;
  rt_dim rows = c->in[weight]->dim[0];
  rt_status s = rt_infer_rank(c, weight, 2, 2);
  if (s == RT_OK) s = rt_infer_float(c, weight);
  if (s != RT_OK || rows < 0 || padding < rows) return s;
  return rt_infer_fail(c, "padding_idx is %lld, but the weight has %lld rows", (long long)padding, (long long)rows);
}

static rt_status embedding_infer(rt_infer *c) {
  rt_status s = check_weight(c, 0);
  return s == RT_OK ? infer_gathered(c, c->in[0], 1, 0, c->out) : s;
}

static rt_status embedding_infer_backward(rt_infer *c) {
  rt_status s = check_weight(c, 2);
  if (s == RT_OK) s = infer_scattered(c, 0);
  c->out->dtype = rt_wide(c->in[0]->dtype);
  return s;
}

static rt_status embedding_reference(const rt_call *c) { return take(c, 0); }

static rt_status embedding_reference_backward(const rt_call *c) {
  return scatter(c, 0, ((const rt_embedding_attr *)c->attr)->padding_idx);
}

static void embedding_grad(rt_grad *c) {
  rt_value *const *in = c->node->in;
  if (c->want[0])
    c->dx[0] = rt_emit(c->graph, RT_OP(embedding_backward), NULL, c->node->attr, 3, c->dy[0], in[1], in[0]);
}

static const char *const embedding_cases[] = {"x[5,3] s64[2,7]<5", "x[5,3] s64[]<5", "x[1,33] s32[4]<1",
                                              "x[9,1] s64[1,1,3]<9", NULL};
static const char *const embedding_errors[] = {"x[5] s64[2]<5 ; => must have rank 2", "x[5,3] x[2] ; => s64 or s32",
                                               "x[5,3] s64[2]<5 ; padding_idx=5 => has 5 rows", NULL};
static const char *const embedding_cases_backward[] = {"x[2,7,3] s64[2,7]<5 x[5,3]", "x[3] s64[]<5 x[5,3]",
                                                       "x[33,5] s32[33]<4 x[4,5] ; padding_idx=2", NULL};
static const char *const embedding_errors_backward[] = {"x[2,4] s64[2]<5 x[5,3] ; => dy must be",
                                                        "x[2,3] s64[2]<5 x[5,3] ; padding_idx=7 => has 5 rows", NULL};

const rt_op rt_op_row_embedding = {
    .name = "embedding",
    .summary = "y = rows of weight V×D, at the places in ids; ids' shape × D",
    .input_names = "weight ids",
    .options = embedding_options,
    .attr_size = sizeof(rt_embedding_attr),
    .n_out = 1,
    .infer = embedding_infer,
    .grad = embedding_grad,
    .reference = embedding_reference,
    .layout = RT_LAYOUT_ROW_MAJOR,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = embedding_cases,
    .errors = embedding_errors,
};

const rt_op rt_op_row_embedding_backward = {
    .name = "embedding_backward",
    .summary = "dweight = dy added up at the rows in ids, in f32; of the shape of like",
    .input_names = "dy ids like",
    .options = embedding_options,
    .attr_size = sizeof(rt_embedding_attr),
    .n_out = 1,
    .shape_only = 1u << 2,
    .infer = embedding_infer_backward,
    .reference = embedding_reference_backward,
    .layout = RT_LAYOUT_ROW_MAJOR,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_first,
    .cases = embedding_cases_backward,
    .errors = embedding_errors_backward,
};
