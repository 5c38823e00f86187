#include "data/data.h"

#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA(name) extern const rt_data_row rt_data_row_##name;
#include "data/data.def"
#undef DATA

static const rt_data_row *const rows[] = {
#define DATA(name) &rt_data_row_##name,
#include "data/data.def"
#undef DATA
};

int rt_data_kind_count(void) { return (int)(sizeof rows / sizeof *rows); }

rt_status rt_data_kind_at(int i, rt_data_kind *out) {
  if (i < 0 || i >= rt_data_kind_count())
    return rt_fail(RT_E_RANGE, "there are %d kinds of data sets, and no number %d", rt_data_kind_count(), i);
  const rt_data_row *r = rows[i];
  *out = (rt_data_kind){r->name, r->summary, r->needs_path, r->archive, r->file, r->files};
  return RT_OK;
}

static rt_status find_row(const char *name, size_t length, const rt_data_row **out) {
  char word[64];
  snprintf(word, sizeof word, "%.*s", (int)(length < 60 ? length : 60), name);
  rt_nearest nearest = {.word = word};
  *out = NULL;
  for (int i = 0; i < rt_data_kind_count() && !*out; i++) {
    if (strcmp(rows[i]->name, word) == 0) *out = rows[i];
    rt_nearest_offer(&nearest, rows[i]->name);
  }
  if (*out) return RT_OK;
  return rt_nearest_fail(&nearest, "data set");
}

/* ---- where it is ---- */

static bool is_file(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

const char *rt_data_path(rt_arena *arena, const char *directory, const char *name) {
  const char *path = rt_arena_text(arena, "%s/%s", directory, name);
  if (!path || is_file(path)) return path;
  path = rt_arena_text(arena, "%s/%s.gz", directory, name);
  return path && is_file(path) ? path : NULL;
}

static const char *home_of(rt_arena *arena, const char *kind) {
  const char *data = getenv("RETORT_DATA"), *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
  if (data && *data) return rt_arena_text(arena, "%s/%s", data, kind);
  if (xdg && *xdg) return rt_arena_text(arena, "%s/retort/%s", xdg, kind);
  return rt_arena_text(arena, "%s/.local/share/retort/%s", home && *home ? home : ".", kind);
}

static const char *find(rt_arena *arena, const rt_data_row *row) {
  const char *home = home_of(arena, row->name);
  if (row->files == 0) return NULL;
  if (home && rt_data_path(arena, home, row->file[0].name)) return home;
  for (const char *const *place = row->places; place && *place; place++)
    if (rt_data_path(arena, *place, row->file[0].name)) return *place;
  return NULL;
}

rt_status rt_data_find(const char *kind, char **out) {
  const rt_data_row *row;
  rt_arena arena = {0};
  *out = NULL;
  rt_status s = find_row(kind, strlen(kind), &row);
  if (s != RT_OK) return s;
  const char *directory = find(&arena, row);
  if (directory && !(*out = rt_copy_text(directory))) s = RT_E_MEMORY;
  rt_arena_release(&arena);
  return s;
}

rt_status rt_data_home(const char *kind, char **out) {
  const rt_data_row *row;
  rt_arena arena = {0};
  *out = NULL;
  rt_status s = find_row(kind, strlen(kind), &row);
  if (s != RT_OK) return s;
  const char *directory = home_of(&arena, row->name);
  if (!directory || !(*out = rt_copy_text(directory))) s = RT_E_MEMORY;
  rt_arena_release(&arena);
  return s;
}

static rt_status locate(rt_data *data, const char *path) {
  const rt_data_row *row = data->row;
  if (path) {
    data->directory = rt_arena_text(&data->arena, "%s", path);
    return data->directory ? RT_OK : RT_E_MEMORY;
  }
  if (row->needs_path) return rt_fail(RT_E_ARGUMENT, "%s: say where it is, as in %s:PATH", row->name, row->name);
  data->directory = row->files ? find(&data->arena, row) : "";
  if (data->directory) return RT_OK;
  const char *home = home_of(&data->arena, row->name);
  return rt_fail(RT_E_IO, "%s is not in %s%s%s: say where it is, as in %s:DIR, or fetch it with: retort data get %s",
                 row->name, home ? home : "?", row->places ? " nor in " : "", row->places ? row->places[0] : "",
                 row->name, row->name);
}

/* ---- for rows ---- */

int64_t rt_data_samples(const rt_data *d) { return d->given[RT_TRAIN] + d->given[RT_VALIDATION] + d->given[RT_TEST]; }
int64_t rt_data_pixels(const rt_data *d) { return d->channels * d->height * d->width; }

rt_status rt_data_reserve_labels(rt_data *data) {
  data->label = rt_alloc_array((size_t)rt_data_samples(data), sizeof *data->label);
  return data->label ? RT_OK : RT_E_MEMORY;
}

rt_status rt_data_reserve(rt_data *data) {
  size_t n = (size_t)rt_data_samples(data), each = (size_t)rt_data_pixels(data);
  rt_status s = rt_data_reserve_labels(data);
  if (s != RT_OK) return s;
  if (each && n > (size_t)PTRDIFF_MAX / sizeof(float) / each)
    return rt_fail(RT_E_RANGE, "%s: %zu images of %zu values are too many", data->row->name, n, each);
  void *values = rt_alloc_large(n * each * (data->dtype == RT_F32 ? sizeof(float) : 1));
  if (data->dtype == RT_F32)
    data->value = values;
  else
    data->pixel = values;
  return values ? RT_OK : RT_E_MEMORY;
}

rt_status rt_data_number_classes(rt_data *data) {
  data->class_name = rt_arena_alloc(&data->arena, (size_t)data->classes * sizeof *data->class_name);
  for (int64_t c = 0; data->class_name && c < data->classes; c++)
    if (!(data->class_name[c] = rt_arena_text(&data->arena, "%lld", (long long)c))) return RT_E_MEMORY;
  return data->class_name ? RT_OK : RT_E_MEMORY;
}

/* ---- open ---- */

static rt_status open_row(rt_data *data, const char *path, const char *options) {
  const rt_data_row *row = data->row;
  void *parsed = rt_arena_alloc(&data->arena, row->options_size);
  rt_status s = parsed ? rt_options_parse(row->options, parsed, options, &data->arena, row->name) : RT_E_MEMORY;
  if (s == RT_OK) s = locate(data, path);
  if (s == RT_OK) s = rt_data_take(data, parsed);
  if (s == RT_OK) s = rt_data_split(data, parsed);
  if (s == RT_OK) s = rt_data_measure(data);
  return s;
}

rt_status rt_data_open(const char *text, const char *options, rt_data **out) {
  const rt_data_row *row;
  *out = NULL;
  size_t length = strcspn(text, ":");
  rt_status s = find_row(text, length, &row);
  if (s != RT_OK) return s;
  rt_data *data = rt_alloc(sizeof *data);
  if (!data) return RT_E_MEMORY;
  data->row = row;
  s = open_row(data, text[length] ? text + length + 1 : NULL, options);
  if (s == RT_OK)
    *out = data;
  else
    rt_data_free(data);
  return s;
}

void rt_data_free(rt_data *data) {
  if (!data) return;
  rt_free(data->id[RT_TRAIN]);
  if (data->source) rt_data_leave(data->source);
  rt_arena_release(&data->arena);
  rt_free(data);
}

void rt_data_describe(const rt_data *d, rt_data_info *out) {
  *out = (rt_data_info){
      .kind = d->row->name,
      .directory = d->directory,
      .dtype = d->dtype,
      .channels = d->channels,
      .height = d->height,
      .width = d->width,
      .classes = d->classes,
      .class_name = d->class_name,
      .count = {d->count[RT_TRAIN], d->count[RT_VALIDATION], d->count[RT_TEST]},
      .augment = d->row->augment ? d->row->augment : "",
      .mean = d->mean,
      .deviation = d->deviation,
  };
}

rt_status rt_data_sample(const rt_data *d, rt_split split, int64_t i, int64_t *id, int64_t *label) {
  if ((unsigned)split >= RT_SPLITS || i < 0 || i >= d->count[split])
    return rt_fail(RT_E_RANGE, "%s: there is no image %lld in split %d", d->row->name, (long long)i, (int)split);
  *id = d->id[split][i];
  *label = d->label[*id];
  return RT_OK;
}

rt_status rt_data_options_text(const char *kind, char **out) {
  const rt_data_row *row;
  *out = NULL;
  rt_status s = find_row(kind, strlen(kind), &row);
  return s == RT_OK ? rt_options_help(row->options, out) : s;
}
