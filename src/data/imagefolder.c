/* A directory per class with PNG and JPEG files in it:
 *
 *   DIR/cat/1.png  DIR/dog/2.jpg                          or, with parts of their own,
 *   DIR/train/cat/1.png  DIR/val/cat/2.png  DIR/test/…    (val may be missing, and test)
 *
 * Classes are numbered in the order of their names, as torchvision's ImageFolder numbers them. Where all images fit into
 * `memory` they are decoded once; else at every use. */
#include "base/alloc.h"
#include "base/thread.h"
#include "data/data.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

typedef struct options {
  rt_data_common common;
  int64_t size[2], shorter, channels, memory;
  int filter;
} options;

static const rt_option table[] = {
    RT_DATA_OPTIONS(options),
    {"size", RT_OPT_PAIR, offsetof(options, size), "224", 1, 4096, NULL, "height and width of what is cut out"},
    {"shorter", RT_OPT_INT, offsetof(options, shorter), "0", 0, 8192, NULL,
     "to what the shorter side is scaled before that; 0: 8/7 of size"},
    {"filter", RT_OPT_CHOICE, offsetof(options, filter), "bilinear", 0, 0, "bilinear|bicubic", "for scaling"},
    {"channels", RT_OPT_INT, offsetof(options, channels), "3", 1, 3, NULL, "3: colour, 1: grey"},
    {"memory", RT_OPT_INT, offsetof(options, memory), "1024", 0, 1 << 20, NULL, "MiB of images that are kept decoded"},
    {0},
};

/* Names or paths, in the order found until sorted. */
typedef struct list {
  const char **item;
  int64_t n, capacity;
} list;

static rt_status list_add(list *l, const char *text) {
  if (!text) return RT_E_MEMORY;
  if (l->n == l->capacity) {
    int64_t more = l->capacity ? 2 * l->capacity : 64;
    const char **grown = rt_grow(l->item, (size_t)l->n * sizeof *l->item, (size_t)more * sizeof *l->item);
    if (!grown) return RT_E_MEMORY;
    l->item = grown;
    l->capacity = more;
  }
  l->item[l->n++] = text;
  return RT_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool is_directory(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

static bool is_image(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0);
}

/* The directories, or else the images, of a directory, in order of their names. */
static rt_status list_directory(rt_arena *arena, const char *path, bool directories, list *out) {
  DIR *dir = opendir(path);
  if (!dir) return rt_fail(RT_E_IO, "%s: can't be opened: %s", path, strerror(errno));
  rt_status s = RT_OK;
  for (struct dirent *e; s == RT_OK && (e = readdir(dir));) {
    if (e->d_name[0] == '.' || (!directories && !is_image(e->d_name))) continue;
    if (directories) {
      const char *inner = rt_arena_text(arena, "%s/%s", path, e->d_name);
      if (!inner)
        s = RT_E_MEMORY;
      else if (is_directory(inner))
        s = list_add(out, rt_arena_text(arena, "%s", e->d_name));
    } else {
      s = list_add(out, rt_arena_text(arena, "%s", e->d_name));
    }
  }
  closedir(dir);
  if (s == RT_OK && out->n) qsort(out->item, (size_t)out->n, sizeof *out->item, by_name);
  return s;
}

typedef struct scan {
  rt_data *data;
  list classes, files;
  list labels; /* a file's class: a pointer into the classes' items */
} scan;

static int64_t class_of(const scan *c, const char *name) {
  const char *const *found = bsearch(&name, c->classes.item, (size_t)c->classes.n, sizeof name, by_name);
  return found ? found - c->classes.item : -1;
}

static rt_status scan_class(scan *c, const char *part, const char *name) {
  rt_arena *arena = &c->data->arena;
  const char *path = rt_arena_text(arena, "%s/%s", part, name);
  int64_t class = class_of(c, name);
  if (!path) return RT_E_MEMORY;
  if (class < 0) return rt_fail(RT_E_IO, "%s: a class that there is nothing to train with for", path);
  list names = {0};
  rt_status s = list_directory(arena, path, false, &names);
  if (s == RT_OK && !names.n) s = rt_fail(RT_E_IO, "%s: there is no PNG or JPEG in this class", path);
  for (int64_t i = 0; s == RT_OK && i < names.n; i++) {
    s = list_add(&c->files, rt_arena_text(arena, "%s/%s", path, names.item[i]));
    if (s == RT_OK) s = list_add(&c->labels, c->classes.item[class]);
  }
  rt_free(names.item);
  return s;
}

static rt_status scan_part(scan *c, const char *part, rt_split split) {
  list names = {0};
  int64_t before = c->files.n;
  rt_status s = list_directory(&c->data->arena, part, true, &names);
  for (int64_t i = 0; s == RT_OK && i < names.n; i++) s = scan_class(c, part, names.item[i]);
  c->data->given[split] = c->files.n - before;
  rt_free(names.item);
  return s;
}

static rt_status scan_parts(scan *c) {
  static const struct {
    const char *name;
    rt_split split;
  } parts[] = {{"train", RT_TRAIN}, {"val", RT_VALIDATION}, {"test", RT_TEST}};
  rt_arena *arena = &c->data->arena;
  const char *root = c->data->directory, *train = rt_arena_text(arena, "%s/train", root);
  if (!train) return RT_E_MEMORY;
  bool divided = is_directory(train);
  rt_status s = list_directory(arena, divided ? train : root, true, &c->classes);
  if (s == RT_OK && !c->classes.n)
    s = rt_fail(RT_E_IO, "%s: expected a directory per class in it", divided ? train : root);
  if (s == RT_OK && !divided) return scan_part(c, root, RT_TRAIN);
  for (int i = 0; s == RT_OK && i < 3; i++) {
    const char *part = rt_arena_text(arena, "%s/%s", root, parts[i].name);
    if (!part) return RT_E_MEMORY;
    if (is_directory(part)) s = scan_part(c, part, parts[i].split);
  }
  return s;
}

/* ---- decoding all at once ---- */

typedef struct decoding {
  const rt_data *data;
  _Atomic int64_t failed; /* the least id that failed, or the number of samples */
} decoding;

static void decode_some(void *context, int64_t begin, int64_t end) {
  decoding *d = context;
  for (int64_t id = begin; id < end; id++) {
    if (rt_image_sample(d->data, id, d->data->pixel + id * rt_data_pixels(d->data)) == RT_OK) continue;
    int64_t least = atomic_load(&d->failed);
    while (id < least && !atomic_compare_exchange_weak(&d->failed, &least, id)) {}
    return;
  }
}

static rt_status decode_all(rt_data *data) {
  int64_t n = rt_data_samples(data);
  data->pixel = rt_alloc_large((size_t)(n * rt_data_pixels(data)));
  if (!data->pixel) return RT_E_MEMORY;
  decoding d = {.data = data, .failed = n};
  rt_parallel_for(n, 1, decode_some, &d);
  int64_t failed = atomic_load(&d.failed);
  /* Once more, on this thread, for its sentence. */
  return failed < n ? rt_image_sample(data, failed, data->pixel) : RT_OK;
}

static rt_status open_scanned(scan *c, const options *o) {
  rt_data *data = c->data;
  int64_t least = o->size[0] < o->size[1] ? o->size[0] : o->size[1];
  if (o->channels == 2) return rt_fail(RT_E_ARGUMENT, "imagefolder: channels=2: expected 1 or 3");
  data->dtype = RT_U8;
  data->channels = o->channels;
  data->height = o->size[0];
  data->width = o->size[1];
  data->shorter = o->shorter ? o->shorter : (least * 8 + 3) / 7;
  data->filter = (rt_filter)o->filter;
  data->classes = c->classes.n;
  data->class_name = rt_arena_copy(&data->arena, c->classes.item, (size_t)c->classes.n * sizeof *c->classes.item);
  rt_status s = data->class_name ? rt_data_reserve_labels(data) : RT_E_MEMORY;
  if (s != RT_OK) return s;
  for (int64_t i = 0; i < c->files.n; i++) data->label[i] = class_of(c, c->labels.item[i]);
  data->files = c->files.item;
  c->files.item = NULL;
  bool fits = rt_data_samples(data) <= (o->memory << 20) / rt_data_pixels(data);
  return fits ? decode_all(data) : RT_OK;
}

static rt_status open(rt_data *data, const void *opts) {
  scan c = {.data = data};
  rt_status s = scan_parts(&c);
  if (s == RT_OK) s = open_scanned(&c, opts);
  rt_free(c.classes.item);
  rt_free(c.files.item);
  rt_free(c.labels.item);
  return s;
}

static rt_status read(const rt_data *data, int64_t id, rt_image *out) {
  return rt_image_read(((const char *const *)data->files)[id], data->channels, out);
}

const rt_data_row rt_data_row_imagefolder = {
    .name = "imagefolder",
    .summary = "your own PNG and JPEG files, a directory per class",
    .needs_path = true,
    .options = table,
    .options_size = sizeof(options),
    .augment = "resized_crop=0.35 flip",
    .open = open,
    .read = read,
};
