#include "base/rng.h"

#include <math.h>
#include <string.h>

void rt_philox(rt_rng rng, uint64_t high, uint64_t low, uint32_t out[4]) {
  /* The stream is folded into the counter's upper half; its constant keeps stream 0 apart from plain counters. */
  uint64_t top = high ^ (rng.stream * 0x9E3779B97F4A7C15u);
  uint32_t c0 = (uint32_t)low, c1 = (uint32_t)(low >> 32), c2 = (uint32_t)top, c3 = (uint32_t)(top >> 32);
  uint32_t k0 = (uint32_t)rng.seed, k1 = (uint32_t)(rng.seed >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

static float unit(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

float rt_uniform(rt_rng rng, uint64_t high, uint64_t i) {
  uint32_t w[4];
  rt_philox(rng, high, i / 4, w);
  return unit(w[i % 4]);
}

float rt_normal(rt_rng rng, uint64_t high, uint64_t i) {
  uint32_t w[4];
  rt_philox(rng, high, i / 4, w);
  uint32_t pair = (uint32_t)(i % 4) & 2u;
  double radius = sqrt(-2.0 * log(1.0 - (double)unit(w[pair]))), angle = 6.283185307179586 * (double)unit(w[pair + 1]);
  return (float)(radius * (i % 2 ? sin(angle) : cos(angle)));
}

uint64_t rt_hash(uint64_t h, const void *bytes, size_t n) {
  for (size_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 0x100000001B3u;
  return h;
}

uint64_t rt_hash_text(const char *text) { return rt_hash(RT_HASH_EMPTY, text, strlen(text)); }
