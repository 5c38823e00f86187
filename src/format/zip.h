/* Zip archives in memory, by libzip, with what it doesn't check: entries that overlap, entries that claim to unpack to more
 * than deflate can, other ways of packing than none and deflate. */
#ifndef RT_FORMAT_ZIP_H
#define RT_FORMAT_ZIP_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rt_zip rt_zip;

rt_status rt_zip_open(const void *bytes, size_t size, const char *what, rt_zip **out); /* borrows all three */
void rt_zip_close(rt_zip *zip);
int64_t rt_zip_count(const rt_zip *zip);
const char *rt_zip_name(const rt_zip *zip, int64_t i);
int64_t rt_zip_find(const rt_zip *zip, const char *name); /* -1: not there */
int64_t rt_zip_size(const rt_zip *zip, int64_t i);        /* bytes when unpacked, as claimed */
bool rt_zip_stored(const rt_zip *zip, int64_t i);         /* not packed: its size is real */
/* n bytes after the first `skip`. Where that is the entry's end, its checksum is compared. */
rt_status rt_zip_read(const rt_zip *zip, int64_t i, int64_t skip, void *to, int64_t n);

/* An archive in the making: entries are stored, not packed, their data aligned in the file. */
typedef struct rt_zip_writer {
  struct zip *zip;
  const char *path;
  char *temporary;
  int64_t offset; /* where the next entry's header begins */
} rt_zip_writer;

rt_status rt_zip_create(rt_zip_writer *writer, const char *path);
/* An entry of two parts (NULL, 0: one part); they stay where they are until the commit. */
rt_status rt_zip_add(rt_zip_writer *writer, const char *name, const void *head, size_t head_bytes, const void *data,
                     size_t bytes);
/* Each releases the writer. */
rt_status rt_zip_commit(rt_zip_writer *writer);
void rt_zip_discard(rt_zip_writer *writer);

#endif
