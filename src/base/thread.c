#include "base/thread.h"

#include "base/status.h"

#include <stdatomic.h>
#include <unistd.h>

#if defined RT_THREADS_OPENMP
#include <omp.h>
#else
#include <pthread.h>
#endif

static atomic_int threads; /* 0: not chosen yet */

int rt_threads(void) {
  int n = atomic_load(&threads);
  if (n) return n;
#if defined RT_THREADS_OPENMP
  n = omp_get_max_threads();
#else
  n = (int)sysconf(_SC_NPROCESSORS_ONLN);
#endif
  n = n < 1 ? 1 : n > RT_MAX_THREADS ? RT_MAX_THREADS : n;
  atomic_store(&threads, n);
  return n;
}

rt_status rt_set_threads(int n) {
  if (n < 1 || n > RT_MAX_THREADS) return rt_fail(RT_E_ARGUMENT, "threads: %d is outside 1 to %d", n, RT_MAX_THREADS);
  atomic_store(&threads, n);
#if defined RT_THREADS_OPENMP
  omp_set_num_threads(n); /* the library's kernels ask OpenMP */
#endif
  return RT_OK;
}

int rt_chunks(int64_t n, int64_t grain) {
  int64_t most = grain > 1 ? (n + grain - 1) / grain : n;
  int64_t t = rt_threads();
  return (int)(most < t ? (most < 1 ? 1 : most) : t);
}

int64_t rt_chunk_begin(int64_t n, int chunks, int i) { return n / chunks * i + (i < n % chunks ? i : n % chunks); }

#if defined RT_THREADS_OPENMP

void rt_parallel_for(int64_t n, int64_t grain, rt_body *body, void *context) {
  int chunks = rt_chunks(n, grain);
  if (chunks == 1) {
    if (n > 0) body(context, 0, n);
    return;
  }
#pragma omp parallel for schedule(static, 1) num_threads(chunks)
  for (int i = 0; i < chunks; i++) body(context, rt_chunk_begin(n, chunks, i), rt_chunk_begin(n, chunks, i + 1));
}

#else

typedef struct job {
  rt_body *body;
  void *context;
  int64_t begin, end;
} job;

static void *run(void *p) {
  job *j = p;
  j->body(j->context, j->begin, j->end);
  return NULL;
}

/* A thread a chunk, made anew: this build exists to be watched by ThreadSanitizer, not to be fast. */
void rt_parallel_for(int64_t n, int64_t grain, rt_body *body, void *context) {
  int chunks = rt_chunks(n, grain);
  if (n <= 0) return;
  pthread_t id[RT_MAX_THREADS];
  job jobs[RT_MAX_THREADS];
  int started[RT_MAX_THREADS];
  for (int i = 1; i < chunks; i++) {
    jobs[i] = (job){body, context, rt_chunk_begin(n, chunks, i), rt_chunk_begin(n, chunks, i + 1)};
    started[i] = pthread_create(&id[i], NULL, run, &jobs[i]) == 0;
  }
  body(context, 0, rt_chunk_begin(n, chunks, 1));
  for (int i = 1; i < chunks; i++) {
    if (started[i])
      pthread_join(id[i], NULL);
    else
      run(&jobs[i]);
  }
}

#endif
