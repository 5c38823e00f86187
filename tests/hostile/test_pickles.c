/* Pickles that would call something, that claim what isn't there, and that grow. */
#include "base/alloc.h"
#include "format/pickle.h"
#include "guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above before it */
#include <stdlib.h>

static rt_status unpickle(const void *bytes, size_t size, rt_arena *arena, rt_pickle **out) {
  test_guard g = test_guard_new(bytes, size);
  rt_status s = rt_pickle_read(arena, g.bytes, size, "input", out, NULL);
  test_guard_free(&g);
  return s;
}

static void refused(const void *bytes, size_t size, const char *fragment) {
  rt_arena arena = {0};
  rt_pickle *v;
  rt_status s = unpickle(bytes, size, &arena, &v);
  if (s != RT_E_FORMAT || !strstr(rt_error(), fragment))
    fail_msg("expected \"%s\", found status %d: %s", fragment, (int)s, s ? rt_error() : "");
  rt_arena_release(&arena);
}

#define PICKLE(bytes, fragment) refused(bytes, sizeof(bytes) - 1, fragment)
#define STORAGE "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\6tQ"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE
#define ARRAY "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1btR"
#define DTYPE(code) "cnumpy\ndtype\n(U\2" code "tR"

static void calls(void **state) {
  PICKLE("cos\nsystem\n(S'id'\ntR.", "input: would call os.system: refused");
  PICKLE("\x80\4\x8c\5posix\x8c\6system\x93\x8c\2id\x85R.", "would call posix.system: refused");
  PICKLE("c__builtin__\neval\n(S'1'\ntR.", "would call __builtin__.eval");
  PICKLE("ctorch\nFloatStorage\n(K\1tR.", "would call torch.FloatStorage");
  PICKLE("cnumpy\nndarray\n(K\1tR.", "would call numpy.ndarray");
  PICKLE("ca\33[2J\nb\n.", "would call a?[2J.b");
  PICKLE("K\1K\2R.", "calls a number");
  PICKLE("K\1}b.", "sets attributes of a number");
  PICKLE("(ios\nsystem\n", "no pickle opcode");
}

static void machine(void **state) {
  PICKLE("", "ends too early");
  PICKLE("N", "ends too early");
  PICKLE(".", "never made");
  PICKLE("R.", "never made");
  PICKLE("\x85.", "never made");
  PICKLE("N(0\x85\x85R.", "never made");
  PICKLE("N(\x85.", "never made"); /* from below a mark */
  PICKLE("t.", "never opened");
  PICKLE("}(K\1u.", "key without a value");
  PICKLE("K\1(K\1K\2u.", "adds to a number");
  PICKLE("h\5.", "recalls value 5");
  PICKLE("Nr\xff\xff\xff\xff.", "keeps a value as number 4294967295");
  PICKLE("X\xff\xff\xff\xff.", "ends too early");
  PICKLE("\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "ends too early");
  PICKLE("\x8b\xff\xff\xff\x7f.", "ends too early");
  PICKLE("\x80\11.", "protocol 9");
  PICKLE("Vab\\u0041\n.", "escaped text");
  PICKLE("I12x\n.", "whole number");
  PICKLE("F1.5.\n.", "for a number");
}

static void tensors(void **state) {
  rt_arena arena = {0};
  rt_pickle *v;
  static const char good[] = REBUILD "K\0(K\2K\3t(K\3K\1ttR.";
  assert_int_equal(unpickle(good, sizeof good - 1, &arena, &v), RT_OK);
  assert_true(v->kind == RT_PICKLE_TENSOR && v->tensor->rank == 2 && v->tensor->stride[0] == 3);
  rt_arena_release(&arena);
  static const char outside[] = "outside of its storage";
  PICKLE(REBUILD "K\0(K\2K\3t(K\3K\2ttR.", outside);         /* a stride too large */
  PICKLE(REBUILD "K\1(K\2K\3t(K\3K\1ttR.", outside);         /* an offset too large */
  PICKLE(REBUILD "J\xff\xff\xff\xff(K\2t(K\1ttR.", outside); /* an offset below 0 */
  PICKLE(REBUILD "K\0(K\2t(J\xff\xff\xff\xffttR.", outside); /* a stride below 0 */
  PICKLE(REBUILD "K\0(J\xff\xff\xff\xfft(K\1ttR.", outside); /* a dimension below 0 */
  PICKLE(REBUILD "K\0(J\xff\xff\xff\x7ft(K\0ttR.", outside); /* six numbers that claim to be 2^31 */
  PICKLE(REBUILD "K\0(\x8a\10\0\0\0\0\0\0\0\x40\x8a\10\0\0\0\0\0\0\0\x40t(K\1K\1ttR.", outside); /* 2^124 */
  PICKLE(REBUILD "K\0(K\2K\3t(K\3ttR.", "described in a way");
  PICKLE(REBUILD "K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t(K\3ttR.", "at most 8 dimensions");
  PICKLE("K\1Q.", "no tensor storage");
  PICKLE("(X\7\0\0\0storagecnumpy\nndarray\nX\1\0\0\0000X\3\0\0\0cpuK\6tQ.", "can't be read");
}

static void arrays(void **state) {
  PICKLE("c_codecs\nencode\n(X\2\0\0\0\xc4\x80X\6\0\0\0latin1tR.", "isn't in it");
  PICKLE("c_codecs\nencode\n(X\1\0\0\0\xc3X\6\0\0\0latin1tR.", "isn't in it");
  PICKLE("c_codecs\nencode\n(X\1\0\0\0aX\5\0\0\0utf-8tR.", "another way");
  PICKLE(DTYPE("f4") "(K\1U\1>tb.", "big-endian");
  PICKLE(ARRAY "(K\1(K\3t" DTYPE("u1") "\x89U\2abtb.", "another size than the 2 bytes");
  PICKLE(ARRAY "(K\1(K\3t" DTYPE("O8") "\x89U\2abtb.", "something else than numbers");
  PICKLE(ARRAY "(K\1(J\xff\xff\xff\xfft" DTYPE("u1") "\x89U\1atb.", "another size");
  PICKLE(ARRAY "(K\1(\x8a\10\0\0\0\0\0\0\0\x40t" DTYPE("f8") "\x89U\1atb.", "another size");
  PICKLE(ARRAY "Nb.", "something else than numbers");
}

/* A list in a list, a million times: the machine doesn't recurse. */
static void deep(void **state) {
  enum { DEEP = 1000000 };
  unsigned char *bytes = malloc(2 * DEEP);
  assert_non_null(bytes);
  memset(bytes, ']', DEEP);
  memset(bytes + DEEP, 'a', DEEP - 1);
  bytes[2 * DEEP - 1] = '.';
  rt_arena arena = {0};
  rt_pickle *v;
  assert_int_equal(unpickle(bytes, 2 * DEEP, &arena, &v), RT_OK);
  assert_int_equal(v->kind, RT_PICKLE_LIST);
  rt_arena_release(&arena);
  free(bytes);
}

/* ---- PyTorch's older form, a stream of pickles ---- */

#define HEAD "\x80\2\x8a\nl\xfc\x9c\x46\xf9\x20j\xa8P\x19.\x80\2M\xe9\3.\x80\2}.\x80\2"

static void refused_stream(const void *object, size_t size, const char *fragment) {
  unsigned char bytes[4096];
  size_t n = test_put(bytes, 0, HEAD, sizeof HEAD - 1);
  n = test_put(bytes, n, object, size);
  test_refused(bytes, test_put(bytes, n, "\x80\2].", 4), fragment);
}

/* A list of one list `ways` times, `levels` deep: ways^levels paths. */
static size_t braid(unsigned char *out, int levels, int ways) {
  size_t n = test_put(out, 0, "]q\0", 3);
  for (int i = 0; i < levels; i++) {
    n = test_put(out, n, (unsigned char[]){']', 'q', (unsigned char)(i + 1), '('}, 4);
    for (int j = 0; j < ways; j++) n = test_put(out, n, (unsigned char[]){'h', (unsigned char)i}, 2);
    out[n++] = 'e';
  }
  out[n++] = '.';
  return n;
}

static void memo_growth(void **state) {
  unsigned char object[2048];
  refused_stream(object, braid(object, 60, 2), "nested more than");
  refused_stream(object, braid(object, 20, 16), "holds more than");
  refused_stream("]q\0h\0a.", 7, "nested more than"); /* a list that holds itself */
}

/* A long text, encoded again and again through the memo: 10 GB if it were done. */
static void memo_copies(void **state) {
  enum { TEXT = 1 << 20, TIMES = 10000 };
  static const char head[] = "c_codecs\nencode\nq\0X\0\0\x10\0",
                    codec[] = "q\1X\6\0\0\0latin1q\2"
                              "000",
                    again[] = "h\0h\1h\2\x86R0";
  unsigned char *bytes = malloc(sizeof head + TEXT + sizeof codec + TIMES * sizeof again);
  assert_non_null(bytes);
  size_t n = test_put(bytes, 0, head, sizeof head - 1);
  memset(bytes + n, 'x', TEXT);
  n = test_put(bytes, n + TEXT, codec, sizeof codec - 1);
  for (int i = 0; i < TIMES; i++) n = test_put(bytes, n, again, sizeof again - 1);
  n = test_put(bytes, n, "N.", 2);
  refused(bytes, n, "again and again");
  free(bytes);
}

static void streams(void **state) {
  static const char head[] = HEAD "}X\1\0\0\0w" REBUILD "K\0(K\2K\3t(K\3K\1ttRs.", keys[] = "\x80\2](X\1\0\0\0000e.";
  unsigned char bytes[1024] = {0};
  size_t n = test_put(bytes, 0, head, sizeof head - 1);
  test_refused(bytes, n, "ends too early");
  size_t data = test_put(bytes, n, keys, sizeof keys - 1), end = data + 8 + 24;
  test_refused(bytes, data, "where a storage should follow");
  bytes[data] = 6;
  test_guard g = test_guard_new(bytes, end);
  assert_int_equal(test_read_all(g.bytes, end), RT_OK);
  test_guard_free(&g);
  test_refused(bytes, end - 1, "the file ends before");
  static const struct {
    int64_t count;
    const char *fragment;
  } lies[] = {{INT64_MAX, "the file ends before"},
              {-1, "claims -1 elements"},
              {5, "has 5 elements where its tensor says 6"},
              {1 << 30, "claims 1073741824 elements"}};
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    memcpy(bytes + data, &lies[i].count, 8);
    test_refused(bytes, end, lies[i].fragment);
  }
  test_refused(bytes, test_put(bytes, n, "\x80\2].", 4), "the storage of a tensor isn't in it");
  test_refused(bytes, test_put(bytes, n, "\x80\2](X\1\0\0\0001e.\0\0\0\0\0\0\0\0", 20), "belongs to no tensor");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(calls), cmocka_unit_test(machine),     cmocka_unit_test(tensors),     cmocka_unit_test(arrays),
      cmocka_unit_test(deep),  cmocka_unit_test(memo_growth), cmocka_unit_test(memo_copies), cmocka_unit_test(streams),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
