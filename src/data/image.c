#include "data/image.h"

#include "base/alloc.h"
#include "data/data.h"

#include <math.h>
#include <string.h>

rt_status rt_image_new(int64_t height, int64_t width, int64_t channels, rt_image *out) {
  *out = (rt_image){height, width, channels, NULL};
  if (height < 1 || width < 1 || height > RT_IMAGE_PIXELS_MOST / width)
    return rt_fail(RT_E_RANGE, "an image of %lldx%lld is more than the %d pixels that are read", (long long)height,
                   (long long)width, RT_IMAGE_PIXELS_MOST);
  out->pixel = rt_alloc((size_t)(height * width * channels));
  return out->pixel ? RT_OK : RT_E_MEMORY;
}

void rt_image_release(rt_image *image) {
  rt_free(image->pixel);
  *image = (rt_image){0};
}

rt_status rt_image_believable(int64_t height, int64_t width, int64_t n, int64_t ratio, const char *path) {
  if (height < 1 || width < 1 || height > RT_IMAGE_SIDE_MOST || width > RT_IMAGE_SIDE_MOST ||
      height * width > RT_IMAGE_PIXELS_MOST)
    return rt_fail(RT_E_RANGE, "%s: an image of %lldx%lld is more than the %d pixels that are read", path,
                   (long long)height, (long long)width, RT_IMAGE_PIXELS_MOST);
  if (height * width / ratio > n)
    return rt_fail(RT_E_RANGE, "%s: it claims to hold %lldx%lld pixels in %lld bytes", path, (long long)height,
                   (long long)width, (long long)n);
  return RT_OK;
}

/* ---- grey and colour ---- */

static rt_status to_channels(rt_image *image, int64_t channels) {
  if (channels == 0 || channels == image->channels) return RT_OK;
  rt_image other;
  rt_status s = rt_image_new(image->height, image->width, channels, &other);
  if (s != RT_OK) return s;
  const uint8_t *p = image->pixel;
  for (int64_t i = 0; i < image->height * image->width; i++) {
    if (channels == 3) {
      memset(other.pixel + 3 * i, p[i], 3);
    } else {
      other.pixel[i] = rt_grey(p[3 * i], p[3 * i + 1], p[3 * i + 2]);
    }
  }
  rt_image_release(image);
  *image = other;
  return RT_OK;
}

/* ---- files ---- */

rt_status rt_image_decode(const uint8_t *bytes, int64_t n, int64_t channels, const char *path, rt_image *out) {
  static const uint8_t png[] = {0x89, 'P', 'N', 'G'}, jpeg[] = {0xFF, 0xD8, 0xFF};
  rt_status s;
  *out = (rt_image){0};
  if (channels != 0 && channels != 1 && channels != 3)
    return rt_fail(RT_E_ARGUMENT, "%s: an image can be read with 1 or 3 channels, not %lld", path, (long long)channels);
  if (n >= (int64_t)sizeof png && memcmp(bytes, png, sizeof png) == 0)
    s = rt_png_decode(bytes, n, path, out);
  else if (n >= (int64_t)sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0)
    s = rt_jpeg_decode(bytes, n, path, out);
  else
    return rt_fail(RT_E_UNSUPPORTED, "%s: neither a PNG nor a JPEG", path);
  if (s == RT_OK) s = to_channels(out, channels);
  if (s != RT_OK) rt_image_release(out);
  return s;
}

rt_status rt_image_read(const char *path, int64_t channels, rt_image *out) {
  enum { MOST = 256 << 20 };
  uint8_t *bytes;
  int64_t n;
  *out = (rt_image){0};
  rt_status s = rt_data_slurp(path, MOST, &bytes, &n);
  if (s != RT_OK) return s;
  s = rt_image_decode(bytes, n, channels, path, out);
  rt_free(bytes);
  return s;
}

/* ---- what a network gets ---- */

/* Where a cut of `size` out of `length` begins, as in torchvision: halves go to the even side, and what is missing of an
 * image that is too small is black, the larger half of it after the image. */
static int64_t centre(int64_t length, int64_t size) {
  return length < size ? -((size - length) / 2) : (int64_t)nearbyint((double)(length - size) / 2);
}

static rt_status cut_centre(const rt_image *image, int64_t height, int64_t width, rt_image *out) {
  rt_status s = rt_image_new(height, width, image->channels, out);
  if (s != RT_OK) return s;
  int64_t top = centre(image->height, height), left = centre(image->width, width);
  int64_t begin = left < 0 ? -left : 0, end = image->width - left < width ? image->width - left : width;
  size_t pixel = (size_t)image->channels;
  for (int64_t y = 0; y < height; y++) {
    if (y + top < 0 || y + top >= image->height || begin >= end) continue;
    memcpy(out->pixel + (size_t)(y * width + begin) * pixel,
           image->pixel + (size_t)((y + top) * image->width + begin + left) * pixel, (size_t)(end - begin) * pixel);
  }
  return RT_OK;
}

rt_status rt_image_fit(const rt_image *image, int64_t shorter, rt_filter filter, int64_t height, int64_t width,
                       rt_image *out) {
  rt_image scaled;
  int64_t h = image->height, w = image->width;
  int64_t new_h = h <= w ? shorter : shorter * h / w, new_w = h <= w ? shorter * w / h : shorter;
  *out = (rt_image){0};
  if (new_h > RT_IMAGE_SIDE_MOST || new_w > RT_IMAGE_SIDE_MOST)
    return rt_fail(RT_E_RANGE, "an image of %lldx%lld is too long and thin to be scaled", (long long)h, (long long)w);
  rt_status s = rt_image_resize_box(image, (rt_box){0, 0, h, w}, new_h, new_w, filter, &scaled);
  if (s != RT_OK) return s;
  s = cut_centre(&scaled, height, width, out);
  rt_image_release(&scaled);
  return s;
}

void rt_image_to_planes(const rt_image *image, uint8_t *planes) {
  int64_t n = image->height * image->width, channels = image->channels;
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < n; i++) planes[c * n + i] = image->pixel[i * channels + c];
}

void rt_normal_table(float mean, float deviation, float table[256]) {
  for (int p = 0; p < 256; p++) table[p] = ((float)p / 255.0f - mean) / deviation;
}

rt_status rt_image_input(const rt_image *image, int64_t shorter, const char *filter, const float *mean,
                         const float *deviation, int64_t channels, int64_t height, int64_t width, float *x) {
  rt_image copy, fitted;
  rt_filter f = strcmp(filter, "bicubic") == 0 ? RT_FILTER_BICUBIC : RT_FILTER_BILINEAR;
  if (shorter < 1 || height < 1 || width < 1)
    return rt_fail(RT_E_ARGUMENT, "an input of %lldx%lld cut out of %lld can't be made", (long long)height,
                   (long long)width, (long long)shorter);
  rt_status s = rt_image_new(image->height, image->width, image->channels, &copy);
  if (s != RT_OK) return s;
  memcpy(copy.pixel, image->pixel, (size_t)(image->height * image->width * image->channels));
  s = to_channels(&copy, channels);
  if (s == RT_OK) s = rt_image_fit(&copy, shorter, f, height, width, &fitted);
  rt_image_release(&copy);
  if (s != RT_OK) return s;
  int64_t n = height * width;
  for (int64_t c = 0; c < channels; c++) {
    float table[256];
    rt_normal_table(mean[c], deviation[c], table);
    for (int64_t i = 0; i < n; i++) x[c * n + i] = table[fitted.pixel[i * channels + c]];
  }
  rt_image_release(&fitted);
  return RT_OK;
}

rt_status rt_image_of_sample(const rt_data *data, int64_t id, rt_image *out) {
  rt_status s = rt_image_new(data->height, data->width, data->channels, out);
  int64_t n = data->height * data->width;
  const uint8_t *planes = data->pixel + id * rt_data_pixels(data);
  for (int64_t c = 0; s == RT_OK && c < data->channels; c++)
    for (int64_t i = 0; i < n; i++) out->pixel[i * data->channels + c] = planes[c * n + i];
  return s;
}

static rt_status scale_sample(const rt_data *data, int64_t id, int64_t height, int64_t width, uint8_t *planes) {
  rt_image image, scaled = {0};
  rt_status s = rt_image_of_sample(data, id, &image);
  if (s == RT_OK)
    s = rt_image_resize_box(&image, (rt_box){0, 0, data->height, data->width}, height, width, data->filter, &scaled);
  if (s == RT_OK) rt_image_to_planes(&scaled, planes);
  rt_image_release(&image);
  rt_image_release(&scaled);
  return s;
}

rt_status rt_data_scale(rt_data *data, const int64_t size[2]) {
  int64_t height = size[0] ? size[0] : data->height, width = size[1] ? size[1] : data->width;
  if (height == data->height && width == data->width) return RT_OK;
  size_t n = (size_t)rt_data_samples(data), each = (size_t)(data->channels * height * width);
  uint8_t *scaled = rt_alloc_large(n * each);
  rt_status s = scaled ? RT_OK : RT_E_MEMORY;
  for (size_t i = 0; s == RT_OK && i < n; i++) s = scale_sample(data, (int64_t)i, height, width, scaled + i * each);
  rt_free(s == RT_OK ? data->pixel : scaled);
  if (s != RT_OK) return s;
  data->pixel = scaled;
  data->height = height;
  data->width = width;
  return RT_OK;
}

rt_status rt_image_sample(const rt_data *data, int64_t id, uint8_t *planes) {
  rt_image image, fitted;
  rt_status s = data->row->read(data, id, &image);
  if (s != RT_OK) return s;
  s = rt_image_fit(&image, data->shorter, data->filter, data->height, data->width, &fitted);
  rt_image_release(&image);
  if (s != RT_OK) return s;
  rt_image_to_planes(&fitted, planes);
  rt_image_release(&fitted);
  return RT_OK;
}
