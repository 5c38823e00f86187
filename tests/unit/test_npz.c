/* Data sets from NumPy's arrays: shapes, kinds of numbers, names, and what is refused. */
#include "data/data.h"
#include "data_dir.h"
#include "retort.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

enum { N = 20 };

static const int64_t labels[N] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};

static rt_array array(const char *name, rt_dtype dtype, int rank, const int64_t *dim, const void *data) {
  return (rt_array){.name = name, .dtype = dtype, .rank = rank, .dim = dim, .data = data};
}

/* Write arrays as a .npz and open it. */
static rt_status open_arrays(const rt_array *arrays, int n, const char *options, rt_data **out) {
  char text[600];
  const char *path = data_dir_path("data.npz");
  assert_int_equal(rt_file_write(path, arrays, n, NULL, 0), RT_OK);
  snprintf(text, sizeof text, "npz:%s", path);
  return rt_data_open(text, options, out);
}

static void first_batch(const rt_data *data, rt_split split, float *x, int64_t n) {
  rt_loader *loader;
  rt_batch batch;
  assert_int_equal(rt_loader_new(data, split, "ahead=0", NULL, &loader), RT_OK);
  assert_int_equal(rt_loader_next(loader, &batch), RT_OK);
  memcpy(x, batch.x, (size_t)n * sizeof *x);
  rt_loader_free(loader);
}

static void bytes(void **state) {
  static uint8_t planes[N * 3 * 2 * 4], last[N * 2 * 4 * 3];
  float a[24], b[24];
  rt_data *data;
  rt_data_info info;
  for (int i = 0; i < N; i++)
    for (int k = 0; k < 24; k++) {
      planes[i * 24 + k] = (uint8_t)(i + 7 * k);
      last[i * 24 + k % 8 * 3 + k / 8] = planes[i * 24 + k];
    }
  rt_array arrays[] = {array("X", RT_U8, 4, (int64_t[]){N, 3, 2, 4}, planes),
                       array("y", RT_S64, 1, (int64_t[]){N}, labels)};
  if (open_arrays(arrays, 2, "validation=0 test=0", &data) != RT_OK) fail_msg("%s", rt_error());
  rt_data_describe(data, &info);
  assert_true(info.dtype == RT_U8 && info.channels == 3 && info.height == 2 && info.width == 4 && info.classes == 4);
  assert_true(info.count[RT_TRAIN] == N && info.count[RT_TEST] == 0);
  first_batch(data, RT_TRAIN, a, 24);
  rt_data_free(data);
  arrays[0] = array("X", RT_U8, 4, (int64_t[]){N, 2, 4, 3}, last);
  assert_int_equal(open_arrays(arrays, 2, "validation=0 test=0", &data), RT_OK);
  first_batch(data, RT_TRAIN, b, 24);
  rt_data_free(data);
  assert_memory_equal(a, b, sizeof a);
}

/* What is open already is shared, unless it is read in another way. */
static void shared(void **state) {
  static uint8_t x[N * 3 * 4 * 3];
  rt_data *one, *same, *other;
  const rt_array arrays[] = {array("X", RT_U8, 4, (int64_t[]){N, 3, 4, 3}, x),
                             array("y", RT_S64, 1, (int64_t[]){N}, labels)};
  assert_int_equal(open_arrays(arrays, 2, "order=chw", &one), RT_OK);
  char text[600];
  snprintf(text, sizeof text, "npz:%s", data_dir_path("data.npz"));
  assert_int_equal(rt_data_open(text, "order=chw subset=2", &same), RT_OK);
  assert_int_equal(rt_data_open(text, "order=hwc", &other), RT_OK);
  assert_ptr_equal(one->pixel, same->pixel);
  assert_true(other->pixel != one->pixel && one->width == 3 && other->width == 4);
  rt_data_free(one);
  rt_data_free(other);
  rt_data_free(same);
}

static void floats(void **state) {
  double x[N][5];
  float row[5];
  rt_data *data;
  rt_data_info info;
  for (int i = 0; i < N; i++)
    for (int k = 0; k < 5; k++) x[i][k] = 100 * sin(i + k);
  const rt_array arrays[] = {
      array("x_train", RT_F64, 2, (int64_t[]){N, 5}, x), array("y_train", RT_S64, 1, (int64_t[]){N}, labels),
      array("x_test", RT_F64, 2, (int64_t[]){4, 5}, x), array("y_test", RT_S64, 1, (int64_t[]){4}, labels)};
  if (open_arrays(arrays, 4, "validation=0", &data) != RT_OK) fail_msg("%s", rt_error());
  rt_data_describe(data, &info);
  assert_true(info.dtype == RT_F32 && info.channels == 1 && info.height == 1 && info.width == 5);
  assert_true(info.count[RT_TRAIN] == N && info.count[RT_TEST] == 4);
  first_batch(data, RT_TEST, row, 5);
  for (int k = 0; k < 5; k++) assert_true(fabsf(row[k] - ((float)x[0][k] - info.mean[0]) / info.deviation[0]) < 1e-5f);
  rt_loader *loader;
  assert_int_equal(rt_loader_new(data, RT_TRAIN, NULL, "hue=0.1", &loader), RT_E_UNSUPPORTED);
  rt_data_free(data);
}

static void refused(void **state) {
  static const uint8_t x[N * 4];
  static const float real[N];
  const int64_t shape[] = {N, 4}, all[] = {N}, few[] = {N - 1};
  int64_t negative[N] = {0};
  negative[3] = -2;
  const struct {
    rt_array arrays[2];
    int n;
    const char *fragment;
  } bad[] = {
      {{array("Z", RT_U8, 2, shape, x)}, 1, "no array X"},
      {{array("X", RT_U8, 2, shape, x)}, 1, "without its labels"},
      {{array("X", RT_U8, 2, shape, x), array("y", RT_S64, 1, few, labels)}, 2, "N class numbers"},
      {{array("X", RT_U8, 1, all, x), array("y", RT_S64, 1, all, labels)}, 2, "rank 2 to 4"},
      {{array("X", RT_U8, 2, shape, x), array("y", RT_F32, 1, all, real)}, 2, "expected whole numbers"},
      {{array("X", RT_U8, 2, shape, x), array("y", RT_S64, 1, all, negative)}, 2, "y[3] is -2"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    rt_data *data;
    assert_int_not_equal(open_arrays(bad[i].arrays, bad[i].n, NULL, &data), RT_OK);
    if (!strstr(rt_error(), bad[i].fragment)) fail_msg("expected \"%s\" in: %s", bad[i].fragment, rt_error());
  }
}

static int setup(void **state) { return data_dir_make() == NULL; }

static int teardown(void **state) {
  data_dir_remove();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bytes), cmocka_unit_test(shared), cmocka_unit_test(floats),
                                     cmocka_unit_test(refused)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
