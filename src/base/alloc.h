/* Every heap block of the library comes from here, so that tests can count them and make any one of them fail. */
#ifndef RT_BASE_ALLOC_H
#define RT_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed, 64-byte aligned. NULL, with the sentence set, when there is no memory. A size of 0 gives a valid block. */
void *rt_alloc(size_t bytes);
/* For tens of megabytes: not zeroed, on large pages where the system has them. */
void *rt_alloc_large(size_t bytes);
/* rt_alloc of count * size, NULL when the product overflows. */
void *rt_alloc_array(size_t count, size_t size);
/* Grow a block from old to new bytes; the old block stays valid on failure. New bytes are zero. */
void *rt_grow(void *block, size_t old_bytes, size_t new_bytes);
void rt_free(void *block);
char *rt_copy_text(const char *text);

typedef struct rt_alloc_counts {
  int64_t calls; /* blocks ever asked for */
  int64_t live;  /* blocks not yet freed */
} rt_alloc_counts;

rt_alloc_counts rt_alloc_count(void);
/* Let `after` more allocations succeed and fail the next one, once; negative: never fail. For tests. */
void rt_alloc_fail_after(int64_t after);

#endif
