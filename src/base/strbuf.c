#include "base/strbuf.h"

#include "base/alloc.h"
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CEILING = 64 << 20 };

static bool reserve(rt_strbuf *b, size_t more) {
  if (b->length + more + 1 <= b->capacity) return true;
  size_t capacity = b->capacity ? b->capacity * 2 : 256;
  while (capacity < b->length + more + 1) capacity *= 2;
  if (capacity > CEILING) {
    rt_fail(RT_E_MEMORY, "text of more than %d bytes", CEILING);
    return false;
  }
  char *text = rt_grow(b->text, b->length, capacity);
  if (!text) return false;
  b->text = text;
  b->capacity = capacity;
  return true;
}

void rt_strbuf_add(rt_strbuf *b, const char *format, ...) {
  if (b->failed) return;
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (n < 0 || !reserve(b, (size_t)n)) {
    b->failed = true;
  } else {
    vsnprintf(b->text + b->length, b->capacity - b->length, format, again);
    b->length += (size_t)n;
  }
  va_end(again);
}

void rt_strbuf_put(rt_strbuf *b, const void *bytes, size_t n) {
  if (b->failed) return;
  b->failed = !reserve(b, n);
  if (b->failed) return;
  memcpy(b->text + b->length, bytes, n);
  b->length += n;
  b->text[b->length] = 0;
}

void rt_strbuf_release(rt_strbuf *b) {
  rt_free(b->text);
  *b = (rt_strbuf){0};
}
