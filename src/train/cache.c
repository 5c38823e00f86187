/* What teachers said, kept on disk: a safetensors file with a row for every training image and draw of its augmentation.
 *
 *   teacher.logits       draws×images×classes           or, of the K highest alone:
 *   teacher.top          draws×images×(K + 1)  f32      their logits, and ln of the mean of exp of all others
 *   teacher.top_classes  draws×images×K        s32
 *   teacher.layer2       draws×images×…                 features that are compared, in the dtype they were made in
 *   check                draws×images          s64      hash of the row; 0: it isn't there yet
 *
 * Images are those of the training split in order. The file is made whole, as one hole, and rows are filled in when a batch asks
 * for them. A row counts if its hash is right, so whatever kills a writer, what it left is either a row or none; two runs may
 * write the same file, since they write the same bytes. What a row depends on stands in the metadata. */
#include "base/alloc.h"
#include "base/rng.h"
#include "data/data.h"
#include "format/format.h"
#include "train/train.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct part {
  const char *name;
  rt_dtype dtype;
  int rank;
  int64_t dim[RT_MAX_RANK];
  int64_t bytes;  /* of a row */
  int64_t offset; /* of the tensor in the file */
} part;

enum { KEYS = 8, KEY_TEXT = 512, MOST_PARTS = 2 * RT_MOST_FED + 1 };

typedef struct key {
  const char *name, *what; /* what differs, for the sentence */
  char text[KEY_TEXT];
} key;

struct rt_cache {
  const char *path;
  int fd; /* -1: there is no file yet */
  bool read_only;
  int64_t images, draws, classes, top;
  int64_t *image; /* number in the split by sample id; -1: it isn't in it */
  int64_t samples;
  part part[MOST_PARTS];
  int parts;         /* without `check`, which is the last */
  int64_t row_bytes; /* without it */
  char *row;
  float *highest; /* (2·top + 1) words: what `cut` makes */
  bool *there;    /* of the images asked for last */
  key key[KEYS];
};

/* ---- what a row depends on ---- */

static uint64_t hash_teachers(const rt_trainer *t) {
  uint64_t h = rt_hash_text("teachers");
  for (int k = 0; k < t->objective.teachers; k++) {
    const rt_teacher *one = &t->objective.teacher[k];
    const rt_network_info *n = &one->network->info;
    if (!rt_teacher_runs(t, k)) continue;
    size_t numbers = n->mean ? (size_t)n->channels * sizeof *n->mean : 0;
    h = rt_hash(h, &one->hash, sizeof one->hash);
    h = rt_hash(rt_hash(h, n->model, strlen(n->model) + 1), n->options, strlen(n->options) + 1);
    if (numbers) h = rt_hash(rt_hash(h, n->mean, numbers), n->deviation, numbers);
  }
  return h;
}

static uint64_t hash_images(const rt_trainer *t) {
  const rt_data *d = t->data;
  int64_t shape[] = {d->channels, d->height, d->width, d->classes, d->count[RT_TRAIN]};
  uint64_t h = rt_hash(rt_hash_text(t->info.kind), shape, sizeof shape);
  h = rt_hash(h, d->mean, (size_t)d->channels * sizeof *d->mean);
  h = rt_hash(h, d->deviation, (size_t)d->channels * sizeof *d->deviation);
  return rt_hash(h, d->id[RT_TRAIN], (size_t)d->count[RT_TRAIN] * sizeof(int64_t));
}

static void add_key(rt_cache *c, int i, const char *name, const char *what, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static void add_key(rt_cache *c, int i, const char *name, const char *what, const char *format, ...) {
  va_list list;
  c->key[i] = (key){.name = name, .what = what};
  va_start(list, format);
  vsnprintf(c->key[i].text, KEY_TEXT, format, list);
  va_end(list);
}

static void describe(const rt_trainer *t, rt_cache *c) {
  const rt_train_settings *o = &t->o;
  bool changed = strcmp(o->augment, "none") != 0;
  add_key(c, 0, "holds", "something else", "outputs of teachers");
  add_key(c, 1, "teachers", "other teachers", "%016" PRIx64, hash_teachers(t));
  add_key(c, 2, "images", "other images", "%016" PRIx64, hash_images(t));
  add_key(c, 3, "augment", "images that were changed otherwise", "%s", o->augment);
  add_key(c, 4, "augment_seed", "images of another augment_seed", "%s", changed ? o->augment_seed : "any");
  add_key(c, 5, "teacher_precision", "teachers in another precision", "%d", o->teacher_precision);
  add_key(c, 6, "kernels", "teachers with other kernels", "%d", o->kernels);
  add_key(c, 7, "cache_top", "another number of the highest logits", "%" PRId64, c->top);
}

/* ---- shape ---- */

static part *add_part(rt_trainer *t, rt_cache *c, const char *name, rt_dtype dtype) {
  part *p = &c->part[c->parts++];
  *p = (part){.name = rt_arena_text(&t->arena, "%s", name), .dtype = dtype, .rank = 2, .dim = {c->draws, c->images}};
  p->bytes = (int64_t)rt_dtype_size(dtype);
  return p;
}

static void add_axis(part *p, int64_t n) {
  p->dim[p->rank++] = n;
  p->bytes *= n;
}

static bool is_logits(const rt_fed *fed) {
  size_t n = strlen(fed->name);
  return fed->rank == 2 && n > 7 && strcmp(fed->name + n - 7, ".logits") == 0;
}

static bool is_cut(const rt_cache *c, const rt_fed *fed) {
  return is_logits(fed) && fed->dtype == RT_F32 && c->top && c->top < fed->dim[1];
}

static rt_status lay_out(rt_trainer *t, rt_cache *c) {
  char name[RT_RUN_PATH];
  for (int i = 0; i < t->fed.n; i++) {
    const rt_fed *fed = &t->fed.fed[i];
    if (fed->from) continue;
    if (is_cut(c, fed)) {
      int stem = (int)(strlen(fed->name) - strlen("logits"));
      snprintf(name, sizeof name, "%.*stop", stem, fed->name);
      add_axis(add_part(t, c, name, RT_F32), c->top + 1);
      snprintf(name, sizeof name, "%.*stop_classes", stem, fed->name);
      add_axis(add_part(t, c, name, RT_S32), c->top);
      continue;
    }
    if (fed->rank + 1 > RT_MAX_RANK) return rt_fail(RT_E_UNSUPPORTED, "cache_teacher: %s has too many axes", fed->name);
    part *p = add_part(t, c, fed->name, fed->dtype);
    for (int d = 1; d < fed->rank; d++) add_axis(p, fed->dim[d]);
  }
  for (int i = 0; i < c->parts; i++) c->row_bytes += c->part[i].bytes;
  add_part(t, c, "check", RT_S64);
  c->parts--;
  for (int i = 0; i <= c->parts; i++)
    if (!c->part[i].name) return RT_E_MEMORY;
  int64_t asked = (t->o.batch + t->o.accumulate - 1) / t->o.accumulate;
  c->row = rt_alloc((size_t)c->row_bytes);
  c->there = rt_alloc((size_t)asked);
  c->highest = rt_alloc_array((size_t)(2 * c->top + 1), sizeof *c->highest);
  return c->row && c->there && c->highest ? RT_OK : RT_E_MEMORY;
}

static rt_status number_images(const rt_data *d, rt_cache *c) {
  c->samples = rt_data_samples(d);
  c->images = d->count[RT_TRAIN];
  c->image = rt_alloc_array((size_t)c->samples, sizeof *c->image);
  if (!c->image) return RT_E_MEMORY;
  for (int64_t i = 0; i < c->samples; i++) c->image[i] = -1;
  for (int64_t i = 0; i < c->images; i++) c->image[d->id[RT_TRAIN][i]] = i;
  return RT_OK;
}

static double megabytes(const rt_cache *c) {
  return (double)(c->images * c->draws) * (double)(c->row_bytes + (int64_t)sizeof(int64_t)) / 1e6;
}

/* ---- a file that is there ---- */

static rt_status compare_keys(const rt_cache *c, const rt_file *file) {
  for (int i = 0; i < KEYS; i++) {
    const char *text = rt_file_metadata(file, c->key[i].name);
    if (!text) return rt_fail(RT_E_ARGUMENT, "%s: isn't a file of what teachers said: name another one", c->path);
    if (strcmp(text, c->key[i].text) != 0)
      return rt_fail(RT_E_ARGUMENT,
                     "%s: it is of %s (%s: %.200s) than this run's (%.200s): name another file for cache_teacher, or "
                     "remove this one",
                     c->path, c->key[i].what, c->key[i].name, text, c->key[i].text);
  }
  return RT_OK;
}

static rt_status locate_part(rt_cache *c, const rt_file *file, part *p) {
  rt_file_info info;
  rt_status s = rt_file_find(file, p->name, &info);
  if (s != RT_OK)
    return rt_fail_in(RT_E_ARGUMENT, "cache_teacher: this run compares what the file doesn't keep; name another one");
  bool same = info.dtype == p->dtype && info.rank == p->rank && info.dim[1] == p->dim[1];
  for (int d = 2; d < p->rank && same; d++) same = info.dim[d] == p->dim[d];
  if (!same) return rt_fail(RT_E_ARGUMENT, "%s: its %s has another shape than this run's", c->path, p->name);
  if (info.dim[0] < c->draws)
    return rt_fail(RT_E_ARGUMENT,
                   "%s: it has room for %" PRId64 " draws of an image, and this run takes %" PRId64
                   ": fewer draws, or another file",
                   c->path, info.dim[0], c->draws);
  return rt_file_offset(file, p->name, &p->offset);
}

static rt_status open_file(rt_cache *c) {
  rt_file *file;
  rt_status s = rt_file_open(c->path, &file);
  if (s != RT_OK) return s;
  s = compare_keys(c, file);
  for (int i = 0; i <= c->parts && s == RT_OK; i++) s = locate_part(c, file, &c->part[i]);
  rt_file_free(file);
  if (s != RT_OK) return s;
  c->fd = open(c->path, O_RDWR | O_CLOEXEC);
  c->read_only = c->fd < 0;
  if (c->read_only) c->fd = open(c->path, O_RDONLY | O_CLOEXEC);
  return c->fd >= 0 ? RT_OK : rt_fail(RT_E_IO, "%s: can't be opened: %s", c->path, strerror(errno));
}

rt_status rt_cache_open(rt_trainer *t) {
  rt_cache *c = t->fed.cache = rt_alloc(sizeof *c);
  if (!c) return RT_E_MEMORY;
  *c = (rt_cache){.path = t->o.cache_teacher, .fd = -1, .top = t->o.cache_top};
  bool changed = strcmp(t->o.augment, "none") != 0;
  c->draws = !changed ? 1 : t->o.draws ? t->o.draws : t->o.epochs;
  describe(t, c);
  rt_status s = number_images(t->data, c);
  if (s == RT_OK) s = lay_out(t, c);
  return s == RT_OK && access(c->path, F_OK) == 0 ? open_file(c) : s;
}

void rt_cache_close(rt_cache *c) {
  if (!c) return;
  if (c->fd >= 0) close(c->fd);
  rt_free(c->image);
  rt_free(c->row);
  rt_free(c->there);
  rt_free(c->highest);
  rt_free(c);
}

void rt_cache_explain(const rt_cache *c, rt_strbuf *out) {
  rt_strbuf_add(out, "%s: %" PRId64 " images in %" PRId64 " draw%s, %" PRId64 " bytes each, %.1f MB%s", c->path,
                c->images, c->draws, c->draws == 1 ? "" : "s", c->row_bytes + (int64_t)sizeof(int64_t), megabytes(c),
                c->fd >= 0 ? ", begun before" : "");
}

/* ---- a new file ---- */

rt_status rt_cache_begin(rt_trainer *t) {
  rt_cache *c = t->fed.cache;
  rt_strbuf text = {0};
  if (!c) return RT_OK;
  rt_cache_explain(c, &text);
  rt_status s = text.failed ? RT_E_MEMORY : rt_news_note(t, "what teachers say is kept in %s", text.text);
  rt_strbuf_release(&text);
  if (s != RT_OK || c->fd >= 0) return s;
  rt_array array[MOST_PARTS + 1];
  rt_pair pair[KEYS];
  for (int i = 0; i <= c->parts; i++) {
    const part *p = &c->part[i];
    array[i] = (rt_array){p->name, p->dtype, p->rank, p->dim, NULL};
  }
  for (int i = 0; i < KEYS; i++) pair[i] = (rt_pair){c->key[i].name, c->key[i].text};
  s = rt_make_parents(c->path);
  if (s == RT_OK) s = rt_file_reserve(c->path, array, c->parts + 1, pair, KEYS);
  return s == RT_OK ? open_file(c) : s;
}

/* ---- the K highest ---- */

/* z of `classes` logits into `top` values, the rest's ln(mean exp), and the classes. */
static void cut(const rt_cache *c, const float *z, int64_t classes) {
  float *value = c->highest;
  int32_t *class = (int32_t *)(value + c->top + 1);
  double rest = 0, most = -INFINITY;
  int64_t n = 0;
  for (int64_t i = 0; i < classes; i++) {
    int64_t at = n;
    while (at > 0 && z[i] > value[at - 1]) at--;
    if (at == c->top) continue;
    n += n < c->top;
    memmove(value + at + 1, value + at, (size_t)(n - 1 - at) * sizeof *value);
    memmove(class + at + 1, class + at, (size_t)(n - 1 - at) * sizeof *class);
    value[at] = z[i];
    class[at] = (int32_t)i;
  }
  for (int64_t i = 0; i < classes; i++) {
    bool kept = false;
    for (int64_t k = 0; k < n && !kept; k++) kept = class[k] == i;
    if (kept) continue;
    double x = (double)z[i];
    rest = x > most ? rest * exp(most - x) + 1 : rest + exp(x - most);
    most = x > most ? x : most;
  }
  value[c->top] = (float)(most + log(rest / (double)(classes - c->top)));
}

static void spread(const rt_cache *c, int64_t classes, float *z) {
  const float *value = c->highest;
  const int32_t *class = (const int32_t *)(value + c->top + 1);
  for (int64_t i = 0; i < classes; i++) z[i] = value[c->top];
  for (int64_t k = 0; k < c->top; k++)
    if (class[k] >= 0 && class[k] < classes) z[class[k]] = value[k];
}

/* ---- rows ---- */

static int64_t fed_bytes(const rt_cache *c, const rt_fed *fed) {
  if (fed->from) return 0;
  return is_cut(c, fed) ? (2 * c->top + 1) * (int64_t)sizeof *c->highest : fed->bytes;
}

static void pack(const rt_trainer *t, const rt_cache *c, int64_t i) {
  char *row = c->row;
  for (int k = 0; k < t->fed.n; row += fed_bytes(c, &t->fed.fed[k++])) {
    const rt_fed *fed = &t->fed.fed[k];
    const char *from = fed->data + i * fed->bytes;
    if (is_cut(c, fed)) cut(c, (const float *)from, fed->dim[1]);
    memcpy(row, is_cut(c, fed) ? (const char *)c->highest : from, (size_t)fed_bytes(c, fed));
  }
}

static void unpack(const rt_trainer *t, const rt_cache *c, int64_t i) {
  const char *row = c->row;
  for (int k = 0; k < t->fed.n; row += fed_bytes(c, &t->fed.fed[k++])) {
    const rt_fed *fed = &t->fed.fed[k];
    char *to = fed->data + i * fed->bytes;
    memcpy(is_cut(c, fed) ? (char *)c->highest : to, row, (size_t)fed_bytes(c, fed));
    if (is_cut(c, fed)) spread(c, fed->dim[1], (float *)to);
  }
}

static int64_t hash_row(const rt_cache *c, int64_t at) {
  uint64_t h = rt_hash(rt_hash(rt_hash_text("row"), &at, sizeof at), c->row, (size_t)c->row_bytes);
  return (int64_t)(h | 1); /* 0 is a hole */
}

/* Number of the row of a sample's draw. */
static rt_status find_row(const rt_cache *c, int64_t id, int64_t draw, int64_t *at) {
  int64_t image = id >= 0 && id < c->samples ? c->image[id] : -1;
  if (c->draws == 1) draw = 0;
  if (image < 0 || draw < 0 || draw >= c->draws)
    return rt_fail(RT_E_INTERNAL, "%s: there is no row of image %" PRId64 ", draw %" PRId64, c->path, id, draw);
  *at = draw * c->images + image;
  return RT_OK;
}

static bool read_row(const rt_cache *c, int64_t at) {
  int64_t check = 0;
  char *to = c->row;
  const part *last = &c->part[c->parts];
  if (pread(c->fd, &check, sizeof check, last->offset + at * last->bytes) != sizeof check || !check) return false;
  for (int i = 0; i < c->parts; to += c->part[i++].bytes)
    if (pread(c->fd, to, (size_t)c->part[i].bytes, c->part[i].offset + at * c->part[i].bytes) != c->part[i].bytes)
      return false;
  return check == hash_row(c, at);
}

static bool write_all(int fd, const void *bytes, int64_t n, int64_t at) {
  for (int64_t done = 0; done < n;) {
    ssize_t more = pwrite(fd, (const char *)bytes + done, (size_t)(n - done), at + done);
    if (more < 0 && errno == EINTR) continue;
    if (more <= 0) return false;
    done += more;
  }
  return true;
}

static rt_status write_row(const rt_cache *c, int64_t at) {
  const part *last = &c->part[c->parts];
  const char *from = c->row;
  int64_t check = hash_row(c, at);
  bool good = true;
  for (int i = 0; i < c->parts && good; from += c->part[i++].bytes)
    good = write_all(c->fd, from, c->part[i].bytes, c->part[i].offset + at * c->part[i].bytes);
  if (good) good = write_all(c->fd, &check, sizeof check, last->offset + at * last->bytes);
  return good ? RT_OK : rt_fail(RT_E_IO, "%s: can't be written: %s", c->path, strerror(errno));
}

rt_status rt_cache_read(rt_trainer *t, const int64_t *id, const int64_t *draw, int64_t n, int64_t *missing) {
  rt_cache *c = t->fed.cache;
  rt_status s = RT_OK;
  for (int64_t i = 0, at = 0; i < n && s == RT_OK; i++) {
    s = find_row(c, id[i], draw[i], &at);
    c->there[i] = s == RT_OK && read_row(c, at);
    if (c->there[i]) unpack(t, c, i);
    *missing += !c->there[i];
  }
  return s;
}

rt_status rt_cache_write(rt_trainer *t, const int64_t *id, const int64_t *draw, int64_t n) {
  rt_cache *c = t->fed.cache;
  rt_status s = RT_OK;
  for (int64_t i = 0, at = 0; i < n && s == RT_OK; i++) {
    s = find_row(c, id[i], draw[i], &at);
    if (s != RT_OK) break;
    pack(t, c, i);
    unpack(t, c, i);
    if (!c->there[i] && !c->read_only) s = write_row(c, at);
  }
  return s;
}
