#include "format/zip.h"

#include "base/alloc.h"
#include "base/file.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

struct rt_zip {
  zip_t *zip;
  const char *what;
  int64_t n;
  struct entry {
    const char *name;
    int64_t size;
    bool stored;
  } entry[];
};

enum {
  MOST_ENTRIES = 1 << 20,
  DEFLATE_MOST = 1032, /* bytes that one packed byte can become */
  LOCAL_HEADER = 30,
  CENTRAL_HEADER = 46,
  ALIGN = 64,
  PADDING_ID = 0x4246, /* "FB", as PyTorch marks its padding */
};

static rt_status open_archive(const void *bytes, size_t size, const char *what, zip_t **out) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t *source = zip_source_buffer_create(bytes, size, 0, &error);
  *out = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : NULL;
  rt_status s =
      *out ? RT_OK : rt_fail(RT_E_FORMAT, "%s: no readable zip archive: %s", what, zip_error_strerror(&error));
  if (!*out) zip_source_free(source);
  zip_error_fini(&error);
  return s;
}

static rt_status check_entry(rt_zip *z, int64_t i, uint64_t *room) {
  zip_stat_t st;
  const zip_uint64_t need = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  zip_stat_init(&st);
  if (zip_stat_index(z->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW, &st) != 0 || (st.valid & need) != need)
    return rt_fail(RT_E_FORMAT, "%s: entry %" PRId64 " of the archive is damaged", z->what, i);
  bool stored = st.comp_method == ZIP_CM_STORE;
  if ((!stored && st.comp_method != ZIP_CM_DEFLATE) || (st.valid & ZIP_STAT_ENCRYPTION_METHOD && st.encryption_method))
    return rt_fail(RT_E_FORMAT, "%s: entry %" PRId64 " of the archive is packed by a method that isn't known here",
                   z->what, i);
  if (st.size > INT64_MAX || (stored ? st.size != st.comp_size : st.size / DEFLATE_MOST > st.comp_size))
    return rt_fail(RT_E_FORMAT, "%s: entry %" PRId64 " of the archive claims %" PRIu64 " bytes packed into %" PRIu64,
                   z->what, i, (uint64_t)st.size, (uint64_t)st.comp_size);
  uint64_t takes = LOCAL_HEADER + CENTRAL_HEADER + 2 * strlen(st.name);
  if (takes > *room || st.comp_size > *room - takes)
    return rt_fail(RT_E_FORMAT, "%s: the entries of the archive overlap, or are larger than it", z->what);
  *room -= takes + st.comp_size;
  z->entry[i] = (struct entry){st.name, (int64_t)st.size, stored};
  return RT_OK;
}

rt_status rt_zip_open(const void *bytes, size_t size, const char *what, rt_zip **out) {
  *out = NULL;
  zip_t *zip;
  rt_status s = open_archive(bytes, size, what, &zip);
  if (s != RT_OK) return s;
  int64_t n = zip_get_num_entries(zip, 0);
  rt_zip *z = NULL;
  if (n > MOST_ENTRIES) s = rt_fail(RT_E_FORMAT, "%s: the archive has %" PRId64 " entries", what, n);
  if (s == RT_OK && !(z = rt_alloc(sizeof *z + (size_t)n * sizeof *z->entry))) s = RT_E_MEMORY;
  if (s != RT_OK) {
    zip_discard(zip);
    return s;
  }
  *z = (rt_zip){zip, what, n};
  uint64_t room = size;
  for (int64_t i = 0; i < n && s == RT_OK; i++) s = check_entry(z, i, &room);
  if (s == RT_OK)
    *out = z;
  else
    rt_zip_close(z);
  return s;
}

void rt_zip_close(rt_zip *z) {
  if (!z) return;
  zip_discard(z->zip);
  rt_free(z);
}

int64_t rt_zip_count(const rt_zip *z) { return z->n; }
const char *rt_zip_name(const rt_zip *z, int64_t i) { return z->entry[i].name; }
int64_t rt_zip_size(const rt_zip *z, int64_t i) { return z->entry[i].size; }
bool rt_zip_stored(const rt_zip *z, int64_t i) { return z->entry[i].stored; }

int64_t rt_zip_find(const rt_zip *z, const char *name) { return zip_name_locate(z->zip, name, ZIP_FL_ENC_RAW); }

static bool read_exactly(zip_file_t *f, char *to, int64_t n) {
  while (n > 0) {
    zip_int64_t got = zip_fread(f, to, (zip_uint64_t)n);
    if (got <= 0) return false;
    to += got;
    n -= got;
  }
  return true;
}

static bool skip_bytes(zip_file_t *f, int64_t n) {
  char ignored[4096];
  for (int64_t step; n > 0; n -= step) {
    step = n < (int64_t)sizeof ignored ? n : (int64_t)sizeof ignored;
    if (!read_exactly(f, ignored, step)) return false;
  }
  return true;
}

rt_status rt_zip_read(const rt_zip *z, int64_t i, int64_t skip, void *to, int64_t n) {
  const struct entry *e = &z->entry[i];
  if (skip < 0 || n < 0 || skip > e->size || n > e->size - skip)
    return rt_fail(RT_E_FORMAT, "%s: %s ends too early", z->what, e->name);
  zip_file_t *f = zip_fopen_index(z->zip, (zip_uint64_t)i, 0);
  char past;
  bool good = f && skip_bytes(f, skip) && read_exactly(f, to, n);
  if (good && skip + n == e->size) good = zip_fread(f, &past, 1) == 0; /* the end: where the checksum is compared */
  rt_status s = RT_OK;
  if (!good)
    s = rt_fail(RT_E_FORMAT, "%s: %s in it is damaged: %s", z->what, e->name,
                f ? zip_file_strerror(f) : zip_strerror(z->zip));
  if (f) zip_fclose(f);
  return s;
}

/* ---- writing ---- */

static rt_status fail_write(const rt_zip_writer *w) {
  return rt_fail(RT_E_IO, "%s: can't be written: %s", w->path, w->zip ? zip_strerror(w->zip) : "no archive");
}

rt_status rt_zip_create(rt_zip_writer *w, const char *path) {
  *w = (rt_zip_writer){.path = path, .temporary = rt_temporary_name(path)};
  if (!w->temporary) return RT_E_MEMORY;
  /* Where nothing can be written is found out now, and with the system's own words. */
  rt_writer probe;
  rt_status s = rt_writer_open(&probe, path);
  if (s == RT_OK) rt_writer_discard(&probe);
  int code = 0;
  if (s == RT_OK && !(w->zip = zip_open(w->temporary, ZIP_CREATE | ZIP_TRUNCATE, &code))) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    s = rt_fail(RT_E_IO, "%s: can't be written: %s", path, zip_error_strerror(&error));
    zip_error_fini(&error);
  }
  if (s != RT_OK) rt_zip_discard(w);
  return s;
}

rt_status rt_zip_add(rt_zip_writer *w, const char *name, const void *head, size_t head_bytes, const void *data,
                     size_t bytes) {
  static const zip_uint8_t filler[ALIGN] = {0};
  zip_buffer_fragment_t part[2];
  zip_uint64_t parts = 0;
  if (head_bytes) part[parts++] = (zip_buffer_fragment_t){(zip_uint8_t *)head, head_bytes};
  if (bytes) part[parts++] = (zip_buffer_fragment_t){(zip_uint8_t *)data, bytes};
  zip_source_t *source = zip_source_buffer_fragment(w->zip, part, parts, 0);
  zip_int64_t i = source ? zip_file_add(w->zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
  if (i < 0) {
    zip_source_free(source);
    return fail_write(w);
  }
  uint64_t size = head_bytes + bytes;
  int64_t before = w->offset + LOCAL_HEADER + (int64_t)strlen(name) + (size >= UINT32_MAX ? 20 : 0) + 4;
  int64_t padding = (ALIGN - before % ALIGN) % ALIGN;
  if (zip_set_file_compression(w->zip, (zip_uint64_t)i, ZIP_CM_STORE, 0) != 0 ||
      zip_file_set_dostime(w->zip, (zip_uint64_t)i, 0, 0x21, 0) != 0 || /* 1980: the same bytes every time */
      zip_file_extra_field_set(w->zip, (zip_uint64_t)i, PADDING_ID, ZIP_EXTRA_FIELD_NEW, filler, (zip_uint16_t)padding,
                               ZIP_FL_LOCAL) != 0)
    return fail_write(w);
  w->offset = before + padding + (int64_t)size;
  return RT_OK;
}

rt_status rt_zip_commit(rt_zip_writer *w) {
  rt_status s = RT_OK;
  if (zip_close(w->zip) != 0)
    s = fail_write(w);
  else
    w->zip = NULL;
  if (s == RT_OK) s = rt_replace_file(w->temporary, w->path);
  rt_zip_discard(w);
  return s;
}

void rt_zip_discard(rt_zip_writer *w) {
  if (w->zip) zip_discard(w->zip);
  if (w->temporary) unlink(w->temporary);
  rt_free(w->temporary);
  *w = (rt_zip_writer){0};
}
