/* What a row's import works with: the node in hand, and what has been made of those before it. */
#ifndef RT_ONNX_IMPORT_H
#define RT_ONNX_IMPORT_H

#include "onnx/model.h"
#include "op/op.h"

/* An integer that is known while the graph is built: a number, or a dimension that isn't bound yet. */
typedef struct rt_number {
  int64_t v;
  rt_dim symbol; /* 0: it is v */
} rt_number;

typedef struct rt_known {
  rt_dtype dtype; /* s64, s32, bool … */
  int rank;
  int64_t dim[RT_MAX_RANK], n;
  rt_number *v; /* row major */
} rt_known;

enum { RT_KNOWN_MOST = 4096 };

/* What a name has become: a value, a known tensor that becomes a value when somebody wants one, or nothing because its
 * node couldn't be imported. */
typedef struct rt_onnx_slot {
  rt_value *value;
  const rt_known *known;
  bool missing;
  bool shifted; /* the value is u8 where the file has s8: 128 levels up */
} rt_onnx_slot;

struct rt_onnx_import {
  rt_onnx *m;
  const rt_onnx_options *o;
  rt_graph *g;
  rt_onnx_slot *slot; /* by name */
  int64_t batch;      /* what the file fixes the batch to that the graph leaves open; 0: nothing */
  rt_dim batch_dim;   /* the symbol in its place */
  size_t left;        /* bytes that known tensors and constants of the importer's own making may still take */
  rt_strbuf refused;  /* "Op "name" (reason); …" */
  int n_refused;
  bool refuses; /* the node in hand is among them */
  /* the node in hand */
  int index;
  const rt_onnx_node *node;
  const char *name;
};

/* ---- node.c: inputs, attributes, outputs ---- */

/* The node can't be imported, and why; the build goes on to find all of them. */
void rt_onnx_cant(rt_onnx_import *c, const char *why, ...) __attribute__((format(printf, 2, 3)));

bool rt_onnx_given(const rt_onnx_import *c, int i); /* input i isn't left out */
/* Input i as a value; floating ones are f32. NULL after a failure. */
rt_value *rt_onnx_in(rt_onnx_import *c, int i);
/* The same of levels on a grid: those that rt_onnx_give_grid gave are u8 in any case. */
rt_value *rt_onnx_grid_in(rt_onnx_import *c, int i);
/* An initializer that is a running statistic. */
rt_value *rt_onnx_statistic_in(rt_onnx_import *c, int i);
bool rt_onnx_is_matrix(const rt_onnx_import *c, int i); /* an initializer of rank 2, in floats */
/* A matrix [K, O] as the weight O×K of a linear layer; `turned`: it is that already. */
rt_value *rt_onnx_weight_in(rt_onnx_import *c, int i, bool turned);
/* Does nothing but the node in hand read input i? */
bool rt_onnx_only_reader(const rt_onnx_import *c, int i);
const rt_known *rt_onnx_known_in(rt_onnx_import *c, int i); /* NULL: its elements aren't integers known by now */
/* Floats that are known by now: at most `most` of input i. How many; -1: they aren't known. */
int rt_onnx_floats_in(rt_onnx_import *c, int i, double *out, int most);

int64_t rt_onnx_int(const rt_onnx_import *c, const char *name, int64_t fallback);
double rt_onnx_float(const rt_onnx_import *c, const char *name, double fallback);
bool rt_onnx_word(const rt_onnx_import *c, const char *name, const char *fallback, const char *expected);
bool rt_onnx_ints(rt_onnx_import *c, const char *name, rt_ints *out); /* false: not there */
const rt_onnx_attribute *rt_onnx_attribute_of(const rt_onnx_import *c, const char *name);
/* An attribute in older opsets, an input in newer ones. False: neither is there, or (refused) it isn't known. */
bool rt_onnx_list(rt_onnx_import *c, const char *name, int input, rt_ints *out);
/* Axis from `name`, counted from the front; refused where a tensor of this rank has none such. */
int rt_onnx_axis(rt_onnx_import *c, int64_t axis, int rank);

bool rt_onnx_wanted(const rt_onnx_import *c, int i); /* somebody reads output i */
void rt_onnx_give(rt_onnx_import *c, int i, rt_value *value);
void rt_onnx_give_grid(rt_onnx_import *c, int i, rt_value *levels, bool shifted); /* u8; 128 levels above theirs */
rt_value *rt_onnx_unshifted(rt_onnx_import *c, rt_value *levels);                 /* as s8 */
void rt_onnx_give_known(rt_onnx_import *c, int i, const rt_known *known);

/* A node of ours under the name of theirs. */
rt_value *rt_onnx_emit(rt_onnx_import *c, const rt_op *op, const void *attr, int n_in, ...);
rt_value *rt_onnx_reshape(rt_onnx_import *c, rt_value *x, int rank, const int64_t *shape); /* 0: x's; one -1 */

/* a ∘ b. Integers go through f64, exactly up to 2⁵³, and lose a quotient's fraction. */
rt_value *rt_onnx_binary(rt_onnx_import *c, const rt_op *op, rt_value *a, rt_value *b);
/* Conv of these by the attributes of the node in hand; bias may be NULL. */
rt_value *rt_onnx_convolution(rt_onnx_import *c, rt_value *x, rt_value *weight, rt_value *bias);
/* NumPy's matmul. */
rt_value *rt_onnx_product(rt_onnx_import *c, rt_value *a, rt_value *b);

/* f(x), integers in the same way. */
rt_value *rt_onnx_unary(rt_onnx_import *c, const rt_op *op, rt_value *x);

/* ---- known.c ---- */

rt_known *rt_known_new(rt_onnx_import *c, rt_dtype dtype, int rank, const int64_t *dim); /* NULL: too large, refused */
void *rt_onnx_alloc(rt_onnx_import *c, int64_t n,
                    size_t size); /* in the graph's arena; NULL: too much in all, refused */
/* As a constant of the graph; refused where an element is a symbol. */
rt_value *rt_known_value(rt_onnx_import *c, const rt_known *known);
bool rt_known_number(const rt_known *known, int i, int64_t *out); /* false: a symbol */

#endif
