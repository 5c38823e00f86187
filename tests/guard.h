/* Hostile bytes: their end is the end of accessible memory. */
#ifndef RT_TESTS_GUARD_H
#define RT_TESTS_GUARD_H

#include "base/status.h"

typedef struct test_guard {
  unsigned char *base, *bytes;
  size_t mapped, size;
} test_guard;

test_guard test_guard_new(const void *bytes, size_t size);
void test_guard_free(test_guard *guard);

/* Open as a file called "input" and read everything in it; RT_OK or the first failure. Stops the program if a failure's
 * sentence doesn't begin with that name, or a block of memory stays behind. */
rt_status test_read_all(const unsigned char *bytes, size_t size);

/* The same behind a guard, which must be refused with a sentence that has this fragment. */
void test_refused(const void *bytes, size_t size, const char *fragment);

/* Append; returns the new length. */
size_t test_put(unsigned char *out, size_t n, const void *bytes, size_t size);

#endif
