#include "base/arena.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 32 * 1024, ALIGN = 16 };

struct rt_arena_block {
  struct rt_arena_block *next;
  size_t size, used; /* of data */
  _Alignas(ALIGN) unsigned char data[];
};

void *rt_arena_alloc(rt_arena *arena, size_t bytes) {
  if (bytes > SIZE_MAX / 2) bytes = SIZE_MAX / 2; /* fails below, with the sentence */
  size_t want = (bytes + ALIGN - 1) / ALIGN * ALIGN;
  struct rt_arena_block *b = arena->block;
  if (!b || b->size - b->used < want) {
    size_t size = want > BLOCK ? want : BLOCK;
    b = rt_alloc(sizeof *b + size);
    if (!b) return NULL;
    b->size = size;
    b->next = arena->block;
    arena->block = b;
  }
  void *p = b->data + b->used;
  b->used += want;
  arena->bytes += want;
  return p;
}

void *rt_arena_copy(rt_arena *arena, const void *from, size_t bytes) {
  void *p = rt_arena_alloc(arena, bytes);
  if (p && bytes) memcpy(p, from, bytes);
  return p;
}

char *rt_arena_text(rt_arena *arena, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  char *text = n < 0 ? NULL : rt_arena_alloc(arena, (size_t)n + 1);
  if (text) vsnprintf(text, (size_t)n + 1, format, again);
  va_end(again);
  return text;
}

void rt_arena_release(rt_arena *arena) {
  for (struct rt_arena_block *b = arena->block, *next; b; b = next) {
    next = b->next;
    rt_free(b);
  }
  *arena = (rt_arena){0};
}
