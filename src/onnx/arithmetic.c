/* Functions of two tensors and more, element by element: arithmetic, comparisons, Where, Expand. */
#include "onnx/export.h"
#include "onnx/import.h"

static const rt_unary_attr plain;

#define EXPORT(name) \
  static void export_##name(rt_onnx_export *e) { rt_onnx_put_list(e, #name); }
EXPORT(Add)
EXPORT(Max)
EXPORT(Min)
EXPORT(Pow)
EXPORT(Less)
EXPORT(Equal)
EXPORT(Where)

static rt_value *number(rt_onnx_import *c, double v) { return rt_scalar(c->g, v); }

static rt_value *apply(rt_onnx_import *c, const rt_op *op, rt_value *a, rt_value *b) {
  return rt_onnx_emit(c, op, NULL, 2, a, b);
}

/* Integers that are known: shapes and what is computed of them. Neither is larger than the other broadcasts to. */
typedef bool compute(int64_t a, int64_t b, int64_t *y);

static bool add_known(int64_t a, int64_t b, int64_t *y) { return !__builtin_add_overflow(a, b, y); }
static bool sub_known(int64_t a, int64_t b, int64_t *y) { return !__builtin_sub_overflow(a, b, y); }
static bool mul_known(int64_t a, int64_t b, int64_t *y) { return !__builtin_mul_overflow(a, b, y); }
static bool div_known(int64_t a, int64_t b, int64_t *y) {
  if (b == 0 || (a == INT64_MIN && b == -1)) return false;
  *y = a / b; /* towards 0 */
  return true;
}

/* A symbol survives what doesn't change it: times or over 1, plus or minus 0. */
static bool neutral(const rt_op *op, int64_t v) {
  if (op == RT_OP(maximum) || op == RT_OP(minimum)) return op == RT_OP(maximum) && v <= 1; /* sizes are above 0 */
  return v == (op == RT_OP(mul) || op == RT_OP(div));
}

static bool combine(const rt_op *op, compute *f, rt_number a, rt_number b, rt_number *y) {
  *y = (rt_number){0};
  if (!a.symbol && !b.symbol) return f(a.v, b.v, &y->v);
  if (a.symbol && !b.symbol && neutral(op, b.v)) {
    *y = a;
    return true;
  }
  if (b.symbol && !a.symbol && neutral(op, a.v) && op != RT_OP(sub) && op != RT_OP(div)) {
    *y = b;
    return true;
  }
  y->v = 1;
  return a.symbol && a.symbol == b.symbol && op == RT_OP(div);
}

/* False: not both known, or of shapes that only a graph can broadcast. */
static bool binary_known(rt_onnx_import *c, const rt_op *op, compute *f) {
  const rt_known *a = rt_onnx_known_in(c, 0), *b = rt_onnx_known_in(c, 1);
  if (!a || !b || (a->n != b->n && a->n != 1 && b->n != 1)) return false;
  const rt_known *shape = a->n != b->n ? (a->n > b->n ? a : b) : a->rank >= b->rank ? a : b;
  rt_known *y = rt_known_new(c, a->dtype, shape->rank, shape->dim);
  for (int64_t i = 0; y && i < y->n; i++)
    if (!combine(op, f, a->v[a->n == 1 ? 0 : i], b->v[b->n == 1 ? 0 : i], &y->v[i])) {
      rt_onnx_cant(c, "of sizes that aren't known before it runs, or too large");
      return true;
    }
  rt_onnx_give_known(c, 0, y);
  return true;
}

static void binary(rt_onnx_import *c, const rt_op *op, compute *f) {
  if (binary_known(c, op, f)) return;
  rt_value *a = rt_onnx_in(c, 0), *b = rt_onnx_in(c, 1);
  if (a && b) rt_onnx_give(c, 0, rt_onnx_binary(c, op, a, b));
}

#define BINARY(name, op) \
  static void import_##op(rt_onnx_import *c) { binary(c, RT_OP(op), op##_known); } \
  EXPORT(name) \
  const rt_onnx_row rt_onnx_row_##name = {#name, import_##op, RT_OP(op), export_##name};

BINARY(Sub, sub)
BINARY(Mul, mul)
BINARY(Div, div)

/* The bias that value v would be for the channels, features of which a layer has n; NULL: it is none. */
static rt_value *bias_of(rt_onnx_import *c, rt_value *v, int rank, int axis, rt_dim n) {
  int64_t elements = v->kind == RT_VALUE_VARIABLE ? rt_type_elements(&v->type) : 0;
  int at = axis - (rank - v->type.rank);
  if (n < 2 || elements != n || at < 0 || at >= v->type.rank || v->type.dim[at] != n) return NULL;
  return v->type.rank == 1 ? v : rt_onnx_reshape(c, v, 1, (int64_t[]){-1});
}

/* A layer without a bias that nothing else reads, with one. NULL: it isn't that. */
static rt_value *with_bias(rt_onnx_import *c, int layer) {
  rt_value *y = rt_onnx_in(c, layer), *b = rt_onnx_in(c, 1 - layer);
  if (!y || !b || !y->node || !rt_onnx_only_reader(c, layer) || (y->node->n_in > 2 && y->node->in[2])) return NULL;
  bool conv = y->node->op == RT_OP(conv2d);
  if (!conv && y->node->op != RT_OP(linear)) return NULL;
  int axis = conv ? 1 : y->type.rank - 1;
  rt_value *bias = bias_of(c, b, y->type.rank, axis, y->type.dim[axis]);
  rt_value *in[] = {y->node->in[0], y->node->in[1], bias};
  return bias ? rt_graph_add(c->g, y->node->op, y->node->name, in, 3, y->node->attr) : NULL;
}

static void import_add(rt_onnx_import *c) {
  if (binary_known(c, RT_OP(add), add_known)) return;
  rt_value *y = with_bias(c, 0);
  if (!y) y = with_bias(c, 1);
  if (y)
    rt_onnx_give(c, 0, y);
  else
    binary(c, RT_OP(add), add_known);
}

const rt_onnx_row rt_onnx_row_Add = {"Add", import_add, RT_OP(add), export_Add};

/* Of any number of tensors. */
static rt_value *fold(rt_onnx_import *c, const rt_op *op) {
  rt_value *y = rt_onnx_in(c, 0);
  for (size_t i = 1; i < c->node->n_input && y; i++) {
    rt_value *x = rt_onnx_in(c, (int)i);
    y = x ? rt_onnx_binary(c, op, y, x) : NULL;
  }
  return y;
}

static void import_sum(rt_onnx_import *c) { rt_onnx_give(c, 0, fold(c, RT_OP(add))); }
static void import_mean(rt_onnx_import *c) {
  rt_value *y = fold(c, RT_OP(add));
  if (y) rt_onnx_give(c, 0, apply(c, RT_OP(mul), y, number(c, 1 / (double)c->node->n_input)));
}

const rt_onnx_row rt_onnx_row_Sum = {"Sum", import_sum};
const rt_onnx_row rt_onnx_row_Mean = {"Mean", import_mean};

static bool max_known(int64_t a, int64_t b, int64_t *y) {
  *y = a > b ? a : b;
  return true;
}

static bool min_known(int64_t a, int64_t b, int64_t *y) {
  *y = a < b ? a : b;
  return true;
}

static void import_max(rt_onnx_import *c) {
  if (c->node->n_input != 2 || !binary_known(c, RT_OP(maximum), max_known)) rt_onnx_give(c, 0, fold(c, RT_OP(maximum)));
}

static void import_min(rt_onnx_import *c) {
  if (c->node->n_input != 2 || !binary_known(c, RT_OP(minimum), min_known)) rt_onnx_give(c, 0, fold(c, RT_OP(minimum)));
}

const rt_onnx_row rt_onnx_row_Max = {"Max", import_max, RT_OP(maximum), export_Max};
const rt_onnx_row rt_onnx_row_Min = {"Min", import_min, RT_OP(minimum), export_Min};

/* By the exponents of norms and activations without pow, whose gradient wants positive numbers. */
static void import_pow(rt_onnx_import *c) {
  double exponent = 0;
  bool known = rt_onnx_given(c, 1) && rt_onnx_floats_in(c, 1, &exponent, 1) == 1;
  const rt_known *whole = rt_onnx_known_in(c, 1);
  rt_value *x = rt_onnx_in(c, 0), *y = NULL;
  if (!x) return;
  if (whole && whole->n == 1 && !whole->v[0].symbol) {
    exponent = (double)whole->v[0].v;
    known = true;
  }
  known = known && rt_dtype_is_float(x->type.dtype);
  if (known && exponent == 2) {
    y = rt_onnx_emit(c, RT_OP(square), &plain, 1, x);
  } else if (known && exponent == 3) {
    y = apply(c, RT_OP(mul), rt_onnx_emit(c, RT_OP(square), &plain, 1, x), x);
  } else if (known && exponent == 0.5) {
    y = rt_onnx_emit(c, RT_OP(sqrt), &plain, 1, x);
  } else {
    rt_value *b = known ? number(c, exponent) : rt_onnx_in(c, 1);
    y = b ? rt_onnx_binary(c, RT_OP(pow), x, b) : NULL;
  }
  rt_onnx_give(c, 0, y);
}

const rt_onnx_row rt_onnx_row_Pow = {"Pow", import_pow, RT_OP(pow), export_Pow};

/* ---- comparisons ---- */

typedef enum relation { LESS, LESS_EQUAL, EQUAL } relation;

/* Known integers; a size that isn't known yet is above 0. False: not known. */
static bool compare_known(rt_onnx_import *c, int left, relation r) {
  const rt_known *a = rt_onnx_known_in(c, left), *b = rt_onnx_known_in(c, 1 - left);
  if (!a || !b || (a->n != b->n && a->n != 1 && b->n != 1)) return false;
  const rt_known *shape = a->n >= b->n ? a : b;
  rt_known *y = rt_known_new(c, RT_BOOL, shape->rank, shape->dim);
  for (int64_t i = 0; y && i < y->n; i++) {
    rt_number p = a->v[a->n == 1 ? 0 : i], q = b->v[b->n == 1 ? 0 : i];
    bool same = p.symbol && p.symbol == q.symbol;
    if (p.symbol && !q.symbol && q.v < 1)
      p = (rt_number){1, 0};
    else if (q.symbol && !p.symbol && p.v < 1)
      q = (rt_number){1, 0};
    else if (!same && (p.symbol || q.symbol)) {
      rt_onnx_cant(c, "of sizes that aren't known before it runs");
      return true;
    }
    y->v[i].v = same ? r != LESS : r == LESS ? p.v < q.v : r == EQUAL ? p.v == q.v : p.v <= q.v;
  }
  rt_onnx_give_known(c, 0, y);
  return true;
}

/* a ∘ b with a the input number `left`. */
static void compare(rt_onnx_import *c, int left, relation r) {
  if (compare_known(c, left, r)) return;
  rt_value *a = rt_onnx_in(c, left), *b = rt_onnx_in(c, 1 - left);
  if (!a || !b) return;
  rt_value *y = apply(c, r == EQUAL ? RT_OP(equal) : RT_OP(less), a, b);
  if (r == LESS_EQUAL) y = rt_onnx_emit(c, RT_OP(where), NULL, 3, y, y, apply(c, RT_OP(equal), a, b));
  rt_onnx_give(c, 0, y);
}

static void import_less(rt_onnx_import *c) { compare(c, 0, LESS); }
static void import_greater(rt_onnx_import *c) { compare(c, 1, LESS); }
static void import_less_equal(rt_onnx_import *c) { compare(c, 0, LESS_EQUAL); }
static void import_greater_equal(rt_onnx_import *c) { compare(c, 1, LESS_EQUAL); }
static void import_equal(rt_onnx_import *c) { compare(c, 0, EQUAL); }

const rt_onnx_row rt_onnx_row_Less = {"Less", import_less, RT_OP(less), export_Less};
const rt_onnx_row rt_onnx_row_Greater = {"Greater", import_greater};
const rt_onnx_row rt_onnx_row_LessOrEqual = {"LessOrEqual", import_less_equal};
const rt_onnx_row rt_onnx_row_GreaterOrEqual = {"GreaterOrEqual", import_greater_equal};
const rt_onnx_row rt_onnx_row_Equal = {"Equal", import_equal, RT_OP(equal), export_Equal};

/* ---- bools ---- */

static rt_value *negated(rt_onnx_import *c, rt_value *x) {
  static const bool no = false;
  return apply(c, RT_OP(equal), x, rt_constant(c->g, RT_BOOL, 0, NULL, &no));
}

static void import_not(rt_onnx_import *c) {
  rt_value *x = rt_onnx_in(c, 0);
  if (x) rt_onnx_give(c, 0, negated(c, x));
}

static void logical(rt_onnx_import *c, bool both) { /* a ? b : a, a ? a : b */
  rt_value *a = rt_onnx_in(c, 0), *b = rt_onnx_in(c, 1);
  if (a && b) rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(where), NULL, 3, a, both ? b : a, both ? a : b));
}

static void import_and(rt_onnx_import *c) { logical(c, true); }
static void import_or(rt_onnx_import *c) { logical(c, false); }
static void import_xor(rt_onnx_import *c) {
  rt_value *a = rt_onnx_in(c, 0), *b = rt_onnx_in(c, 1);
  if (a && b) rt_onnx_give(c, 0, negated(c, apply(c, RT_OP(equal), a, b)));
}

const rt_onnx_row rt_onnx_row_Not = {"Not", import_not};
const rt_onnx_row rt_onnx_row_And = {"And", import_and};
const rt_onnx_row rt_onnx_row_Or = {"Or", import_or};
const rt_onnx_row rt_onnx_row_Xor = {"Xor", import_xor};

/* ---- Where, Expand ---- */

static bool where_known(rt_onnx_import *c) {
  const rt_known *k = rt_onnx_known_in(c, 0), *a = rt_onnx_known_in(c, 1), *b = rt_onnx_known_in(c, 2);
  if (!k || !a || !b) return false;
  int64_t n = k->n > a->n ? k->n : a->n;
  if (b->n > n) n = b->n;
  if ((k->n != n && k->n != 1) || (a->n != n && a->n != 1) || (b->n != n && b->n != 1)) return false;
  const rt_known *shape = k->n == n ? k : a->n == n ? a : b;
  rt_known *y = rt_known_new(c, a->dtype, shape->rank, shape->dim);
  for (int64_t i = 0; y && i < n; i++)
    y->v[i] = k->v[k->n == 1 ? 0 : i].v ? a->v[a->n == 1 ? 0 : i] : b->v[b->n == 1 ? 0 : i];
  rt_onnx_give_known(c, 0, y);
  return true;
}

static void import_where(rt_onnx_import *c) {
  if (where_known(c)) return;
  rt_value *k = rt_onnx_in(c, 0), *a = rt_onnx_in(c, 1), *b = rt_onnx_in(c, 2);
  if (k && a && b) rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(where), NULL, 3, k, a, b));
}

/* A symbol of the shape is the dimension of an input that has it. */
static rt_value *input_with(const rt_onnx_import *c, rt_dim symbol, int *axis) {
  for (int i = 0; i < c->g->n_values; i++) {
    rt_value *v = c->g->value[i];
    for (*axis = 0; v->kind == RT_VALUE_INPUT && *axis < v->type.rank; (*axis)++)
      if (v->type.dim[*axis] == symbol) return v;
  }
  return NULL;
}

static void import_expand(rt_onnx_import *c) {
  const rt_known *shape = rt_onnx_known_in(c, 1);
  rt_value *x = rt_onnx_in(c, 0), *like = NULL;
  rt_reshape_attr attr = {0};
  if (!x) return;
  if (!shape || shape->n > RT_MAX_RANK) {
    rt_onnx_cant(c, "to a shape that is computed");
    return;
  }
  attr.shape.n = (int)shape->n;
  for (int d = 0; d < shape->n; d++) {
    rt_number n = shape->v[d];
    int axis = 0, own = d - ((int)shape->n - x->type.rank);
    attr.shape.v[d] = n.v;
    if (n.symbol && own >= 0 && x->type.dim[own] == n.symbol) {
      attr.shape.v[d] = 1; /* it has it already */
    } else if (n.symbol) {
      rt_value *v = input_with(c, n.symbol, &axis);
      if (!v || (like && v != like)) {
        rt_onnx_cant(c, "to a shape that only other values have");
        return;
      }
      like = v;
      attr.shape.v[d] = -axis - 1;
    } else if (n.v < 1) {
      rt_onnx_cant(c, "to a shape with %lld", (long long)n.v);
      return;
    }
  }
  rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(expand), &attr, 2, x, like));
}

const rt_onnx_row rt_onnx_row_Where = {"Where", import_where, RT_OP(where), export_Where};
/* The shape is numbers, or a list joined of numbers and dimensions of `like`. */
static void export_expand(rt_onnx_export *e) {
  const rt_ints *shape = &((const rt_reshape_attr *)e->node->attr)->shape;
  const char *joined = NULL, *sizes = e->node->n_in > 1 ? rt_onnx_via(e, "Shape", rt_onnx_in_name(e, 1), NULL) : "";
  for (int d = 0; d < shape->n; d++) {
    int64_t axis = -shape->v[d] - 1;
    const char *one = shape->v[d] > 0 ? rt_onnx_whole(e, &shape->v[d], 1)
                                      : rt_onnx_via(e, "Gather", sizes, rt_onnx_whole(e, &axis, 1), NULL);
    if (joined) {
      joined = rt_onnx_via(e, "Concat", joined, one, NULL);
      rt_onnx_set_int(e, rt_onnx_last(e), "axis", 0);
    } else {
      joined = one;
    }
  }
  rt_onnx_put(e, "Expand", rt_onnx_in_name(e, 0), joined ? joined : rt_onnx_whole(e, NULL, 0), NULL);
}

const rt_onnx_row rt_onnx_row_Expand = {"Expand", import_expand, RT_OP(expand), export_expand};
