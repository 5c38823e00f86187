/* One loss of arrays in files, built and run. */
#ifndef CLI_LOSS_FILES_H
#define CLI_LOSS_FILES_H

#include "command.h"

typedef struct loss_files { /* paths; layers: with commas between them; NULL: none */
  const char *student, *teacher, *labels, *student_layers, *teacher_layers;
} loss_files;

enum { MOST_LOSS_LAYERS = 8, MOST_LOSS_ARRAYS = 2 * MOST_LOSS_LAYERS + 3 };

typedef struct loss_array {
  char name[32]; /* of the input */
  void *data;
  rt_file_info info; /* name: the path as given */
  int64_t dim[8];
  rt_value *value;
  bool student; /* gets a gradient */
} loss_array;

typedef struct loss_run {
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
  loss_array array[MOST_LOSS_ARRAYS];
  int arrays, gradients;
  const char *gradient_of[MOST_LOSS_ARRAYS]; /* the student's inputs that get one */
} loss_run;

/* EXIT_DONE, or a complaint and an empty run. */
int loss_run_open(loss_run *run, const char *term, const loss_files *files, bool gradient, bool reference);
void loss_run_close(loss_run *run);
rt_status loss_run_value(const loss_run *run, double *out);
rt_status loss_run_gradient(const loss_run *run, int i, rt_result *out);

#endif
