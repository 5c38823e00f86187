/* Batches, prepared ahead by threads into a ring of slots. A batch is a function of its number, so it doesn't matter who
 * prepares it, or when: slot k holds batches k, k + slots, k + 2·slots …, each made by the first thread that is free.
 *
 *   ready    filled by a thread, waits for rt_loader_next
 *   taken    the one that rt_loader_next returned last; free again at the next call */
#include "base/alloc.h"
#include "base/rng.h"
#include "data/augment.h"
#include "data/data.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
  int64_t batch, order_seed, augment_seed, draws, ahead, threads;
  bool shuffle, drop_last;
  const char *mean, *std;
} options;

enum { SLOTS_MOST = 64, THREADS_MOST = 32, SENTENCE = 1024 };

static const rt_option table[] = {
    {"batch", RT_OPT_INT, offsetof(options, batch), "128", 1, 1 << 20, NULL, "images a batch"},
    {"shuffle", RT_OPT_BOOL, offsetof(options, shuffle), "false", 0, 0, NULL, "a new order every epoch"},
    {"drop_last", RT_OPT_BOOL, offsetof(options, drop_last), "false", 0, 0, NULL,
     "leave out the batch that isn't full"},
    {"order_seed", RT_OPT_INT, offsetof(options, order_seed), "0", 0, 9e18, NULL, "of the order"},
    {"augment_seed", RT_OPT_INT, offsetof(options, augment_seed), "0", 0, 9e18, NULL, "of augmentation"},
    {"draws", RT_OPT_INT, offsetof(options, draws), "0", 0, 1 << 20, NULL,
     "augmented variants of a sample; 0: a new one every epoch"},
    {"ahead", RT_OPT_INT, offsetof(options, ahead), "3", 0, SLOTS_MOST - 1, NULL, "batches prepared in advance"},
    {"threads", RT_OPT_INT, offsetof(options, threads), "1", 1, THREADS_MOST, NULL, "that prepare them"},
    {"mean", RT_OPT_TEXT, offsetof(options, mean), "", 0, 0, NULL, "a number a channel; left out: the data's own"},
    {"std", RT_OPT_TEXT, offsetof(options, std), "", 0, 0, NULL, "the same"},
    {0},
};

typedef struct slot {
  float *x, *target;
  int64_t *label, *id, *draw;
  int64_t batch; /* number of what it holds, counted over all epochs; -1: nothing */
  rt_status status;
  char sentence[SENTENCE];
} slot;

/* What a preparing thread has to itself. */
typedef struct worker {
  rt_loader *loader;
  pthread_t thread;
  rt_darkroom room;
  int64_t *order; /* of the samples in `epoch` */
  int64_t epoch;
} worker;

struct rt_loader {
  const rt_data *data;
  rt_split split;
  rt_arena arena;
  options o;
  rt_augment augment;
  int64_t count, batches; /* images of the split; batches of an epoch */
  float *mean, *deviation;
  float (*table)[256];
  slot slots[SLOTS_MOST];
  worker workers[THREADS_MOST];
  int n_slots, n_workers, running;

  pthread_mutex_t lock; /* of what follows, and of the slots' batch, status and sentence */
  pthread_cond_t filled, freed;
  int64_t next;     /* batch that rt_loader_next gives next */
  int64_t upcoming; /* batch that no thread has begun */
  bool taken;       /* the batch before `next` is in the caller's hands */
  bool stop;
};

/* ---- a batch ---- */

static int64_t images_in(const rt_loader *l, int64_t index) {
  int64_t rest = l->count - index * l->o.batch;
  return rest < l->o.batch ? rest : l->o.batch;
}

/* Fisher and Yates, with the draws of (order_seed, epoch). */
static void order_epoch(const rt_loader *l, int64_t epoch, int64_t *order) {
  rt_rng rng = {(uint64_t)l->o.order_seed, rt_hash_text("data.order")};
  uint32_t w[4] = {0};
  memcpy(order, l->data->id[l->split], (size_t)l->count * sizeof *order);
  for (int64_t i = l->count - 1; i > 0 && l->o.shuffle; i--) {
    if ((i & 3) == 3 || i == l->count - 1) rt_philox(rng, (uint64_t)epoch, (uint64_t)i / 4, w);
    int64_t k = (int64_t)(w[i & 3] * (uint64_t)(i + 1) >> 32), swap = order[i];
    order[i] = order[k];
    order[k] = swap;
  }
}

static rt_status fill(worker *w, slot *s, int64_t batch) {
  const rt_loader *l = w->loader;
  int64_t epoch = batch / l->batches, index = batch % l->batches, pixels = rt_data_pixels(l->data);
  if (w->epoch != epoch) {
    order_epoch(l, epoch, w->order);
    w->epoch = epoch;
  }
  int64_t n = images_in(l, index), draw = l->o.draws ? epoch % l->o.draws : epoch;
  for (int64_t i = 0; i < n; i++) {
    int64_t id = w->order[index * l->o.batch + i];
    uint64_t seed = (uint64_t)l->o.augment_seed;
    float *x = s->x + i * pixels;
    rt_status status = s->target ? rt_augment_mixed(&l->augment, l->data, l->split, seed, id, draw, &w->room, x,
                                                    s->target + i * l->data->classes)
                                 : rt_augment_image(&l->augment, l->data, seed, id, draw, &w->room, x);
    if (status != RT_OK) return status;
    s->id[i] = id;
    s->draw[i] = draw;
    s->label[i] = l->data->label[id];
  }
  return RT_OK;
}

/* Fill a slot; a failure's sentence is kept, since it belongs to this thread and is wanted on another. */
static void prepare(worker *w, slot *s, int64_t batch) {
  s->status = fill(w, s, batch);
  if (s->status != RT_OK) {
    size_t n = strlen(rt_error());
    n = n < SENTENCE - 1 ? n : SENTENCE - 1;
    memcpy(s->sentence, rt_error(), n);
    s->sentence[n] = 0;
  }
}

/* ---- threads ---- */

/* May batch `upcoming` be begun? Its slot must hold neither a batch that waits nor the one that is in use. */
static bool has_room(const rt_loader *l) { return l->upcoming < l->next - l->taken + l->n_slots; }

static void *work(void *context) {
  worker *w = context;
  rt_loader *l = w->loader;
  pthread_mutex_lock(&l->lock);
  for (;;) {
    while (!l->stop && !has_room(l)) pthread_cond_wait(&l->freed, &l->lock);
    if (l->stop) break;
    int64_t batch = l->upcoming++;
    slot *s = &l->slots[batch % l->n_slots];
    pthread_mutex_unlock(&l->lock);
    prepare(w, s, batch);
    pthread_mutex_lock(&l->lock);
    s->batch = batch;
    pthread_cond_broadcast(&l->filled);
  }
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

static void stop(rt_loader *l) {
  pthread_mutex_lock(&l->lock);
  l->stop = true;
  pthread_cond_broadcast(&l->freed);
  pthread_mutex_unlock(&l->lock);
  for (int i = 0; i < l->running; i++) pthread_join(l->workers[i].thread, NULL);
  l->running = 0;
  l->stop = false;
}

static rt_status start(rt_loader *l) {
  sigset_t all, before;
  int failed = 0;
  sigfillset(&all); /* signals are for the thread that called */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (l->running < l->n_workers && !failed) {
    worker *w = &l->workers[l->running];
    failed = pthread_create(&w->thread, NULL, work, w);
    l->running += !failed;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  /* One thread is enough to go on with. */
  return l->running ? RT_OK : rt_fail(RT_E_MEMORY, "loader: a thread can't be started: %s", strerror(failed));
}

/* ---- new and free ---- */

rt_status rt_parse_numbers(const char *text, int64_t n, const char *what, float *out) {
  const char *p = text;
  for (int64_t i = 0; i < n; i++) {
    char *end;
    out[i] = strtof(p, &end);
    if (end == p || !isfinite(out[i]) || (*end && *end != ',') || (!*end) != (i == n - 1))
      return rt_fail(RT_E_ARGUMENT, "%s=%.60s: expected %lld number%s, one a channel, with commas between", what, text,
                     (long long)n, n == 1 ? "" : "s");
    p = end + 1;
  }
  return RT_OK;
}

static rt_status choose_numbers(const char *text, int64_t n, const char *what, const float *fallback, float *out) {
  memcpy(out, fallback, (size_t)n * sizeof *out);
  rt_status s = *text ? rt_parse_numbers(text, n, what, out) : RT_OK;
  return s == RT_OK ? s : rt_fail_in(s, "loader");
}

static rt_status prepare_tables(rt_loader *l) {
  const rt_data *d = l->data;
  size_t channels = (size_t)d->channels;
  l->mean = rt_arena_alloc(&l->arena, channels * sizeof(float));
  l->deviation = rt_arena_alloc(&l->arena, channels * sizeof(float));
  l->table = rt_arena_alloc(&l->arena, channels * sizeof *l->table);
  if (!l->mean || !l->deviation || !l->table) return RT_E_MEMORY;
  rt_status s = choose_numbers(l->o.mean, d->channels, "mean", d->mean, l->mean);
  if (s == RT_OK) s = choose_numbers(l->o.std, d->channels, "std", d->deviation, l->deviation);
  for (size_t c = 0; c < channels && s == RT_OK; c++) {
    if (!(l->deviation[c] > 0)) return rt_fail(RT_E_ARGUMENT, "loader: std=%s: must be above 0", l->o.std);
    rt_normal_table(l->mean[c], l->deviation[c], l->table[c]);
  }
  return s;
}

static rt_status reserve_slot(rt_loader *l, slot *s) {
  size_t n = (size_t)(l->o.batch < l->count ? l->o.batch : l->count), pixels = (size_t)rt_data_pixels(l->data);
  s->batch = -1;
  s->x = rt_alloc_array(n, pixels * sizeof(float));
  s->target = rt_augment_mixes(&l->augment) ? rt_alloc_array(n, (size_t)l->data->classes * sizeof(float)) : NULL;
  s->label = rt_alloc_array(3 * n, sizeof(int64_t));
  if (!s->x || !s->label || (rt_augment_mixes(&l->augment) && !s->target)) return RT_E_MEMORY;
  s->id = s->label + n;
  s->draw = s->id + n;
  return RT_OK;
}

static rt_status reserve_worker(rt_loader *l, worker *w) {
  const rt_data *d = l->data;
  size_t pixels = (size_t)rt_data_pixels(d);
  w->loader = l;
  w->epoch = -1;
  w->order = rt_alloc_array((size_t)l->count, sizeof *w->order);
  w->room = (rt_darkroom){
      .original = rt_alloc(2 * pixels),
      .value = rt_alloc_array(2 * pixels, sizeof(float)),
      .table = (const float(*)[256])l->table,
      .mean = l->mean,
      .deviation = l->deviation,
  };
  if (!w->order || !w->room.original || !w->room.value) return RT_E_MEMORY;
  w->room.pixel = w->room.original + pixels;
  w->room.partner = w->room.value + pixels;
  return RT_OK;
}

static rt_status check(const rt_loader *l) {
  static const char *const names[RT_SPLITS] = {"training", "validation", "test"};
  const rt_data *d = l->data;
  if (!l->count)
    return rt_fail(RT_E_ARGUMENT, "%s%s%s: there are no %s images in it", d->row->name, *d->directory ? " in " : "",
                   d->directory, names[l->split]);
  if (!l->batches)
    return rt_fail(RT_E_ARGUMENT, "loader: batch=%lld drop_last=true leaves nothing of the %lld %s images",
                   (long long)l->o.batch, (long long)l->count, names[l->split]);
  return rt_augment_check(&l->augment, d);
}

static rt_status build(rt_loader *l, const char *options_text, const char *augment) {
  rt_status s = rt_options_parse(table, &l->o, options_text, &l->arena, "loader");
  if (s == RT_OK) s = rt_options_parse(rt_augment_options, &l->augment, augment, &l->arena, "augment");
  if (s != RT_OK) return s;
  l->count = l->data->count[l->split];
  l->batches = l->o.drop_last ? l->count / l->o.batch : (l->count + l->o.batch - 1) / l->o.batch;
  s = check(l);
  if (s == RT_OK) s = prepare_tables(l);
  l->n_slots = (int)l->o.ahead + 1;
  l->n_workers = (int)(l->o.threads < l->o.ahead ? l->o.threads : l->o.ahead);
  if (!l->n_workers) l->n_workers = 1; /* then it is only the memory that rt_loader_next works in */
  for (int i = 0; s == RT_OK && i < l->n_slots; i++) s = reserve_slot(l, &l->slots[i]);
  for (int i = 0; s == RT_OK && i < l->n_workers; i++) s = reserve_worker(l, &l->workers[i]);
  return s;
}

rt_status rt_loader_new(const rt_data *data, rt_split split, const char *options_text, const char *augment,
                        rt_loader **out) {
  *out = NULL;
  if ((unsigned)split >= RT_SPLITS) return rt_fail(RT_E_ARGUMENT, "loader: there is no split %d", (int)split);
  rt_loader *l = rt_alloc(sizeof *l);
  if (!l) return RT_E_MEMORY;
  l->data = data;
  l->split = split;
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->filled, NULL);
  pthread_cond_init(&l->freed, NULL);
  rt_status s = build(l, options_text, augment);
  if (s == RT_OK)
    *out = l;
  else
    rt_loader_free(l);
  return s;
}

void rt_loader_free(rt_loader *l) {
  if (!l) return;
  stop(l);
  for (int i = 0; i < l->n_slots; i++) {
    rt_free(l->slots[i].x);
    rt_free(l->slots[i].target);
    rt_free(l->slots[i].label);
  }
  for (int i = 0; i < l->n_workers; i++) {
    rt_free(l->workers[i].order);
    rt_free(l->workers[i].room.original);
    rt_free(l->workers[i].room.value);
  }
  pthread_cond_destroy(&l->freed);
  pthread_cond_destroy(&l->filled);
  pthread_mutex_destroy(&l->lock);
  rt_arena_release(&l->arena);
  rt_free(l);
}

/* ---- use ---- */

int64_t rt_loader_batches(const rt_loader *l) { return l->batches; }

static slot *wait_for(rt_loader *l) {
  slot *s = &l->slots[l->next % l->n_slots];
  pthread_mutex_lock(&l->lock);
  l->taken = false;
  pthread_cond_signal(&l->freed);
  while (s->batch != l->next) pthread_cond_wait(&l->filled, &l->lock);
  if (s->status == RT_OK) { /* a batch that failed stays the next one */
    l->next++;
    l->taken = true;
  }
  pthread_mutex_unlock(&l->lock);
  return s;
}

rt_status rt_loader_next(rt_loader *l, rt_batch *out) {
  slot *s = &l->slots[0];
  int64_t batch = l->next;
  *out = (rt_batch){0};
  if (!l->o.ahead) {
    prepare(&l->workers[0], s, batch);
    l->next += s->status == RT_OK;
  } else {
    rt_status started = l->running ? RT_OK : start(l);
    if (started != RT_OK) return started;
    s = wait_for(l);
  }
  if (s->status != RT_OK) return rt_fail(s->status, "%s", s->sentence);
  int64_t index = batch % l->batches;
  *out = (rt_batch){.n = images_in(l, index),
                    .channels = l->data->channels,
                    .height = l->data->height,
                    .width = l->data->width,
                    .x = s->x,
                    .label = s->label,
                    .target = s->target,
                    .id = s->id,
                    .draw = s->draw,
                    .epoch = batch / l->batches,
                    .index = index,
                    .last = index == l->batches - 1};
  return RT_OK;
}

rt_status rt_loader_seek(rt_loader *l, int64_t epoch, int64_t index) {
  if (epoch < 0 || epoch > INT32_MAX || index < 0 || index >= l->batches)
    return rt_fail(RT_E_RANGE, "loader: there is no batch %lld in epoch %lld; an epoch has %lld", (long long)index,
                   (long long)epoch, (long long)l->batches);
  stop(l);
  l->next = l->upcoming = epoch * l->batches + index;
  l->taken = false;
  for (int i = 0; i < l->n_slots; i++) l->slots[i].batch = -1;
  return RT_OK;
}

rt_status rt_loader_options_text(char **out) { return rt_options_help(table, out); }
rt_status rt_augment_options_text(char **out) { return rt_options_help(rt_augment_options, out); }
