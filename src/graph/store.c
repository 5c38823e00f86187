#include "base/alloc.h"
#include "base/rng.h"
#include "graph/graph.h"

#include <inttypes.h>

/* A segment's variables that are allocated together lie in one block, in declaration order, each on a cache line. */
struct rt_block {
  struct rt_block *next;
  unsigned char *data;
};

enum { LINE = 64 };

static int64_t padded(const rt_var *v) { return (rt_type_bytes(&v->type) + LINE - 1) / LINE * LINE; }

rt_status rt_store_new(rt_store **out) {
  *out = rt_alloc(sizeof **out);
  return *out ? RT_OK : RT_E_MEMORY;
}

void rt_store_free(rt_store *store) {
  if (!store) return;
  for (struct rt_block *b = store->blocks, *next; b; b = next) {
    next = b->next;
    rt_free(b->data);
    rt_free(b);
  }
  rt_arena_release(&store->arena);
  rt_free(store->arena_data);
  rt_free(store->var);
  rt_free(store);
}

rt_var *rt_store_find(const rt_store *store, const char *name) {
  for (int i = 0; i < store->n; i++)
    if (strcmp(store->var[i]->name, name) == 0) return store->var[i];
  return NULL;
}

static rt_status check_same(const rt_var *v, const rt_type *type) {
  if (v->type.dtype == type->dtype && rt_same_shape(&v->type, type)) return RT_OK;
  char was[RT_TYPE_TEXT], now[RT_TYPE_TEXT];
  return rt_fail(RT_E_SHAPE, "variable %s: it is %s in the store, and %s was asked for", v->name,
                 rt_type_text(NULL, &v->type, was, sizeof was), rt_type_text(NULL, type, now, sizeof now));
}

static rt_status check_new(const char *name, const rt_type *type) {
  char text[RT_TYPE_TEXT];
  for (int i = 0; i < type->rank; i++)
    if (type->dim[i] <= 0)
      return rt_fail(RT_E_SHAPE, "variable %s: every dimension must be a number above 0, found %s", name,
                     rt_type_text(NULL, type, text, sizeof text));
  if (rt_type_bytes(type) < 0)
    return rt_fail(RT_E_SHAPE, "variable %s: %s is too large to address", name,
                   rt_type_text(NULL, type, text, sizeof text));
  return RT_OK;
}

rt_status rt_store_declare(rt_store *store, const char *name, const rt_type *type, rt_segment segment,
                           const rt_init *init, rt_var **out) {
  *out = rt_store_find(store, name);
  if (*out && (*out)->alias) *out = (*out)->alias;
  if (*out) return check_same(*out, type);
  rt_status s = check_new(name, type);
  if (s == RT_OK && (init->kind == RT_INIT_DIRAC || init->kind == RT_INIT_WHITEN) && type->rank < 2)
    s = rt_fail(RT_E_SHAPE, "variable %s: an initialisation for filters, and its rank is %d", name, type->rank);
  if (s != RT_OK) return s;
  if (store->n == store->capacity) {
    int capacity = store->capacity ? store->capacity * 2 : 64;
    rt_var **grown = rt_grow(store->var, (size_t)store->n * sizeof *grown, (size_t)capacity * sizeof *grown);
    if (!grown) return RT_E_MEMORY;
    store->var = grown;
    store->capacity = capacity;
  }
  rt_var *v = rt_arena_alloc(&store->arena, sizeof *v);
  if (!v || !(v->name = rt_arena_text(&store->arena, "%s", name))) return RT_E_MEMORY;
  v->type = *type;
  v->type.layout = RT_ROW_MAJOR;
  v->segment = segment;
  v->trainable = segment == RT_SEGMENT_PARAMETER;
  v->init = *init;
  store->var[store->n++] = v;
  store->bytes += padded(v);
  *out = v;
  return RT_OK;
}

rt_status rt_store_borrow(rt_store *store, const char *name, const rt_var *of, rt_var **out) {
  if (of->alias) of = of->alias;
  if (!of->data) return rt_fail(RT_E_INTERNAL, "variable %s: %s has no data yet that it could read", name, of->name);
  rt_status s = rt_store_declare(store, name, &of->type, RT_SEGMENT_FROZEN, &of->init, out);
  if (s != RT_OK || (*out)->data) return s;
  store->bytes -= padded(*out);
  (*out)->data = of->data;
  (*out)->version = of->version;
  return RT_OK;
}

/* O×I×…: filter o is 1 at the centre of channel o; below 0 where there are more filters than channels. */
static double dirac(const rt_type *t, int64_t i) {
  int64_t each = rt_type_elements(t) / t->dim[0], taps = each / t->dim[1], filter = i / each, at = i % each;
  if (filter >= t->dim[1]) return -1;
  return at == filter * taps + taps / 2;
}

/* O×n: the unit vectors, then their negatives. */
static double unit(const rt_type *t, int64_t i) {
  int64_t n = rt_type_elements(t) / t->dim[0], filter = i / n;
  return filter % n != i % n ? 0 : filter / n % 2 ? -1 : 1;
}

static void draw(rt_var *v, uint64_t seed) {
  v->version++;
  if (v->init.kind == RT_INIT_ZERO) {
    memset(v->data, 0, (size_t)rt_type_bytes(&v->type));
    return;
  }
  rt_tensor t = rt_tensor_view(&v->type, v->data);
  int64_t n = rt_tensor_elements(&t);
  rt_rng rng = {seed, rt_hash_text(v->name)};
  for (int64_t i = 0; i < n; i++) {
    double x = 0;
    switch (v->init.kind) {
    case RT_INIT_ZERO:
    case RT_INIT_CONSTANT: x = v->init.a; break;
    case RT_INIT_DIRAC:
      x = dirac(&v->type, i);
      if (x >= 0) break;
      __attribute__((fallthrough));
    case RT_INIT_UNIFORM: x = v->init.a + (v->init.b - v->init.a) * (double)rt_uniform(rng, 0, (uint64_t)i); break;
    case RT_INIT_NORMAL: x = v->init.a + v->init.b * (double)rt_normal(rng, 0, (uint64_t)i); break;
    case RT_INIT_WHITEN: x = unit(&v->type, i); break;
    }
    rt_store_at(&t, i, x);
  }
}

static rt_status allocate_segment(rt_store *store, rt_segment segment) {
  int64_t bytes = 0;
  for (int i = 0; i < store->n; i++) {
    const rt_var *v = store->var[i];
    if (v->segment == segment && !v->data && !v->alias) bytes += padded(v);
  }
  if (!bytes) return RT_OK;
  struct rt_block *b = rt_alloc(sizeof *b);
  if (!b) return RT_E_MEMORY;
  b->data = rt_alloc((size_t)bytes);
  if (!b->data) {
    rt_free(b);
    return rt_fail_in(RT_E_MEMORY, "variables of the model");
  }
  b->next = store->blocks;
  store->blocks = b;
  unsigned char *at = b->data;
  for (int i = 0; i < store->n; i++) {
    rt_var *v = store->var[i];
    if (v->segment != segment || v->data || v->alias) continue;
    v->data = at;
    at += padded(v);
    draw(v, 0);
  }
  return RT_OK;
}

rt_status rt_store_allocate(rt_store *store) {
  for (int segment = 0; segment < RT_SEGMENTS; segment++) {
    rt_status s = allocate_segment(store, (rt_segment)segment);
    if (s != RT_OK) return s;
  }
  for (int i = 0; i < store->n; i++)
    if (store->var[i]->alias) store->var[i]->data = store->var[i]->alias->data;
  return RT_OK;
}

rt_status rt_store_init(rt_store *store, uint64_t seed) {
  rt_status s = rt_store_allocate(store);
  if (s != RT_OK) return s;
  for (int i = 0; i < store->n; i++)
    if (!store->var[i]->alias && store->var[i]->segment != RT_SEGMENT_FROZEN) draw(store->var[i], seed);
  return RT_OK;
}

rt_status rt_store_alias(rt_store *store, const char *name, const char *of) {
  rt_var *target = rt_store_find(store, of), *v;
  if (!target) return rt_fail(RT_E_UNKNOWN, "alias %s: the store has no variable %s", name, of);
  if (rt_store_find(store, name))
    return rt_fail(RT_E_ARGUMENT, "alias %s: the store has a variable of this name", name);
  rt_status s = rt_store_declare(store, name, &target->type, target->segment, &target->init, &v);
  if (s != RT_OK) return s;
  store->bytes -= padded(v);
  v->alias = target->alias ? target->alias : target;
  v->data = v->alias->data;
  return RT_OK;
}

static rt_status locate(rt_store *store, const char *name, size_t bytes, rt_var **out) {
  char hint[96], text[RT_TYPE_TEXT];
  rt_var *v = rt_store_find(store, name);
  if (!v) {
    rt_nearest nearest = {.word = name};
    for (int i = 0; i < store->n; i++) rt_nearest_offer(&nearest, store->var[i]->name);
    return rt_fail(RT_E_UNKNOWN, "the store has no variable %s%s", name, rt_nearest_hint(&nearest, hint, sizeof hint));
  }
  if ((int64_t)bytes != rt_type_bytes(&v->type))
    return rt_fail(RT_E_SHAPE, "variable %s is %s, %" PRId64 " bytes; %zu were given", name,
                   rt_type_text(NULL, &v->type, text, sizeof text), rt_type_bytes(&v->type), bytes);
  *out = v;
  return rt_store_allocate(store);
}

rt_status rt_store_set(rt_store *store, const char *name, const void *data, size_t bytes) {
  rt_var *v;
  rt_status s = locate(store, name, bytes, &v);
  if (s != RT_OK) return s;
  memcpy(v->data, data, bytes);
  (v->alias ? v->alias : v)->version++;
  return RT_OK;
}

rt_status rt_store_get(rt_store *store, const char *name, void *data, size_t bytes) {
  rt_var *v;
  rt_status s = locate(store, name, bytes, &v);
  if (s == RT_OK) memcpy(data, v->data, bytes);
  return s;
}

int rt_store_count(const rt_store *store) { return store->n; }

rt_status rt_store_info(const rt_store *store, int i, rt_variable_info *out) {
  if (i < 0 || i >= store->n) return rt_fail(RT_E_ARGUMENT, "variable %d of %d", i, store->n);
  const rt_var *v = store->var[i];
  *out = (rt_variable_info){v->name, v->type.dtype, v->type.rank, v->type.dim, v->segment == RT_SEGMENT_PARAMETER};
  return RT_OK;
}
