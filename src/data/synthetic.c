/* Made-up images that can be learned: every class has a smooth pattern of its own, and an image is that pattern, moved a
 * little, under noise. The same for everybody: a function of the option `seed` only. */
#include "base/alloc.h"
#include "base/rng.h"
#include "data/data.h"

#include <math.h>

typedef struct options {
  rt_data_common common;
  rt_ints shape;
  int64_t classes, train, test, seed;
  double noise;
} options;

static const rt_option table[] = {
    RT_DATA_OPTIONS(options),
    {"shape", RT_OPT_INTS, offsetof(options, shape), "3,32,32", 1, 4096, NULL, "channels, height, width"},
    {"classes", RT_OPT_INT, offsetof(options, classes), "10", 2, 10000, NULL, "how many classes"},
    {"images", RT_OPT_INT, offsetof(options, train), "2000", 1, 1e8, NULL, "images to train on"},
    {"test_images", RT_OPT_INT, offsetof(options, test), "500", 0, 1e8, NULL, "images to test on"},
    {"seed", RT_OPT_INT, offsetof(options, seed), "0", 0, 9e18, NULL, "which patterns"},
    {"noise", RT_OPT_FLOAT, offsetof(options, noise), "48", 0, 1000, NULL, "its standard deviation, in levels"},
    {0},
};

enum { WAVES = 4 };

/* A class's pattern: waves that fit the image a whole number of times, so that it can be moved around its edges. */
static void draw_pattern(const options *o, int64_t class, float *pattern) {
  rt_rng rng = {(uint64_t)o->seed, rt_hash_text("synthetic.pattern")};
  const double turn = 6.283185307179586;
  int64_t height = o->shape.v[1], width = o->shape.v[2];
  for (int64_t c = 0; c < o->shape.v[0]; c++) {
    uint64_t which = (uint64_t)(class * o->shape.v[0] + c);
    double across[WAVES], down[WAVES], phase[WAVES];
    for (int i = 0; i < WAVES; i++) {
      across[i] = floor(4 * (double)rt_uniform(rng, which, 3 * (uint64_t)i));
      down[i] = floor(5 * (double)rt_uniform(rng, which, 3 * (uint64_t)i + 1)) - 2;
      phase[i] = (double)rt_uniform(rng, which, 3 * (uint64_t)i + 2);
    }
    for (int64_t y = 0; y < height; y++) {
      for (int64_t x = 0; x < width; x++) {
        double level = 0, u = (double)x / (double)width, v = (double)y / (double)height;
        for (int i = 0; i < WAVES; i++) level += sin(turn * (across[i] * u + down[i] * v + phase[i]));
        *pattern++ = (float)(128 + 24 * level);
      }
    }
  }
}

/* Four bytes added up: nearly normal, and one draw gives four of them. */
static float rough_normal(uint32_t word) {
  int sum = (int)(word & 255) + (int)(word >> 8 & 255) + (int)(word >> 16 & 255) + (int)(word >> 24);
  return (float)(sum - 510) / 147.8f;
}

static void draw_image(const options *o, const float *pattern, int64_t id, uint8_t *pixel) {
  rt_rng place = {(uint64_t)o->seed, rt_hash_text("synthetic.place")};
  rt_rng noise = {(uint64_t)o->seed, rt_hash_text("synthetic.noise")};
  int64_t height = o->shape.v[1], width = o->shape.v[2];
  int64_t dy = (int64_t)(rt_uniform(place, (uint64_t)id, 0) * (float)height / 4);
  int64_t dx = (int64_t)(rt_uniform(place, (uint64_t)id, 1) * (float)width / 4);
  uint64_t element = 0;
  uint32_t w[4] = {0};
  for (int64_t c = 0; c < o->shape.v[0]; c++) {
    for (int64_t y = 0; y < height; y++) {
      const float *row = pattern + (c * height + (y + dy) % height) * width;
      for (int64_t x = 0; x < width; x++, element++) {
        if (element % 4 == 0) rt_philox(noise, (uint64_t)id, element / 4, w);
        float p = row[(x + dx) % width] + (float)o->noise * rough_normal(w[element % 4]);
        *pixel++ = p < 0 ? 0 : p > 255 ? 255 : (uint8_t)p;
      }
    }
  }
}

static rt_status open(rt_data *data, const void *opts) {
  const options *o = opts;
  if (o->shape.n != 3)
    return rt_fail(RT_E_ARGUMENT, "synthetic: shape has %d numbers: expected three, as in 3,32,32", o->shape.n);
  data->dtype = RT_U8;
  data->channels = o->shape.v[0];
  data->height = o->shape.v[1];
  data->width = o->shape.v[2];
  data->classes = o->classes;
  data->given[RT_TRAIN] = o->train;
  data->given[RT_TEST] = o->test;
  rt_status s = rt_data_reserve(data);
  if (s == RT_OK) s = rt_data_number_classes(data);
  float *pattern = s == RT_OK ? rt_alloc_array((size_t)rt_data_pixels(data), sizeof *pattern) : NULL;
  if (!pattern) return s == RT_OK ? RT_E_MEMORY : s;
  for (int64_t class = 0; class < o->classes; class ++) {
    draw_pattern(o, class, pattern);
    for (int64_t id = class; id < rt_data_samples(data); id += o->classes) {
      data->label[id] = class;
      draw_image(o, pattern, id, data->pixel + id * rt_data_pixels(data));
    }
  }
  rt_free(pattern);
  return RT_OK;
}

const rt_data_row rt_data_row_synthetic = {
    .name = "synthetic",
    .summary = "made-up patterns under noise: quick to learn, for trying things out",
    .options = table,
    .options_size = sizeof(options),
    .open = open,
};
