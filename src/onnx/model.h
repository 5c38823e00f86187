/* What model.c finds out about a file, for the other files of this room. */
#ifndef RT_ONNX_MODEL_H
#define RT_ONNX_MODEL_H

#include "format/onnx.h"
#include "onnx/onnx.h"

typedef struct rt_onnx_import rt_onnx_import;
typedef struct rt_onnx_export rt_onnx_export;

/* A row of onnx.def: an op of ONNX, what it is here, and the other way round. Where one of theirs is several of ours, or
 * one of ours several of theirs, a row has only one half. */
typedef struct rt_onnx_row {
  const char *name;                  /* "Conv"; NULL: no op of theirs is this one */
  void (*import)(rt_onnx_import *c); /* gives the node's outputs, or says why it can't */
  const rt_op *op;                   /* what `export` writes; NULL: none */
  void (*export)(rt_onnx_export *e);
  unsigned unread; /* bit i: export doesn't read input i, which need not be written */
} rt_onnx_row;

#define ROW(name) extern const rt_onnx_row rt_onnx_row_##name;
#include "onnx/onnx.def"
#undef ROW

/* What a name of the file stands for. */
typedef struct rt_onnx_name {
  const char *text;
  int entry;       /* of the file, where it is an initializer; else -1 */
  int input;       /* of the graph; -1 */
  int node;        /* that makes it; -1 */
  int uses;        /* by nodes and the graph's outputs */
  bool transposed; /* a matrix that the store has as its transpose: only one node reads it */
} rt_onnx_name;

struct rt_onnx {
  rt_arena arena;
  rt_file *file;
  const rt_onnx_model *model;
  const rt_onnx_graph *graph;
  int64_t opset;
  rt_onnx_name *name; /* sorted by text */
  int n_names;
  int n_nodes;
  int *order;                /* nodes such that each comes after those it reads */
  int **in, **out;           /* by node: its inputs and outputs as names; -1 where one is left out */
  const rt_onnx_row **row;   /* by node; NULL: no row has its op */
  int *graph_in, *graph_out; /* names; of the graph's inputs those that are no initializers */
  int n_graph_in, n_graph_out;
};

const rt_onnx_row *rt_onnx_row_of(const rt_onnx_node *node);
const rt_onnx_row *rt_onnx_row_for(const rt_op *op); /* that writes it; NULL: none */
/* The node's name, or that of what it makes. */
const char *rt_onnx_node_name(const rt_onnx_node *node);

#endif
