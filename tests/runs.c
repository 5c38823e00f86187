#include "runs.h"

#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

enum { MOST = 48 };

void run_good(rt_status s) {
  if (s != RT_OK) fail_msg("%s", rt_error());
}

void run_says(rt_status expected, rt_status s, const char *fragment) {
  if (s != expected || !strstr(rt_error(), fragment))
    fail_msg("expected %s with \"%s\", found %s: %s", rt_status_name(expected), fragment, rt_status_name(s),
             rt_error());
}

rt_status run_train(const rt_pair *base, int n, rt_listener *listen, void *context, rt_train_report *report,
                    va_list more) {
  rt_pair pair[MOST];
  memcpy(pair, base, (size_t)n * sizeof *pair);
  for (const char *key; n < MOST && (key = va_arg(more, const char *));)
    pair[n++] = (rt_pair){key, va_arg(more, const char *)};
  return rt_train(pair, n, listen, context, report);
}

static void name_file(char path[1200], const char *directory, const char *name) {
  snprintf(path, 1200, "%s/%s", directory, name);
}

rt_file *run_file(const char *directory, const char *name) {
  char path[1200];
  rt_file *file;
  name_file(path, directory, name);
  run_good(rt_file_open(path, &file));
  return file;
}

float *run_tensor(rt_file *file, const char *name, int64_t *n) {
  rt_file_info info;
  run_good(rt_file_find(file, name, &info));
  assert_int_equal(info.dtype, RT_F32);
  float *x = malloc((size_t)info.bytes + 1);
  assert_non_null(x);
  run_good(rt_file_read(file, name, x, (size_t)info.bytes));
  *n = info.bytes / 4;
  return x;
}

double run_apart(const char *a, const char *file_a, const char *tensor_a, const char *b, const char *file_b,
                 const char *tensor_b) {
  rt_file *f[] = {run_file(a, file_a), run_file(b, file_b)};
  int64_t n, m;
  float *x = run_tensor(f[0], tensor_a, &n), *y = run_tensor(f[1], tensor_b, &m);
  double most = 0;
  assert_int_equal(n, m);
  for (int64_t i = 0; i < n; i++) most = fmax(most, fabs((double)x[i] - (double)y[i]));
  free(x);
  free(y);
  rt_file_free(f[0]);
  rt_file_free(f[1]);
  return most;
}

char *run_text(const char *directory, const char *name) {
  char path[1200];
  name_file(path, directory, name);
  FILE *in = fopen(path, "rb");
  if (!in) fail_msg("%s isn't there", path);
  fseek(in, 0, SEEK_END);
  long size = ftell(in);
  rewind(in);
  char *text = calloc((size_t)size + 1, 1);
  assert_non_null(text);
  assert_int_equal(fread(text, 1, (size_t)size, in), size);
  fclose(in);
  return text;
}
