/* What a row's export works with. A node of ours becomes one or several of theirs; values keep their names. */
#ifndef RT_ONNX_EXPORT_H
#define RT_ONNX_EXPORT_H

#include "onnx/model.h"
#include "op/op.h"

typedef struct rt_onnx_names {
  const char **name;
  size_t n, capacity;
} rt_onnx_names;

struct rt_onnx_export {
  rt_graph *g;
  rt_arena arena;
  int64_t opset;
  bool *live;              /* by node id: it is written */
  const char **value_name; /* by value id; NULL until somebody asks */
  Rt__Onnx__Graph graph;
  size_t node_capacity, tensor_capacity;
  rt_onnx_names tensors, nodes; /* that are taken: each is unique */
  rt_strbuf refused;            /* "op "name" (reason); …" */
  int n_refused;
  rt_status status;    /* sticky: no memory */
  const rt_node *node; /* in hand */
};

/* The node in hand can't be written, and why; all of them are found. */
void rt_onnx_cannot(rt_onnx_export *e, const char *why, ...) __attribute__((format(printf, 2, 3)));

/* Names: of a value (constants become initializers when they are first asked for), and new ones. */
const char *rt_onnx_name_of(rt_onnx_export *e, const rt_value *value);
const char *rt_onnx_in_name(rt_onnx_export *e, int i); /* of input i of the node in hand; "" where it is left out */
const char *rt_onnx_new_name(rt_onnx_export *e, const char *base);
const char *rt_onnx_floats(rt_onnx_export *e, const float *v, int64_t n, int rank); /* rank 0 or 1: an initializer */
const char *rt_onnx_byte(rt_onnx_export *e, int64_t v);                             /* u8, a scalar */
const char *rt_onnx_words(rt_onnx_export *e, const int32_t *v, int64_t n);          /* s32, rank 1 */
const char *rt_onnx_variable(rt_onnx_export *e, const rt_var *var);        /* one that the graph doesn't read itself */
const char *rt_onnx_whole(rt_onnx_export *e, const int64_t *v, int64_t n); /* s64, rank 1 */

/* A node of theirs, as the list of inputs ends with NULL. rt_onnx_put makes the node's own output (the first); rt_onnx_via
 * an intermediate tensor, whose name it returns. */
rt_onnx_node *rt_onnx_put(rt_onnx_export *e, const char *op, ...) __attribute__((sentinel));
const char *rt_onnx_via(rt_onnx_export *e, const char *op, ...) __attribute__((sentinel));
rt_onnx_node *rt_onnx_put_list(rt_onnx_export *e, const char *op); /* of all inputs of the node in hand */
rt_onnx_node *rt_onnx_last(rt_onnx_export *e);                     /* the node that was put last, for its attributes */
/* Attributes of the pool that was put last; `mean`: it is an average. */
void rt_onnx_set_pool(rt_onnx_export *e, const rt_pool2d_attr *attr, bool mean);
/* adaptive_avg_pool2d as theirs: windows of one size where the image divides into them. */
const char *rt_onnx_adaptive_op(const rt_adaptive_pool2d_attr *attr);
void rt_onnx_set_adaptive(rt_onnx_export *e, const rt_adaptive_pool2d_attr *attr);
void rt_onnx_set_int(rt_onnx_export *e, rt_onnx_node *node, const char *name, int64_t v);
void rt_onnx_set_float(rt_onnx_export *e, rt_onnx_node *node, const char *name, double v);
void rt_onnx_set_text(rt_onnx_export *e, rt_onnx_node *node, const char *name, const char *text);
void rt_onnx_set_ints(rt_onnx_export *e, rt_onnx_node *node, const char *name, const int64_t *v, int n);

/* sum + residual (input `residual`, if it is there), then relu where `activation` says so: as the node's own output. `sum` is
 * a tensor's name. */
bool rt_onnx_has_tail(const rt_onnx_export *e, int residual, int activation);
void rt_onnx_tail(rt_onnx_export *e, const char *sum, int residual, int activation);

#endif
