#include "data/data.h"

#include "base/alloc.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

/* A first guess: right for a file that isn't packed, with a byte to see its end by. */
static int64_t guess(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 && s.st_size > 0 ? s.st_size + 1 : 4096;
}

static rt_status read_all(gzFile file, const char *path, int64_t most, uint8_t **out, int64_t *bytes) {
  int64_t capacity = 0, length = 0, first = guess(path);
  for (;;) {
    if (length == capacity) {
      int64_t more = capacity ? capacity * 2 : first;
      uint8_t *grown = rt_grow(*out, (size_t)length, (size_t)(more < most ? more : most + 1));
      if (!grown) return RT_E_MEMORY;
      *out = grown;
      capacity = more < most ? more : most + 1;
    }
    int64_t want = capacity - length;
    int n = gzread(file, *out + length, (unsigned)(want < 1 << 30 ? want : 1 << 30));
    int code = Z_OK;
    const char *why = gzerror(file, &code);
    if (n < 0 || code == Z_BUF_ERROR)
      return rt_fail(RT_E_IO, "%s: can't be read: %s", path,
                     code == Z_ERRNO       ? strerror(errno)
                     : code == Z_BUF_ERROR ? "its gzip stream ends too early"
                                           : why);
    if (n == 0) break;
    length += n;
    if (length > most)
      return rt_fail(RT_E_RANGE, "%s: holds more than the %lld bytes that can be right", path, (long long)most);
  }
  *bytes = length;
  return RT_OK;
}

rt_status rt_data_slurp(const char *path, int64_t most, uint8_t **out, int64_t *bytes) {
  *out = NULL;
  *bytes = 0;
  errno = 0;
  gzFile file = gzopen(path, "rb");
  if (!file) return rt_fail(RT_E_IO, "%s: can't be opened: %s", path, errno ? strerror(errno) : "out of memory");
  rt_status s = read_all(file, path, most, out, bytes);
  int closed = gzclose_r(file);
  if (s == RT_OK && closed != Z_OK) s = rt_fail(RT_E_IO, "%s: its gzip stream is damaged", path);
  if (s == RT_OK) return RT_OK;
  rt_free(*out);
  *out = NULL;
  return s;
}
