/* Which samples belong to which split. Held-out images and subsets take the same share of every class; which ones is a
 * function of split_seed and the sample's id alone. Samples without a label are for training only. */
#include "base/alloc.h"
#include "base/rng.h"
#include "data/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct keyed {
  int64_t label, id;
  uint64_t key; /* a draw: orders the samples of a class */
} keyed;

static int by_class_and_key(const void *a, const void *b) {
  const keyed *p = a, *q = b;
  if (p->label != q->label) return p->label < q->label ? -1 : 1;
  if (p->key != q->key) return p->key < q->key ? -1 : 1;
  return p->id < q->id ? -1 : p->id > q->id;
}

static int by_id(const void *a, const void *b) {
  const int64_t *p = a, *q = b;
  return *p < *q ? -1 : *p > *q;
}

/* Move a share of `from` (by class, as nearly proportional as whole images allow) to the end of *to. */
static void move_share(rt_data *data, keyed *from, int64_t *n, double share, rt_rng rng, int64_t *to, int64_t *n_to) {
  for (int64_t i = 0; i < *n; i++) {
    uint32_t w[4];
    rt_philox(rng, (uint64_t)from[i].id, 0, w);
    from[i].key = (uint64_t)w[0] << 32 | w[1];
  }
  qsort(from, (size_t)*n, sizeof *from, by_class_and_key);
  int64_t kept = 0, taken = 0;
  for (int64_t begin = 0, end; begin < *n; begin = end) {
    for (end = begin; end < *n && from[end].label == from[begin].label; end++) {}
    /* What is owed up to the end of this class, less what was taken: the total is right to half an image. */
    int64_t take = (int64_t)floor(share * (double)end + 0.5) - taken;
    taken += take;
    for (int64_t i = begin; i < end; i++) {
      if (i < begin + take)
        to[(*n_to)++] = from[i].id;
      else
        from[kept++] = from[i];
    }
  }
  *n = kept;
}

/* Those without a label to the end of the pool; how many they are. */
static int64_t put_unlabelled_last(const rt_data *data, keyed *pool, int64_t n) {
  int64_t labelled = 0, bare = 0;
  for (int64_t i = 0; i < n; i++)
    if (data->label[i] != RT_NO_LABEL) pool[labelled++] = (keyed){.label = data->label[i], .id = i};
  for (int64_t i = 0; i < n; i++)
    if (data->label[i] == RT_NO_LABEL) pool[labelled + bare++] = (keyed){.label = RT_NO_LABEL, .id = i};
  return bare;
}

static rt_status check(const rt_data *d, const rt_data_common *o) {
  if (o->subset > d->given[RT_TRAIN])
    return rt_fail(RT_E_ARGUMENT, "%s: subset=%lld, but it has only %lld images to train on", d->row->name,
                   (long long)o->subset, (long long)d->given[RT_TRAIN]);
  return RT_OK;
}

rt_status rt_data_split(rt_data *data, const rt_data_common *o) {
  rt_status s = check(data, o);
  if (s != RT_OK) return s;
  int64_t n = data->given[RT_TRAIN], all = rt_data_samples(data), parts[RT_SPLITS] = {0};
  rt_rng rng = {(uint64_t)o->split_seed, 0};
  keyed *pool = rt_alloc_array((size_t)n, sizeof *pool);
  int64_t *block = rt_alloc_array(3 * (size_t)all, sizeof *block);
  data->id[RT_TRAIN] = block; /* so that it is freed with the data */
  if (!pool || !block) {
    rt_free(pool);
    return RT_E_MEMORY;
  }
  int64_t *train = block, *validation = block + all, *test = block + 2 * all;
  for (int64_t i = n; i < all; i++) {
    bool own_validation = i < n + data->given[RT_VALIDATION];
    if (own_validation)
      validation[parts[RT_VALIDATION]++] = i;
    else
      test[parts[RT_TEST]++] = i;
  }
  int64_t bare = put_unlabelled_last(data, pool, n);
  keyed *unlabelled = pool + n - bare;
  n -= bare;
  rng.stream = rt_hash_text("data.test");
  if (!data->given[RT_TEST]) move_share(data, pool, &n, o->test, rng, test, &parts[RT_TEST]);
  rng.stream = rt_hash_text("data.validation");
  if (!data->given[RT_VALIDATION]) move_share(data, pool, &n, o->validation, rng, validation, &parts[RT_VALIDATION]);
  memmove(pool + n, unlabelled, (size_t)bare * sizeof *pool);
  n += bare;
  rng.stream = rt_hash_text("data.subset");
  double share = o->subset && o->subset < n ? (double)o->subset / (double)n : 1;
  move_share(data, pool, &n, share, rng, train, &parts[RT_TRAIN]);
  rt_free(pool);
  for (int64_t i = 0; i < parts[RT_TRAIN]; i++) data->unlabelled += data->label[train[i]] == RT_NO_LABEL;
  data->id[RT_VALIDATION] = validation;
  data->id[RT_TEST] = test;
  for (int i = 0; i < RT_SPLITS; i++) {
    data->count[i] = parts[i];
    qsort(data->id[i], (size_t)parts[i], sizeof(int64_t), by_id);
  }
  return RT_OK;
}
