/* A record:
 *
 *   length  8 bytes, little endian
 *   check   4 bytes: masked CRC-32C of the length
 *   event   `length` bytes, an Event of events.proto
 *   check   4 bytes: masked CRC-32C of the event
 *
 * masked: rotated right by 15 bits, plus 0xa282ead8, all modulo 2³². */
#include "train/events.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/strbuf.h"
#include "data/data.h"

#include <errno.h>
#include <events.pb-c.h> /* made of events.proto */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { BUCKETS = 64, HEAD = 12, TAIL = 4, NAMES_MOST = 1000 };

struct rt_events {
  rt_arena arena;
  const char *path;
  FILE *stream;
  int error; /* errno of the first failure: what comes after a torn record can't be read */
};

/* ---- records ---- */

/* CRC-32 with Castagnoli's polynomial, half a byte at a time: events are few. */
static uint32_t crc32c(const uint8_t *bytes, size_t n) {
  static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                     0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                     0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  uint32_t crc = ~0u;
  for (size_t i = 0; i < n; i++) {
    crc ^= bytes[i];
    crc = crc >> 4 ^ table[crc & 15];
    crc = crc >> 4 ^ table[crc & 15];
  }
  return ~crc;
}

static void put_number(uint8_t *to, uint64_t v, int bytes) {
  for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(v >> 8 * i);
}

static void put_check(uint8_t *to, const uint8_t *of, size_t n) {
  uint32_t crc = crc32c(of, n);
  put_number(to, (crc >> 15 | crc << 17) + 0xa282ead8u, TAIL);
}

static rt_status failed(const rt_events *e) {
  return rt_fail(RT_E_IO, "%s: can't be written: %s", e->path, strerror(e->error));
}

static rt_status put_record(rt_events *e, const Rt__Events__Event *event) {
  if (e->error) return failed(e);
  size_t n = rt__events__event__get_packed_size(event);
  uint8_t *record = rt_alloc(HEAD + n + TAIL);
  if (!record) return RT_E_MEMORY;
  put_number(record, n, 8);
  put_check(record + 8, record, 8);
  rt__events__event__pack(event, record + HEAD);
  put_check(record + HEAD + n, record + HEAD, n);
  errno = 0;
  if (fwrite(record, 1, HEAD + n + TAIL, e->stream) != HEAD + n + TAIL || fflush(e->stream) != 0)
    e->error = errno ? errno : EIO;
  rt_free(record);
  return e->error ? failed(e) : RT_OK;
}

static Rt__Events__Event new_event(int64_t step) {
  Rt__Events__Event event = RT__EVENTS__EVENT__INIT;
  struct timeval now;
  gettimeofday(&now, NULL);
  event.wall_time = (double)now.tv_sec + (double)now.tv_usec * 1e-6;
  event.step = step;
  return event;
}

static rt_status put_value(rt_events *e, const char *tag, int64_t step, Rt__Events__Value *value) {
  Rt__Events__Summary summary = RT__EVENTS__SUMMARY__INIT;
  Rt__Events__Event event = new_event(step);
  value->tag = (char *)(uintptr_t)tag;
  summary.n_value = 1;
  summary.value = &value;
  event.what_case = RT__EVENTS__EVENT__WHAT_SUMMARY;
  event.summary = &summary;
  return put_record(e, &event);
}

/* ---- files ---- */

/* A name that isn't there yet. */
static rt_status create(rt_events *e, const char *directory) {
  char host[256] = "localhost";
  struct timeval now;
  gettimeofday(&now, NULL);
  if (gethostname(host, sizeof host - 1) != 0 || strchr(host, '/')) snprintf(host, sizeof host, "localhost");
  for (int i = 0; i < NAMES_MOST && !e->stream; i++) {
    e->path = rt_arena_text(&e->arena, "%s/events.out.tfevents.%010lld.%s.%d.%d", directory, (long long)now.tv_sec,
                            host, (int)getpid(), i);
    if (!e->path) return RT_E_MEMORY;
    e->stream = fopen(e->path, "wbxe");
    if (!e->stream && errno != EEXIST) break;
  }
  e->error = e->stream ? 0 : errno;
  return e->error ? failed(e) : RT_OK;
}

static rt_status begin(rt_events *e, int64_t step) {
  Rt__Events__Event event = new_event(0);
  event.what_case = RT__EVENTS__EVENT__WHAT_FILE_VERSION;
  event.file_version = (char *)(uintptr_t) "brain.Event:2";
  rt_status s = put_record(e, &event);
  if (s != RT_OK || step <= 0) return s;
  Rt__Events__SessionLog log = RT__EVENTS__SESSION_LOG__INIT;
  log.status = RT__EVENTS__SESSION_LOG__STATUS__START;
  event = new_event(step);
  event.what_case = RT__EVENTS__EVENT__WHAT_SESSION_LOG;
  event.session_log = &log;
  return put_record(e, &event);
}

rt_status rt_events_open(const char *directory, int64_t step, rt_events **out) {
  *out = NULL;
  rt_events *e = rt_alloc(sizeof *e);
  if (!e) return RT_E_MEMORY;
  rt_status s = create(e, directory);
  if (s == RT_OK) s = begin(e, step);
  if (s == RT_OK)
    *out = e;
  else
    rt_events_close(e);
  return s;
}

void rt_events_close(rt_events *e) {
  if (!e) return;
  if (e->stream) fclose(e->stream); /* everything was flushed */
  rt_arena_release(&e->arena);
  rt_free(e);
}

/* ---- what is written ---- */

rt_status rt_events_scalar(rt_events *e, const char *tag, int64_t step, double value) {
  Rt__Events__Value v = RT__EVENTS__VALUE__INIT;
  v.value_case = RT__EVENTS__VALUE__VALUE_SIMPLE_VALUE;
  v.simple_value = (float)value;
  return put_value(e, tag, step, &v);
}

/* BUCKETS of equal width from the least value to the greatest; one where they are the same. */
rt_status rt_events_histogram(rt_events *e, const char *tag, int64_t step, const float *x, int64_t n) {
  double limit[BUCKETS], bucket[BUCKETS] = {0};
  Rt__Events__Histogram h = RT__EVENTS__HISTOGRAM__INIT;
  Rt__Events__Value v = RT__EVENTS__VALUE__INIT;
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(x[i])) continue;
    h.min = h.num == 0 || x[i] < h.min ? x[i] : h.min;
    h.max = h.num == 0 || x[i] > h.max ? x[i] : h.max;
    h.num += 1;
    h.sum += x[i];
    h.sum_squares += (double)x[i] * x[i];
  }
  double width = (h.max - h.min) / BUCKETS;
  int buckets = width > 0 ? BUCKETS : 1;
  for (int b = 0; b < buckets; b++) limit[b] = b == buckets - 1 ? h.max : h.min + (b + 1) * width;
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(x[i])) continue;
    int b = width > 0 ? (int)((x[i] - h.min) / width) : 0;
    bucket[b < buckets ? b : buckets - 1] += 1;
  }
  h.n_bucket_limit = h.n_bucket = (size_t)buckets;
  h.bucket_limit = limit;
  h.bucket = bucket;
  v.value_case = RT__EVENTS__VALUE__VALUE_HISTO;
  v.histo = &h;
  return put_value(e, tag, step, &v);
}

rt_status rt_events_image(rt_events *e, const char *tag, int64_t step, const rt_image *image) {
  rt_strbuf png = {0};
  Rt__Events__Image i = RT__EVENTS__IMAGE__INIT;
  Rt__Events__Value v = RT__EVENTS__VALUE__INIT;
  rt_status s = rt_png_encode(image, tag, &png);
  i.height = (int32_t)image->height;
  i.width = (int32_t)image->width;
  i.colorspace = (int32_t)image->channels;
  i.encoded_image_string = (ProtobufCBinaryData){png.length, (uint8_t *)png.text};
  v.value_case = RT__EVENTS__VALUE__VALUE_IMAGE;
  v.image = &i;
  if (s == RT_OK) s = put_value(e, tag, step, &v);
  rt_strbuf_release(&png);
  return s;
}
