/* Bytes to tensors and back: files that hold arrays by name. A form is a row of format.def; nothing here executes what a
 * file says, and a length in a file is a lie until it was compared with the file's real size. */
#ifndef RT_FORMAT_FORMAT_H
#define RT_FORMAT_FORMAT_H

#include "base/arena.h"
#include "base/file.h"
#include "format/element.h"

typedef struct rt_entry {
  const char *name;
  const rt_element *element;
  int rank;
  int64_t dim[RT_MAX_RANK];
  int64_t bytes;    /* as it is read: row major in element->dtype */
  const void *from; /* the form's own: where its bytes are */
} rt_entry;

typedef struct rt_format {
  const char *name;       /* "safetensors" */
  const char *extensions; /* "pth pt th": files that are written in this form; NULL: only read */
  bool (*sniff)(const unsigned char *bytes, size_t size);
  /* Fill the entries and the metadata. What it leaves in file->own is closed by close, also after a failure. */
  rt_status (*open)(rt_file *file);
  rt_status (*read)(rt_file *file, const rt_entry *entry, void *to);
  void (*close)(rt_file *file);
  rt_status (*write)(const char *path, const rt_array *arrays, int n, const rt_pair *metadata, int n_metadata);
  bool plain; /* an entry's bytes stand at `from` as they are; arrays without data are written as holes */
} rt_format;

struct rt_file {
  rt_arena arena;
  const rt_format *form;
  const char *path;
  rt_map map; /* empty when the bytes are the caller's */
  const unsigned char *bytes;
  size_t size;
  rt_entry *entry;
  int n, capacity;
  int *by_name; /* indices of entries, sorted */
  rt_pair *metadata;
  int n_metadata, metadata_capacity;
  void *own;
};

/* Bytes instead of a path; they stay the caller's and outlive the file. `name` is what error sentences call them. */
rt_status rt_file_open_bytes(const void *bytes, size_t size, const char *name, rt_file **out);

/* RT_E_ARGUMENT where the end of a name doesn't tell which form to write: before the work that the file is made by. */
rt_status rt_file_check_name(const char *path);

/* A file of zeros, a hole as large as its arrays, to be filled in where rt_file_offset says; of a plain form. */
rt_status rt_file_reserve(const char *path, const rt_array *arrays, int n, const rt_pair *metadata, int n_metadata);
rt_status rt_file_offset(const rt_file *file, const char *name, int64_t *out);

/* For the forms: append; names and texts are copied. The entry's bytes are computed and checked here. */
rt_status rt_file_add(rt_file *file, const rt_entry *entry);
rt_status rt_file_add_metadata(rt_file *file, const char *key, const char *text);
/* RT_E_FORMAT with "path: sentence". */
rt_status rt_file_damaged(const rt_file *file, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* UTF-8 without control characters (but for those of lines): names end up on terminals and in JSON. */
bool rt_printable(const char *text, bool lines);
/* Bytes of an array that is to be written; -1 when its shape makes no sense. */
int64_t rt_array_bytes(const rt_array *array);

#endif
