/* What the targets for files do with an input. */
#ifndef FUZZ_FILES_H
#define FUZZ_FILES_H

#include "base/alloc.h"
#include "format/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every tensor that isn't huge; whatever fails must say why. */
static inline void fuzz_read_all(rt_file *file) {
  enum { LARGE = 1 << 22 };
  for (int i = 0; i < rt_file_count(file); i++) {
    rt_file_info info;
    if (rt_file_entry(file, i, &info) != RT_OK || info.bytes > LARGE) continue;
    void *to = rt_alloc((size_t)info.bytes);
    if (to && rt_file_read(file, info.name, to, (size_t)info.bytes) != RT_OK && !*rt_error()) __builtin_trap();
    rt_free(to);
  }
}

static inline int fuzz_open(const uint8_t *data, size_t size) {
  rt_file *file;
  int64_t live = rt_alloc_count().live;
  rt_fail(RT_OK, "%s", "");
  if (rt_file_open_bytes(size ? data : (const uint8_t *)"", size, "input", &file) == RT_OK)
    fuzz_read_all(file);
  else if (!*rt_error())
    __builtin_trap();
  rt_file_free(file);
  if (rt_alloc_count().live != live) __builtin_trap();
  return 0;
}

#endif
