#include "data/idx.h"

static int64_t u32(const uint8_t *p) { return (int64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

rt_status rt_idx_parse(const uint8_t *bytes, int64_t n, int rank, const char *path, rt_idx *out) {
  int64_t header = 4 + 4 * (int64_t)rank, elements = 1;
  if (n < header) return rt_fail(RT_E_IO, "%s: %lld bytes are too few for an IDX file", path, (long long)n);
  if (bytes[0] || bytes[1] || bytes[2] != 8 || bytes[3] != rank)
    return rt_fail(RT_E_IO, "%s: not an IDX file of bytes with %d dimensions: it begins with %02x %02x %02x %02x", path,
                   rank, bytes[0], bytes[1], bytes[2], bytes[3]);
  for (int i = 0; i < rank; i++) {
    out->dim[i] = u32(bytes + 4 + 4 * i);
    if (out->dim[i] < 1) return rt_fail(RT_E_IO, "%s: its dimension %d is 0", path, i);
    /* Both factors are below 2^32, and the product stops growing as soon as the file can't hold it. */
    if (elements <= n) elements *= out->dim[i];
  }
  if (elements != n - header)
    return rt_fail(RT_E_IO, "%s: its header asks for %lld values, and %lld bytes follow", path, (long long)elements,
                   (long long)(n - header));
  out->value = bytes + header;
  return RT_OK;
}
