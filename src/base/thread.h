/* The one way to run a loop on several threads: fixed chunks, so that results don't depend on timing. */
#ifndef RT_BASE_THREAD_H
#define RT_BASE_THREAD_H

#include <stdint.h>

typedef void rt_body(void *context, int64_t begin, int64_t end);

/* Run body over [0, n) in contiguous chunks, at most one a thread, none smaller than `grain`. */
void rt_parallel_for(int64_t n, int64_t grain, rt_body *body, void *context);

/* Number of chunks that rt_parallel_for makes of n, and the begin of chunk i: for per-chunk partial sums. */
int rt_chunks(int64_t n, int64_t grain);
int64_t rt_chunk_begin(int64_t n, int chunks, int i);

enum { RT_MAX_THREADS = 256 };

#endif
