/* A distillation step, to be timed: a student in training form beside a teacher in evaluation form, in one graph. */
#ifndef CLI_DISTILL_STEP_H
#define CLI_DISTILL_STEP_H

#include "network.h"

typedef struct distill_step {
  const char *student, *student_options, *teacher, *teacher_options;
  const char *loss; /* terms with spaces between them */
  const char *optimizer;
  int64_t fed; /* classes of a teacher that runs on its own and is fed as "teacher"; 0: it is in the graph */
} distill_step;

/* `input` is a shape without the batch. On failure the network is empty and the sentence is set. */
rt_status distill_step_open(network *net, const distill_step *step, const int64_t *input, int rank, bool bf16,
                            const rt_plan_options *plan);

#endif
