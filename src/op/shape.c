/* The same elements in the same logical order under other dimensions: reshape, flatten, and reshape_to, which takes the
 * shape of another value and so is the gradient of all three. */
#include "op/row.h"

/* A number of elements: a number times symbols. */
typedef struct product {
  int64_t number;
  int n;
  rt_dim symbol[RT_MAX_RANK];
} product;

static product product_of(const rt_infer *c, const rt_dim *dim, int n) {
  product p = {.number = 1};
  for (int d = 0; d < n; d++)
    if (dim[d] < 0)
      p.symbol[p.n++] = dim[d];
    else
      p.number = rt_dim_mul(c, p.number, dim[d]);
  return p;
}

/* Symbols before the number, so that equal products are equal symbols. */
static rt_dim product_dim(const rt_infer *c, const product *p) {
  rt_dim dim = 1;
  for (int i = 0; i < p->n; i++) dim = rt_dim_mul(c, dim, p->symbol[i]);
  return rt_dim_mul(c, dim, p->number);
}

static void drop(product *p, int i) {
  p->n--;
  for (; i < p->n; i++) p->symbol[i] = p->symbol[i + 1];
}

/* Drop the symbols that both have. */
static void cancel(product *a, product *b) {
  for (int i = a->n; i-- > 0;)
    for (int j = b->n; j-- > 0;)
      if (a->symbol[i] == b->symbol[j]) {
        drop(a, i);
        drop(b, j);
        break;
      }
}

static rt_status misfit(const rt_infer *c, const rt_type *shape) {
  char tx[RT_TYPE_TEXT], ty[RT_TYPE_TEXT];
  return rt_infer_fail(c, "the elements of %s do not fit %s", rt_type_text(c->graph, c->in[0], tx, sizeof tx),
                       rt_type_text(c->graph, shape, ty, sizeof ty));
}

/* Are there certainly more or fewer elements in the output than in x? */
static rt_status check_elements(const rt_infer *c) {
  product x = product_of(c, c->in[0]->dim, c->in[0]->rank), y = product_of(c, c->out->dim, c->out->rank);
  cancel(&x, &y);
  return x.n == 0 && y.n == 0 && x.number != y.number ? misfit(c, c->out) : RT_OK;
}

static void grad(rt_grad *c) {
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, RT_OP(reshape_to), NULL, NULL, 2, c->dy[0], c->node->in[0]);
}

static rt_status reference(const rt_call *c) {
  rt_copy(c->in[0], c->out);
  return RT_OK;
}

/* ---- reshape ---- */

static const rt_option reshape_options[] = {{"shape", RT_OPT_INTS, offsetof(rt_reshape_attr, shape), .min = -1,
                                             .max = 1e18,
                                             .help = "0: the input's own dimension; one -1: whatever is left"},
                                            {0}};

/* The dimension that -1 stands for: elements of x over those of the other dimensions. */
static rt_status infer_rest(const rt_infer *c, int rest) {
  char tx[RT_TYPE_TEXT], ty[RT_TYPE_TEXT];
  c->out->dim[rest] = 1;
  product x = product_of(c, c->in[0]->dim, c->in[0]->rank), y = product_of(c, c->out->dim, c->out->rank);
  cancel(&x, &y);
  bool divides = x.number % y.number == 0;
  if (!divides && x.n == 0) return misfit(c, c->out);
  if (divides && y.n == 0) {
    x.number /= y.number;
    c->out->dim[rest] = product_dim(c, &x);
  } else {
    c->out->dim[rest] = rt_dim_derive(c, "(%s)/(%s)", rt_dim_text(c->graph, product_dim(c, &x), tx, sizeof tx),
                                      rt_dim_text(c->graph, product_dim(c, &y), ty, sizeof ty));
  }
  return RT_OK;
}

static rt_status reshape_infer(rt_infer *c) {
  const rt_ints *shape = &((const rt_reshape_attr *)c->attr)->shape;
  const rt_type *x = c->in[0];
  char text[RT_TYPE_TEXT];
  int rest = -1;
  if (shape->n > RT_MAX_RANK)
    return rt_infer_fail(c, "shape has %d dimensions, at most %d are possible", shape->n, RT_MAX_RANK);
  *c->out = (rt_type){.dtype = x->dtype, .rank = shape->n};
  for (int d = 0; d < shape->n; d++) {
    if (shape->v[d] == 0 && d >= x->rank)
      return rt_infer_fail(c, "shape has 0 for dimension %d, which %s does not have", d,
                           rt_type_text(c->graph, x, text, sizeof text));
    if (shape->v[d] == -1 && rest >= 0) return rt_infer_fail(c, "shape has more than one -1");
    if (shape->v[d] == -1) rest = d;
    c->out->dim[d] = shape->v[d] == 0 ? x->dim[d] : shape->v[d];
  }
  return rest >= 0 ? infer_rest(c, rest) : check_elements(c);
}

static const char *const reshape_cases[] = {
    "x[2,3,7,5] ; shape=6,35", "x[2,3,7,5] ; shape=0,-1", "x[2,3,7,5] ; shape=7,1,-1,3",
    "x[] ; shape=1,1",         "x[1,1] ; shape=",         "x[1,3,4] ; shape=0,0,2,2",
    "s64[6]<9 ; shape=2,3",    "x[33] ; shape=-1",        NULL};
static const char *const reshape_errors[] = {"x[2,3] ; shape=4 => do not fit",
                                             "x[2,3] ; shape=4,-1 => do not fit",
                                             "x[2,3] ; shape=-1,-1 => more than one",
                                             "x[2,3] ; shape=2,3,0 => dimension 2",
                                             "x[2,3] ; shape=-2 => at least -1",
                                             "x[2,3] ; => shape must be given",
                                             "x[1] ; shape=1,1,1,1,1,1,1,1,1 => at most 8",
                                             NULL};

const rt_op rt_op_row_reshape = {
    .name = "reshape",
    .summary = "y = the elements of x in logical order, under another shape",
    .input_names = "x",
    .options = reshape_options,
    .attr_size = sizeof(rt_reshape_attr),
    .n_out = 1,
    .moves = RT_OP(reshape),
    .infer = reshape_infer,
    .grad = grad,
    .reference = reference,
    .view = true,
    .layout = RT_LAYOUT_ROW_MAJOR,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = reshape_cases,
    .errors = reshape_errors,
};

/* ---- flatten ---- */

static const rt_option flatten_options[] = {
    {"start", RT_OPT_INT, offsetof(rt_flatten_attr, start), .fallback = "1", .help = "first axis of those joined"},
    {"end", RT_OPT_INT, offsetof(rt_flatten_attr, end), .fallback = "-1", .help = "last axis of those joined"},
    {0}};

static rt_status flatten_infer(rt_infer *c) {
  const rt_flatten_attr *attr = c->attr;
  const rt_type *x = c->in[0];
  int start, end;
  rt_status s = rt_infer_axis(c, attr->start, x->rank, &start);
  if (s == RT_OK) s = rt_infer_axis(c, attr->end, x->rank, &end);
  if (s != RT_OK) return s;
  if (start > end) return rt_infer_fail(c, "start is axis %d, behind end, axis %d", start, end);
  product joined = product_of(c, x->dim + start, end - start + 1);
  *c->out = rt_type_of(x->dtype, start, x->dim);
  c->out->dim[c->out->rank++] = product_dim(c, &joined);
  for (int d = end + 1; d < x->rank; d++) c->out->dim[c->out->rank++] = x->dim[d];
  return RT_OK;
}

static const char *const flatten_cases[] = {
    "x[2,3,7,5]",      "x[2,3,7,5] ; start=0",    "x[2,3,7,5] ; start=1 end=2", "x[4,1]",
    "x[33] ; start=0", "x[1,2,3,2,2] ; start=-2", "s64[2,3]<9 ; start=0",       NULL};
static const char *const flatten_errors[] = {"x[3] ; => axis 1 is outside", "x[2,3] ; end=2 => axis 2 is outside",
                                             "x[2,3,4] ; start=2 end=1 => behind end", NULL};

const rt_op rt_op_row_flatten = {
    .name = "flatten",
    .summary = "y = x with the axes from start to end joined into one",
    .input_names = "x",
    .options = flatten_options,
    .attr_size = sizeof(rt_flatten_attr),
    .n_out = 1,
    .moves = RT_OP(flatten),
    .infer = flatten_infer,
    .grad = grad,
    .reference = reference,
    .view = true,
    .layout = RT_LAYOUT_ROW_MAJOR,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = flatten_cases,
    .errors = flatten_errors,
};

/* ---- reshape_to ---- */

static rt_status reshape_to_infer(rt_infer *c) {
  *c->out = *c->in[1];
  c->out->dtype = c->in[0]->dtype;
  return check_elements(c);
}

static const char *const reshape_to_cases[] = {"x[6,35] x[2,3,7,5]!", "x[2,105] x[2,3,7,5]!", "x[1,1] x[]!",
                                               "s64[6]<9 x[2,3]!", NULL};
static const char *const reshape_to_errors[] = {"x[6] x[2,4] ; => do not fit", "x[] x[2] ; => do not fit", NULL};

const rt_op rt_op_row_reshape_to = {
    .name = "reshape_to",
    .summary = "y = the elements of x in logical order, under the shape of like",
    .input_names = "x like",
    .n_out = 1,
    .shape_only = 1u << 1,
    .infer = reshape_to_infer,
    .grad = grad,
    .reference = reference,
    .view = true,
    .layout = RT_LAYOUT_ROW_MAJOR,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = reshape_to_cases,
    .errors = reshape_to_errors,
};
