/* Event files, read back by their definition: framing, checksums, and the fields of the messages. With RETORT_KEEP_EVENTS
 * naming a directory the same events stay there, for TensorBoard's own reader. */
#include "base/alloc.h"
#include "directory.h"
#include "train/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above before it */
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char made[] = "/tmp/retort-events-XXXXXX";
static const char *directory = made;

static int begin(void **state) {
  if (getenv("RETORT_KEEP_EVENTS")) directory = getenv("RETORT_KEEP_EVENTS");
  return directory != made || mkdtemp(made) ? 0 : -1;
}

static int end(void **state) { return directory != made ? 0 : directory_remove(made); }

static void ok(rt_status s) {
  if (s != RT_OK) fail_msg("%s", rt_error());
}

/* ---- a reader ---- */

typedef struct bytes {
  uint8_t data[1 << 16];
  size_t n;
} bytes;

/* Number `index` of the files, in the order of their names. */
static void slurp(int index, bytes *out) {
  struct dirent **names;
  char path[512];
  int n = scandir(directory, &names, NULL, alphasort), seen = 0;
  out->n = 0;
  for (int i = 0; i < n; i++) {
    if (strstr(names[i]->d_name, "events.out.tfevents.") && seen++ == index) {
      snprintf(path, sizeof path, "%s/%s", directory, names[i]->d_name);
      FILE *f = fopen(path, "rb");
      assert_non_null(f);
      out->n = fread(out->data, 1, sizeof out->data, f);
      fclose(f);
    }
    free(names[i]);
  }
  free(names);
}

static uint64_t number(const uint8_t *p, int n) {
  uint64_t v = 0;
  for (int i = n; i-- > 0;) v = v << 8 | p[i];
  return v;
}

static uint32_t masked_crc(const uint8_t *p, size_t n) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < n; i++) {
    crc ^= p[i];
    for (int b = 0; b < 8; b++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* The next record's bytes in place; NULL at the end. */
static const uint8_t *next_record(const bytes *b, size_t *at, size_t *n) {
  if (*at == b->n) return NULL;
  const uint8_t *p = b->data + *at;
  assert_true(b->n - *at >= 16);
  *n = (size_t)number(p, 8);
  assert_true(*n <= b->n - *at - 16);
  assert_int_equal(number(p + 8, 4), masked_crc(p, 8));
  assert_int_equal(number(p + 12 + *n, 4), masked_crc(p + 12, *n));
  *at += *n + 16;
  return p + 12;
}

static uint64_t varint(const uint8_t **p) {
  uint64_t v = 0;
  for (int shift = 0;; shift += 7) {
    v |= (uint64_t)(**p & 127) << shift;
    if (!(*(*p)++ & 128)) return v;
  }
}

/* Field `wanted` of a message: its bytes, or those of its number; *n is their count, or a varint's value. NULL: not there. */
static const uint8_t *field(const uint8_t *p, size_t size, unsigned wanted, size_t *n) {
  const uint8_t *stop = p + size;
  while (p < stop) {
    uint64_t key = varint(&p);
    const uint8_t *at = p;
    switch (key & 7) {
    case 0: *n = (size_t)varint(&p); break;
    case 1: p += *n = 8; break;
    case 2:
      *n = (size_t)varint(&p);
      at = p;
      p += *n;
      break;
    case 5: p += *n = 4; break;
    default: fail_msg("wire type %d", (int)(key & 7));
    }
    if (key >> 3 == wanted) return at;
  }
  return NULL;
}

static double as_double(const uint8_t *p) {
  double d;
  uint64_t u = number(p, 8);
  memcpy(&d, &u, 8);
  return d;
}

/* The Value in an Event's Summary, after a look at its tag and step. */
static const uint8_t *value_of(const uint8_t *event, size_t n, const char *tag, size_t step, size_t *size) {
  size_t m;
  assert_non_null(field(event, n, 2, &m));
  assert_int_equal(m, step);
  const uint8_t *summary = field(event, n, 5, &m), *value = summary ? field(summary, m, 1, size) : NULL;
  assert_non_null(value);
  const uint8_t *name = field(value, *size, 1, &m);
  assert_true(name && m == strlen(tag) && memcmp(name, tag, m) == 0);
  return value;
}

/* ---- the tests ---- */

enum { VALUES = 1000 };

static void write_some(rt_events *e) {
  static uint8_t pixel[4 * 6 * 3];
  float x[VALUES + 2];
  for (int i = 0; i < VALUES; i++) x[i] = (float)i / (VALUES - 1) * 2 - 1; /* -1 … 1 */
  x[VALUES] = NAN;
  x[VALUES + 1] = INFINITY;
  for (size_t i = 0; i < sizeof pixel; i++) pixel[i] = (uint8_t)(3 * i);
  rt_image image = {.height = 4, .width = 6, .channels = 3, .pixel = pixel};
  for (int step = 1; step <= 3; step++) ok(rt_events_scalar(e, "loss/train", step, 1.0 / step));
  ok(rt_events_histogram(e, "fc.weight", 3, x, VALUES + 2));
  ok(rt_events_histogram(e, "constant", 3, (float[]){0.25f, 0.25f}, 2));
  ok(rt_events_image(e, "samples", 3, &image));
}

static void files_are_as_tensorboard_wants_them(void **state) {
  static bytes b;
  rt_events *e;
  size_t at = 0, n, m, k;
  ok(rt_events_open(directory, 0, &e));
  write_some(e);
  slurp(0, &b); /* before it is closed: everything is there at once */
  rt_events_close(e);

  const uint8_t *p = next_record(&b, &at, &n), *v = field(p, n, 3, &m);
  assert_true(v && m == 13 && memcmp(v, "brain.Event:2", 13) == 0);
  v = field(p, n, 1, &m);
  assert_true(v && as_double(v) > 1.6e9);
  for (size_t step = 1; step <= 3; step++) {
    p = next_record(&b, &at, &n);
    v = value_of(p, n, "loss/train", step, &m);
    v = field(v, m, 2, &k);
    uint32_t bits = (uint32_t)number(v, 4);
    float f;
    memcpy(&f, &bits, 4);
    assert_true(k == 4 && f == (float)(1.0 / (double)step));
  }
  p = next_record(&b, &at, &n);
  v = value_of(p, n, "fc.weight", 3, &m);
  v = field(v, m, 5, &k);
  assert_non_null(v);
  assert_true(as_double(field(v, k, 1, &n)) == -1 && as_double(field(v, k, 2, &n)) == 1);
  assert_true(as_double(field(v, k, 3, &n)) == VALUES && fabs(as_double(field(v, k, 4, &n))) < 1e-3);
  const uint8_t *limit = field(v, k, 6, &m), *bucket = field(v, k, 7, &n);
  double sum = 0;
  assert_true(m == 64 * 8 && n == 64 * 8);
  for (int i = 0; i < 64; i++) {
    sum += as_double(bucket + 8 * i);
    assert_true(fabs(as_double(bucket + 8 * i) - VALUES / 64.0) <= 1);
    assert_true(fabs(as_double(limit + 8 * i) - (2.0 * (i + 1) / 64 - 1)) < 1e-12);
  }
  assert_true(sum == VALUES);
  p = next_record(&b, &at, &n);
  v = value_of(p, n, "constant", 3, &m);
  v = field(v, m, 5, &k);
  assert_true(as_double(field(v, k, 7, &n)) == 2 && n == 8);
  p = next_record(&b, &at, &n);
  v = value_of(p, n, "samples", 3, &m);
  v = field(v, m, 4, &k);
  assert_true(field(v, k, 1, &m) && m == 4 && field(v, k, 2, &m) && m == 6 && field(v, k, 3, &m) && m == 3);
  v = field(v, k, 4, &m);
  assert_true(v && m > 8 && memcmp(v, "\x89PNG\r\n\x1a\n", 8) == 0);
  assert_null(next_record(&b, &at, &n));
}

/* A second file, which says that it goes on from step 3. */
static void a_run_goes_on_in_a_file_of_its_own(void **state) {
  static bytes b;
  rt_events *e;
  size_t at = 0, n, m;
  ok(rt_events_open(directory, 3, &e));
  ok(rt_events_scalar(e, "loss/train", 3, 0.5));
  rt_events_close(e);
  slurp(1, &b);
  next_record(&b, &at, &n);
  const uint8_t *p = next_record(&b, &at, &n);
  assert_true(p && field(p, n, 2, &m) && m == 3);
  const uint8_t *log = field(p, n, 7, &m);
  assert_true(log && field(log, m, 1, &n) && n == 1);
  p = next_record(&b, &at, &n);
  value_of(p, n, "loss/train", 3, &m);
}

static void failures_are_sentences(void **state) {
  rt_events *e;
  int64_t live = rt_alloc_count().live;
  assert_int_equal(rt_events_open("/none/here", 0, &e), RT_E_IO);
  assert_non_null(strstr(rt_error(), "/none/here/events.out.tfevents."));
  assert_null(e);
  if (directory == made) {
    /* No file may grow beyond 300 bytes: the disk is full. */
    struct rlimit was, small = {300, 300};
    ok(rt_events_open(directory, 0, &e));
    getrlimit(RLIMIT_FSIZE, &was);
    small.rlim_max = was.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    float x[100] = {1, 2};
    rt_status s = rt_events_histogram(e, "too much", 1, x, 100), again = rt_events_scalar(e, "more", 2, 1);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(s, RT_E_IO);
    assert_int_equal(again, RT_E_IO);
    assert_non_null(strstr(rt_error(), "can't be written"));
    rt_events_close(e);
  }
  rt_events_close(NULL);
  assert_int_equal(rt_alloc_count().live, live);
}

static void memory_may_run_out(void **state) {
  rt_events *e;
  int64_t live = rt_alloc_count().live;
  for (int after = 0;; after++) {
    rt_alloc_fail_after(after);
    rt_status s = rt_events_open(directory, 4, &e);
    rt_alloc_fail_after(-1);
    if (s == RT_OK) break;
    assert_int_equal(s, RT_E_MEMORY);
    assert_int_equal(rt_alloc_count().live, live);
  }
  rt_alloc_fail_after(0);
  assert_int_equal(rt_events_scalar(e, "x", 1, 1), RT_E_MEMORY);
  rt_alloc_fail_after(-1);
  rt_events_close(e);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(files_are_as_tensorboard_wants_them),
      cmocka_unit_test(a_run_goes_on_in_a_file_of_its_own),
      cmocka_unit_test(failures_are_sentences),
      cmocka_unit_test(memory_may_run_out),
  };
  int kept = getenv("RETORT_KEEP_EVENTS") ? 2 : 0; /* only what makes the files */
  if (kept) return _cmocka_run_group_tests("events", tests, 2, begin, end);
  return cmocka_run_group_tests(tests, begin, end);
}
