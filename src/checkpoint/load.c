/* A file into a store. Names are matched in every dialect that is known, and the one that fits best is taken; nothing is
 * changed before everything fits. */
#include "base/alloc.h"
#include "checkpoint/name.h"
#include "format/format.h"
#include "graph/graph.h"

#include <inttypes.h>
#include <stdio.h>

enum { LISTED = 4 }; /* names of each kind in a sentence */

/* What became of each tensor of the file, and of each variable. */
typedef struct match {
  int *variable; /* by tensor: index of the variable, UNEXPECTED or IGNORED */
  int *tensor;   /* by variable: index of the tensor, or -1 */
  int fitting;
} match;

enum { UNEXPECTED = -1, IGNORED = -2 };

typedef struct loading {
  rt_store *store;
  rt_file *file;
  rt_load_options options;
} loading;

static rt_file_info tensor(const loading *l, int i) {
  rt_file_info info = {0};
  rt_file_entry(l->file, i, &info);
  return info;
}

static bool is_wanted(const loading *l, const rt_var *v) { return l->options.segments >> v->segment & 1; }

static bool fits(const rt_var *v, const rt_file_info *t) {
  if (v->type.rank != t->rank) return false;
  for (int d = 0; d < t->rank; d++)
    if (v->type.dim[d] != t->dim[d]) return false;
  return v->type.dtype == t->dtype || (rt_dtype_is_float(v->type.dtype) && rt_dtype_is_float(t->dtype));
}

static bool ends_with(const char *text, const char *ending) {
  size_t n = strlen(text), m = strlen(ending);
  return n >= m && strcmp(text + n - m, ending) == 0;
}

/* The name that the store would have for a tensor. */
static rt_status our_name(const loading *l, const char *theirs, const rt_dialect *dialect, char name[RT_NAME]) {
  snprintf(name, RT_NAME, "%s", rt_name_bare(theirs));
  rt_status s = RT_OK;
  for (int i = 0; i < l->options.n_rename && s == RT_OK; i++)
    s = rt_name_replace(name, l->options.rename[i], strlen(l->options.rename[i]));
  return s == RT_OK ? rt_name_translate(name, dialect->rules) : s;
}

static int find_variable(const loading *l, const char *name) {
  bool state = strncmp(name, RT_STATE_PREFIX, strlen(RT_STATE_PREFIX)) == 0;
  if (state && !(l->options.segments & RT_STATE)) return IGNORED;
  if (state) name += strlen(RT_STATE_PREFIX);
  for (int i = 0; i < l->store->n; i++) {
    const rt_var *v = l->store->var[i];
    if ((v->segment == RT_SEGMENT_STATE) == state && strcmp(v->name, name) == 0) return is_wanted(l, v) ? i : IGNORED;
  }
  return ends_with(name, ".num_batches_tracked") ? IGNORED : UNEXPECTED;
}

/* What nodes of an ONNX graph take along: shapes, bounds, scales. */
static bool is_of_node(const loading *l, const rt_file_info *t) {
  rt_type type = rt_type_of(t->dtype, t->rank, t->dim);
  return strcmp(rt_file_form(l->file), "onnx") == 0 && (!rt_dtype_is_float(t->dtype) || rt_type_elements(&type) == 1);
}

static rt_status match_names(const loading *l, const rt_dialect *dialect, match *m) {
  char name[RT_NAME];
  m->fitting = 0;
  for (int i = 0; i < l->store->n; i++) m->tensor[i] = -1;
  for (int i = 0; i < rt_file_count(l->file); i++) {
    rt_file_info t = tensor(l, i);
    rt_status s = our_name(l, t.name, dialect, name);
    if (s != RT_OK) return s;
    int v = find_variable(l, name);
    if (v == UNEXPECTED && is_of_node(l, &t)) v = IGNORED;
    if (v >= 0 && m->tensor[v] >= 0) v = UNEXPECTED; /* another one already came under this name */
    m->variable[i] = v;
    if (v < 0) continue;
    m->tensor[v] = i;
    m->fitting += fits(l->store->var[v], &t);
  }
  return RT_OK;
}

static rt_status choose(const loading *l, match *m, const rt_dialect **out) {
  int best = -1;
  for (int i = 0; rt_dialect_at(i); i++) {
    rt_status s = match_names(l, rt_dialect_at(i), m);
    if (s != RT_OK) return s;
    if (m->fitting <= best) continue;
    best = m->fitting;
    *out = rt_dialect_at(i);
  }
  return match_names(l, *out, m);
}

/* ---- the report ---- */

static void list_name(rt_strbuf *out, int n, const char *kind, const char *name) {
  if (n == 0) rt_strbuf_add(out, "%s%s: ", out->length ? "; " : "", kind);
  if (n < LISTED) rt_strbuf_add(out, "%s%.80s", n ? ", " : "", name);
}

static void list_rest(rt_strbuf *out, int n) {
  if (n > LISTED) rt_strbuf_add(out, " and %d more", n - LISTED);
}

static const char *shape_text(rt_dtype dtype, int rank, const int64_t *dim, char *text, size_t size) {
  rt_type type = rt_type_of(dtype, rank, dim);
  return rt_type_text(NULL, &type, text, size);
}

static void list_mismatched(const loading *l, const match *m, rt_load_report *r, rt_strbuf *out) {
  char was[RT_TYPE_TEXT], is[RT_TYPE_TEXT], line[3 * RT_TYPE_TEXT];
  for (int i = 0; i < rt_file_count(l->file); i++) {
    if (m->variable[i] < 0) continue;
    const rt_var *v = l->store->var[m->variable[i]];
    rt_file_info t = tensor(l, i);
    if (fits(v, &t)) {
      r->loaded++;
      continue;
    }
    snprintf(line, sizeof line, "%s (%s in the file, %s here)", v->name,
             shape_text(t.dtype, t.rank, t.dim, is, sizeof is), rt_type_text(NULL, &v->type, was, sizeof was));
    list_name(out, r->mismatched, "mismatched", "");
    if (r->mismatched < LISTED) rt_strbuf_add(out, "%s", line);
    r->mismatched++;
  }
  list_rest(out, r->mismatched);
}

static void make_report(const loading *l, const match *m, rt_load_report *r) {
  rt_strbuf out = {0};
  for (int i = 0; i < l->store->n; i++) {
    const rt_var *v = l->store->var[i];
    if (is_wanted(l, v) && !v->alias && m->tensor[i] < 0) list_name(&out, r->missing++, "missing", v->name);
  }
  list_rest(&out, r->missing);
  for (int i = 0; i < rt_file_count(l->file); i++)
    if (m->variable[i] == UNEXPECTED) list_name(&out, r->unexpected++, "unexpected", tensor(l, i).name);
  list_rest(&out, r->unexpected);
  list_mismatched(l, m, r, &out);
  snprintf(r->text, sizeof r->text, "%s", out.length ? out.text : "everything fits");
  rt_strbuf_release(&out);
}

/* ---- the values ---- */

static rt_status load_one(const loading *l, rt_var *v, int i) {
  rt_file_info t = tensor(l, i);
  rt_status s;
  if (t.dtype == v->type.dtype) {
    s = rt_file_read(l->file, t.name, v->data, (size_t)t.bytes);
  } else {
    void *stored = rt_alloc((size_t)t.bytes);
    s = stored ? rt_file_read(l->file, t.name, stored, (size_t)t.bytes) : RT_E_MEMORY;
    rt_type type = v->type;
    type.dtype = t.dtype;
    rt_tensor from = rt_tensor_view(&type, stored), to = rt_tensor_view(&v->type, v->data);
    for (int64_t j = 0; s == RT_OK && j < rt_tensor_elements(&to); j++) rt_store_at(&to, j, rt_load(&from, j));
    rt_free(stored);
  }
  (v->alias ? v->alias : v)->version++;
  return s;
}

static rt_status load_values(const loading *l, const match *m) {
  rt_status s = rt_store_allocate(l->store);
  for (int i = 0; i < rt_file_count(l->file) && s == RT_OK; i++) {
    rt_var *v = m->variable[i] >= 0 ? l->store->var[m->variable[i]] : NULL;
    rt_file_info t = tensor(l, i);
    if (v && fits(v, &t)) s = load_one(l, v, i);
  }
  return s;
}

static rt_status load(const loading *l, match *m, rt_load_report *r) {
  const rt_dialect *dialect = rt_dialect_at(0);
  rt_status s = choose(l, m, &dialect);
  if (s != RT_OK) return s;
  r->dialect = dialect->name;
  make_report(l, m, r);
  bool all = !r->missing && !r->unexpected && !r->mismatched;
  if (!all && !l->options.allow_partial)
    return rt_fail(RT_E_SHAPE, "%s: doesn't fit the model: %s; allow-partial would load the %d tensors that fit",
                   l->file->path, r->text, r->loaded);
  if (!r->loaded) return rt_fail(RT_E_SHAPE, "%s: nothing in it fits the model: %s", l->file->path, r->text);
  return load_values(l, m);
}

rt_status rt_store_load(rt_store *store, rt_file *file, const rt_load_options *options, rt_load_report *report) {
  loading l = {.store = store, .file = file};
  rt_load_report r = {0};
  if (options) l.options = *options;
  if (!l.options.segments) l.options.segments = RT_MODEL;
  match m = {.variable = rt_alloc_array((size_t)rt_file_count(file) + 1, sizeof *m.variable),
             .tensor = rt_alloc_array((size_t)store->n + 1, sizeof *m.tensor)};
  rt_status s = m.variable && m.tensor ? load(&l, &m, &r) : RT_E_MEMORY;
  rt_free(m.variable);
  rt_free(m.tensor);
  if (report) *report = r;
  return s;
}
