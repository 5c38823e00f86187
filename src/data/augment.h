/* Augmentation: what is done to image `id` in its variant `draw` is a function of (seed, id, draw). */
#ifndef RT_DATA_AUGMENT_H
#define RT_DATA_AUGMENT_H

#include "base/rng.h"
#include "data/data.h"

typedef struct rt_augment {
  int64_t crop, cutout;
  bool reflect, flip, alternate;
  double resized_crop, brightness, contrast, saturation, hue, mixup, cutmix;
} rt_augment;

extern const rt_option rt_augment_options[];

/* Memory for one image on its way, and how it is normalised; one a thread. */
typedef struct rt_darkroom {
  uint8_t *original, *pixel; /* planes: before and after moving pixels about */
  float *value, *partner;
  const float (*table)[256]; /* by channel */
  const float *mean, *deviation;
} rt_darkroom;

rt_status rt_augment_check(const rt_augment *a, const rt_data *data);
static inline bool rt_augment_mixes(const rt_augment *a) { return a->mixup > 0 || a->cutmix > 0; }

/* The normalised planes of a variant; `seed` of augmentation. */
rt_status rt_augment_image(const rt_augment *a, const rt_data *data, uint64_t seed, int64_t id, int64_t draw,
                           const rt_darkroom *room, float *x);
/* The same mixed with a partner of the split, and its target (classes probabilities). */
rt_status rt_augment_mixed(const rt_augment *a, const rt_data *data, rt_split split, uint64_t seed, int64_t id,
                           int64_t draw, const rt_darkroom *room, float *x, float *target);

/* Colour, on planes of bytes; `planes` is 3 or 1. Pillow's ImageEnhance (brightness, contrast, colour) and torchvision's
 * adjust_hue. */
typedef enum rt_colour { RT_BRIGHTNESS, RT_CONTRAST, RT_SATURATION, RT_HUE, RT_COLOURS } rt_colour;
void rt_colour_adjust(rt_colour what, double factor, uint8_t *pixel, int64_t planes, int64_t n);

#endif
