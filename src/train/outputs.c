/* A teacher that can't run here, as what it said: a .npz (or any file of tensors that rt_file_open reads) with
 *
 *   logits  M×classes   of M samples
 *   ids     M           which those are: numbers of the data set, training images first; left out: the first M
 *   NAME    M×…         a layer, to compare by that name
 *
 * To the run it is a teacher like others, whose graph is inputs. */
#include "base/alloc.h"
#include "base/rng.h"
#include "data/data.h"
#include "format/format.h"
#include "train/train.h"

#include <stdio.h>
#include <string.h>

enum { MOST_ARRAYS = RT_MOST_TAPS + 2 };

typedef struct array {
  const char *name, *input; /* "layer2", "outputs.layer2" */
  rt_tensor rows;           /* no data: not read, since nothing compares it */
  int64_t each;             /* numbers of a sample */
} array;

struct rt_outputs {
  const char *path;
  rt_file *file;
  int64_t samples, rows;
  int64_t *row; /* by sample id; -1: it says nothing of it */
  array array[MOST_ARRAYS];
  int n;
};

static rt_status read(const rt_outputs *o, const rt_file_info *info, rt_tensor *out) {
  rt_type type = rt_type_of(info->dtype, info->rank, info->dim);
  void *bytes = rt_alloc_large((size_t)info->bytes + 1);
  *out = rt_tensor_view(&type, bytes);
  return bytes ? rt_file_read(o->file, info->name, bytes, (size_t)info->bytes) : RT_E_MEMORY;
}

/* ---- which samples ---- */

static rt_status number_rows(const rt_data *d, rt_outputs *o, const rt_tensor *ids) {
  for (int64_t i = 0; i < o->samples; i++) o->row[i] = -1;
  for (int64_t i = 0; i < o->rows; i++) {
    int64_t id = ids->data ? rt_load_int(ids, i) : i;
    if (id < 0 || id >= o->samples)
      return rt_fail(RT_E_RANGE, "%s: ids[%lld] is %lld, and the samples of %s are 0 to %lld", o->path, (long long)i,
                     (long long)id, d->row->name, (long long)o->samples - 1);
    if (o->row[id] >= 0)
      return rt_fail(RT_E_FORMAT, "%s: sample %lld is there twice, in rows %lld and %lld", o->path, (long long)id,
                     (long long)o->row[id], (long long)i);
    o->row[id] = i;
  }
  int64_t missing = 0, first = 0;
  for (int64_t i = d->count[RT_TRAIN]; i-- > 0;)
    if (o->row[d->id[RT_TRAIN][i]] < 0) {
      missing++;
      first = d->id[RT_TRAIN][i];
    }
  return missing
             ? rt_fail(RT_E_ARGUMENT,
                       "%s: it says nothing of %lld of the %lld training images, the first of them sample %lld: write "
                       "a row for each",
                       o->path, (long long)missing, (long long)d->count[RT_TRAIN], (long long)first)
             : RT_OK;
}

static rt_status read_ids(const rt_trainer *t, rt_outputs *o) {
  rt_file_info info;
  rt_tensor ids = {0};
  rt_status s = RT_OK;
  if (rt_file_find(o->file, "ids", &info) == RT_OK) {
    if (info.rank != 1 || info.dim[0] != o->rows || rt_dtype_is_float(info.dtype))
      return rt_fail(RT_E_SHAPE, "%s: ids must be %lld whole numbers, one a row of logits", o->path,
                     (long long)o->rows);
    s = read(o, &info, &ids);
  }
  o->samples = rt_data_samples(t->data);
  o->row = rt_alloc_array((size_t)o->samples, sizeof *o->row);
  if (!o->row) s = RT_E_MEMORY;
  if (s == RT_OK) s = number_rows(t->data, o, &ids);
  rt_free(ids.data);
  return s;
}

/* ---- as a network ---- */

/* A node of the array's name over an input: so it is found as layers are. */
static rt_value *add_array(rt_trainer *t, rt_outputs *o, rt_graph *g, const rt_file_info *info) {
  array *a = &o->array[o->n++];
  rt_dim dim[RT_MAX_RANK] = {rt_symbol(g, "batch")};
  *a = (array){.name = rt_arena_text(&t->arena, "%s", info->name),
               .input = rt_arena_text(&t->arena, "outputs.%s", info->name),
               .each = 1};
  for (int d = 1; d < info->rank; d++) a->each *= dim[d] = info->dim[d];
  if (!a->name || !a->input) return rt_graph_failed(g, RT_E_MEMORY);
  rt_value *v = rt_input(g, a->input, RT_F32, info->rank, dim);
  return rt_apply(g, "detach", a->name, &v, 1, NULL);
}

static rt_status add_arrays(rt_trainer *t, rt_outputs *o, rt_network *n) {
  rt_graph *g = n->graph;
  for (int i = 0; i < rt_file_count(o->file) && g->status == RT_OK; i++) {
    rt_file_info info;
    rt_status s = rt_file_entry(o->file, i, &info);
    if (s != RT_OK) return s;
    bool logits = strcmp(info.name, "logits") == 0;
    if (strcmp(info.name, "ids") == 0) continue;
    if (info.rank < 2 || info.rank > 4 || info.dim[0] != o->rows || !rt_dtype_is_float(info.dtype) || info.bytes < 1 ||
        (logits && info.rank != 2))
      return rt_fail(RT_E_SHAPE, "%s: %s has rank %d and %lld rows: expected %s, floating, one row a row of logits",
                     o->path, info.name, info.rank, info.rank ? (long long)info.dim[0] : 0,
                     logits ? "M×classes" : "M×C or M×C×H×W");
    if (o->n == MOST_ARRAYS) return rt_fail(RT_E_UNSUPPORTED, "%s: more than %d arrays", o->path, MOST_ARRAYS);
    rt_value *v = add_array(t, o, g, &info);
    if (logits && v) rt_mark_output(g, "logits", v);
    if (logits) n->info.classes = info.dim[1];
  }
  return rt_graph_status(g);
}

static rt_status build(rt_trainer *t, rt_outputs *o, rt_network *n) {
  const rt_data_info *d = &t->info;
  rt_file_info info;
  n->info = (rt_network_info){
      .model = "outputs", .options = "", .channels = d->channels, .height = d->height, .width = d->width};
  rt_status s = rt_store_new(&n->store);
  if (s == RT_OK) s = rt_graph_new(n->store, &n->graph);
  if (s == RT_OK) s = rt_file_find(o->file, "logits", &info);
  if (s != RT_OK) return s;
  if (info.rank < 1 || info.dim[0] < 1) return rt_fail(RT_E_SHAPE, "%s: its logits are empty", o->path);
  o->rows = info.dim[0];
  rt_dim x[] = {rt_symbol(n->graph, "batch"), d->channels, d->height, d->width};
  rt_input(n->graph, "x", RT_F32, 4, x);
  return add_arrays(t, o, n);
}

static uint64_t hash(const rt_outputs *o) { return rt_hash(rt_hash_text("outputs"), o->file->bytes, o->file->size); }

rt_status rt_outputs_open(rt_trainer *t, rt_teacher *teacher) {
  rt_outputs *o = teacher->outputs = rt_alloc(sizeof *o);
  teacher->network = rt_alloc(sizeof *teacher->network);
  if (!o || !teacher->network) return RT_E_MEMORY;
  o->path = teacher->text;
  rt_status s = rt_file_open(o->path, &o->file);
  if (s == RT_OK) s = build(t, o, teacher->network);
  if (s == RT_OK) s = read_ids(t, o);
  if (s == RT_OK) teacher->hash = hash(o);
  return s;
}

void rt_outputs_free(rt_outputs *o) {
  if (!o) return;
  for (int i = 0; i < o->n; i++) rt_free(o->array[i].rows.data);
  rt_file_free(o->file);
  rt_free(o->row);
  rt_free(o);
}

/* ---- at a step ---- */

static array *find(rt_outputs *o, const char *input) {
  for (int i = 0; i < o->n; i++)
    if (strcmp(o->array[i].input, input) == 0) return &o->array[i];
  return NULL;
}

rt_status rt_outputs_load(rt_outputs *o, const char *input) {
  array *a = find(o, input);
  rt_file_info info;
  if (a->rows.data) return RT_OK;
  rt_status s = rt_file_find(o->file, a->name, &info);
  if (s == RT_OK) s = read(o, &info, &a->rows);
  for (int64_t i = 0; s == RT_OK && i < o->rows * a->each; i++)
    if (!isfinite(rt_load(&a->rows, i)))
      s = rt_fail(RT_E_RANGE, "%s: %s of row %lld isn't finite", o->path, a->name, (long long)(i / a->each));
  return s;
}

void rt_outputs_take(rt_outputs *o, const rt_fed *fed, const int64_t *id, int64_t n) {
  const array *a = find(o, fed->name);
  float *to = (float *)fed->data;
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0, from = o->row[id[i]] * a->each; k < a->each; k++) *to++ = (float)rt_load(&a->rows, from + k);
}
