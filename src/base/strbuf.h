/* Growing text with a ceiling. Errors are sticky: append freely, check `failed` once. */
#ifndef RT_BASE_STRBUF_H
#define RT_BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rt_strbuf {
  char *text; /* NULL until the first append, else 0-terminated */
  size_t length, capacity;
  bool failed;
} rt_strbuf;

void rt_strbuf_add(rt_strbuf *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rt_strbuf_put(rt_strbuf *buffer, const void *bytes, size_t n); /* as they are: not only text */
void rt_strbuf_release(rt_strbuf *buffer);

#endif
