/* Images: reading, scaling, cutting. The pixels of an rt_image lie channels last; a sample's lie channel by channel. */
#ifndef RT_DATA_IMAGE_H
#define RT_DATA_IMAGE_H

#include "base/status.h"
#include "base/strbuf.h"

#include <stdbool.h>

enum { RT_IMAGE_SIDE_MOST = 65500, RT_IMAGE_PIXELS_MOST = 1 << 27 };

typedef enum rt_filter { RT_FILTER_BILINEAR, RT_FILTER_BICUBIC } rt_filter;

/* A rectangle of an image. */
typedef struct rt_box {
  int64_t top, left, height, width;
} rt_box;

/* Memory for an image, not yet filled. */
rt_status rt_image_new(int64_t height, int64_t width, int64_t channels, rt_image *out);

/* From a file's bytes. `channels` as for rt_image_read; `path` is for the sentence only. */
rt_status rt_image_decode(const uint8_t *bytes, int64_t n, int64_t channels, const char *path, rt_image *out);
rt_status rt_png_decode(const uint8_t *bytes, int64_t n, const char *path, rt_image *out);
rt_status rt_jpeg_decode(const uint8_t *bytes, int64_t n, const char *path, rt_image *out);
/* Append a PNG's bytes; `name` is for the sentence only. */
rt_status rt_png_encode(const rt_image *image, const char *name, rt_strbuf *out);
/* Is so large an image possible in a file of n bytes that holds at most `ratio` pixels a byte? */
rt_status rt_image_believable(int64_t height, int64_t width, int64_t n, int64_t ratio, const char *path);

/* A box of an image, scaled to height×width. */
rt_status rt_image_resize_box(const rt_image *image, rt_box box, int64_t height, int64_t width, rt_filter filter,
                              rt_image *out);
/* The shorter side scaled to `shorter`, then the centre cut out; smaller images get a black border, as in torchvision. */
rt_status rt_image_fit(const rt_image *image, int64_t shorter, rt_filter filter, int64_t height, int64_t width,
                       rt_image *out);

/* ITU-R 601 in 16 bits. */
static inline uint8_t rt_grey(uint8_t red, uint8_t green, uint8_t blue) {
  return (uint8_t)((red * 19595u + green * 38470u + blue * 7471u + 0x8000u) >> 16);
}

/* height×width×channels → channels×height×width */
void rt_image_to_planes(const rt_image *image, uint8_t *planes);

/* Tables that turn a pixel into a network's input, a channel after the other: ((p / 255) − mean) / deviation in single
 * precision, as PyTorch computes it. */
void rt_normal_table(float mean, float deviation, float table[256]);

/* Sample `id` of a set that holds pixels in memory. */
rt_status rt_image_of_sample(const rt_data *data, int64_t id, rt_image *out);

/* The sample of a set whose images are read one by one, as it is evaluated: planes of the set's shape. */
rt_status rt_image_sample(const rt_data *data, int64_t id, uint8_t *planes);

#endif
