#include "base/alloc.h"
#include "base/clock.h"
#include "bench/bench.h"

#include "base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 1 << 16, WARM_UP = 3, ROUNDS = 5 };

/* One network's part: its images, and the seconds of each run. */
typedef struct bench {
  rt_network *network;
  float *x;
  double *seconds;
  int64_t runs;
  double joules;
} bench;

/* Values with mean 0 and variance 1, the same every time. */
static void fill(float *x, int64_t n) {
  uint32_t state = 12345;
  for (int64_t i = 0; i < n; i++) {
    state = state * 1664525u + 1013904223u;
    x[i] = ((float)(state >> 8) * 0x1p-24f - 0.5f) * 3.4641016f;
  }
}

static rt_status prepare(bench *b, rt_network *network, int64_t batch) {
  rt_network_info info;
  const float *logits;
  rt_network_describe(network, &info);
  int64_t image = info.channels * info.height * info.width;
  if (batch > INT64_MAX / image / 8)
    return rt_fail(RT_E_ARGUMENT, "bench: a batch of %lld images is too large", (long long)batch);
  b->network = network;
  b->x = rt_alloc_array((size_t)(batch * image), sizeof *b->x);
  b->seconds = rt_alloc_array(MOST_RUNS, sizeof *b->seconds);
  if (!b->x || !b->seconds) return RT_E_MEMORY;
  fill(b->x, batch * image);
  rt_status s = RT_OK;
  for (int i = 0; i < WARM_UP && s == RT_OK; i++) s = rt_network_run(network, b->x, batch, &logits);
  return s;
}

/* Runs until `seconds` are over. */
static rt_status run_slice(bench *b, int64_t batch, double seconds) {
  const float *logits;
  double begin = rt_now(), joules = rt_energy(), now = begin;
  rt_status s = RT_OK;
  for (int i = 0; s == RT_OK && b->runs < MOST_RUNS && (i == 0 || now - begin < seconds); i++) {
    double start = now;
    s = rt_network_run(b->network, b->x, batch, &logits);
    now = rt_now();
    b->seconds[b->runs++] = now - start;
  }
  b->joules += rt_energy() - joules;
  return s;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void summarize(bench *b, rt_bench *out) {
  qsort(b->seconds, (size_t)b->runs, sizeof *b->seconds, by_value);
  double last = (double)(b->runs - 1);
  *out = (rt_bench){.runs = b->runs,
                    .best = b->seconds[0],
                    .p50 = b->seconds[(int64_t)(last * 0.5)],
                    .p90 = b->seconds[(int64_t)ceil(last * 0.9)],
                    .p99 = b->seconds[(int64_t)ceil(last * 0.99)],
                    .joules = b->joules / (double)b->runs};
}

rt_status rt_bench_run(rt_network *const *networks, int n, int64_t batch, double seconds, rt_bench *out) {
  if (n < 1 || batch < 1) return rt_fail(RT_E_ARGUMENT, "bench: expected networks, and a batch of at least one image");
  bench *b = rt_alloc_array((size_t)n, sizeof *b);
  rt_status s = b ? RT_OK : RT_E_MEMORY;
  for (int i = 0; i < n && s == RT_OK; i++) s = prepare(&b[i], networks[i], batch);
  for (int i = 0; i < n && s == RT_OK; i++) rt_plan_reset_profile(rt_network_plan(networks[i]));
  for (int round = 0; round < ROUNDS; round++)
    for (int i = 0; i < n && s == RT_OK; i++) s = run_slice(&b[i], batch, seconds / ROUNDS);
  for (int i = 0; i < n && s == RT_OK; i++) summarize(&b[i], &out[i]);
  for (int i = 0; b && i < n; i++) {
    rt_free(b[i].x);
    rt_free(b[i].seconds);
  }
  rt_free(b);
  return s;
}
