/* Images and labels as their files hold them are in memory once, however many sets are open over them; splits and statistics are
 * each set's own. What is shared is freed with the last set that reads it. */
#include "base/alloc.h"
#include "data/data.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct file {
  const char *path, *stamp;
  struct file *next;
} file;

struct rt_data_source {
  rt_data data;
  file *file;      /* what it was read from; NULL: it can't be told whether another set is the same */
  const void *own; /* options of its row beside the common ones */
  int users;
  rt_data_source *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the list, and of all users */
static rt_data_source *sources;

enum { STAMP = 160 };

/* Which file that is, and when it changed last. */
static const char *stamp(const char *path, char text[STAMP]) {
  struct stat s;
  if (stat(path, &s) != 0) return "";
  snprintf(text, STAMP, "%llu.%llu %lld %lld.%ld %lld.%ld", (unsigned long long)s.st_dev, (unsigned long long)s.st_ino,
           (long long)s.st_size, (long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec, (long long)s.st_ctim.tv_sec,
           s.st_ctim.tv_nsec);
  return text;
}

static rt_status note(rt_data *data, const char *path) {
  char text[STAMP];
  rt_arena *arena = &data->arena;
  file *f = rt_arena_alloc(arena, sizeof *f);
  if (!f || !(f->path = rt_arena_text(arena, "%s", path))) return RT_E_MEMORY;
  if (!(f->stamp = rt_arena_text(arena, "%s", stamp(path, text)))) return RT_E_MEMORY;
  f->next = data->source->file;
  data->source->file = f;
  return RT_OK;
}

/* A file that is put beside the others may be read instead of one of them: the directory's stamp tells. */
rt_status rt_data_note_file(rt_data *data, const char *path) {
  rt_status s = data->source->file ? RT_OK : note(data, data->directory);
  return s == RT_OK ? note(data, path) : s;
}

static bool is_unchanged(const rt_data_source *source) {
  char text[STAMP];
  const file *f = source->file;
  while (f && *f->stamp && strcmp(f->stamp, stamp(f->path, text)) == 0) f = f->next;
  return source->file && !f;
}

static const void *own_options(const void *options) { return (const char *)options + sizeof(rt_data_common); }
static size_t own_size(const rt_data_row *row) { return row->options_size - sizeof(rt_data_common); }

static rt_data_source *find(const rt_data *data, const void *options) {
  const rt_data_row *row = data->row;
  for (rt_data_source *s = sources; s; s = s->next) {
    if (s->data.row != row || strcmp(s->data.directory, data->directory) != 0) continue;
    if (memcmp(s->own, own_options(options), own_size(row)) == 0 && is_unchanged(s)) return s;
  }
  return NULL;
}

static void release(rt_data_source *source) {
  rt_free(source->data.label);
  rt_free(source->data.pixel);
  rt_free(source->data.value);
  rt_free(source->data.files);
  rt_arena_release(&source->data.arena);
  rt_free(source);
}

static rt_status read_source(const rt_data *data, const void *options, rt_data_source **out) {
  rt_data_source *source = rt_alloc(sizeof *source);
  if (!source) return RT_E_MEMORY;
  rt_data *d = &source->data;
  d->row = data->row;
  d->source = source;
  d->directory = rt_arena_text(&d->arena, "%s", data->directory);
  source->own = rt_arena_copy(&d->arena, own_options(options), own_size(d->row));
  rt_status s = d->directory && source->own ? d->row->open(d, options) : RT_E_MEMORY;
  if (s != RT_OK) release(source);
  *out = s == RT_OK ? source : NULL;
  return s;
}

rt_status rt_data_take(rt_data *data, const void *options) {
  rt_arena own = data->arena;
  pthread_mutex_lock(&lock);
  rt_data_source *source = find(data, options);
  if (source) source->users++;
  pthread_mutex_unlock(&lock);
  if (!source) {
    rt_status s = read_source(data, options, &source);
    if (s != RT_OK) return s;
    pthread_mutex_lock(&lock);
    source->users = 1;
    source->next = sources;
    sources = source;
    pthread_mutex_unlock(&lock);
  }
  *data = source->data;
  data->arena = own;
  return RT_OK;
}

void rt_data_leave(rt_data_source *source) {
  pthread_mutex_lock(&lock);
  bool last = --source->users == 0;
  rt_data_source **at = &sources;
  while (last && *at != source) at = &(*at)->next;
  if (last) *at = source->next;
  pthread_mutex_unlock(&lock);
  if (last) release(source);
}
