/* What the caller gave, as the rows want it. */
#ifndef RT_LOSS_INPUTS_H
#define RT_LOSS_INPUTS_H

#include "loss/parts.h"

/* f64 where any input is f64, so that tests can differentiate by differences; else f32. */
rt_dtype rt_loss_dtype(const rt_loss_inputs *in);
/* Give b what its row needs, cast, the teacher's without gradient; or the graph's error. */
void rt_loss_take_inputs(rt_loss_build *b, const rt_loss_row *row, const rt_loss_options *options,
                         const rt_loss_inputs *in);

#endif
