#include "graph/graph.h"

#include <limits.h>
#include <stdio.h>

/* ---- input lists of a row: "x weight bias?" ---- */

/* Name number i; past the end the last one. */
static const char *input_name(const rt_op *op, int i, int *length) {
  const char *p = op->input_names;
  for (const char *space; i > 0 && (space = strchr(p, ' ')); i--) p = space + 1;
  *length = (int)strcspn(p, " ");
  return p;
}

static int count_names(const rt_op *op) {
  int n = *op->input_names != 0;
  for (const char *p = op->input_names; (p = strchr(p, ' ')); p++) n++;
  return n;
}

static bool ends_with(const rt_op *op, int i, char mark) {
  int n;
  const char *name = input_name(op, i, &n);
  return n && name[n - 1] == mark;
}

bool rt_op_input_optional(const rt_op *op, int i) { return ends_with(op, i, '?'); }

int rt_op_min_inputs(const rt_op *op) {
  int n = count_names(op);
  while (n && rt_op_input_optional(op, n - 1)) n--;
  return n;
}

int rt_op_max_inputs(const rt_op *op) {
  int n = count_names(op);
  return n && ends_with(op, n - 1, '*') ? INT_MAX : n;
}

const char *rt_op_input_name(const rt_op *op, int i, char *buffer, size_t size) {
  int n;
  const char *p = input_name(op, i, &n);
  if (n && p[n - 1] == '?') n--;
  snprintf(buffer, size, "%.*s", n, p);
  return buffer;
}

/* ---- errors ---- */

rt_status rt_infer_fail(const rt_infer *c, const char *format, ...) {
  char text[768];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (strcmp(c->op->name, c->name) == 0) return rt_fail(RT_E_SHAPE, "%s: %s", c->name, text);
  return rt_fail(RT_E_SHAPE, "%s %s: %s", c->op->name, c->name, text);
}

typedef struct described {
  char name[64], type[RT_TYPE_TEXT];
} described;

static described describe(const rt_infer *c, int input) {
  described d;
  rt_op_input_name(c->op, input, d.name, sizeof d.name);
  rt_type_text(c->graph, c->in[input], d.type, sizeof d.type);
  return d;
}

rt_status rt_infer_rank(const rt_infer *c, int input, int low, int high) {
  int rank = c->in[input]->rank;
  if (rank >= low && rank <= high) return RT_OK;
  described d = describe(c, input);
  if (low == high) return rt_infer_fail(c, "%s must have rank %d, found %s", d.name, low, d.type);
  return rt_infer_fail(c, "%s must have rank %d to %d, found %s", d.name, low, high, d.type);
}

rt_status rt_infer_float(const rt_infer *c, int input) {
  if (rt_dtype_is_float(c->in[input]->dtype)) return RT_OK;
  described d = describe(c, input);
  return rt_infer_fail(c, "%s must be floating, found %s", d.name, d.type);
}

bool rt_dims_conflict(rt_dim a, rt_dim b) { return a >= 0 && b >= 0 && a != b; }

rt_status rt_infer_same(const rt_infer *c, int a, int axis_a, int b, int axis_b) {
  rt_dim da = c->in[a]->dim[axis_a], db = c->in[b]->dim[axis_b];
  if (!rt_dims_conflict(da, db)) return RT_OK;
  described x = describe(c, a), y = describe(c, b);
  return rt_infer_fail(c, "%s is %s, so dimension %d of %s is expected %lld, found %lld in %s", x.name, x.type, axis_b,
                       y.name, (long long)da, (long long)db, y.type);
}

rt_status rt_infer_same_shape(const rt_infer *c, int a, int b) {
  const rt_type *x = c->in[a], *y = c->in[b];
  bool same = x->rank == y->rank;
  for (int i = 0; same && i < x->rank; i++) same = !rt_dims_conflict(x->dim[i], y->dim[i]);
  if (same) return RT_OK;
  described dx = describe(c, a), dy = describe(c, b);
  return rt_infer_fail(c, "%s and %s must have the same shape, found %s and %s", dx.name, dy.name, dx.type, dy.type);
}

rt_status rt_infer_same_dtype(const rt_infer *c, int a, int b) {
  if (c->in[a]->dtype == c->in[b]->dtype) return RT_OK;
  described x = describe(c, a), y = describe(c, b);
  return rt_infer_fail(c, "%s and %s must have the same dtype, found %s and %s", x.name, y.name, x.type, y.type);
}

rt_status rt_infer_axis(const rt_infer *c, int64_t axis, int rank, int *out) {
  if (axis < -rank || axis >= rank)
    return rt_infer_fail(c, "axis %lld is outside %d to %d", (long long)axis, -rank, rank - 1);
  *out = (int)(axis < 0 ? axis + rank : axis);
  return RT_OK;
}

/* ---- arithmetic on dimensions ---- */

rt_dim rt_dim_derive(const rt_infer *c, const char *format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (n >= (int)sizeof text)
    snprintf(text, sizeof text, "?%s:%d", c->name, c->graph->n_symbols); /* too long to compare */
  return rt_graph_symbol(c->graph, text);
}

rt_dim rt_dim_add(const rt_infer *c, rt_dim a, rt_dim b) {
  char ta[128], tb[128];
  if (a >= 0 && b >= 0) return a + b;
  if (a == 0) return b;
  if (b == 0) return a;
  return rt_dim_derive(c, "(%s+%s)", rt_dim_text(c->graph, a, ta, sizeof ta), rt_dim_text(c->graph, b, tb, sizeof tb));
}

rt_dim rt_dim_mul(const rt_infer *c, rt_dim a, rt_dim b) {
  char ta[128], tb[128];
  rt_dim product;
  if (a >= 0 && b >= 0) return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
  if (a == 1) return b;
  if (b == 1) return a;
  return rt_dim_derive(c, "%s*%s", rt_dim_text(c->graph, a, ta, sizeof ta), rt_dim_text(c->graph, b, tb, sizeof tb));
}

rt_dim rt_dim_window(const rt_infer *c, rt_dim a, rt_dim kernel, int64_t stride, int64_t before, int64_t after,
                     int64_t dilation, bool ceil) {
  char ta[128], tk[128];
  int64_t reach = 0; /* of the window behind its first element */
  if (kernel >= 0 && __builtin_mul_overflow(kernel - 1, dilation, &reach)) return 0;
  if (a >= 0 && kernel >= 0) {
    int64_t span = a + before + after - reach - 1;
    if (span < 0) return 0;
    int64_t n = (span + (ceil ? stride - 1 : 0)) / stride + 1;
    if (ceil && (n - 1) * stride >= a + before) n--; /* the last window must start inside, as in PyTorch */
    return n;
  }
  if (kernel >= 0 && stride == 1 && before + after == reach) return a; /* "same" keeps its symbol */
  return rt_dim_derive(c, "window(%s,%s,%lld,%lld,%lld%s)", rt_dim_text(c->graph, a, ta, sizeof ta),
                       rt_dim_text(c->graph, kernel, tk, sizeof tk), (long long)stride, (long long)(before + after),
                       (long long)dilation, ceil ? ",ceil" : "");
}
