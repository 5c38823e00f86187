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

/* A pool for one loop at a time. Who finds it taken, a loop within a loop or another thread's, does its chunks itself. */
static pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER; /* lock: of what follows */
static pthread_cond_t begun = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;
static struct loop {
  rt_body *body;
  void *context;
  int64_t n;
  int chunks, next, left; /* next: the first that nobody has taken; left: not done */
} loop;
static int workers;

static void run_next(void) { /* with the lock, which is open meanwhile */
  struct loop l = loop;
  loop.next++;
  pthread_mutex_unlock(&lock);
  l.body(l.context, rt_chunk_begin(l.n, l.chunks, l.next), rt_chunk_begin(l.n, l.chunks, l.next + 1));
  pthread_mutex_lock(&lock);
  if (--loop.left == 0) pthread_cond_signal(&done);
}

static void *work(void *unused) {
  pthread_mutex_lock(&lock);
  for (;;) {
    while (loop.next == loop.chunks) pthread_cond_wait(&begun, &lock);
    run_next();
  }
  return unused;
}

void rt_parallel_for(int64_t n, int64_t grain, rt_body *body, void *context) {
  int chunks = rt_chunks(n, grain);
  if (n <= 0) return;
  if (chunks == 1 || pthread_mutex_trylock(&taken) != 0) {
    for (int i = 0; i < chunks; i++) body(context, rt_chunk_begin(n, chunks, i), rt_chunk_begin(n, chunks, i + 1));
    return;
  }
  pthread_mutex_lock(&lock);
  for (pthread_t id; workers < chunks - 1 && pthread_create(&id, NULL, work, NULL) == 0; workers++) pthread_detach(id);
  loop = (struct loop){body, context, n, chunks, 0, chunks};
  pthread_cond_broadcast(&begun);
  while (loop.next < loop.chunks) run_next();
  while (loop.left) pthread_cond_wait(&done, &lock);
  pthread_mutex_unlock(&lock);
  pthread_mutex_unlock(&taken);
}

#endif
