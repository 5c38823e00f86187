#include "format/pth.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEEPEST = 32, MOST_VALUES = 1 << 20, PATH = 1024, MOST_EXTRAS = 1000 };

/* Where training scripts keep the state dict, in the order in which they are tried. */
static const char *const homes[] = {"state_dict", "model_state_dict", "model_state", "model",
                                    "net",        "network",          "params",      "weights"};

typedef struct walk {
  rt_file *file;
  int values; /* looked at so far: what the memo shares is walked as often as it is reached */
  char path[PATH];
} walk;

static rt_status visit(walk *w, const rt_pickle *v, size_t length, int depth);

static rt_status add_tensor(walk *w, const rt_pickle *v) {
  rt_entry e = {.name = *w->path ? w->path : "data", .from = v};
  if (v->kind == RT_PICKLE_TENSOR) {
    e.element = v->tensor->storage->element;
    e.rank = v->tensor->rank;
    memcpy(e.dim, v->tensor->dim, sizeof e.dim);
  } else {
    if (!v->array->element) return rt_file_damaged(w->file, "a NumPy array in it was never filled");
    e.element = v->array->element;
    e.rank = v->array->rank;
    memcpy(e.dim, v->array->dim, sizeof e.dim);
  }
  return rt_file_add(w->file, &e);
}

/* Append ".name" to the path; its new length, or 0 if there is no room or the key is none. */
static size_t extend(walk *w, size_t length, const rt_pickle *key, size_t index) {
  const char *dot = length ? "." : "";
  int n;
  if (key && (key->kind == RT_PICKLE_TEXT || key->kind == RT_PICKLE_BYTES)) {
    if (key->text.length >= PATH || memchr(key->text.bytes, 0, key->text.length)) return 0;
    n = snprintf(w->path + length, PATH - length, "%s%.*s", dot, (int)key->text.length, key->text.bytes);
  } else if (key && key->kind != RT_PICKLE_INT) {
    return 0;
  } else {
    n = snprintf(w->path + length, PATH - length, "%s%" PRId64, dot, key ? key->integer : (int64_t)index);
  }
  return n > 0 && (size_t)n < PATH - length ? length + (size_t)n : 0;
}

static rt_status visit_items(walk *w, const rt_pickle *v, size_t length, int depth) {
  bool dict = v->kind == RT_PICKLE_DICT;
  rt_status s = RT_OK;
  for (size_t i = 0; i + dict < v->list.n && s == RT_OK; i += 1 + dict) {
    const rt_pickle *item = v->list.item[i + dict];
    if (item->kind < RT_PICKLE_LIST) continue; /* a number or a text: nothing to look for */
    size_t longer = extend(w, length, dict ? v->list.item[i] : NULL, i);
    if (!longer)
      return rt_file_damaged(w->file, "a key in %.100s is empty, too long or no text", length ? w->path : "it");
    s = visit(w, item, longer, depth + 1);
    w->path[length] = 0;
  }
  return s;
}

static rt_status visit(walk *w, const rt_pickle *v, size_t length, int depth) {
  if (depth > DEEPEST) return rt_file_damaged(w->file, "containers in it are nested more than %d deep", DEEPEST);
  if (++w->values > MOST_VALUES)
    return rt_file_damaged(w->file, "it holds more than %d containers and tensors", MOST_VALUES);
  switch (v->kind) {
  case RT_PICKLE_TENSOR:
  case RT_PICKLE_ARRAY: return add_tensor(w, v);
  case RT_PICKLE_DICT:
  case RT_PICKLE_LIST:
  case RT_PICKLE_TUPLE: return visit_items(w, v, length, depth);
  default: return RT_OK;
  }
}

static bool holds_tensors(const rt_pickle *dict) {
  for (size_t i = 1; i < dict->list.n; i += 2)
    if (dict->list.item[i]->kind == RT_PICKLE_TENSOR || dict->list.item[i]->kind == RT_PICKLE_ARRAY) return true;
  return false;
}

/* As few digits as give the same number back. */
static void print_shortest(char *text, size_t size, double v) {
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, size, "%.*g", digits, v);
    if (strtod(text, NULL) == v) return;
  }
}

/* "extra.epoch" = "12": what stands beside the state dict. */
static rt_status add_extra(rt_file *file, const rt_pickle *key, const rt_pickle *v) {
  char name[128], text[1024];
  if (key->kind != RT_PICKLE_TEXT || key->text.length >= sizeof name - 8 || file->n_metadata > MOST_EXTRAS)
    return RT_OK;
  snprintf(name, sizeof name, "extra.%.*s", (int)key->text.length, key->text.bytes);
  switch (v->kind) {
  case RT_PICKLE_INT: snprintf(text, sizeof text, "%" PRId64, v->integer); break;
  case RT_PICKLE_BOOL: snprintf(text, sizeof text, "%s", v->integer ? "true" : "false"); break;
  case RT_PICKLE_FLOAT: print_shortest(text, sizeof text, v->real); break;
  case RT_PICKLE_TEXT:
    if (v->text.length >= sizeof text || memchr(v->text.bytes, 0, v->text.length)) return RT_OK;
    snprintf(text, sizeof text, "%.*s", (int)v->text.length, v->text.bytes);
    break;
  default: return RT_OK;
  }
  return rt_printable(name, false) && rt_printable(text, true) ? rt_file_add_metadata(file, name, text) : RT_OK;
}

static const rt_pickle *find_home(const rt_pickle *v, int depth) {
  for (size_t i = 0; depth && i < sizeof homes / sizeof *homes; i++) {
    const rt_pickle *home = rt_pickle_find(v, homes[i]);
    if (home && home->kind == RT_PICKLE_DICT && (holds_tensors(home) || find_home(home, depth - 1))) return home;
  }
  return NULL;
}

/* To the dictionary that holds the tensors, a step or two down from the root. */
static rt_status descend(rt_file *file, const rt_pickle **v) {
  enum { STEPS = 3 };
  for (const rt_pickle *home; (home = find_home(*v, STEPS)); *v = home) {
    for (size_t i = 1; i < (*v)->list.n; i += 2) {
      rt_status s = add_extra(file, (*v)->list.item[i - 1], (*v)->list.item[i]);
      if (s != RT_OK) return s;
    }
  }
  return RT_OK;
}

rt_status rt_pth_add(rt_file *file, const rt_pickle *root) {
  walk w = {.file = file};
  rt_status s = descend(file, &root);
  return s == RT_OK ? visit(&w, root, 0, 0) : s;
}
