/* Observers against known answers, and against searches that look at every value. */
#include "base/alloc.h"
#include "calibrate/bins.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

static const rt_levels u8 = {0, 255, false}, u7 = {0, 127, false}, s8 = {-127, 127, true};

enum { MANY = 60000 };
static float values[MANY];

static uint32_t state;
static double uniform(void) {
  state = state * 1664525u + 1013904223u;
  return ((state >> 8) + 0.5) * 0x1p-24;
}

static double normal(void) { return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform()); }

static rt_observer *observer(const char *text) {
  rt_observer *o;
  if (rt_observer_new(text, &o) != RT_OK) fail_msg("%s: %s", text, rt_error());
  return o;
}

static void see(rt_observer *o, const float *x, int64_t n) {
  if (rt_observer_see(o, x, n) != RT_OK) fail_msg("%s", rt_error());
}

static rt_range range_of(const char *text, const float *x, int64_t n, rt_levels levels) {
  rt_range r;
  rt_observer *o = observer(text);
  see(o, x, n);
  assert_int_equal(rt_observer_range(o, levels, &r), RT_OK);
  rt_observer_free(o);
  return r;
}

static void near(double found, double expected, double tolerance) {
  if (!(fabs(found - expected) <= tolerance)) fail_msg("expected %.9g, found %.9g", expected, found);
}

/* What quantizing these values over a range loses. */
static double loss_of(const float *x, int64_t n, rt_range r, rt_levels levels) {
  rt_scale s = rt_scale_of(r, levels);
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double q = fmin(fmax(nearbyint(x[i] / s.scale) + s.zero_point, levels.low), levels.high);
    double d = x[i] - (q - s.zero_point) * s.scale;
    sum += d * d;
  }
  return sum;
}

static void scales_hold_zero(void **unused) {
  rt_scale s = rt_scale_of((rt_range){-1, 3}, u8);
  near(s.scale, 4 / 255.0, 1e-15);
  assert_int_equal(s.zero_point, 64); /* -rint(-63.75) */
  s = rt_scale_of((rt_range){2, 4}, u8);
  near(s.scale, 4 / 255.0, 1e-15);
  assert_int_equal(s.zero_point, 0);
  s = rt_scale_of((rt_range){-4, -2}, u7);
  near(s.scale, 4 / 127.0, 1e-15);
  assert_int_equal(s.zero_point, 127);
  s = rt_scale_of((rt_range){-2.54, 1}, s8);
  near(s.scale, 0.02, 1e-15);
  assert_int_equal(s.zero_point, 0);
  s = rt_scale_of((rt_range){0, 0}, u8);
  near(s.scale, 0x1p-23, 0);
}

static void extremes(void **unused) {
  const float first[] = {0.5f, -2, 1}, second[] = {4, 0}, third[] = {-1, 1};
  rt_observer *all = observer("minmax"), *average = observer("moving_average"),
              *fast = observer("moving_average:rate=0.5");
  rt_observer *each[] = {all, average, fast};
  rt_range r[3];
  for (int i = 0; i < 3; i++) {
    see(each[i], first, 3);
    see(each[i], second, 2);
    see(each[i], third, 2);
    assert_int_equal(rt_observer_range(each[i], u8, &r[i]), RT_OK);
    assert_int_equal(rt_observer_count(each[i]), 7);
    rt_observer_free(each[i]);
  }
  near(r[0].low, -2, 0);
  near(r[0].high, 4, 0);
  near(r[1].low, (-2 * 0.99) * 0.99 - 0.01, 1e-12);
  near(r[1].high, (1 + 0.03) * 0.99 + 0.01, 1e-12);
  near(r[2].low, -1, 1e-12); /* -2, -1, -1 */
  near(r[2].high, 1.75, 1e-12);
}

/* Bins merge as the range grows; in whatever order values come, the same counts are the result. */
static void bins_do_not_depend_on_order(void **unused) {
  static rt_bins up, down;
  rt_seen seen = {0};
  state = 7;
  for (int i = 0; i < MANY; i++) values[i] = i % 3 ? (float)(normal() * (i < 20000 ? 0.01 : i < 40000 ? 1 : 30)) : 0;
  for (int k = 0; k < 6; k++) {
    for (int i = 0; i < 10000; i++) {
      seen.all.low = fmin(seen.all.low, values[k * 10000 + i]);
      seen.all.high = fmax(seen.all.high, values[k * 10000 + i]);
    }
    rt_bins_see(&up, NULL, &seen, values + k * 10000, 10000);
  }
  rt_range whole = seen.all;
  for (int k = 5; k >= 0; k--) rt_bins_see(&down, NULL, &seen, values + k * 10000, 10000);
  assert_int_equal(up.exponent, down.exponent);
  assert_int_equal(up.first, down.first);
  assert_memory_equal(up.count, down.count, sizeof up.count);
  assert_int_equal(up.zeros, MANY / 3);
  int64_t counted = up.zeros;
  int used = 0;
  for (int i = 0; i < RT_BINS; i++) {
    int64_t n = 0;
    counted += up.count[i];
    used += up.count[i] > 0;
    if (i % 64) continue; /* a few of them, value by value */
    for (int j = 0; j < MANY; j++)
      n += values[j] != 0 && values[j] >= rt_bin_edge(&up, i) && values[j] < rt_bin_edge(&up, i + 1);
    assert_int_equal(n, up.count[i]);
  }
  assert_int_equal(counted, MANY);
  assert_true(used > 200);
  assert_true(rt_bin_edge(&up, RT_BINS) > whole.high && rt_bin_edge(&up, 0) <= whole.low);
  assert_true((whole.high - whole.low) > (RT_BINS / 2 - 2) * ldexp(1, up.exponent)); /* and are no wider than need be */
}

static void percentiles(void **unused) {
  for (int i = 0; i < MANY; i++) values[i] = (float)(i + 1) / MANY;
  rt_range r = range_of("percentile:percent=99", values, MANY, u8);
  near(r.low, 0, 0);
  near(r.high, 0.99, 1.0 / 1024);
  for (int i = 0; i < MANY; i++) values[i] -= 0.5f;
  r = range_of("percentile:percent=99", values, MANY, u8);
  near(r.low, -0.495, 1.0 / 1024);
  near(r.high, 0.495, 1.0 / 1024);
  for (int i = 0; i < MANY; i++) values[i] = i % 10 ? 0 : values[i] + 0.5f; /* nine of ten are zeros */
  r = range_of("percentile:percent=99", values, MANY, u8);
  near(r.high, 0.9, 1.0 / 1024);
  r = range_of("percentile", values, MANY, u8);
  assert_true(r.high <= 1 && r.high > 0.999);
}

/* No range, from a fine search over the values themselves, is better by much. */
static void histogram_is_the_optimum(void **unused) {
  for (int kind = 0; kind < 3; kind++) {
    state = (uint32_t)kind + 1;
    for (int i = 0; i < MANY; i++) {
      double v = normal();
      values[i] = (float)(kind == 0 ? fmax(v, 0) : kind == 1 ? v * exp(normal()) : v + (i == 5 ? 60 : 0));
    }
    rt_levels levels = kind == 2 ? (rt_levels){0, 31, false} : u8;
    rt_range found = range_of("histogram", values, MANY, levels), all = range_of("minmax", values, MANY, levels);
    double loss = loss_of(values, MANY, found, levels), least = loss_of(values, MANY, all, levels);
    if (kind == 2) assert_true(loss < least / 2); /* one value far away is worth cutting off */
    for (int i = 1; i <= 40; i++)
      for (int j = kind ? 1 : 40; j <= 40; j++)
        least = fmin(least, loss_of(values, MANY, (rt_range){all.low * j / 40, all.high * i / 40}, levels));
    if (!(loss <= least * 1.01)) fail_msg("kind %d: %.6g, the best found otherwise %.6g", kind, loss, least);
  }
}

/* Values of a clamped activation: the highest, which many have, stays on the grid. */
static void histogram_of_clamped_values(void **unused) {
  state = 3;
  for (int i = 0; i < MANY; i++) values[i] = (float)fmin(fmax(4 * normal(), 0), 6);
  rt_range r = range_of("histogram", values, MANY, u8);
  near(r.high, 6, 0.02);
  near(r.low, 0, 0);
}

/* Few values far away are cut off; a flat distribution is kept whole. */
static void entropy(void **unused) {
  state = 11;
  for (int i = 0; i < MANY; i++) values[i] = (float)(i < 2 ? 40 : fabs(normal()));
  rt_range r = range_of("entropy", values, MANY, u8);
  near(r.low, 0, 0);
  assert_true(r.high > 4 && r.high < 10);
  for (int i = 0; i < MANY; i++) values[i] = (float)(2 * uniform() - 1);
  r = range_of("entropy", values, MANY, u8);
  near(r.high, 1, 0.02);
  near(r.low, -1, 0.02);
}

/* Whatever comes, a range holds 0 and lies within what was seen. */
static void any_observer(void **unused) {
  static const float zeros[5], one[] = {3}, below[] = {-1, -2, -2}, tiny[] = {1e-42f, 0}, huge[] = {-3e38f, 3e38f, 1};
  static const struct {
    const float *x;
    int n;
  } inputs[] = {{zeros, 5}, {one, 1}, {below, 3}, {tiny, 2}, {huge, 3}};
  for (int i = 0; rt_observer_at(i); i++) {
    const char *name = rt_observer_at(i)->name;
    for (size_t k = 0; k < sizeof inputs / sizeof *inputs; k++) {
      rt_observer *o = observer(name);
      rt_range r;
      assert_int_equal(rt_observer_range(o, u8, &r), RT_E_ARGUMENT);
      assert_non_null(strstr(rt_error(), "nothing was seen"));
      see(o, inputs[k].x, inputs[k].n);
      see(o, zeros, 5);
      assert_int_equal(rt_observer_range(o, u8, &r), RT_OK);
      rt_range all = rt_observer_extremes(o);
      if (!(r.low <= 0 && r.high >= 0 && r.low >= all.low && r.high <= all.high))
        fail_msg("%s, input %d: range %g to %g of %g to %g", name, (int)k, r.low, r.high, all.low, all.high);
      if (k == 1 && strcmp(name, "entropy") != 0) near(r.high, i == 2 ? 2.97 : 3, i == 3 ? 0.01 : 1e-6);
      assert_true(rt_scale_of(r, u8).scale >= 0x1p-23);
      rt_observer_free(o);
    }
    const float bad[] = {1, 2, NAN}, endless[] = {-INFINITY, 1};
    rt_observer *o = observer(name);
    assert_int_equal(rt_observer_see(o, bad, 3), RT_E_RANGE);
    assert_non_null(strstr(rt_error(), "value 2 of 3 is nan"));
    assert_int_equal(rt_observer_see(o, endless, 2), RT_E_RANGE);
    rt_observer_free(o);
  }
}

static void wrong_texts(void **unused) {
  static const struct {
    const char *text, *sentence;
  } cases[] = {{"histogran", "there is no observer histogran (did you mean histogram?)"},
               {"percentile:percent=20", "percent"},
               {"percentile:parts=20", "parts"},
               {"", "there is no observer"},
               {"minmax:rate=1", "rate"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rt_observer *o;
    assert_int_not_equal(rt_observer_new(cases[i].text, &o), RT_OK);
    assert_null(o);
    if (!strstr(rt_error(), cases[i].sentence)) fail_msg("%s: %s", cases[i].text, rt_error());
  }
}

static void failing_allocations(void **unused) {
  for (int64_t after = 0;; after++) {
    int64_t live = rt_alloc_count().live;
    rt_observer *o;
    rt_alloc_fail_after(after);
    rt_status s = rt_observer_new("percentile:percent=99.9", &o);
    rt_alloc_fail_after(-1);
    rt_observer_free(o);
    assert_int_equal(rt_alloc_count().live, live);
    if (s == RT_OK) break;
    assert_int_equal(s, RT_E_MEMORY);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scales_hold_zero),
      cmocka_unit_test(extremes),
      cmocka_unit_test(bins_do_not_depend_on_order),
      cmocka_unit_test(percentiles),
      cmocka_unit_test(histogram_is_the_optimum),
      cmocka_unit_test(histogram_of_clamped_values),
      cmocka_unit_test(entropy),
      cmocka_unit_test(any_observer),
      cmocka_unit_test(wrong_texts),
      cmocka_unit_test(failing_allocations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
