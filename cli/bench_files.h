/* Networks from files, side by side. */
#ifndef CLI_BENCH_FILES_H
#define CLI_BENCH_FILES_H

#include "command.h"

typedef struct bench_files {
  const char *batches; /* "1,64" */
  double seconds;      /* each network and batch */
  bool per_layer, json;
  const char *data, *data_options; /* NULL: accuracy isn't looked at */
} bench_files;

/* The networks are opened as the options of weights.h say. */
int bench_files_run(const char *const *paths, int n, const bench_files *o);

/* The steps of a plan that was profiled, on standard error. */
void bench_print_layers(const rt_plan *plan);

#endif
