/* Whole files: mapped for reading, and written so that a crash or a full disk never leaves half of one. */
#ifndef RT_BASE_FILE_H
#define RT_BASE_FILE_H

#include "base/status.h"

#include <stdio.h>

/* A regular file's bytes, read only. Valid until rt_map_close, as long as nobody shortens the file. */
typedef struct rt_map {
  const unsigned char *data; /* NULL for an empty file */
  size_t size;
} rt_map;

rt_status rt_map_open(const char *path, rt_map *out);
void rt_map_close(rt_map *map);
/* Its pages may leave memory: they are read again where somebody looks. */
void rt_map_rest(const rt_map *map);

/* A file in the making: bytes go to a temporary name beside `path`, and rt_writer_commit puts the finished file in its
 * place. Errors are sticky: put freely, check at the commit. */
typedef struct rt_writer {
  char *path, *temporary;
  FILE *stream;
  int error; /* errno of the first failure */
} rt_writer;

rt_status rt_writer_open(rt_writer *writer, const char *path);
void rt_writer_put(rt_writer *writer, const void *bytes, size_t n);
void rt_writer_skip(rt_writer *writer, int64_t n); /* n zeros, as a hole where the file system has them */
/* Flush, sync, rename, sync the directory. Releases the writer in any case; on failure the file that was there stays. */
rt_status rt_writer_commit(rt_writer *writer);
void rt_writer_discard(rt_writer *writer);

/* A whole file at once; and a text with a line end after it. */
rt_status rt_write_file(const char *path, const void *bytes, size_t n);
rt_status rt_write_line(const char *path, const char *text);
/* Every directory on the way to a file that may be there or not. */
rt_status rt_make_parents(const char *path);

/* For libraries that write by name: the temporary name to give them (for rt_free), and what makes it the file `path`. */
char *rt_temporary_name(const char *path);
rt_status rt_replace_file(const char *temporary, const char *path);

#endif
