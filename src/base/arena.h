/* Bump allocator: many small things that die together (a graph's nodes, a plan's steps). */
#ifndef RT_BASE_ARENA_H
#define RT_BASE_ARENA_H

#include <stddef.h>

typedef struct rt_arena {
  struct rt_arena_block *block;
  size_t bytes; /* handed out so far */
} rt_arena;

/* Zeroed, 16-byte aligned; NULL with the sentence set when there is no memory. */
void *rt_arena_alloc(rt_arena *arena, size_t bytes);
void *rt_arena_copy(rt_arena *arena, const void *from, size_t bytes);
char *rt_arena_text(rt_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Free everything; the arena can be used again. */
void rt_arena_release(rt_arena *arena);

#endif
