/* Training runs from inside: settings, interruption, parts of a step, averages, what isn't finite, failing memory. */
#include "base/alloc.h"
#include "data_dir.h"
#include "runs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

/* A small run into `directory`, with more settings in pairs of words up to NULL. */
static rt_status train(const char *directory, rt_listener *listen, void *context, rt_train_report *report, ...) {
  const rt_pair base[] = {{"model", "mlp:hidden=16"},
                          {"data", "synthetic"},
                          {"data_options", "shape=1,6,6 images=240 test_images=60 noise=24"},
                          {"batch", "24"},
                          {"epochs", "2"},
                          {"lr", "0.05"},
                          {"precision", "fp32"},
                          {"out", directory}};
  va_list more;
  va_start(more, report);
  rt_status s = run_train(base, 8, listen, context, report, more);
  va_end(more);
  return s;
}

static void settings(void **state) {
  (void)state;
  for (int i = 0; i < rt_train_setting_count(); i++) {
    rt_setting a, b;
    run_good(rt_train_setting(i, &a));
    assert_true(a.name && a.fallback && a.help && a.argument);
    for (int k = 0; k < i; k++) {
      run_good(rt_train_setting(k, &b));
      assert_string_not_equal(a.name, b.name);
    }
  }
  rt_setting none;
  run_says(RT_E_RANGE, rt_train_setting(rt_train_setting_count(), &none), "no number");
  data_dir_make();
  const char *out = data_dir_path("run");
  run_says(RT_E_ARGUMENT, train(out, NULL, NULL, NULL, "wieght_decay", "1", NULL), "did you mean weight_decay");
  run_says(RT_E_ARGUMENT, train(out, NULL, NULL, NULL, "lr", "-1", NULL), "lr=-1: expected auto, or a number");
  run_says(RT_E_ARGUMENT, train(out, NULL, NULL, NULL, "order_seed", "1.5", NULL), "a whole number");
  run_says(RT_E_ARGUMENT, train(out, NULL, NULL, NULL, "optimizer_options", "beta3=1", NULL), "did you mean beta");
  run_says(RT_E_ARGUMENT, train(out, NULL, NULL, NULL, "model", "", NULL), "model is missing");
  run_says(RT_E_ARGUMENT,
           train(out, NULL, NULL, NULL, "data_options", "shape=1,1,36 images=240", "tta", "flip+translate", NULL),
           "images of 1x36 can't be moved");
  data_dir_remove();
}

/* Stops after so many steps. */
static bool stop_at(void *context, const rt_news *news) {
  return news->kind != RT_NEWS_STEP || news->step != *(const int64_t *)context;
}

static void interruption(void **state) {
  (void)state;
  rt_train_report report;
  char whole[1024], parts[1024];
  data_dir_make();
  snprintf(whole, sizeof whole, "%s", data_dir_path("whole"));
  snprintf(parts, sizeof parts, "%s", data_dir_path("parts"));
  run_good(train(whole, NULL, NULL, &report, NULL));
  assert_int_equal(report.steps, 18); /* 216 images of 240 are not held out: 9 batches, twice */
  assert_int_equal(report.test.images, 60);
  assert_int_equal(report.validation.images, 24);
  assert_false(report.interrupted);
  for (int64_t at = 1; at < 18; at += 4) {
    run_good(train(parts, stop_at, &at, &report, "resume", "true", NULL));
    assert_true(report.interrupted);
    assert_int_equal(report.steps, at);
  }
  run_good(train(parts, NULL, NULL, &report, "resume", "true", NULL));
  assert_false(report.interrupted);
  const char *const tensors[] = {"0.weight", "0.bias", "2.weight", "2.bias"};
  for (int i = 0; i < 4; i++) {
    assert_true(run_apart(whole, "model.last.pth", tensors[i], parts, "model.last.pth", tensors[i]) == 0);
    assert_true(run_apart(whole, "model.best.pth", tensors[i], parts, "model.best.pth", tensors[i]) == 0);
  }
  assert_true(run_apart(whole, "checkpoint.safetensors", "state/0.weight.momentum", parts, "checkpoint.safetensors",
                        "state/0.weight.momentum") == 0);
  run_says(RT_E_ARGUMENT, train(parts, NULL, NULL, NULL, NULL), "there is a run already");
  run_says(RT_E_ARGUMENT, train(parts, NULL, NULL, NULL, "resume", "true", "seed", "3", NULL), "has seed=0, not 3");
  data_dir_remove();
}

/* A step made in parts is the same step, but for rounding. */
static void parts_of_a_step(void **state) {
  (void)state;
  char one[1024], three[1024], other[1024];
  data_dir_make();
  snprintf(one, sizeof one, "%s", data_dir_path("one"));
  snprintf(three, sizeof three, "%s", data_dir_path("three"));
  snprintf(other, sizeof other, "%s", data_dir_path("other"));
  run_good(train(one, NULL, NULL, NULL, "batch", "25", NULL));
  run_good(train(three, NULL, NULL, NULL, "batch", "25", "accumulate", "3", NULL)); /* 9, 9 and 7 images */
  run_good(train(other, NULL, NULL, NULL, "batch", "25", "order_seed", "5", NULL));
  double rounding = run_apart(one, "model.last.pth", "0.weight", three, "model.last.pth", "0.weight");
  double order = run_apart(one, "model.last.pth", "0.weight", other, "model.last.pth", "0.weight");
  assert_true(rounding < 1e-5);
  assert_true(order > 1e-3);
  data_dir_remove();
}

static void averages(void **state) {
  (void)state;
  char out[1024];
  data_dir_make();
  snprintf(out, sizeof out, "%s", data_dir_path("ema"));
  run_good(train(out, NULL, NULL, NULL, "ema", "0.9", "augment", "mixup=0.5", NULL));
  assert_true(run_apart(out, "model.last.pth", "0.weight", out, "checkpoint.safetensors", "state/0.weight.ema") == 0);
  assert_true(run_apart(out, "model.last.pth", "0.weight", out, "checkpoint.safetensors", "0.weight") > 0);
  rt_file *file = run_file(out, "model.last.pth");
  assert_string_equal(rt_file_metadata(file, "model"), "mlp");
  assert_string_equal(rt_file_metadata(file, "options"), "classes=10 hidden=16");
  assert_string_equal(rt_file_metadata(file, "input"), "1x6x6");
  assert_int_equal(rt_file_count(file), 4);
  rt_file_free(file);
  data_dir_remove();
}

static void not_finite(void **state) {
  (void)state;
  char out[1024];
  data_dir_make();
  snprintf(out, sizeof out, "%s", data_dir_path("inf"));
  run_says(RT_E_DIVERGED,
           train(out, NULL, NULL, NULL, "checkpoint_steps", "4", "schedule", "step every=50% gamma=1e30", NULL),
           "the last good checkpoint stays");
  assert_non_null(strstr(rt_error(), "(epoch 2): the loss (cross_entropy) is"));
  assert_non_null(strstr(rt_error(), "(linear)"));
  rt_file *file = run_file(out, "checkpoint.safetensors");
  int64_t n;
  float *x = run_tensor(file, "0.weight", &n);
  for (int64_t i = 0; i < n; i++) assert_true(isfinite(x[i]));
  free(x);
  rt_file_free(file);
  data_dir_remove();
}

/* One allocation of a run fails, here and there: an error, nothing lost, and no run that can't go on. */
/* Whitened patches have the unit matrix as second moments, half of the filters are the others' negatives, and training
 * leaves them; a run that begins elsewhere doesn't look at its images. */
static void whitening(void **state) {
  (void)state;
  enum { N = 4, SIDE = 10, IMAGES = 200 };
  char run[1024], again[1024], weights[1200];
  const char *data_options = "shape=1,10,10 images=200 test_images=20 noise=24";
  data_dir_make();
  snprintf(run, sizeof run, "%s", data_dir_path("white"));
  snprintf(again, sizeof again, "%s", data_dir_path("again"));
  run_good(train(run, NULL, NULL, NULL, "model", "whitened_cnn:width=4", "data_options", data_options, "epochs", "1",
                 "validation", "0", NULL));
  rt_file *file = run_file(run, "model.last.pth");
  rt_data *data;
  rt_loader *loader;
  rt_batch b;
  int64_t n;
  double moments[N][N] = {{0}};
  float *w = run_tensor(file, "whiten.weight", &n);
  assert_int_equal(n, 8 * N);
  for (int i = 0; i < 4 * N; i++) assert_true(w[i] == -w[4 * N + i]);
  char options[256];
  snprintf(options, sizeof options, "%s validation=0", data_options);
  run_good(rt_data_open("synthetic", options, &data));
  run_good(rt_loader_new(data, RT_TRAIN, "batch=200", NULL, &loader));
  run_good(rt_loader_next(loader, &b));
  for (int64_t p = 0; p < IMAGES * (SIDE - 1) * (SIDE - 1); p++) {
    const float *x =
        b.x + p / ((SIDE - 1) * (SIDE - 1)) * SIDE * SIDE + p / (SIDE - 1) % (SIDE - 1) * SIDE + p % (SIDE - 1);
    double z[N];
    for (int f = 0; f < N; f++)
      z[f] = (double)(w[f * 4] * x[0] + w[f * 4 + 1] * x[1] + w[f * 4 + 2] * x[SIDE] + w[f * 4 + 3] * x[SIDE + 1]);
    for (int i = 0; i < N * N; i++) moments[i / N][i % N] += z[i / N] * z[i % N] / (IMAGES * (SIDE - 1) * (SIDE - 1));
  }
  for (int i = 0; i < N * N; i++)
    if (fabs(moments[i / N][i % N] - (i / N == i % N)) > 0.02)
      fail_msg("moment %d, %d is %g", i / N, i % N, moments[i / N][i % N]);
  free(w);
  rt_loader_free(loader);
  rt_data_free(data);
  rt_file_free(file);
  snprintf(weights, sizeof weights, "%s/model.last.pth", run);
  run_good(train(again, NULL, NULL, NULL, "model", "whitened_cnn:width=4", "data_options",
                 "shape=1,10,10 images=200 noise=90", "epochs", "1", "init", weights, NULL));
  assert_true(run_apart(run, "model.last.pth", "whiten.weight", again, "model.last.pth", "whiten.weight") == 0);
  assert_true(run_apart(run, "model.last.pth", "whiten.bias", again, "model.last.pth", "whiten.bias") > 0);
  data_dir_remove();
}

static void failing_memory(void **state) {
  (void)state;
  char out[1024];
  int64_t before = rt_alloc_count().live, calls = rt_alloc_count().calls;
  data_dir_make();
  snprintf(out, sizeof out, "%s", data_dir_path("memory"));
  run_good(train(data_dir_path("all"), NULL, NULL, NULL, "epochs", "1", "ema", "0.9", NULL));
  calls = rt_alloc_count().calls - calls;
  int failures = 0;
  for (int64_t after = 0; after < calls; after += 1 + after / 40) {
    rt_alloc_fail_after(after);
    rt_status s = train(out, NULL, NULL, NULL, "epochs", "1", "ema", "0.9", "resume", "true", NULL);
    rt_alloc_fail_after(-1);
    assert_int_equal(rt_alloc_count().live, before);
    if (s == RT_OK) break;
    if (s != RT_E_MEMORY && !strstr(rt_error(), "memory")) /* libpng's own sentence */
      fail_msg("allocation %lld of %lld: %s", (long long)after, (long long)calls, rt_error());
    failures++;
  }
  assert_true(failures > 40);
  run_good(train(out, NULL, NULL, NULL, "epochs", "1", "ema", "0.9", "resume", "true", NULL));
  data_dir_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(settings),        cmocka_unit_test(interruption),
                                     cmocka_unit_test(parts_of_a_step), cmocka_unit_test(averages),
                                     cmocka_unit_test(whitening),       cmocka_unit_test(not_finite),
                                     cmocka_unit_test(failing_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
