#include "fetch.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { PIECE = 1 << 16 };

static void hexadecimal(struct sha256_ctx *hash, char out[65]) {
  uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_digest(hash, sizeof digest, digest);
  for (int i = 0; i < SHA256_DIGEST_SIZE; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static int compare(struct sha256_ctx *hash, int64_t bytes, const rt_data_file *expected, char *why, size_t size) {
  char hex[65];
  hexadecimal(hash, hex);
  if (bytes == expected->bytes && strcmp(hex, expected->sha256) == 0) return EXIT_DONE;
  if (bytes != expected->bytes)
    snprintf(why, size, "holds %lld bytes, expected %lld", (long long)bytes, (long long)expected->bytes);
  else
    snprintf(why, size, "its SHA-256 is %s, expected %s", hex, expected->sha256);
  return EXIT_FAILED;
}

int fetch_verify(const char *path, const rt_data_file *expected, char *why, size_t size) {
  uint8_t piece[PIECE];
  struct sha256_ctx hash;
  int64_t bytes = 0;
  int n, code = Z_OK;
  errno = 0;
  gzFile file = gzopen(path, "rb");
  if (!file) {
    snprintf(why, size, "can't be opened: %s", strerror(errno));
    return EXIT_FAILED;
  }
  sha256_init(&hash);
  while ((n = gzread(file, piece, PIECE)) > 0 && bytes <= expected->bytes) {
    sha256_update(&hash, (size_t)n, piece);
    bytes += n;
  }
  snprintf(why, size, "its gzip stream is damaged: %s", gzerror(file, &code));
  if (gzclose_r(file) != Z_OK || n < 0 || (code != Z_OK && code != Z_STREAM_END)) return EXIT_FAILED;
  return compare(&hash, bytes, expected, why, size);
}

/* One member to a file under a temporary name, which becomes its own once it is right. */
static int unpack_member(struct archive *a, const rt_data_file *f, const char *directory) {
  uint8_t piece[PIECE];
  char path[4096], part[4200], why[256] = "";
  struct sha256_ctx hash;
  int64_t bytes = 0;
  la_ssize_t n;
  snprintf(path, sizeof path, "%s/%s", directory, f->name);
  snprintf(part, sizeof part, "%s.part", path);
  FILE *file = fopen(part, "wb");
  if (!file) return complain_usage("%s: can't be written: %s", part, strerror(errno)), EXIT_FAILED;
  sha256_init(&hash);
  while ((n = archive_read_data(a, piece, PIECE)) > 0 && bytes <= f->bytes) {
    sha256_update(&hash, (size_t)n, piece);
    bytes += n;
    if (fwrite(piece, 1, (size_t)n, file) != (size_t)n) break;
  }
  if (n < 0) snprintf(why, sizeof why, "the archive is damaged: %s", archive_error_string(a));
  bool lost = ferror(file) || fflush(file) != 0 || fsync(fileno(file)) != 0;
  if (lost) snprintf(why, sizeof why, "can't be written: %s", strerror(errno));
  fclose(file);
  if (!lost && n >= 0 && compare(&hash, bytes, f, why, sizeof why) == EXIT_DONE && rename(part, path) == 0)
    return EXIT_DONE;
  unlink(part);
  complain_usage("%s: %s", path, why[0] ? why : strerror(errno));
  return EXIT_FAILED;
}

static const rt_data_file *wanted(const char *member, const rt_data_file *files, int n) {
  const char *slash = strrchr(member, '/'), *name = slash ? slash + 1 : member;
  for (int i = 0; i < n; i++)
    if (strcmp(files[i].name, name) == 0) return &files[i];
  return NULL;
}

static int unpack(struct archive *a, const char *path, const rt_data_file *files, int n, const char *directory) {
  struct archive_entry *entry;
  uint64_t found = 0;
  int code;
  while ((code = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
    const char *member = archive_entry_pathname(entry);
    const rt_data_file *f = member && archive_entry_filetype(entry) == AE_IFREG ? wanted(member, files, n) : NULL;
    if (!f) continue;
    if (unpack_member(a, f, directory) != EXIT_DONE) return EXIT_FAILED;
    found |= 1ull << (f - files);
  }
  if (code != ARCHIVE_EOF)
    return complain_usage("%s: not a good archive: %s", path, archive_error_string(a)), EXIT_FAILED;
  for (int i = 0; i < n; i++)
    if (!(found >> i & 1)) return complain_usage("%s: there is no %s in it", path, files[i].name), EXIT_FAILED;
  return EXIT_DONE;
}

int fetch_unpack(const char *path, const rt_data_file *files, int n, const char *directory) {
  struct archive *a = archive_read_new();
  if (!a) return complain_usage("libarchive can't be started"), EXIT_FAILED;
  archive_read_support_filter_gzip(a);
  archive_read_support_format_tar(a);
  int status = archive_read_open_filename(a, path, PIECE) == ARCHIVE_OK
                   ? unpack(a, path, files, n, directory)
                   : (complain_usage("%s: not a good archive: %s", path, archive_error_string(a)), EXIT_FAILED);
  archive_read_free(a);
  return status;
}
