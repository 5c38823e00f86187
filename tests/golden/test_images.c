/* Decoding, scaling and colour beside Pillow: values that make_images.py recorded. */
#include "base/alloc.h"
#include "data/augment.h"
#include "data/image.h"
#include "json_file.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

static cJSON *recorded;

static int64_t number(const cJSON *o, const char *key) {
  return (int64_t)cJSON_GetObjectItemCaseSensitive(o, key)->valuedouble;
}

/* Bytes written in hexadecimal; for rt_free. */
static uint8_t *bytes_of(const cJSON *o, const char *key, int64_t *n) {
  const char *text = cJSON_GetObjectItemCaseSensitive(o, key)->valuestring;
  *n = (int64_t)strlen(text) / 2;
  uint8_t *bytes = rt_alloc((size_t)*n);
  assert_non_null(bytes);
  for (int64_t i = 0; i < *n; i++) {
    unsigned value;
    assert_int_equal(sscanf(text + 2 * i, "%2x", &value), 1);
    bytes[i] = (uint8_t)value;
  }
  return bytes;
}

static int furthest(const uint8_t *a, const uint8_t *b, int64_t n) {
  int most = 0;
  for (int64_t i = 0; i < n; i++) {
    int d = a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
    if (d > most) most = d;
  }
  return most;
}

static rt_image scene(void) {
  const cJSON *o = cJSON_GetObjectItemCaseSensitive(recorded, "scene");
  int64_t n;
  rt_image image = {.height = number(o, "height"), .width = number(o, "width"), .channels = 3};
  image.pixel = bytes_of(o, "pixels", &n);
  assert_int_equal(n, image.height * image.width * 3);
  return image;
}

static void decoding(void **state) {
  const cJSON *o;
  int files = 0;
  cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(recorded, "files")) {
    const char *name = cJSON_GetObjectItemCaseSensitive(o, "name")->valuestring;
    int64_t n, n_pixels;
    uint8_t *bytes = bytes_of(o, "bytes", &n), *pixels = bytes_of(o, "pixels", &n_pixels);
    rt_image image;
    if (rt_image_decode(bytes, n, 0, name, &image) != RT_OK) fail_msg("%s", rt_error());
    assert_true(image.height == number(o, "height") && image.width == number(o, "width"));
    assert_int_equal(image.channels, number(o, "channels"));
    assert_int_equal(n_pixels, image.height * image.width * image.channels);
    int most = furthest(image.pixel, pixels, n_pixels);
    if (most > (strncmp(name, "png", 3) == 0 ? 0 : 1)) fail_msg("%s: %d levels off", name, most);
    rt_image_release(&image);
    rt_free(bytes);
    rt_free(pixels);
    files++;
  }
  assert_true(files >= 12);
}

static void scaling(void **state) {
  rt_image image = scene(), out;
  const cJSON *o;
  int n_cases = 0;
  cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(recorded, "resizes")) {
    int64_t n;
    uint8_t *pixels = bytes_of(o, "pixels", &n);
    const char *filter = cJSON_GetObjectItemCaseSensitive(o, "filter")->valuestring;
    assert_int_equal(rt_image_resize(&image, number(o, "height"), number(o, "width"), filter, &out), RT_OK);
    assert_int_equal(n, out.height * out.width * 3);
    int most = furthest(out.pixel, pixels, n);
    if (most > 0) fail_msg("%s to %dx%d: %d levels off", filter, (int)out.height, (int)out.width, most);
    rt_image_release(&out);
    rt_free(pixels);
    n_cases++;
  }
  assert_int_equal(n_cases, 18);
  rt_image_release(&image);
}

static void colours(void **state) {
  rt_image image = scene();
  int64_t n = image.height * image.width;
  uint8_t *planes = rt_alloc((size_t)(3 * n));
  const cJSON *o;
  int n_cases = 0;
  cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(recorded, "colours")) {
    int64_t size;
    uint8_t *pixels = bytes_of(o, "pixels", &size), *expected = rt_alloc((size_t)size);
    rt_image result = {image.height, image.width, 3, pixels};
    double factor = cJSON_GetObjectItemCaseSensitive(o, "factor")->valuedouble;
    rt_image_to_planes(&result, expected);
    rt_image_to_planes(&image, planes);
    rt_colour_adjust((rt_colour)number(o, "what"), factor, planes, 3, n);
    int most = furthest(planes, expected, size);
    if (most > 0) fail_msg("colour %d by %g: %d levels off", (int)number(o, "what"), factor, most);
    rt_free(expected);
    rt_free(pixels);
    n_cases++;
  }
  assert_int_equal(n_cases, 16);
  rt_free(planes);
  rt_image_release(&image);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(decoding), cmocka_unit_test(scaling), cmocka_unit_test(colours)};
  recorded = json_file("tests/golden/images.json");
  if (!recorded) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  cJSON_Delete(recorded);
  return failed;
}
