/* Schedules against their closed forms. */
#include "base/alloc.h"
#include "optim/optim.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

static double at(const char *text, int64_t step, int64_t total) {
  rt_schedule *s;
  if (rt_schedule_new(text, &s) != RT_OK) fail_msg("%s: %s", text, rt_error());
  double v = rt_schedule_value(s, step, total);
  rt_schedule_free(s);
  return v;
}

static void near(double found, double expected) {
  if (!(fabs(found - expected) <= 1e-12)) fail_msg("expected %.15g, found %.15g", expected, found);
}

static void numbers_are_constant(void **state) {
  near(at("0.25", 0, 10), 0.25);
  near(at(" 4 ", 9, 10), 4);
  near(at("-1e-3", 3, 10), -1e-3);
  near(at("constant", 3, 10), 1);
  near(at("constant value=0.5 warmup=4 from=0.1", 1, 10), 0.2);
}

static void falls(void **state) {
  for (int64_t k = 0; k < 100; k++) {
    double p = (double)k / 100;
    near(at("cosine", k, 100), (1 + cos(M_PI * p)) / 2);
    near(at("cosine value=4 to=1", k, 100), 1 + 3 * (1 + cos(M_PI * p)) / 2);
    near(at("linear value=0.4 to=0.1", k, 100), 0.4 - 0.3 * p);
    near(at("step every=25 gamma=0.5", k, 100), pow(0.5, (double)(k / 25)));
    near(at("step every=30%", k, 100), pow(0.1, (double)(k / 30)));
    near(at("multistep value=2 at=62.5%,75%,90 gamma=0.2", k, 100), 2 * pow(0.2, (k >= 63) + (k >= 75) + (k >= 90)));
  }
}

/* The ramp meets what follows; the fall begins behind it. */
static void warmup_goes_before_any(void **state) {
  for (int64_t k = 0; k < 200; k++) {
    double ramp = (double)k / 10;
    near(at("cosine warmup=5%", k, 200), k < 10 ? ramp : (1 + cos(M_PI * (double)(k - 10) / 190)) / 2);
    near(at("linear warmup=10 from=0.5", k, 200), k < 10 ? 0.5 + 0.5 * ramp : 1 - (double)(k - 10) / 190);
    near(at("multistep warmup=10 at=50%", k, 200), k < 10 ? ramp : k < 100 ? 1 : 0.1);
  }
}

static void one_cycle_ends_low(void **state) {
  near(at("one_cycle value=0.8", 0, 100), 0.8 / 25);
  near(at("one_cycle value=0.8", 29, 100), 0.8);
  near(at("one_cycle value=0.8", 99, 100), 0.8 / 25 / 1e4);
  near(at("one_cycle anneal=linear rise=0.5 div=2 final_div=1", 0, 21), 0.5);
  near(at("one_cycle rise=0", 0, 1), 1.0 / 25 / 1e4);
}

static void steps_are_cut_to_the_run(void **state) {
  for (int i = 0; i < rt_schedule_count(); i++) {
    const char *name = rt_schedule_name(i);
    near(at(name, 1000, 100), at(name, 99, 100));
    near(at(name, -5, 100), at(name, 0, 100));
    assert_true(isfinite(at(name, 0, 0)) && isfinite(at(name, 0, 1)) && isfinite(at(name, 1, 2)));
  }
  assert_null(rt_schedule_name(rt_schedule_count()));
  assert_null(rt_schedule_name(-1));
}

static void bad_text_is_refused(void **state) {
  static const struct {
    const char *text, *sentence;
  } bad[] = {
      {"", "a number, or a name"},
      {"cosin", "did you mean cosine?"},
      {"0.1 warmup=5%", "a number stands alone"},
      {"cosine warm=5", "did you mean warmup?"},
      {"cosine warmup=5x", "warmup=5x: expected steps, as in 500"},
      {"cosine warmup=-1", "expected steps"},
      {"cosine warmup=101%", "more than 100%"},
      {"cosine warmup=1,2", "expected one"},
      {"multistep at=1,,2", "or a list of them"},
      {"multistep at=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "more than 16"},
      {"one_cycle rise=2", "outside 0 to 1"},
      {"constant value=inf", "isn't finite"},
      {"a_name_that_is_much_longer_than_any_schedule", "there is no schedule"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    rt_schedule *s;
    assert_int_not_equal(rt_schedule_new(bad[i].text, &s), RT_OK);
    assert_null(s);
    if (!strstr(rt_error(), bad[i].sentence)) fail_msg("%s: %s", bad[i].text, rt_error());
  }
}

/* Options come out as they went in, those that aren't defaults. */
static void spans_are_printed(void **state) {
  static const char text[] = "warmup=2.5% gamma=0.2 at=10,62.5%,100";
  rt_arena arena = {0};
  for (int i = 0; i < rt_schedule_count(); i++) {
    const rt_optim_row *row = rt_optim_at(i);
    if (strcmp(row->name, "multistep") != 0) continue;
    rt_strbuf out = {0};
    void *options = rt_arena_alloc(&arena, row->options_size);
    assert_int_equal(rt_options_parse(row->options, options, text, &arena, "multistep"), RT_OK);
    rt_options_print(row->options, options, &out);
    assert_string_equal(out.text, text);
    rt_strbuf_release(&out);
  }
  rt_arena_release(&arena);
}

static void allocations_may_fail(void **state) {
  rt_status s = RT_E_MEMORY;
  for (int n = 0; s != RT_OK; n++) {
    rt_schedule *made;
    rt_alloc_fail_after(n);
    s = rt_schedule_new("multistep at=10,50%", &made);
    rt_alloc_fail_after(-1);
    assert_true(n < 10 && (s == RT_OK || (s == RT_E_MEMORY && !made)));
    rt_schedule_free(made);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_are_constant),     cmocka_unit_test(falls),
      cmocka_unit_test(warmup_goes_before_any),   cmocka_unit_test(one_cycle_ends_low),
      cmocka_unit_test(steps_are_cut_to_the_run), cmocka_unit_test(bad_text_is_refused),
      cmocka_unit_test(spans_are_printed),        cmocka_unit_test(allocations_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
