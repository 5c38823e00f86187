/* What tests of training runs share. */
#ifndef TESTS_RUNS_H
#define TESTS_RUNS_H

#include "retort.h"

#include <stdarg.h>

void run_good(rt_status s);                                           /* or the test fails with the sentence */
void run_says(rt_status expected, rt_status s, const char *fragment); /* a refusal whose sentence has this */
/* rt_train with `base`, and over it pairs of words up to NULL. */
rt_status run_train(const rt_pair *base, int n, rt_listener *listen, void *context, rt_train_report *report,
                    va_list more);
rt_file *run_file(const char *directory, const char *name);
/* The largest difference between two tensors of files in run directories. */
double run_apart(const char *a, const char *file_a, const char *tensor_a, const char *b, const char *file_b,
                 const char *tensor_b);
/* All of a tensor; freed with free. */
float *run_tensor(rt_file *file, const char *name, int64_t *n);
/* All of a text file in a directory; freed with free. */
char *run_text(const char *directory, const char *name);

#endif
