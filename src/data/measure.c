/* Mean and deviation of the training split, per channel. Sums of pixels are whole numbers, so nothing is rounded before
 * the last step, and the order of images doesn't matter. */
#include "base/alloc.h"
#include "data/data.h"
#include "data/image.h"

#include <math.h>

enum { MOST_READ = 1024 }; /* images looked at where each has to be read from its file */

typedef struct sums {
  double n, sum, square;
} sums;

static void add_pixels(const uint8_t *p, int64_t n, sums *to) {
  uint64_t sum = 0, square = 0;
  for (int64_t i = 0; i < n; i++) {
    sum += p[i];
    square += (uint32_t)p[i] * p[i];
  }
  to->n += (double)n;
  to->sum += (double)sum / 255;
  to->square += (double)square / (255.0 * 255.0);
}

static void add_values(const float *p, int64_t n, sums *to) {
  for (int64_t i = 0; i < n; i++) {
    to->sum += (double)p[i];
    to->square += (double)p[i] * (double)p[i];
  }
  to->n += (double)n;
}

static rt_status add_sample(const rt_data *d, int64_t id, uint8_t *scratch, sums *to) {
  int64_t plane = d->height * d->width, at = id * d->channels * plane;
  if (!d->value && !d->pixel) {
    rt_status s = rt_image_sample(d, id, scratch);
    if (s != RT_OK) return s;
  }
  for (int64_t c = 0; c < d->channels; c++) {
    if (d->value)
      add_values(d->value + at + c * plane, plane, &to[c]);
    else
      add_pixels((d->pixel ? d->pixel + at : scratch) + c * plane, plane, &to[c]);
  }
  return RT_OK;
}

rt_status rt_data_measure(rt_data *d) {
  size_t channels = (size_t)d->channels;
  d->mean = rt_arena_alloc(&d->arena, channels * sizeof(float));
  d->deviation = rt_arena_alloc(&d->arena, channels * sizeof(float));
  sums *s = rt_arena_alloc(&d->arena, channels * sizeof *s);
  bool from_files = !d->pixel && !d->value;
  uint8_t *scratch = from_files ? rt_arena_alloc(&d->arena, (size_t)rt_data_pixels(d)) : NULL;
  if (!d->mean || !d->deviation || !s || (from_files && !scratch)) return RT_E_MEMORY;
  int64_t n = d->count[RT_TRAIN], looked = from_files && n > MOST_READ ? MOST_READ : n;
  for (int64_t i = 0; i < looked; i++) {
    rt_status status = add_sample(d, d->id[RT_TRAIN][n / looked * i + n % looked * i / looked], scratch, s);
    if (status != RT_OK) return status;
  }
  for (size_t c = 0; c < channels; c++) {
    double mean = s[c].n > 0 ? s[c].sum / s[c].n : 0;
    double variance = s[c].n > 0 ? s[c].square / s[c].n - mean * mean : 0;
    d->mean[c] = (float)mean;
    d->deviation[c] = variance > 1e-12 ? (float)sqrt(variance) : 1; /* a channel that never changes stays as it is */
  }
  return RT_OK;
}
