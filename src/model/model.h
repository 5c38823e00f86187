/* The table of models. Names of layers are those of PyTorch's state dicts. */
#ifndef RT_MODEL_MODEL_H
#define RT_MODEL_MODEL_H

#include "op/op.h"

typedef struct rt_model_row {
  const char *name;
  const char *summary;
  const rt_option *options;
  size_t options_size;
  const void *variant; /* what tells this row from others of its family */
  rt_value *(*build)(rt_graph *graph, rt_value *x, const void *variant, const void *options); /* x → logits */
} rt_model_row;

const rt_model_row *rt_model_at(int i); /* NULL past the end */

#endif
