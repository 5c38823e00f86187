#include "base/alloc.h"
#include "base/option.h"
#include "base/rng.h"
#include "base/thread.h"
#include "tensor/tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

/* Known answers of Random123's own test file (kat_vectors, philox4x32-10). */
static void philox(void **state) {
  uint32_t out[4];
  rt_philox((rt_rng){0, 0}, 0, 0, out);
  assert_int_equal(out[0], 0x6627e8d5);
  assert_int_equal(out[1], 0xe169c58d);
  assert_int_equal(out[2], 0xbc57ac4c);
  assert_int_equal(out[3], 0x9b00dbd8);
  rt_philox((rt_rng){UINT64_MAX, 0}, UINT64_MAX, UINT64_MAX, out);
  assert_int_equal(out[0], 0x408f276d);
  assert_int_equal(out[1], 0x41c83b0e);
  assert_int_equal(out[2], 0xa20bc7c6);
  assert_int_equal(out[3], 0x6d5451fd);
}

static void draws(void **state) {
  enum { N = 20000 };
  double sum = 0, square = 0, uniform = 0;
  for (uint64_t i = 0; i < N; i++) {
    double z = (double)rt_normal((rt_rng){1, 2}, 3, i), u = (double)rt_uniform((rt_rng){1, 2}, 3, i);
    assert_true(u >= 0 && u < 1);
    sum += z;
    square += z * z;
    uniform += u;
  }
  assert_true(sum / N > -0.03 && sum / N < 0.03 && square / N > 0.96 && square / N < 1.04);
  assert_true(uniform / N > 0.49 && uniform / N < 0.51);
}

typedef struct sample {
  int64_t count, pair[2];
  rt_ints list;
  double rate;
  bool on;
  int kind;
  const char *text;
} sample;

static const rt_option table[] = {
    {"count", RT_OPT_INT, offsetof(sample, count), "3", 1, 10, NULL, ""},
    {"pair", RT_OPT_PAIR, offsetof(sample, pair), "1", 0, 0, NULL, ""},
    {"list", RT_OPT_INTS, offsetof(sample, list), "", 0, 0, NULL, ""},
    {"rate", RT_OPT_FLOAT, offsetof(sample, rate), "0.5", 0, 1, NULL, ""},
    {"on", RT_OPT_BOOL, offsetof(sample, on), "false", 0, 0, NULL, ""},
    {"kind", RT_OPT_CHOICE, offsetof(sample, kind), "none", 0, 0, "none|tanh", ""},
    {"text", RT_OPT_TEXT, offsetof(sample, text), "", 0, 0, NULL, ""},
    {0},
};

static void options(void **state) {
  rt_arena arena = {0};
  sample s = {0};
  rt_strbuf printed = {0};
  assert_int_equal(rt_options_parse(table, &s, " pair=2,3 list=4,-5,6 on=true  kind=tanh text=a=b", &arena, "t"),
                   RT_OK);
  assert_true(s.count == 3 && s.pair[0] == 2 && s.pair[1] == 3 && s.list.n == 3 && s.list.v[1] == -5);
  assert_true(s.on && s.kind == 1 && s.rate == 0.5);
  assert_string_equal(s.text, "a=b");
  rt_options_print(table, &s, &printed);
  assert_string_equal(printed.text, "pair=2,3 list=4,-5,6 on=true kind=tanh text=a=b");
  rt_strbuf_release(&printed);
  static const struct {
    const char *text, *fragment;
  } bad[] = {
      {"cuont=2", "t: unknown option cuont (did you mean count?)"},
      {"count=0", "outside 1 to 10"},
      {"count=2,3", "one number"},
      {"count=x", "whole number"},
      {"count=99999999999999999999", "whole number"},
      {"pair=1,2,3", "one or two"},
      {"rate=nan", "expected a number"},
      {"rate=1.5", "outside 0 to 1"},
      {"on=maybe", "true or false"},
      {"kind=tan", "one of none|tanh"},
      {"list=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "more than"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(rt_options_parse(table, &s, bad[i].text, &arena, "t"), RT_E_ARGUMENT);
    if (!strstr(rt_error(), bad[i].fragment)) fail_msg("expected \"%s\" in: %s", bad[i].fragment, rt_error());
  }
  rt_arena_release(&arena);
}

/* Every finite f16 and bf16 comes back from f32; rounding is to nearest, ties to even. */
static void small_floats(void **state) {
  for (uint32_t h = 0; h < 0x10000; h++) {
    if ((h & 0x7C00) != 0x7C00) assert_int_equal(rt_f32_to_f16(rt_f16_to_f32((uint16_t)h)), h);
    if ((h & 0x7F80) != 0x7F80) assert_int_equal(rt_f32_to_bf16(rt_bf16_to_f32((uint16_t)h)), h);
  }
  assert_int_equal(rt_f32_to_bf16(1 + 0x1p-8f), 0x3F80);     /* a tie: down to even */
  assert_int_equal(rt_f32_to_bf16(1 + 3 * 0x1p-8f), 0x3F82); /* a tie: up to even */
  assert_int_equal(rt_f32_to_f16(1 + 0x1p-11f), 0x3C00);
  assert_int_equal(rt_f32_to_f16(65519.0f), 0x7BFF);
  assert_int_equal(rt_f32_to_f16(65520.0f), 0x7C00);
  /* A double just above a tie must not be rounded twice. */
  uint16_t out;
  rt_tensor t = {.dtype = RT_BF16, .data = &out};
  rt_store_at(&t, 0, 1 + 0x1p-8 + 0x1p-40);
  assert_int_equal(out, 0x3F81);
}

static void views(void **state) {
  rt_type type = rt_type_of(RT_F32, 4, (rt_dim[]){2, 3, 4, 5});
  rt_tensor t = rt_tensor_view(&type, NULL);
  assert_int_equal(rt_tensor_offset(&t, 2 * 20 + 7), 2 * 20 + 7);
  type.layout = RT_CHANNELS_LAST;
  t = rt_tensor_view(&type, NULL);
  assert_int_equal(rt_at4(&t, 1, 2, 3, 4), ((1 * 4 + 3) * 5 + 4) * 3 + 2);
  type.dim[0] = INT64_MAX;
  assert_int_equal(rt_type_bytes(&type), -1);
}

static void add_one(void *context, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) ((int *)context)[i]++;
}

static void parallel(void **state) {
  static int hits[10007];
  for (int threads = 1; threads <= 5; threads++) {
    assert_int_equal(rt_set_threads(threads), RT_OK);
    rt_parallel_for(10007, 1, add_one, hits);
    rt_parallel_for(0, 1, add_one, hits);
    for (int i = 0; i < 10007; i++) assert_int_equal(hits[i], threads);
    int chunks = rt_chunks(10, 4);
    assert_true(chunks <= threads && chunks <= 3 && rt_chunk_begin(10, chunks, chunks) == 10);
  }
  assert_int_equal(rt_set_threads(0), RT_E_ARGUMENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(philox),  cmocka_unit_test(draws),
                                     cmocka_unit_test(options), cmocka_unit_test(small_floats),
                                     cmocka_unit_test(views),   cmocka_unit_test(parallel)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
