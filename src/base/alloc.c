#include "base/alloc.h"

#include "base/status.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_int_least64_t calls, live;
static atomic_int_least64_t until_failure = -1;

static int must_fail(void) {
  int_least64_t n = atomic_load(&until_failure);
  if (n < 0) return 0;
  atomic_store(&until_failure, n - 1);
  return n == 0;
}

static void *take(size_t bytes, size_t align) {
  atomic_fetch_add(&calls, 1);
  void *block = NULL;
  if (bytes <= SIZE_MAX - align && !must_fail()) block = aligned_alloc(align, (bytes + align) / align * align);
  if (block)
    atomic_fetch_add(&live, 1);
  else
    rt_fail(RT_E_MEMORY, "out of memory: %zu bytes were asked for", bytes);
  return block;
}

void *rt_alloc(size_t bytes) {
  void *block = take(bytes, 64);
  return block ? memset(block, 0, bytes ? bytes : 1) : NULL;
}

void *rt_alloc_large(size_t bytes) {
  enum { PAGE = 2 << 20 };
  if (bytes < PAGE) return take(bytes, 64);
  void *block = take(bytes, PAGE);
  if (block) madvise(block, bytes / PAGE * PAGE, MADV_HUGEPAGE); /* only advice: its failure changes nothing */
  return block;
}

void *rt_alloc_array(size_t count, size_t size) {
  return rt_alloc(size && count > SIZE_MAX / size ? SIZE_MAX : count * size);
}

void *rt_grow(void *block, size_t old_bytes, size_t new_bytes) {
  void *grown = rt_alloc(new_bytes);
  if (!grown) return NULL;
  if (block && old_bytes) memcpy(grown, block, old_bytes < new_bytes ? old_bytes : new_bytes);
  rt_free(block);
  return grown;
}

void rt_free(void *block) {
  if (!block) return;
  atomic_fetch_sub(&live, 1);
  free(block);
}

char *rt_copy_text(const char *text) {
  size_t n = strlen(text) + 1;
  char *copy = rt_alloc(n);
  return copy ? memcpy(copy, text, n) : NULL;
}

rt_alloc_counts rt_alloc_count(void) { return (rt_alloc_counts){atomic_load(&calls), atomic_load(&live)}; }

void rt_alloc_fail_after(int64_t after) { atomic_store(&until_failure, after); }
