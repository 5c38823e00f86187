/* Files that lie: safetensors, NumPy's, zip archives, and any form cut short or changed. All end in a sentence. */
#include "format/format.h"
#include "guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above before it */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A small file of each form, as we write it. */
static unsigned char *small_file(const char *extension, size_t *size) {
  enum { ROOM = 1 << 16 };
  static const float w[] = {1, 2, 3, 4, 5, 6};
  static const int64_t dim[] = {2, 3}, count = 7;
  const rt_array arrays[] = {{"w", RT_F32, 2, dim, w}, {"n", RT_S64, 0, NULL, &count}};
  const rt_pair metadata[] = {{"model", "mlp"}};
  char path[64];
  snprintf(path, sizeof path, "/tmp/retort-hostile-%ld.%s", (long)getpid(), extension);
  assert_int_equal(rt_file_write(path, arrays, strcmp(extension, "npy") == 0 ? 1 : 2, metadata, 1), RT_OK);
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  unsigned char *bytes = malloc(ROOM);
  assert_non_null(bytes);
  *size = fread(bytes, 1, ROOM, f);
  fclose(f);
  unlink(path);
  return bytes;
}

static const char *const forms[] = {"pth", "safetensors", "npz", "npy"};
enum { FORMS = sizeof forms / sizeof *forms };

static rt_status read_guarded(const unsigned char *bytes, size_t size) {
  test_guard g = test_guard_new(bytes, size);
  rt_status s = test_read_all(g.bytes, size);
  test_guard_free(&g);
  return s;
}

static void truncated(void **state) {
  for (int i = 0; i < FORMS; i++) {
    size_t size;
    unsigned char *bytes = small_file(forms[i], &size);
    assert_int_equal(read_guarded(bytes, size), RT_OK);
    for (size_t n = 0; n < size; n++)
      if (read_guarded(bytes, n) == RT_OK) fail_msg("%s: %zu of %zu bytes pass for a whole file", forms[i], n, size);
    free(bytes);
  }
}

/* Every byte changed in several ways: it may still be a file (another name), but nothing breaks. */
static void corrupted(void **state) {
  static const unsigned char masks[] = {0x01, 0x20, 0x80, 0xFF};
  for (int i = 0; i < FORMS; i++) {
    size_t size, opened = 0;
    unsigned char *bytes = small_file(forms[i], &size);
    test_guard g = test_guard_new(bytes, size);
    for (size_t n = 0; n < size; n++) {
      for (size_t m = 0; m < sizeof masks; m++) {
        g.bytes[n] ^= masks[m];
        opened += test_read_all(g.bytes, size) == RT_OK;
        g.bytes[n] = bytes[n];
      }
    }
    assert_true(opened < size * sizeof masks);
    test_guard_free(&g);
    free(bytes);
  }
}

/* ---- safetensors ---- */

static void safetensors(const char *header, size_t data, const char *fragment) {
  unsigned char bytes[4096] = {0};
  uint64_t n = strlen(header);
  memcpy(bytes, &n, sizeof n);
  memcpy(bytes + sizeof n, header, n);
  test_refused(bytes, sizeof n + n + data, fragment);
}

#define TENSOR(name, shape, offsets) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void safetensors_lies(void **state) {
  safetensors("{" TENSOR("a", "[4]", "[0,16]") "}", 15, "is at bytes 0 to 16 of 15");
  safetensors("{" TENSOR("a", "[5]", "[0,16]") "}", 16, "its shape says otherwise");
  safetensors("{" TENSOR("a", "[4]", "[0,16]") "}", 17, "1 bytes of data belong to no tensor");
  safetensors("{" TENSOR("a", "[4]", "[0,16]") "," TENSOR("b", "[4]", "[8,24]") "}", 24, "overlap");
  safetensors("{" TENSOR("a", "[2]", "[0,8]") "," TENSOR("b", "[2]", "[12,20]") "}", 20, "leave a gap");
  safetensors("{" TENSOR("a", "[2]", "[0,8]") "," TENSOR("a", "[2]", "[8,16]") "}", 16, "two tensors are called a");
  safetensors("{" TENSOR("a", "[1073741824]", "[0,4294967296]") "}", 16, "of 16");
  safetensors("{" TENSOR("a", "[4294967296,4294967296]", "[0,0]") "}", 0, "its shape says otherwise");
  safetensors("{" TENSOR("a", "[-1]", "[0,0]") "}", 0, "needs dtype, shape");
  safetensors("{" TENSOR("a", "[1e300]", "[0,0]") "}", 0, "needs dtype, shape");
  safetensors("{" TENSOR("a", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "at most 8 dimensions");
  safetensors("{" TENSOR("a", "[1]", "[4,0]") "}", 4, "at bytes 4 to 0");
  safetensors("{" TENSOR("a\\u001b[2J", "[1]", "[0,4]") "}", 4, "no text");
  safetensors("{" TENSOR("", "[1]", "[0,4]") "}", 4, "empty");
  safetensors("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "F8_E4M3");
  safetensors("{\"a\":3}", 0, "needs dtype");
  safetensors("{\"__metadata__\":[]}", 0, "no JSON object");
  safetensors("{\"a\":", 0, "no JSON");
  safetensors("{\"a", 0, "no JSON");
  test_refused("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10, "claims a header of");
  char deep[3000];
  memset(deep, '[', sizeof deep);
  memcpy(deep, "{\"a\":", 5);
  deep[sizeof deep - 1] = 0;
  safetensors(deep, 0, "no JSON");
}

/* ---- archives ---- */

typedef struct member {
  const char *name;
  const void *data;
  uint32_t size, packed, crc; /* claimed when unpacked, in the file */
  uint16_t method;
  bool again; /* a second entry over the bytes of the first */
} member;

/* Widths in bytes as digits: "42" is a u32 and a u16. */
static size_t put_numbers(unsigned char *out, size_t n, const char *widths, const uint32_t *v) {
  for (; *widths; widths++, v++)
    for (int i = 0; i < *widths - '0'; i++) out[n++] = (unsigned char)(*v >> 8 * i);
  return n;
}

static size_t archive(unsigned char *out, const member *m, int count) {
  uint32_t at = 0;
  size_t n = 0;
  for (int i = 0; i < count; i++) {
    if (m[i].again) continue;
    uint32_t length = (uint32_t)strlen(m[i].name);
    uint32_t v[] = {0x04034b50, 20, 0, m[i].method, 0, 33, m[i].crc, m[i].packed, m[i].size, length, 0};
    n = test_put(out, put_numbers(out, n, "42222244422", v), m[i].name, length);
    n = test_put(out, n, m[i].data, m[i].packed);
  }
  uint32_t begin = (uint32_t)n;
  for (int i = 0; i < count; i++) {
    uint32_t length = (uint32_t)strlen(m[i].name);
    uint32_t v[] = {0x02014b50, 20,     20, 0, m[i].method, 0, 33, m[i].crc, m[i].packed,
                    m[i].size,  length, 0,  0, 0,           0, 0,  at};
    n = test_put(out, put_numbers(out, n, "42222224442222244", v), m[i].name, length);
    if (i + 1 < count && !m[i + 1].again) at += 30 + length + m[i].packed;
  }
  uint32_t v[] = {0x06054b50, 0, 0, (uint32_t)count, (uint32_t)count, (uint32_t)n - begin, begin, 0};
  return put_numbers(out, n, "42222442", v);
}

static void archive_lies(void **state) {
  static unsigned char bytes[1 << 16], data[8192];
  static const char header[] = "\x93NUMPY\1\0\x76\0{'descr': '|u1', 'fortran_order': False, 'shape': (8064,)}";
  member m[8] = {{"a.npy", data, 8192, 8192, 0, 0, false}};
  memset(data, ' ', 128);
  memcpy(data, header, sizeof header - 1);
  test_refused(bytes, archive(bytes, m, 1), "damaged"); /* its checksum */
  for (int i = 1; i < 8; i++) m[i] = (member){"a.npy", data, 8192, 8192, 0, 0, true};
  test_refused(bytes, archive(bytes, m, 8), "overlap");
  m[0].size = UINT32_MAX - 1;
  test_refused(bytes, archive(bytes, m, 1), "claims 4294967294 bytes packed into 8192");
  m[0] = (member){"a.npy", data, UINT32_MAX - 1, 100, 0, 8, false};
  test_refused(bytes, archive(bytes, m, 1), "claims 4294967294 bytes packed into 100");
  m[0] = (member){"a.npy", data, 100, 100, 0, 12, false};
  test_refused(bytes, archive(bytes, m, 1), "method that isn't known");
  m[0] = (member){"a.npy", data, 102400, 100, 0, 8, false}; /* zeros are no deflate stream */
  test_refused(bytes, archive(bytes, m, 1), "damaged");
  m[0] = (member){"archive/readme", "x", 1, 1, 0x8cdc1683, 0, false};
  test_refused(bytes, archive(bytes, m, 1), "neither PyTorch's data.pkl");
}

/* ---- NumPy ---- */

static void array_lies(void **state) {
  static const char clumsy[] = "isn't one that NumPy writes";
  static const struct {
    const char *header, *fragment;
  } lies[] = {
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", "its shape says otherwise"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1073741824,)}", "its shape says otherwise"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", clumsy},
      {"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "array data has dtype |O"},
      {"{'descr': '>f4', 'fortran_order': False, 'shape': (4,)}", "big-endian"},
      {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (4,)}", clumsy},
      {"{'descr': '<f4', 'shape': (4,)}", clumsy},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4", clumsy},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", "at most 8 dimensions"},
      {"{'descr", clumsy},
      {"", clumsy},
  };
  unsigned char bytes[10 + 128 + 16];
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    memset(bytes, ' ', sizeof bytes);
    memcpy(bytes, "\x93NUMPY\1\0\x80\0", 10);
    memcpy(bytes + 10, lies[i].header, strlen(lies[i].header));
    test_refused(bytes, sizeof bytes, lies[i].fragment);
  }
  memcpy(bytes + 8, "\xff\xff", 2);
  test_refused(bytes, sizeof bytes, "claims a header of 65535 bytes");
}

static void no_form(void **state) {
  test_refused("", 0, "no known form");
  test_refused("hello, world", 12, "no known form");
  test_refused("\x80\2}.", 4, "not one that PyTorch wrote");
  test_refused("PK\3\4", 4, "no known form");
  test_refused("PK\3\4PK\3\4", 8, "no readable zip archive");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(truncated),    cmocka_unit_test(corrupted),  cmocka_unit_test(safetensors_lies),
      cmocka_unit_test(archive_lies), cmocka_unit_test(array_lies), cmocka_unit_test(no_form),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
