/* Metrics beside numbers computed by hand. */
#include "base/alloc.h"
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above before it */
#include <math.h>
#include <string.h>

static void near(double is, double should) {
  if (fabs(is - should) > 1e-12 * fmax(1, fabs(should))) fail_msg("is %.17g, should be %.17g", is, should);
}

/* Logits ln p have the softmax p where the p of an image sum to 1. */
static void counts_by_hand(void **state) {
  enum { C = 6, N = 4 };
  const double p[N][C] = {
      {0.50, 0.10, 0.10, 0.10, 0.10, 0.10}, /* label 0: right, confidence 0.5: bin 7, (7/15, 8/15] */
      {0.05, 0.60, 0.15, 0.08, 0.07, 0.05}, /* label 2: second, taken for 1, 0.6 = 9/15 … */
      {0.30, 0.25, 0.20, 0.12, 0.08, 0.05}, /* label 5: last, not among five, 0.3 */
      {0.02, 0.02, 0.02, 0.02, 0.02, 0.90}, /* label 5: right, 0.9 */
  };
  const int64_t label[N] = {0, 2, 5, 5};
  float logits[N][C];
  double q[N][C], loss = 0;
  for (int i = 0; i < N; i++) {
    double sum = 0;
    for (int c = 0; c < C; c++) logits[i][c] = (float)log(p[i][c]);
    for (int c = 0; c < C; c++) sum += exp((double)logits[i][c]);
    for (int c = 0; c < C; c++) q[i][c] = exp((double)logits[i][c]) / sum; /* what rounding to float made of p */
    loss -= log(q[i][label[i]]);
  }
  rt_metrics *m;
  rt_score s;
  assert_int_equal(rt_metrics_new(C, &m), RT_OK);
  rt_metrics_score(m, &s);
  assert_true(s.images == 0 && s.loss == 0 && s.top1 == 0);
  assert_int_equal(rt_metrics_add(m, logits[0], label, 3), RT_OK);
  assert_int_equal(rt_metrics_add(m, logits[3], label + 3, 1), RT_OK);
  rt_metrics_score(m, &s);
  assert_int_equal(s.images, 4);
  assert_int_equal(s.correct, 2);
  assert_int_equal(s.correct5, 3);
  near(s.top1, 0.5);
  near(s.top5, 0.75);
  near(s.loss, loss / 4);
  /* four different bins: |1 − 0.5| + |0 − 0.6| + |0 − 0.3| + |1 − 0.9| over 4 */
  near(s.ece, ((1 - q[0][0]) + q[1][1] + q[2][0] + (1 - q[3][5])) / 4);
  assert_true(fabs(s.ece - 0.375) < 1e-7);
  const int64_t *confusion = rt_metrics_confusion(m);
  for (int i = 0; i < C; i++)
    for (int j = 0; j < C; j++)
      assert_int_equal(confusion[i * C + j],
                       (i == 0 && j == 0) + (i == 2 && j == 1) + (i == 5 && j == 0) + (i == 5 && j == 5));
  rt_metrics_clear(m);
  rt_metrics_score(m, &s);
  assert_true(s.images == 0 && rt_metrics_confusion(m)[0] == 0);
  rt_metrics_free(m);
}

/* Within a bin, differences cancel: two images of confidence ~0.8, one right, give |0.5 − 0.8|, not 0.2 and 0.8. */
static void bins_average_before_comparing(void **state) {
  const float high = (float)log(4), logits[] = {high, 0, high, 0};
  const int64_t label[] = {0, 1};
  double confidence = 1 / (1 + exp(-(double)high));
  rt_metrics *m;
  rt_score s;
  assert_int_equal(rt_metrics_new(2, &m), RT_OK);
  assert_int_equal(rt_metrics_add(m, logits, label, 2), RT_OK);
  rt_metrics_score(m, &s);
  near(s.ece, confidence - 0.5);
  rt_metrics_free(m);
}

static void large_logits_are_stable(void **state) {
  const float logits[] = {1e30f, 0, 0, -3e38f, 3e38f, 0};
  const int64_t label[] = {0, 2};
  rt_metrics *m;
  rt_score s;
  assert_int_equal(rt_metrics_new(3, &m), RT_OK);
  assert_int_equal(rt_metrics_add(m, logits, label, 1), RT_OK);
  rt_metrics_score(m, &s);
  near(s.loss, 0);
  assert_int_equal(rt_metrics_add(m, logits + 3, label + 1, 1), RT_OK);
  rt_metrics_score(m, &s);
  near(s.loss, (double)3e38f / 2);
  rt_metrics_free(m);
}

static void first_of_equals_wins(void **state) {
  const float logits[] = {1, 1, 1, 1, 1, 1, 1};
  rt_metrics *m;
  rt_score s;
  assert_int_equal(rt_metrics_new(7, &m), RT_OK);
  for (int64_t label = 0; label < 7; label++) assert_int_equal(rt_metrics_add(m, logits, &label, 1), RT_OK);
  rt_metrics_score(m, &s);
  assert_int_equal(s.correct, 1);
  assert_int_equal(s.correct5, 5);
  near(s.loss, log(7));
  near(s.ece, 0); /* confidence 1/7, and 1 of 7 right */
  rt_metrics_free(m);
}

static void refuses(rt_metrics *m, const float *logits, const int64_t *label, int64_t n, const char *fragment) {
  rt_score s;
  assert_int_equal(rt_metrics_add(m, logits, label, n), RT_E_RANGE);
  if (!strstr(rt_error(), fragment)) fail_msg("\"%s\" isn't in: %s", fragment, rt_error());
  rt_metrics_score(m, &s);
  assert_int_equal(s.images, 0);
}

static void refuses_what_makes_no_sense(void **state) {
  const float good[] = {1, 2, 3, 4}, bad[] = {1, 2, NAN, 4}, endless[] = {1, INFINITY, 3, 4};
  rt_metrics *m;
  assert_int_equal(rt_metrics_new(2, &m), RT_OK);
  refuses(m, good, (int64_t[]){0, 2}, 2, "image 1 of a batch has the label 2: expected 0 to 1");
  refuses(m, good, (int64_t[]){-1, 0}, 2, "label -1");
  refuses(m, bad, (int64_t[]){0, 1}, 2, "image 1 of a batch has the logit nan for class 0");
  refuses(m, endless, (int64_t[]){0, 1}, 2, "inf");
  rt_metrics_free(m);
  assert_int_equal(rt_metrics_new(0, &m), RT_E_ARGUMENT);
  assert_int_equal(rt_metrics_new(INT64_MAX, &m), RT_E_ARGUMENT);
  assert_null(m);
}

static void json_tells_it_all(void **state) {
  const char *const names[] = {"a \"cat\"", "dog"};
  const float logits[] = {0, 0, 0, 0};
  char *text;
  rt_metrics *m;
  assert_int_equal(rt_metrics_new(2, &m), RT_OK);
  assert_int_equal(rt_metrics_add(m, logits, (int64_t[]){0, 1}, 2), RT_OK);
  assert_int_equal(rt_metrics_json(m, names, true, &text), RT_OK);
  assert_string_equal(text,
                      "{\"images\":2,\"correct\":1,\"top1\":0.5,\"top5\":1,\"loss\":0.69314718055994529,\"ece\":0,"
                      "\"classes\":[{\"name\":\"a \\\"cat\\\"\",\"images\":1,\"correct\":1,\"accuracy\":1},"
                      "{\"name\":\"dog\",\"images\":1,\"correct\":0,\"accuracy\":0}],"
                      "\"confusion\":[[1,0],[1,0]]}");
  rt_text_free(text);
  assert_int_equal(rt_metrics_json(m, NULL, false, &text), RT_OK);
  assert_null(strstr(text, "classes"));
  rt_text_free(text);
  rt_metrics_free(m);
}

static void memory_may_run_out(void **state) {
  int64_t live = rt_alloc_count().live;
  rt_metrics *m;
  for (int after = 0; after < 2; after++) {
    rt_alloc_fail_after(after);
    assert_int_equal(rt_metrics_new(10, &m), RT_E_MEMORY);
    assert_null(m);
    rt_alloc_fail_after(-1);
    assert_int_equal(rt_alloc_count().live, live);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counts_by_hand),
      cmocka_unit_test(bins_average_before_comparing),
      cmocka_unit_test(large_logits_are_stable),
      cmocka_unit_test(first_of_equals_wins),
      cmocka_unit_test(refuses_what_makes_no_sense),
      cmocka_unit_test(json_tells_it_all),
      cmocka_unit_test(memory_may_run_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
