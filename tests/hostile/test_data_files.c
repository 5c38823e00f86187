/* Files of data sets and images that are cut off, that lie about their size, and that are damaged in one byte. What is
 * read ends at a page that can't be touched. */
#include "base/alloc.h"
#include "base/status.h"
#include "data/cifar.h"
#include "data/idx.h"
#include "data/image.h"
#include "data_dir.h"
#include "json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

enum { ROOM = 1 << 16 };
static uint8_t *guard; /* the page that can't be touched; ROOM bytes before it can */

static int setup(void **state) {
  long page = sysconf(_SC_PAGESIZE);
  uint8_t *block = mmap(NULL, ROOM + (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return -1;
  guard = block + ROOM;
  return mprotect(guard, (size_t)page, PROT_NONE);
}

/* The first n bytes, so that the next one can't be read. */
static uint8_t *before_guard(const uint8_t *bytes, int64_t n) {
  assert_true(n <= ROOM);
  uint8_t *at = guard - n;
  if (n) memcpy(at, bytes, (size_t)n);
  return at;
}

static void forget_sentence(void) { rt_fail(RT_OK, "%s", ""); }

static void says(rt_status status, const char *fragment) {
  assert_int_not_equal(status, RT_OK);
  if (!strstr(rt_error(), fragment)) fail_msg("expected \"%s\" in: %s", fragment, rt_error());
}

/* ---- IDX and CIFAR ---- */

static void idx(void **state) {
  uint8_t good[16 + 2 * 3 * 4] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4};
  rt_idx out;
  assert_int_equal(rt_idx_parse(before_guard(good, sizeof good), sizeof good, 3, "f", &out), RT_OK);
  assert_true(out.dim[0] == 2 && out.dim[1] == 3 && out.dim[2] == 4 && out.value == guard - 24);
  for (int64_t n = 0; n < (int64_t)sizeof good; n++)
    says(rt_idx_parse(before_guard(good, n), n, 3, "f", &out), n < 16 ? "too few" : "asks for 24 values");
  static const struct {
    int at;
    uint8_t byte;
    const char *fragment;
  } lies[] = {{2, 9, "not an IDX"},   {3, 1, "not an IDX"},   {0, 1, "not an IDX"},   {4, 255, "asks for"},
              {7, 0, "dimension 0"},  {11, 0, "dimension 1"}, {15, 0, "dimension 2"}, {12, 255, "asks for"},
              {7, 1, "asks for 12 "}, {7, 3, "asks for 36 "}};
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    uint8_t *bad = before_guard(good, sizeof good);
    bad[lies[i].at] = lies[i].byte;
    says(rt_idx_parse(bad, sizeof good, 3, "f", &out), lies[i].fragment);
  }
  uint8_t *bad = before_guard(good, sizeof good);
  memset(bad + 4, 255, 12); /* 2^96 values */
  says(rt_idx_parse(bad, sizeof good, 3, "f", &out), "asks for");
}

static void cifar(void **state) {
  enum { RECORD = 3073 };
  static uint8_t good[3 * RECORD];
  int64_t records;
  good[RECORD] = 9;
  assert_int_equal(rt_cifar_parse(before_guard(good, sizeof good), sizeof good, 1, 10, "f", &records), RT_OK);
  assert_int_equal(records, 3);
  for (int64_t n = 0; n < (int64_t)sizeof good; n += n % 97 + 1)
    if (n % RECORD || !n) says(rt_cifar_parse(before_guard(good, n), n, 1, 10, "f", &records), "whole records of 3073");
  good[RECORD] = 10;
  says(rt_cifar_parse(before_guard(good, sizeof good), sizeof good, 1, 10, "f", &records), "record 1 has class 10");
}

/* A whole set: its files must agree with each other, and gzip must end as it should. */
static void sets(void **state) {
  static uint8_t pixels[20 * 4 * 4];
  static const uint8_t few[] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 2}, high[28] = {0, 0, 8, 1, 0, 0, 0, 20, 1, 2, 10};
  static const uint8_t gzip[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x63, 0x60, 0x60};
  rt_data *data;
  char text[128];
  data_dir_make();
  snprintf(text, sizeof text, "mnist:%s", data_dir_path(""));
  data_dir_mnist(pixels, 20, 4, 4);
  assert_int_equal(rt_data_open(text, NULL, &data), RT_OK);
  rt_data_free(data);
  data_dir_write("t10k-labels-idx1-ubyte", few, sizeof few);
  says(rt_data_open(text, NULL, &data), "20 images, ");
  data_dir_write("t10k-labels-idx1-ubyte", high, sizeof high);
  says(rt_data_open(text, NULL, &data), "label 2 is 10");
  data_dir_write("t10k-labels-idx1-ubyte", gzip, sizeof gzip);
  says(rt_data_open(text, NULL, &data), "ends too early");
  unlink(data_dir_path("t10k-labels-idx1-ubyte"));
  says(rt_data_open(text, NULL, &data), "neither t10k-labels-idx1-ubyte nor");
  data_dir_remove();
}

static void folders(void **state) {
  static const uint8_t junk[] = "not an image";
  rt_data *data;
  char text[128];
  data_dir_make();
  snprintf(text, sizeof text, "imagefolder:%s", data_dir_path(""));
  says(rt_data_open(text, NULL, &data), "expected a directory per class");
  data_dir_write("cat/1.txt", junk, sizeof junk);
  says(rt_data_open(text, NULL, &data), "no PNG or JPEG in this class");
  data_dir_write("cat/1.png", junk, sizeof junk);
  says(rt_data_open(text, NULL, &data), "cat/1.png: neither a PNG nor a JPEG");
  data_dir_write("train/cat/1.png", junk, sizeof junk);
  data_dir_write("test/dog/1.png", junk, sizeof junk);
  says(rt_data_open(text, NULL, &data), "test/dog: a class that there is nothing to train with for");
  data_dir_remove();
}

/* ---- images ---- */

typedef struct sample {
  const char *name;
  uint8_t bytes[8192];
  int64_t n;
} sample;

/* The images that the golden test decodes. */
static int samples(sample **out) {
  cJSON *recorded = json_file("tests/golden/images.json"), *o;
  assert_non_null(recorded);
  cJSON *files = cJSON_GetObjectItemCaseSensitive(recorded, "files");
  int n = 0;
  *out = calloc((size_t)cJSON_GetArraySize(files), sizeof **out);
  cJSON_ArrayForEach(o, files) {
    const char *text = cJSON_GetObjectItemCaseSensitive(o, "bytes")->valuestring;
    sample *s = &(*out)[n++];
    s->name = "image";
    s->n = (int64_t)strlen(text) / 2;
    assert_true(s->n <= (int64_t)sizeof s->bytes);
    for (int64_t i = 0; i < s->n; i++) {
      unsigned value;
      assert_int_equal(sscanf(text + 2 * i, "%2x", &value), 1);
      s->bytes[i] = (uint8_t)value;
    }
  }
  cJSON_Delete(recorded);
  return n;
}

/* Whatever comes of it: no memory is lost, and a failure says why. */
static rt_status try(const uint8_t *bytes, int64_t n) {
  rt_image image;
  int64_t live = rt_alloc_count().live;
  forget_sentence();
  rt_status s = rt_image_decode(bytes, n, 3, "image", &image);
  assert_true(s == RT_OK ? image.pixel != NULL : strncmp(rt_error(), "image: ", 7) == 0 && !image.pixel);
  rt_image_release(&image);
  assert_int_equal(rt_alloc_count().live, live);
  return s;
}

static void cut_off(void **state) {
  sample *all;
  int n = samples(&all);
  for (int i = 0; i < n; i++) {
    int64_t missing = 0; /* most bytes that may be missing from the end without being missed */
    for (int64_t k = all[i].n; k >= 0; k--)
      if (try(before_guard(all[i].bytes, k), k) == RT_OK) missing = all[i].n - k;
    assert_true(missing <= 16); /* PNG's end mark and check sum, JPEG's end mark and padding */
  }
  free(all);
}

static void damaged(void **state) {
  sample *all;
  int n = samples(&all), refused = 0;
  for (int i = 0; i < n; i++)
    for (int64_t k = 0; k < all[i].n; k++)
      for (int bit = 0; bit < 8; bit += 3) {
        uint8_t *bad = before_guard(all[i].bytes, all[i].n);
        bad[k] ^= (uint8_t)(1 << bit);
        refused += try(bad, all[i].n) != RT_OK;
      }
  assert_true(refused > 1000);
  free(all);
}

static uint32_t crc(const uint8_t *bytes, size_t n) {
  uint32_t c = 0xFFFFFFFFu;
  for (size_t i = 0; i < n; i++) {
    c ^= bytes[i];
    for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0xEDB88320u : 0);
  }
  return ~c;
}

static void put32(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Small files that claim gigabytes: refused before memory is asked for. */
static void claims(void **state) {
  static const uint32_t sides[][2] = {{9000, 9000}, {65500, 65500}, {0x7FFFFFFF, 0x7FFFFFFF}, {0, 5}};
  sample *all;
  int n = samples(&all), pngs = 0, jpegs = 0;
  for (int i = 0; i < n; i++) {
    sample *s = &all[i];
    for (size_t k = 0; k < sizeof sides / sizeof *sides; k++) {
      uint32_t w = sides[k][0], h = sides[k][1];
      if (s->bytes[0] == 0x89) {
        put32(s->bytes + 16, w);
        put32(s->bytes + 20, h);
        put32(s->bytes + 29, crc(s->bytes + 12, 17));
        pngs++;
      } else {
        int64_t at = 2;
        while (s->bytes[at + 1] != 0xC0 && s->bytes[at + 1] != 0xC2)
          at += 2 + (s->bytes[at + 2] << 8 | s->bytes[at + 3]); /* from marker to marker */
        s->bytes[at + 5] = (uint8_t)(h >> 8), s->bytes[at + 6] = (uint8_t)h;
        s->bytes[at + 7] = (uint8_t)(w >> 8), s->bytes[at + 8] = (uint8_t)w;
        jpegs++;
      }
      assert_int_not_equal(try(before_guard(s->bytes, s->n), s->n), RT_OK);
    }
  }
  assert_true(pngs >= 20 && jpegs >= 20);
  free(all);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(idx),     cmocka_unit_test(cifar),   cmocka_unit_test(sets),
                                     cmocka_unit_test(folders), cmocka_unit_test(cut_off), cmocka_unit_test(damaged),
                                     cmocka_unit_test(claims)};
  return cmocka_run_group_tests(tests, setup, NULL);
}
