/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011): every draw is a pure function of a key and a counter. */
#ifndef RT_BASE_RNG_H
#define RT_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct rt_rng {
  uint64_t seed;   /* which experiment */
  uint64_t stream; /* what is drawn: a hash of a name */
} rt_rng;

/* Four words for counter (high, low): high is a step or sample, low a block of four elements. */
void rt_philox(rt_rng rng, uint64_t high, uint64_t low, uint32_t out[4]);

/* Element i of draw `high`. Uniform in [0, 1) with 24 bits; normal by Box and Muller. */
float rt_uniform(rt_rng rng, uint64_t high, uint64_t i);
float rt_normal(rt_rng rng, uint64_t high, uint64_t i);

/* FNV-1a, 64 bits: bytes after what h has seen (RT_HASH_EMPTY: nothing yet), and the stream of a name. */
#define RT_HASH_EMPTY UINT64_C(0xCBF29CE484222325)
uint64_t rt_hash(uint64_t h, const void *bytes, size_t n);
uint64_t rt_hash_text(const char *text);

#endif
