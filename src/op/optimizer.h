/* What optimizer rows share: a few scalars, then for each parameter tensors of its shape, "w g states…".
 * Outputs are the new w and states of every group, and take over the old ones' memory. */
#ifndef RT_OP_OPTIMIZER_H
#define RT_OP_OPTIMIZER_H

#include "op/layer.h"

typedef struct rt_optimizer_form {
  int scalars, states;
} rt_optimizer_form;

static inline int rt_optimizer_outputs(rt_optimizer_form f, int n_in) {
  return (n_in - f.scalars) / (2 + f.states) * (1 + f.states);
}

/* Input that output `out` is the new value of. */
static inline int rt_optimizer_input(rt_optimizer_form f, int out) {
  int group = out / (1 + f.states), which = out % (1 + f.states);
  return f.scalars + group * (2 + f.states) + (which ? which + 1 : 0);
}

rt_status rt_optimizer_infer(rt_infer *c, rt_optimizer_form form);

/* New values of one element: v = {w, states…}, g its gradient, s the scalars. */
typedef void rt_optimizer_step(double *v, double g, const double *s, const void *attr);
rt_status rt_optimizer_reference(const rt_call *c, rt_optimizer_form form, rt_optimizer_step *step);

#endif
