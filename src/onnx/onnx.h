/* ONNX models as graphs, and graphs as ONNX models. What a node of theirs is here, and the other way round, is a row of
 * onnx.def.
 *
 *   model.c    names, order, what is damaged: once a file
 *   build.c    nodes to a graph; collects everything that can't be imported before it refuses
 *   node.c     what rows ask of the node in hand: inputs, attributes
 *   known.c    integers that are known while a graph is built: shapes, axes, sizes
 *   export.c   nodes of a graph to messages */
#ifndef RT_ONNX_ONNX_H
#define RT_ONNX_ONNX_H

#include "format/format.h"
#include "graph/graph.h"

typedef struct rt_onnx rt_onnx;

typedef struct rt_onnx_options {
  bool
      network; /* a classifier: one input, which is called "x" and has an open batch, and is f32, pixels of 0 to 1 in place of
                     bytes; its first output is "logits" */
  bool norms;     /* a new batch norm, "NODE.norm", behind every convolution that has none, in place of its bias */
  int64_t dim[3]; /* of a network's input behind the batch, where the file leaves them open; 0: unknown */
} rt_onnx_options;

/* Everything about a file that a graph doesn't change: names, order of nodes. Borrows the file. */
rt_status rt_onnx_open(rt_file *file, rt_onnx **out);
void rt_onnx_free(rt_onnx *model);
int64_t rt_onnx_node_count(const rt_file *file);
/* What the file calls its first input and output; the model's memory. */
const char *rt_onnx_input_name(const rt_onnx *model); /* NULL: it has none */
const char *rt_onnx_output_name(const rt_onnx *model);
bool rt_onnx_takes_bytes(const rt_onnx *model); /* pixels of 0 to 255, which it normalises itself */
/* Build it on a graph; its store gets the initializers as variables, their values by rt_onnx_load. Batch norms and dropout
 * have their training form. Inputs and marked outputs have the file's names where `network` doesn't say otherwise. A
 * sentence that lists what isn't supported lists all of it. */
rt_status rt_onnx_build(rt_onnx *model, rt_graph *graph, const rt_onnx_options *options);
/* Give the variables of a store that were made from this model their values. `last`: what was read is freed. */
rt_status rt_onnx_load(rt_onnx *model, rt_store *store, bool last);

typedef struct rt_onnx_write {
  int64_t opset;              /* 13 to 21; 0: 17 */
  const char *input, *output; /* names for the input "x" and the first output; NULL: their own */
  const rt_pair *metadata;
  int n_metadata;
  int64_t channels; /* with mean and deviation: the file takes bytes N×C×H×W and normalises them itself */
  const float *mean, *deviation;
} rt_onnx_write;

/* A graph in evaluation form (no bf16, nothing in another layout) and its variables' values as an .onnx file. */
rt_status rt_onnx_export_graph(rt_graph *graph, const char *path, const rt_onnx_write *how);

#endif
