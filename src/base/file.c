#include "base/file.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static rt_status fail_read(const char *path) {
  return rt_fail(RT_E_IO, "%s: can't be read: %s", path, strerror(errno));
}

static rt_status map_descriptor(const char *path, int fd, rt_map *out) {
  struct stat st;
  if (fstat(fd, &st) != 0) return fail_read(path);
  if (!S_ISREG(st.st_mode))
    return rt_fail(RT_E_IO, "%s: is %s, and a file is needed", path,
                   S_ISDIR(st.st_mode) ? "a directory" : "no regular file");
  if (st.st_size == 0) return RT_OK;
  void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) return fail_read(path);
  *out = (rt_map){data, (size_t)st.st_size};
  return RT_OK;
}

rt_status rt_map_open(const char *path, rt_map *out) {
  *out = (rt_map){0};
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not make it wait */
  if (fd < 0) return fail_read(path);
  rt_status s = map_descriptor(path, fd, out);
  close(fd);
  return s;
}

void rt_map_close(rt_map *map) {
  if (map->data) munmap((void *)map->data, map->size);
  *map = (rt_map){0};
}

void rt_map_rest(const rt_map *map) {
  if (map->data) madvise((void *)map->data, map->size, MADV_DONTNEED);
}

/* ---- writing ---- */

static rt_status fail_write(const char *path, int error) {
  return rt_fail(RT_E_IO, "%s: can't be written: %s", path, strerror(error));
}

char *rt_temporary_name(const char *path) {
  size_t size = strlen(path) + 32;
  char *name = rt_alloc(size);
  if (name) snprintf(name, size, "%s.tmp-%ld", path, (long)getpid());
  return name;
}

/* The rename is on the disk only when the directory is. */
static rt_status sync_directory(const char *path) {
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) + 1 : 1;
  char *directory = rt_alloc(n + 1);
  if (!directory) return RT_E_MEMORY;
  memcpy(directory, slash ? path : ".", n);
  int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int error = fd < 0 ? errno : 0;
  /* Some file systems can't sync a directory and say EINVAL: nothing more can be done there. */
  if (fd >= 0 && fsync(fd) != 0 && errno != EINVAL) error = errno;
  if (fd >= 0) close(fd);
  rt_free(directory);
  return error ? fail_write(path, error) : RT_OK;
}

static int sync_file(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error;
}

rt_status rt_replace_file(const char *temporary, const char *path) {
  int error = sync_file(temporary);
  if (!error && rename(temporary, path) != 0) error = errno;
  if (error) {
    unlink(temporary);
    return fail_write(path, error);
  }
  return sync_directory(path);
}

rt_status rt_writer_open(rt_writer *w, const char *path) {
  *w = (rt_writer){.path = rt_copy_text(path), .temporary = rt_temporary_name(path)};
  if (!w->path || !w->temporary) {
    rt_writer_discard(w);
    return RT_E_MEMORY;
  }
  w->stream = fopen(w->temporary, "wbe");
  if (w->stream) return RT_OK;
  int error = errno;
  rt_writer_discard(w);
  return fail_write(path, error);
}

void rt_writer_put(rt_writer *w, const void *bytes, size_t n) {
  if (w->error || !n) return;
  errno = 0;
  if (fwrite(bytes, 1, n, w->stream) != n) w->error = errno ? errno : EIO;
}

void rt_writer_skip(rt_writer *w, int64_t n) {
  if (w->error) return;
  off_t end = fflush(w->stream) == 0 ? ftello(w->stream) : -1;
  if (end < 0 || ftruncate(fileno(w->stream), end + n) != 0 || fseeko(w->stream, end + n, SEEK_SET) != 0)
    w->error = errno ? errno : EIO;
}

rt_status rt_writer_commit(rt_writer *w) {
  errno = 0;
  if (fclose(w->stream) != 0 && !w->error) w->error = errno ? errno : EIO;
  w->stream = NULL;
  rt_status s = w->error ? fail_write(w->path, w->error) : rt_replace_file(w->temporary, w->path);
  rt_writer_discard(w);
  return s;
}

void rt_writer_discard(rt_writer *w) {
  if (w->stream) fclose(w->stream);
  if (w->temporary) unlink(w->temporary);
  rt_free(w->temporary);
  rt_free(w->path);
  *w = (rt_writer){0};
}

static rt_status write_parts(const char *path, const void *bytes, size_t n, const char *end) {
  rt_writer w;
  rt_status s = rt_writer_open(&w, path);
  if (s != RT_OK) return s;
  rt_writer_put(&w, bytes, n);
  rt_writer_put(&w, end, strlen(end));
  return rt_writer_commit(&w);
}

rt_status rt_write_file(const char *path, const void *bytes, size_t n) { return write_parts(path, bytes, n, ""); }

rt_status rt_write_line(const char *path, const char *text) { return write_parts(path, text, strlen(text), "\n"); }

rt_status rt_make_parents(const char *path) {
  rt_status s = RT_OK;
  char *part = rt_copy_text(path);
  if (!part) return RT_E_MEMORY;
  for (char *slash = *part ? strchr(part + 1, '/') : NULL; slash && s == RT_OK; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(part, 0777) != 0 && errno != EEXIST) s = rt_fail(RT_E_IO, "%s: can't be made: %s", part, strerror(errno));
    *slash = '/';
  }
  rt_free(part);
  return s;
}
