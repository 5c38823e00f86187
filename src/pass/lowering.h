/* What lowering to int8 shares with its twins in float, which take the same decisions: lower_int8.c says what becomes of a node,
 * twins.c what they make of it instead. */
#ifndef RT_PASS_LOWERING_H
#define RT_PASS_LOWERING_H

#include "pass/pass.h"

/* A value of the old graph on a grid. */
typedef struct rt_quantized {
  rt_value *q; /* NULL: it isn't quantized */
  double scale;
  int zero_point;
  rt_value *found_scale, *found_zero; /* of a dynamic one, f32 scalars; NULL: the numbers are known */
} rt_quantized;

/* A variable that the step changes, and what it becomes. */
typedef struct rt_change {
  rt_value *variable, *value;
} rt_change;

typedef struct rt_lowering {
  const rt_graph *from;
  const rt_int8_table *table;
  bool fake; /* the twin that trains: values on grids are floats */
  bool twin; /* the twin that checks: they are levels, and what is made of them is computed in float */
  rt_grids grids;
  rt_rewrite rw;
  rt_quantized *grid;    /* by old value id */
  const rt_node **reads; /* by old value id: the one node that reads it; NULL: none, or several, or it is marked */
  int *readers;          /* by old value id: products in int8, and nodes that move levels or regrid them */
  bool *levels;          /* by old value id: a product or nodes like these behind it make it, so it can be on a grid */
  rt_change *change;     /* of observed grids: four each; they come after every other node */
  int n_changes;
} rt_lowering;

typedef struct rt_product {
  const rt_node *node, *norm, *act; /* norm: batch norm of a training graph, act: relu or relu6; NULL: none */
  const rt_int8_node *row;          /* of node */
  const rt_quantized *x, *residual; /* residual: NULL where there is none on a grid */
  rt_quantized framed;              /* a dynamic x with zeros around it */
  rt_quantized y;                   /* q NULL: y is f32, scale 1 */
} rt_product;

/* Where a layer and a batch norm have what is added to them. */
enum { RT_CONV_RESIDUAL = 3, RT_NORM_RESIDUAL = 5 };

/* ---- lower_int8.c ---- */

rt_status rt_lower_run(rt_lowering *l, rt_store *to, rt_graph **out);
/* An old value in floats; NULL where a variable wasn't met before. */
rt_value *rt_lower_as_float(rt_lowering *l, const rt_value *v);
rt_value *rt_lower_cast(rt_graph *g, const char *name, rt_dtype dtype, rt_value *v);

/* ---- twins.c ---- */

/* The twin that trains: a float brought onto a grid of the run's; a product with what follows it, brought onto the row's grid (NULL: none). */
rt_value *rt_fake_rounded(rt_lowering *l, const rt_int8_node *row, rt_value *x);
rt_value *rt_fake_product(rt_lowering *l, const rt_product *p, rt_value *residual, const rt_int8_node *row);
/* The twin that checks: levels of the float product's weight, rounded as training rounds it; what one of each filter is worth; the bias. */
rt_value *rt_twin_weight(rt_lowering *l, const rt_product *p, rt_value **scale, rt_value **bias);
/* What an int8 op makes of x, weight, scale, bias and residual (see rt_int8_attr), in float, in the order of its operations. */
rt_value *rt_twin_product(rt_lowering *l, const rt_product *p, const rt_conv2d_int8_attr *attr, rt_value *const in[5]);

#endif
