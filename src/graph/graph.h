/* The one data structure: a static, typed graph in single-assignment form over a store of variables.
 *
 *   store     variables by name: parameters, statistics, optimizer state; the only thing that outlives a run
 *   graph     nodes in topological order; each points at its op row and at the values it reads
 *   value     an input, a variable, a constant or a node's output: dtype, logical shape, layout
 *
 * A dimension is a number, or a symbol (below 0) that a plan binds. Symbols that infer derives from others are known
 * by their text, so equal expressions are equal symbols; binding re-runs every infer with numbers.
 * A graph under construction carries a sticky error: after the first failure every call returns NULL. */
#ifndef RT_GRAPH_GRAPH_H
#define RT_GRAPH_GRAPH_H

#include "base/arena.h"
#include "base/option.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "tensor/tensor.h"

typedef struct rt_op rt_op;
typedef struct rt_node rt_node;

/* ---- store ---- */

typedef enum rt_segment {
  RT_SEGMENT_PARAMETER,
  RT_SEGMENT_STATISTIC,
  RT_SEGMENT_STATE,
  RT_SEGMENT_FROZEN, /* another store's: read here, in no file of this store */
  RT_SEGMENTS
} rt_segment;

typedef struct rt_variable_t rt_var;
struct rt_variable_t {
  const char *name;
  rt_type type; /* bound, row major */
  rt_segment segment;
  bool trainable; /* false: frozen, gets no gradient step */
  rt_init init;
  rt_var *alias;    /* tied weights: the variable whose memory this one shares */
  void *data;       /* NULL until the store is allocated */
  uint64_t version; /* grows with every change: derived weights are recomputed when it does */
};

struct rt_store {
  rt_arena arena;
  rt_var **var;
  int n, capacity;
  struct rt_block *blocks;   /* flat memory, one a segment and allocation */
  int64_t bytes;             /* of all segments, allocated or not */
  unsigned char *arena_data; /* what every plan over this store runs in, one at a time; as large as the largest needs */
  int64_t arena_bytes;
};

rt_var *rt_store_find(const rt_store *store, const char *name);
/* The variable of this name, made if it isn't there; an error if it is there with another type. */
rt_status rt_store_declare(rt_store *store, const char *name, const rt_type *type, rt_segment segment,
                           const rt_init *init, rt_var **out);
/* A variable that is another store's: its data are read here under this name, and must live as long as this store. */
rt_status rt_store_borrow(rt_store *store, const char *name, const rt_var *of, rt_var **out);
/* Give every variable that has none its memory, neighbours in declaration order, and its initial value. */
rt_status rt_store_allocate(rt_store *store);

/* ---- values and nodes ---- */

typedef enum rt_value_kind { RT_VALUE_INPUT, RT_VALUE_VARIABLE, RT_VALUE_CONSTANT, RT_VALUE_NODE } rt_value_kind;

struct rt_value {
  rt_graph *graph;
  int id; /* index in graph->value */
  rt_value_kind kind;
  rt_type type;
  const char *name; /* the name the user knows; passes keep it */
  rt_node *node;    /* producer, for RT_VALUE_NODE */
  int index;        /* which of its outputs */
  rt_var *var;      /* for RT_VALUE_VARIABLE */
  void *data;       /* of a constant, or what a scalar input is when it isn't fed: row major, in the graph's arena */
};

struct rt_node {
  const rt_op *op;
  const void *attr; /* the op's option struct */
  const char *name; /* origin: "layer1.0.conv1" */
  int id;           /* index in graph->node */
  int n_in, n_out;
  rt_value **in; /* an optional input left out is NULL */
  rt_value **out;
};

typedef struct rt_named_value {
  const char *name;
  rt_value *value;
} rt_named_value;

struct rt_graph {
  rt_store *store;
  rt_arena arena;
  rt_value **value;
  int n_values, value_capacity;
  rt_node **node; /* topological order; assigns are roots */
  int n_nodes, node_capacity;
  const char **symbol; /* text of dimension -1, -2, … */
  int n_symbols, symbol_capacity;
  rt_named_value *output; /* marked outputs: roots that every pass keeps */
  int n_outputs, output_capacity;
  rt_named_value *alias; /* other names by which a user knows a value, of the file that the graph came from */
  int n_aliases, alias_capacity;
  char scope[256];
  rt_status status; /* first failure; nothing is built after it */
  char *sentence;
};

/* Append a node. `attr` (op->attr_size bytes) is copied; inputs may be NULL where the row says they are optional.
 * Returns its first output, or NULL (sticky error). An unnamed node is named after its op. */
rt_value *rt_graph_add(rt_graph *graph, const rt_op *op, const char *name, rt_value *const *in, int n_in,
                       const void *attr);
/* A name that rt_find_layer takes for this value, where no node has it. Passes keep it as long as the value is there. */
void rt_graph_alias(rt_graph *graph, const char *name, rt_value *value);
/* Record the failure that rt_fail just described; returns NULL for `return rt_graph_failed(...)`. */
void *rt_graph_failed(rt_graph *graph, rt_status status);
/* Also for passes: a value of the given kind that has no node. */
rt_value *rt_graph_variable(rt_graph *graph, rt_var *var);
rt_value *rt_graph_constant(rt_graph *graph, const char *name, const rt_type *type, const void *data);
rt_dim rt_graph_symbol(rt_graph *graph, const char *text); /* interned; 0 on failure (never a symbol) */
const char *rt_dim_text(const rt_graph *graph, rt_dim dim, char *buffer, size_t size);
/* By node id: is it needed for a marked output or an assign? The array holds n_nodes flags. */
void rt_graph_live(const rt_graph *graph, bool *live);
/* "f32[batch, 64, 32, 32]"; graph may be NULL for a bound type. */
const char *rt_type_text(const rt_graph *graph, const rt_type *type, char *buffer, size_t size);
enum { RT_TYPE_TEXT = 256 };

/* Rebuild a graph into another over the same store: how passes are written. `to` starts empty; the walker maps old
 * values to new ones. rt_rewrite_node copies a node with its inputs mapped. Every input, symbol, scope name and
 * marked output is carried over. */
typedef struct rt_rewrite {
  const rt_graph *from;
  rt_graph *to;
  rt_value **map; /* by old value id */
} rt_rewrite;
rt_status rt_rewrite_begin(rt_rewrite *rw, const rt_graph *from);
/* Into a graph over another store: variables are not mapped, the walker does it. */
rt_status rt_rewrite_begin_over(rt_rewrite *rw, const rt_graph *from, rt_store *store);
rt_value *rt_rewrite_value(rt_rewrite *rw, const rt_value *old);
void rt_rewrite_set(rt_rewrite *rw, const rt_value *old, rt_value *now);
rt_node *rt_rewrite_node(rt_rewrite *rw, const rt_node *node);
/* Its two halves, for passes that change inputs: the mapped inputs to change, and the node made of them. */
rt_value **rt_rewrite_inputs(rt_rewrite *rw, const rt_node *node);
rt_node *rt_rewrite_emit(rt_rewrite *rw, const rt_node *node, rt_value *const *in);
/* Map the marked outputs; on success *out owns the new graph, on failure it is freed and the status returned. */
rt_status rt_rewrite_end(rt_rewrite *rw, rt_graph **out);

/* Append the nodes of another graph, names behind `prefix`. `map`, by value id of `from`, says before what stands for which
 * of its values, and after it for all; an input that nothing stands for is the one of the same name. Variables and assigns of
 * the same store are shared; another store's variables are borrowed, and nothing is assigned. Outputs are not marked. */
rt_status rt_graph_inline(rt_graph *to, const rt_graph *from, const char *prefix, rt_value **map);
rt_value **rt_graph_new_map(rt_graph *to, const rt_graph *from); /* an empty one, in the arena of `to` */
/* A name that rt_find_layer takes for this value: the shortest scope whose last result it is; NULL: there is none. */
const char *rt_layer_name(rt_graph *graph, const rt_value *value);

/* ---- op rows ---- */

/* infer: from the types of the inputs to those of the outputs, or a clear error. Runs when a node is made (dimensions
 * may be symbols: then only what is certainly wrong is an error) and again, with numbers only, when a plan is bound. */
typedef struct rt_infer {
  rt_graph *graph; /* where derived symbols are interned; NULL when every dimension is a number */
  const rt_op *op;
  const void *attr;
  const char *name;         /* of the node, for errors */
  const rt_type *const *in; /* NULL where an optional input is left out */
  int n_in, n_out;
  rt_type *out; /* to fill: dtype, rank, dim */
} rt_infer;

/* grad: emit the nodes that give the gradient of each wanted input, from those of the outputs. */
typedef struct rt_grad {
  rt_graph *graph;
  const rt_node *node;
  rt_value **dy;    /* per output; NULL where no gradient arrives */
  rt_value **dx;    /* per input; to fill where want[i]; NULL stays "no gradient" */
  const bool *want; /* per input */
} rt_grad;

/* reference: plain loops over views, any strides, any float dtype (sums in double). The oracle of every test. */
typedef struct rt_call {
  const rt_op *op;
  const void *attr;
  const char *name;
  const rt_tensor *const *in; /* NULL where an optional input is left out */
  const rt_tensor *out;
  int n_in, n_out;
} rt_call;

typedef enum rt_layout_policy {
  RT_LAYOUT_ROW_MAJOR, /* wants row major in, gives row major out */
  RT_LAYOUT_IMAGE,     /* wants its rank-4 inputs and outputs channels last (convolution, pooling, batch norm) */
  RT_LAYOUT_FOLLOW,    /* elementwise: takes what its first rank-4 input has, for all of them */
} rt_layout_policy;

typedef enum rt_precision_policy {
  RT_PRECISION_F32,    /* losses, statistics, optimizers: floating inputs stay f32 */
  RT_PRECISION_LOW,    /* worth casting to bf16: convolution, matrix product */
  RT_PRECISION_FOLLOW, /* runs in whatever precision its first input arrives in */
} rt_precision_policy;

struct rt_op {
  const char *name;
  const char *summary;     /* one line: formula, shapes */
  const char *input_names; /* "x weight bias?"; a last name ending in '*' repeats */
  const rt_option *options;
  size_t attr_size;
  int n_out; /* -1: outputs() says */
  int (*outputs)(const void *attr, int n_in);
  unsigned shape_only; /* bit i: only the shape of input i is read, so nobody keeps its data */
  unsigned
      aux_outputs; /* bit i: output i is for the backward row or the store (saved statistics, counts): no gradient */
  unsigned f32_inputs; /* bit i: this floating input is f32 in every precision (scales, statistics, learning rate) */
  rt_status (*infer)(rt_infer *c);
  void (*grad)(rt_grad *c); /* NULL: no gradient */
  rt_status (*reference)(const rt_call *c);
  int (*inplace)(int n_in, int out); /* input whose memory output `out` may take over, or -1; NULL: none */
  bool view;                         /* the output is the first input's bytes under another shape (row major) */
  bool effect;                       /* assign: writes its first input, a variable */
  rt_layout_policy layout;
  unsigned row_major_inputs;  /* bit i: whatever the policy, input i (a weight) stays row major */
  unsigned row_major_outputs; /* the same for output i (a weight's gradient) */
  rt_precision_policy precision;
  const rt_op *int8; /* the same product of u8 and s8, scaled by channel: see rt_int8_attr; NULL: there is none */
  const rt_op
      *moves; /* the row, mostly this one, that does it to u8: elements of the first input come out as they went in, and
                       * a quantized tensor stays one. NULL: none */
  const rt_op
      *regrids; /* the row that does it to u8 of given grids, the result on a grid of its own: see rt_regrid_attr; this
                         * row: it joins inputs that are on its result's grid. NULL: none */
  bool (*exact)(const void *attr); /* with these options the policy is RT_PRECISION_F32; NULL: never */
  double (*flops)(const rt_type *const *in, const rt_type *out, const void *attr); /* NULL: one per output element */
  const char *const *cases;  /* test cases, NULL-terminated; grammar in tests/table/cases.h */
  const char *const *errors; /* "case => fragment of the sentence" */
};

int rt_op_min_inputs(const rt_op *op); /* as many as the last that can't be left out needs */
bool rt_op_input_optional(const rt_op *op, int i);
int rt_op_max_inputs(const rt_op *op); /* INT_MAX when the last one repeats */
/* Name of input i, "weight"; repeated inputs as "x*". */
const char *rt_op_input_name(const rt_op *op, int i, char *buffer, size_t size);

/* Helpers for infer. */
rt_status rt_infer_fail(const rt_infer *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
rt_status rt_infer_rank(const rt_infer *c, int input, int low, int high); /* rank of input i within [low, high] */
rt_status rt_infer_float(const rt_infer *c, int input);                   /* input i is floating */
rt_status rt_infer_same(const rt_infer *c, int a, int axis_a, int b, int axis_b); /* dimensions may not conflict */
rt_status rt_infer_same_shape(const rt_infer *c, int a, int b);
rt_status rt_infer_same_dtype(const rt_infer *c, int a, int b);
rt_status rt_infer_axis(const rt_infer *c, int64_t axis, int rank, int *out); /* negative counts from the end */
bool rt_dims_conflict(rt_dim a, rt_dim b);                                    /* both numbers, and different */
/* Arithmetic on dimensions; derives a symbol where one of them is one. */
rt_dim rt_dim_add(const rt_infer *c, rt_dim a, rt_dim b);
rt_dim rt_dim_mul(const rt_infer *c, rt_dim a, rt_dim b);
/* Number of windows: floor or ceil of (a + before + after - (kernel-1)*dilation - 1) / stride, plus 1. */
rt_dim rt_dim_window(const rt_infer *c, rt_dim a, rt_dim kernel, int64_t stride, int64_t before, int64_t after,
                     int64_t dilation, bool ceil);
rt_dim rt_dim_derive(const rt_infer *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Helpers for grad: append a node by its row. */
rt_value *rt_emit(rt_graph *graph, const rt_op *op, const char *name, const void *attr, int n_in, ...);

#endif
