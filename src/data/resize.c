/* Antialiased scaling in the arithmetic of Pillow, across and then down, 8 bits in between:
 *
 *   scale = in / out, stretch = max(scale, 1), centre of output x: (x + ½)·scale
 *   weight of input i: filter((i + ½ − centre) / stretch), normalised to sum 1, rounded to 22 bits
 *
 * A filter that reaches over fewer than `support` pixels when it enlarges reaches over more when it shrinks: without the
 * stretch a shrunken image would alias, and a network trained on the one loses accuracy on the other. */
#include "base/alloc.h"
#include "data/image.h"

#include <math.h>
#include <string.h>

enum { BITS = 22 };

typedef struct kernel {
  double (*weight)(double x);
  double support;
} kernel;

static double bilinear(double x) {
  x = fabs(x);
  return x < 1 ? 1 - x : 0;
}

/* Keys' cubic convolution with a = −½. */
static double bicubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

static const kernel kernels[] = {[RT_FILTER_BILINEAR] = {bilinear, 1}, [RT_FILTER_BICUBIC] = {bicubic, 2}};

/* What every output pixel of a line is made of. */
typedef struct taps {
  int64_t most;    /* inputs to an output, at most */
  int64_t *first;  /* by output */
  int64_t *count;  /* by output */
  int32_t *weight; /* outputs × most */
} taps;

static void taps_release(taps *t) {
  rt_free(t->first);
  rt_free(t->count);
  rt_free(t->weight);
}

static void fill_taps(taps *t, int64_t in, int64_t out, const kernel *k, double *exact) {
  double scale = (double)in / (double)out, stretch = scale < 1 ? 1 : scale, support = k->support * stretch;
  for (int64_t x = 0; x < out; x++) {
    double centre = ((double)x + 0.5) * scale, sum = 0;
    int64_t first = (int64_t)(centre - support + 0.5), end = (int64_t)(centre + support + 0.5);
    if (first < 0) first = 0;
    if (end > in) end = in;
    t->first[x] = first;
    t->count[x] = end - first;
    for (int64_t i = 0; i < end - first; i++)
      sum += exact[i] = k->weight(((double)(i + first) - centre + 0.5) * (1 / stretch));
    for (int64_t i = 0; i < end - first; i++) {
      double w = (sum != 0 ? exact[i] / sum : exact[i]) * (1 << BITS);
      t->weight[x * t->most + i] = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
    }
  }
}

static rt_status taps_init(taps *t, int64_t in, int64_t out, const kernel *k) {
  double stretch = (double)in / (double)out;
  t->most = (int64_t)ceil(k->support * (stretch < 1 ? 1 : stretch)) * 2 + 1;
  t->first = rt_alloc_array((size_t)out, sizeof *t->first);
  t->count = rt_alloc_array((size_t)out, sizeof *t->count);
  t->weight = rt_alloc_array((size_t)out * (size_t)t->most, sizeof *t->weight);
  double *exact = rt_alloc_array((size_t)t->most, sizeof *exact);
  if (t->first && t->count && t->weight && exact) fill_taps(t, in, out, k, exact);
  bool done = t->first && t->count && t->weight && exact;
  rt_free(exact);
  if (done) return RT_OK;
  taps_release(t);
  return RT_E_MEMORY;
}

static uint8_t round_off(int32_t sum) {
  sum >>= BITS;
  return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* `lines` lines of in: across scales along a line of pixels, down along a column; a pixel is `step` bytes. */
static void across(const taps *t, const uint8_t *in, int64_t in_stride, int64_t lines, int64_t width, int64_t channels,
                   uint8_t *out) {
  for (int64_t y = 0; y < lines; y++, in += in_stride) {
    for (int64_t x = 0; x < width; x++) {
      const int32_t *w = t->weight + x * t->most;
      const uint8_t *from = in + t->first[x] * channels;
      for (int64_t c = 0; c < channels; c++) {
        int32_t sum = 1 << (BITS - 1);
        for (int64_t i = 0; i < t->count[x]; i++) sum += from[i * channels + c] * w[i];
        *out++ = round_off(sum);
      }
    }
  }
}

static void down(const taps *t, const uint8_t *in, int64_t in_stride, int64_t lines, int64_t row, uint8_t *out) {
  for (int64_t y = 0; y < lines; y++, out += row) {
    const int32_t *w = t->weight + y * t->most;
    const uint8_t *from = in + t->first[y] * in_stride;
    for (int64_t x = 0; x < row; x++) {
      int32_t sum = 1 << (BITS - 1);
      for (int64_t i = 0; i < t->count[y]; i++) sum += from[i * in_stride + x] * w[i];
      out[x] = round_off(sum);
    }
  }
}

static const uint8_t *corner(const rt_image *image, rt_box box) {
  return image->pixel + (box.top * image->width + box.left) * image->channels;
}

static rt_status scale_across(const rt_image *image, rt_box box, int64_t width, const kernel *k, rt_image *out) {
  taps t = {0};
  rt_status s = rt_image_new(box.height, width, image->channels, out);
  if (s == RT_OK) s = taps_init(&t, box.width, width, k);
  if (s != RT_OK) return s;
  across(&t, corner(image, box), image->width * image->channels, box.height, width, image->channels, out->pixel);
  taps_release(&t);
  return RT_OK;
}

static rt_status scale_down(const rt_image *image, rt_box box, int64_t height, const kernel *k, rt_image *out) {
  taps t = {0};
  rt_status s = rt_image_new(height, box.width, image->channels, out);
  if (s == RT_OK) s = taps_init(&t, box.height, height, k);
  if (s != RT_OK) return s;
  down(&t, corner(image, box), image->width * image->channels, height, box.width * image->channels, out->pixel);
  taps_release(&t);
  return RT_OK;
}

static rt_status copy_box(const rt_image *image, rt_box box, rt_image *out) {
  rt_status s = rt_image_new(box.height, box.width, image->channels, out);
  int64_t row = box.width * image->channels;
  for (int64_t y = 0; s == RT_OK && y < box.height; y++)
    memcpy(out->pixel + y * row, corner(image, box) + y * image->width * image->channels, (size_t)row);
  return s;
}

static rt_status scale_both(const rt_image *image, rt_box box, int64_t height, int64_t width, const kernel *k,
                            rt_image *out) {
  /* Which way first shows in the rounding; Pillow has gone down first since version 13 where that saves much. */
  bool down_first = height < box.height && box.height - height > 2 * (box.width - width);
  rt_image half;
  rt_status s = down_first ? scale_down(image, box, height, k, &half) : scale_across(image, box, width, k, &half);
  rt_box whole = {0, 0, half.height, half.width};
  if (s == RT_OK) s = down_first ? scale_across(&half, whole, width, k, out) : scale_down(&half, whole, height, k, out);
  rt_image_release(&half);
  return s;
}

rt_status rt_image_resize_box(const rt_image *image, rt_box box, int64_t height, int64_t width, rt_filter filter,
                              rt_image *out) {
  const kernel *k = &kernels[filter];
  *out = (rt_image){0};
  rt_status s = height == box.height && width == box.width ? copy_box(image, box, out)
                : height == box.height                     ? scale_across(image, box, width, k, out)
                : width == box.width                       ? scale_down(image, box, height, k, out)
                                                           : scale_both(image, box, height, width, k, out);
  if (s != RT_OK) rt_image_release(out);
  return s;
}

rt_status rt_image_resize(const rt_image *image, int64_t height, int64_t width, const char *filter, rt_image *out) {
  *out = (rt_image){0};
  if (height < 1 || width < 1 || height > RT_IMAGE_SIDE_MOST || width > RT_IMAGE_SIDE_MOST)
    return rt_fail(RT_E_ARGUMENT, "an image can't be scaled to %lldx%lld", (long long)height, (long long)width);
  if (strcmp(filter, "bilinear") != 0 && strcmp(filter, "bicubic") != 0)
    return rt_fail(RT_E_UNKNOWN, "there is no filter %s: expected bilinear or bicubic", filter);
  rt_filter f = strcmp(filter, "bicubic") == 0 ? RT_FILTER_BICUBIC : RT_FILTER_BILINEAR;
  return rt_image_resize_box(image, (rt_box){0, 0, image->height, image->width}, height, width, f, out);
}
