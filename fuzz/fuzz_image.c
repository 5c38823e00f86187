/* PNG and JPEG, and what is done to an image next. Large ones are decoded, but not scaled: that would only take time. */
#include "base/alloc.h"
#include "data/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rt_image image, fitted;
  int64_t live = rt_alloc_count().live;
  rt_fail(RT_OK, "%s", "");
  if (rt_image_decode(data, (int64_t)size, 3, "input", &image) == RT_OK) {
    if (image.height * image.width < 1 << 16 && rt_image_fit(&image, 9, RT_FILTER_BICUBIC, 8, 8, &fitted) == RT_OK)
      rt_image_release(&fitted);
    rt_image_release(&image);
  } else if (!*rt_error()) {
    __builtin_trap();
  }
  if (rt_alloc_count().live != live) __builtin_trap();
  return 0;
}
