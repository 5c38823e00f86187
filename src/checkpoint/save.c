/* A store into a file: its variables by name, in the order in which they were declared. */
#include "base/alloc.h"
#include "checkpoint/name.h"
#include "graph/graph.h"

#include <stdio.h>

typedef struct list {
  rt_array *array;
  int n;
  int64_t *counters; /* of batches, one a batch norm: PyTorch wants them, and only counts with them */
  int n_counters;
  rt_arena arena;
} list;

static bool wanted(const rt_var *v, rt_segments segments) { return segments >> v->segment & 1; }

/* "bn1.running_var" → "bn1.num_batches_tracked", where the store has none of its own. */
static rt_status add_counter(list *l, const rt_store *store, const rt_var *v) {
  static const char ending[] = ".running_var";
  size_t n = strlen(v->name), m = sizeof ending - 1;
  if (n <= m || strcmp(v->name + n - m, ending) != 0) return RT_OK;
  char *name = rt_arena_text(&l->arena, "%.*s.num_batches_tracked", (int)(n - m), v->name);
  if (!name) return RT_E_MEMORY;
  if (rt_store_find(store, name)) return RT_OK;
  l->array[l->n++] = (rt_array){.name = name, .dtype = RT_S64, .data = &l->counters[l->n_counters++]};
  return RT_OK;
}

static rt_status add(list *l, const rt_store *store, const rt_var *v) {
  const char *name = v->name;
  if (v->segment == RT_SEGMENT_STATE && !(name = rt_arena_text(&l->arena, RT_STATE_PREFIX "%s", v->name)))
    return RT_E_MEMORY;
  l->array[l->n++] = (rt_array){name, v->type.dtype, v->type.rank, v->type.dim, v->data};
  return v->segment == RT_SEGMENT_STATISTIC ? add_counter(l, store, v) : RT_OK;
}

rt_status rt_store_save(rt_store *store, const char *path, rt_segments segments, const rt_pair *metadata,
                        int n_metadata) {
  list l = {0};
  rt_status s = rt_store_allocate(store);
  if (s == RT_OK) {
    l.array = rt_alloc_array(2 * (size_t)store->n + 1, sizeof *l.array);
    l.counters = rt_alloc_array((size_t)store->n + 1, sizeof *l.counters);
    if (!l.array || !l.counters) s = RT_E_MEMORY;
  }
  for (int i = 0; i < store->n && s == RT_OK; i++)
    if (wanted(store->var[i], segments)) s = add(&l, store, store->var[i]);
  if (s == RT_OK) s = rt_file_write(path, l.array, l.n, metadata, n_metadata);
  rt_arena_release(&l.arena);
  rt_free(l.counters);
  rt_free(l.array);
  return s;
}
