/* A zip archive: every entry, whole and in part. */
#include "files.h"
#include "format/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  enum { LARGE = 1 << 20 };
  rt_zip *zip;
  if (rt_zip_open(data, size, "input", &zip) != RT_OK) return 0;
  for (int64_t i = 0; i < rt_zip_count(zip); i++) {
    int64_t n = rt_zip_size(zip, i), most = n < LARGE ? n : LARGE;
    char *to = rt_alloc((size_t)most);
    rt_zip_find(zip, rt_zip_name(zip, i));
    if (to) rt_zip_read(zip, i, n - most, to, most);
    if (to) rt_zip_read(zip, i, 1, to, most);
    rt_free(to);
  }
  rt_zip_close(zip);
  return 0;
}
