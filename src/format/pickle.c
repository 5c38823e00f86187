/* The stack machine. An opcode is a row: its letter, what it does, and a width in bytes where that is all that tells two
 * opcodes apart. Python's pickletools.py is the description of them. */
#include "base/alloc.h"
#include "format/pickle_call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct machine {
  rt_pickle_reader r;
  const unsigned char *begin, *at, *end;
  rt_pickle **stack;
  size_t n, capacity;
  size_t *mark; /* heights of the stack */
  size_t n_marks, mark_capacity;
  rt_pickle **memo; /* NULL where nothing was put */
  size_t n_memo, memo_capacity;
  rt_pickle *none, *yes, *no;
  bool stopped;
} machine;

static const char *const kind_names[] = {
    "None",    "a bool",       "a number",      "a long number", "a number",         "a text", "bytes",        "a list",
    "a tuple", "a dictionary", "a NumPy array", "a tensor",      "a tensor storage", "a name", "a NumPy dtype"};

const char *rt_pickle_kind_name(rt_pickle_kind kind) {
  return (size_t)kind < sizeof kind_names / sizeof *kind_names ? kind_names[kind] : "nothing known";
}

static rt_status truncated(const machine *m) {
  return rt_pickle_fail(&m->r, "the pickle ends too early, after %zu bytes", (size_t)(m->end - m->begin));
}

static rt_status take(machine *m, uint64_t n, const unsigned char **out) {
  if (n > (uint64_t)(m->end - m->at)) return truncated(m);
  *out = m->at;
  m->at += n;
  return RT_OK;
}

/* An unsigned number of `width` bytes, least first. */
static rt_status take_number(machine *m, int width, uint64_t *out) {
  const unsigned char *p = NULL;
  rt_status s = take(m, (uint64_t)width, &p);
  *out = 0;
  for (int i = 0; s == RT_OK && i < width; i++) *out |= (uint64_t)p[i] << 8 * i;
  return s;
}

/* Up to the end of the line, which isn't part of it. */
static rt_status take_line(machine *m, const char **text, size_t *length) {
  const unsigned char *end = m->at < m->end ? memchr(m->at, '\n', (size_t)(m->end - m->at)) : NULL;
  if (!end) return truncated(m);
  *text = (const char *)m->at;
  *length = (size_t)(end - m->at);
  m->at = end + 1;
  return RT_OK;
}

/* Room for item n of an array that doubles. */
static rt_status reserve(void *array, size_t n, size_t *capacity, size_t size) {
  if (n < *capacity) return RT_OK;
  size_t more = *capacity ? *capacity * 2 : 64;
  while (more <= n) more *= 2;
  void *block;
  memcpy(&block, array, sizeof block);
  block = rt_grow(block, *capacity * size, more * size);
  if (!block) return RT_E_MEMORY;
  memcpy(array, &block, sizeof block);
  *capacity = more;
  return RT_OK;
}

static rt_status push(machine *m, rt_pickle *v) {
  rt_status s = v ? reserve(&m->stack, m->n, &m->capacity, sizeof *m->stack) : RT_E_MEMORY;
  if (s == RT_OK) m->stack[m->n++] = v;
  return s;
}

static size_t floor_of_stack(const machine *m) { return m->n_marks ? m->mark[m->n_marks - 1] : 0; }

static rt_status pop(machine *m, rt_pickle **out) {
  if (m->n <= floor_of_stack(m)) return rt_pickle_fail(&m->r, "the pickle takes a value that it never made");
  *out = m->stack[--m->n];
  return RT_OK;
}

static rt_status top(machine *m, rt_pickle_kind kind, rt_pickle **out) {
  if (m->n <= floor_of_stack(m)) return rt_pickle_fail(&m->r, "the pickle uses a value that it never made");
  *out = m->stack[m->n - 1];
  if ((*out)->kind != kind)
    return rt_pickle_fail(&m->r, "the pickle adds to %s as if it were %s", rt_pickle_kind_name((*out)->kind),
                          rt_pickle_kind_name(kind));
  return RT_OK;
}

/* Values above the last mark, which goes away: they stay where they are until the next push. */
static rt_status pop_mark(machine *m, rt_pickle ***items, size_t *n) {
  if (!m->n_marks) return rt_pickle_fail(&m->r, "the pickle closes a container that it never opened");
  size_t height = m->mark[--m->n_marks];
  *items = m->stack ? m->stack + height : NULL;
  *n = m->n - height;
  m->n = height;
  return RT_OK;
}

static rt_status append(machine *m, rt_pickle *list, rt_pickle *const *items, size_t n) {
  if (!n) return RT_OK;
  if (n > list->list.capacity - list->list.n) {
    size_t capacity = list->list.capacity * 2 > list->list.n + n ? list->list.capacity * 2 : list->list.n + n;
    rt_pickle **grown = rt_arena_alloc(m->r.arena, capacity * sizeof *grown);
    if (!grown) return RT_E_MEMORY;
    if (list->list.n) memcpy(grown, list->list.item, list->list.n * sizeof *grown);
    list->list.item = grown;
    list->list.capacity = capacity;
  }
  memcpy(list->list.item + list->list.n, items, n * sizeof *items);
  list->list.n += n;
  return RT_OK;
}

/* ---- opcodes ---- */

static rt_status protocol(machine *m, int width) {
  uint64_t v;
  rt_status s = take_number(m, 1, &v);
  if (s == RT_OK && v > 5) s = rt_pickle_fail(&m->r, "the pickle has protocol %" PRIu64 "; known are 0 to 5", v);
  return s;
}

static rt_status frame(machine *m, int width) {
  uint64_t ignored;
  return take_number(m, 8, &ignored);
}

static rt_status stop(machine *m, int width) {
  m->stopped = true;
  return RT_OK;
}

static rt_status push_none(machine *m, int width) { return push(m, m->none); }
static rt_status push_true(machine *m, int width) { return push(m, m->yes); }
static rt_status push_false(machine *m, int width) { return push(m, m->no); }

static rt_status push_int(machine *m, int64_t integer) {
  rt_pickle *v = rt_pickle_new(&m->r, RT_PICKLE_INT);
  if (v) v->integer = integer;
  return push(m, v);
}

static rt_status unsigned_int(machine *m, int width) {
  uint64_t v;
  rt_status s = take_number(m, width, &v);
  return s == RT_OK ? push_int(m, (int64_t)v) : s;
}

static rt_status signed_int(machine *m, int width) {
  uint64_t v;
  rt_status s = take_number(m, 4, &v);
  return s == RT_OK ? push_int(m, (int32_t)(uint32_t)v) : s;
}

static rt_status push_text(machine *m, rt_pickle_kind kind, const void *bytes, size_t length) {
  rt_pickle *v = rt_pickle_new(&m->r, kind);
  if (v) {
    v->text.bytes = bytes;
    v->text.length = length;
  }
  return push(m, v);
}

/* Two's complement of any length, least byte first. */
static rt_status long_int(machine *m, int width) {
  uint64_t n;
  const unsigned char *p = NULL;
  rt_status s = take_number(m, width, &n);
  if (s == RT_OK) s = take(m, n, &p);
  if (s != RT_OK) return s;
  if (n > 8) return push_text(m, RT_PICKLE_LONG, p, (size_t)n);
  uint64_t v = n && p[n - 1] & 0x80 ? UINT64_MAX : 0;
  for (uint64_t i = 0; i < n; i++) v = (v & ~(UINT64_C(0xFF) << 8 * i)) | (uint64_t)p[i] << 8 * i;
  return push_int(m, (int64_t)v);
}

/* The number that a line says; a line is as long as it likes, a number isn't. */
static rt_status line_number(machine *m, char buffer[static 64], const char **text, size_t *n) {
  rt_status s = take_line(m, text, n);
  if (s != RT_OK) return s;
  if (*n >= 64 || !*n) return rt_pickle_fail(&m->r, "the pickle has a number of %zu digits", *n);
  memcpy(buffer, *text, *n);
  buffer[*n] = 0;
  return RT_OK;
}

static rt_status line_int(machine *m, int width) {
  char buffer[64], *end;
  const char *text = NULL;
  size_t n = 0;
  rt_status s = line_number(m, buffer, &text, &n);
  if (s != RT_OK) return s;
  if (n == 2 && text[0] == '0' && (text[1] == '0' || text[1] == '1')) return push(m, text[1] == '1' ? m->yes : m->no);
  long long v = strtoll(buffer, &end, 10);
  if (*end == 'L') end++;
  return *end ? rt_pickle_fail(&m->r, "the pickle has \"%.20s\" for a whole number", buffer) : push_int(m, v);
}

static rt_status push_float(machine *m, double real) {
  rt_pickle *v = rt_pickle_new(&m->r, RT_PICKLE_FLOAT);
  if (v) v->real = real;
  return push(m, v);
}

static rt_status line_float(machine *m, int width) {
  char buffer[64], *end;
  const char *text = NULL;
  size_t n = 0;
  rt_status s = line_number(m, buffer, &text, &n);
  if (s != RT_OK) return s;
  double v = strtod(buffer, &end);
  return *end ? rt_pickle_fail(&m->r, "the pickle has \"%.20s\" for a number", buffer) : push_float(m, v);
}

static rt_status binary_float(machine *m, int width) {
  const unsigned char *p = NULL;
  rt_status s = take(m, 8, &p);
  if (s != RT_OK) return s;
  uint64_t bits = 0;
  for (int i = 0; i < 8; i++) bits = bits << 8 | p[i];
  double v;
  memcpy(&v, &bits, sizeof v);
  return push_float(m, v);
}

static rt_status counted(machine *m, int width, rt_pickle_kind kind) {
  uint64_t n;
  const unsigned char *p = NULL;
  rt_status s = take_number(m, width, &n);
  if (s == RT_OK) s = take(m, n, &p);
  return s == RT_OK ? push_text(m, kind, p, (size_t)n) : s;
}

static rt_status counted_text(machine *m, int width) { return counted(m, width, RT_PICKLE_TEXT); }
static rt_status counted_bytes(machine *m, int width) { return counted(m, width, RT_PICKLE_BYTES); }

/* A line with a text as Python writes it: quoted (STRING) or bare (UNICODE). Escapes would need decoding, and only
 * protocol 0 of binary data has them. */
static rt_status line_text(machine *m, int quoted) {
  const char *text = NULL;
  size_t n = 0;
  rt_status s = take_line(m, &text, &n);
  if (s != RT_OK) return s;
  if (quoted) {
    if (n < 2 || (text[0] != '\'' && text[0] != '"') || text[n - 1] != text[0])
      return rt_pickle_fail(&m->r, "the pickle has a text without quotes");
    text++;
    n -= 2;
  }
  if (memchr(text, '\\', n))
    return rt_pickle_fail(&m->r, "the pickle has escaped text of protocol 0: write it with protocol 2 or newer");
  return push_text(m, RT_PICKLE_TEXT, text, n);
}

static rt_status mark(machine *m, int width) {
  rt_status s = reserve(&m->mark, m->n_marks, &m->mark_capacity, sizeof *m->mark);
  if (s == RT_OK) m->mark[m->n_marks++] = m->n;
  return s;
}

static rt_status drop(machine *m, int width) {
  rt_pickle *ignored;
  if (m->n_marks && m->n == m->mark[m->n_marks - 1]) {
    m->n_marks--;
    return RT_OK;
  }
  return pop(m, &ignored);
}

static rt_status drop_mark(machine *m, int width) {
  rt_pickle **items = NULL;
  size_t n = 0;
  return pop_mark(m, &items, &n);
}

static rt_status duplicate(machine *m, int width) {
  if (m->n <= floor_of_stack(m)) return rt_pickle_fail(&m->r, "the pickle doubles a value that it never made");
  return push(m, m->stack[m->n - 1]);
}

static rt_status push_container(machine *m, rt_pickle_kind kind, rt_pickle *const *items, size_t n) {
  rt_pickle *v = rt_pickle_new(&m->r, kind);
  if (!v) return RT_E_MEMORY;
  rt_status s = append(m, v, items, n);
  return s == RT_OK ? push(m, v) : s;
}

static rt_status empty_list(machine *m, int width) { return push_container(m, RT_PICKLE_LIST, NULL, 0); }
static rt_status empty_dict(machine *m, int width) { return push_container(m, RT_PICKLE_DICT, NULL, 0); }
static rt_status empty_tuple(machine *m, int width) { return push_container(m, RT_PICKLE_TUPLE, NULL, 0); }

static rt_status marked(machine *m, rt_pickle_kind kind) {
  rt_pickle **items = NULL;
  size_t n = 0;
  rt_status s = pop_mark(m, &items, &n);
  if (s == RT_OK && kind == RT_PICKLE_DICT && n % 2) s = rt_pickle_fail(&m->r, "the pickle has a key without a value");
  return s == RT_OK ? push_container(m, kind, items, n) : s;
}

static rt_status marked_list(machine *m, int width) { return marked(m, RT_PICKLE_LIST); }
static rt_status marked_dict(machine *m, int width) { return marked(m, RT_PICKLE_DICT); }
static rt_status marked_tuple(machine *m, int width) { return marked(m, RT_PICKLE_TUPLE); }

static rt_status tuple_of(machine *m, int n) {
  if (m->n - floor_of_stack(m) < (size_t)n) return rt_pickle_fail(&m->r, "the pickle takes a value that it never made");
  m->n -= (size_t)n;
  return push_container(m, RT_PICKLE_TUPLE, m->stack + m->n, (size_t)n);
}

static rt_status append_one(machine *m, int width) {
  rt_pickle *item = NULL, *list = NULL;
  rt_status s = pop(m, &item);
  if (s == RT_OK) s = top(m, RT_PICKLE_LIST, &list);
  return s == RT_OK ? append(m, list, &item, 1) : s;
}

static rt_status append_marked(machine *m, int width) {
  rt_pickle **items = NULL, *list = NULL;
  size_t n = 0;
  rt_status s = pop_mark(m, &items, &n);
  if (s == RT_OK) s = top(m, RT_PICKLE_LIST, &list);
  return s == RT_OK ? append(m, list, items, n) : s;
}

static rt_status set_one(machine *m, int width) {
  rt_pickle *pair[2] = {0}, *dict = NULL;
  rt_status s = pop(m, &pair[1]);
  if (s == RT_OK) s = pop(m, &pair[0]);
  if (s == RT_OK) s = top(m, RT_PICKLE_DICT, &dict);
  return s == RT_OK ? append(m, dict, pair, 2) : s;
}

static rt_status set_marked(machine *m, int width) {
  rt_pickle **items = NULL, *dict = NULL;
  size_t n = 0;
  rt_status s = pop_mark(m, &items, &n);
  if (s == RT_OK && n % 2) s = rt_pickle_fail(&m->r, "the pickle has a key without a value");
  if (s == RT_OK) s = top(m, RT_PICKLE_DICT, &dict);
  return s == RT_OK ? append(m, dict, items, n) : s;
}

static rt_status get_at(machine *m, uint64_t i) {
  if (i >= m->n_memo || !m->memo[i])
    return rt_pickle_fail(&m->r, "the pickle recalls value %" PRIu64 ", which it never kept", i);
  return push(m, m->memo[i]);
}

static rt_status put_at(machine *m, uint64_t i) {
  if (m->n <= floor_of_stack(m)) return rt_pickle_fail(&m->r, "the pickle keeps a value that it never made");
  if (i > (uint64_t)(m->end - m->begin)) /* Python counts up from 0, and each takes a byte at least */
    return rt_pickle_fail(&m->r, "the pickle keeps a value as number %" PRIu64 ", more than it can have", i);
  rt_status s = reserve(&m->memo, (size_t)i, &m->memo_capacity, sizeof *m->memo);
  if (s != RT_OK) return s;
  m->memo[i] = m->stack[m->n - 1];
  if (i >= m->n_memo) m->n_memo = (size_t)i + 1;
  return RT_OK;
}

static rt_status get(machine *m, int width) {
  uint64_t i;
  rt_status s = take_number(m, width, &i);
  return s == RT_OK ? get_at(m, i) : s;
}

static rt_status put(machine *m, int width) {
  uint64_t i;
  rt_status s = take_number(m, width, &i);
  return s == RT_OK ? put_at(m, i) : s;
}

static rt_status memoize(machine *m, int width) { return put_at(m, m->n_memo); }

static rt_status line_index(machine *m, uint64_t *i) {
  char buffer[64], *end;
  const char *text = NULL;
  size_t n = 0;
  rt_status s = line_number(m, buffer, &text, &n);
  if (s != RT_OK) return s;
  *i = strtoull(buffer, &end, 10);
  return *end ? rt_pickle_fail(&m->r, "the pickle has \"%.20s\" for a whole number", buffer) : RT_OK;
}

static rt_status line_get(machine *m, int width) {
  uint64_t i;
  rt_status s = line_index(m, &i);
  return s == RT_OK ? get_at(m, i) : s;
}

static rt_status line_put(machine *m, int width) {
  uint64_t i;
  rt_status s = line_index(m, &i);
  return s == RT_OK ? put_at(m, i) : s;
}

static rt_status import_line(machine *m, int width) {
  const char *module = NULL, *name = NULL;
  size_t module_length = 0, name_length = 0;
  rt_pickle *v = NULL;
  rt_status s = take_line(m, &module, &module_length);
  if (s == RT_OK) s = take_line(m, &name, &name_length);
  if (s == RT_OK) s = rt_pickle_import(&m->r, module, module_length, name, name_length, &v);
  return s == RT_OK ? push(m, v) : s;
}

static rt_status import_stacked(machine *m, int width) {
  rt_pickle *module = NULL, *name = NULL, *v = NULL;
  rt_status s = pop(m, &name);
  if (s == RT_OK) s = pop(m, &module);
  if (s != RT_OK) return s;
  if (module->kind != RT_PICKLE_TEXT || name->kind != RT_PICKLE_TEXT)
    return rt_pickle_fail(&m->r, "the pickle imports %s of %s", rt_pickle_kind_name(name->kind),
                          rt_pickle_kind_name(module->kind));
  s = rt_pickle_import(&m->r, module->text.bytes, module->text.length, name->text.bytes, name->text.length, &v);
  return s == RT_OK ? push(m, v) : s;
}

static rt_status call(machine *m, int width) {
  rt_pickle *arguments = NULL, *function = NULL, *v = NULL;
  rt_status s = pop(m, &arguments);
  if (s == RT_OK) s = pop(m, &function);
  if (s == RT_OK) s = rt_pickle_call(&m->r, function, arguments, &v);
  return s == RT_OK ? push(m, v) : s;
}

static rt_status build(machine *m, int width) {
  rt_pickle *state = NULL;
  rt_status s = pop(m, &state);
  if (s != RT_OK) return s;
  if (m->n <= floor_of_stack(m)) return rt_pickle_fail(&m->r, "the pickle uses a value that it never made");
  return rt_pickle_build(&m->r, m->stack[m->n - 1], state);
}

static rt_status persistent(machine *m, int width) {
  rt_pickle *id = NULL, *v = NULL;
  rt_status s = pop(m, &id);
  if (s == RT_OK) s = rt_pickle_storage_of(&m->r, id, &v);
  return s == RT_OK ? push(m, v) : s;
}

static const struct {
  rt_status (*run)(machine *m, int width);
  int width;
} opcodes[256] = {
    [0x80] = {protocol},
    [0x95] = {frame},
    ['.'] = {stop},
    ['N'] = {push_none},
    [0x88] = {push_true},
    [0x89] = {push_false},
    ['K'] = {unsigned_int, 1},
    ['M'] = {unsigned_int, 2},
    ['J'] = {signed_int},
    [0x8a] = {long_int, 1},
    [0x8b] = {long_int, 4},
    ['I'] = {line_int},
    ['L'] = {line_int},
    ['F'] = {line_float},
    ['G'] = {binary_float},
    ['U'] = {counted_text, 1},
    ['T'] = {counted_text, 4},
    [0x8c] = {counted_text, 1},
    ['X'] = {counted_text, 4},
    [0x8d] = {counted_text, 8},
    ['C'] = {counted_bytes, 1},
    ['B'] = {counted_bytes, 4},
    [0x8e] = {counted_bytes, 8},
    [0x96] = {counted_bytes, 8},
    ['S'] = {line_text, 1},
    ['V'] = {line_text, 0},
    ['('] = {mark},
    ['0'] = {drop},
    ['1'] = {drop_mark},
    ['2'] = {duplicate},
    [']'] = {empty_list},
    ['}'] = {empty_dict},
    [')'] = {empty_tuple},
    ['l'] = {marked_list},
    ['d'] = {marked_dict},
    ['t'] = {marked_tuple},
    [0x85] = {tuple_of, 1},
    [0x86] = {tuple_of, 2},
    [0x87] = {tuple_of, 3},
    ['a'] = {append_one},
    ['e'] = {append_marked},
    ['s'] = {set_one},
    ['u'] = {set_marked},
    ['h'] = {get, 1},
    ['j'] = {get, 4},
    ['q'] = {put, 1},
    ['r'] = {put, 4},
    [0x94] = {memoize},
    ['g'] = {line_get},
    ['p'] = {line_put},
    ['c'] = {import_line},
    [0x93] = {import_stacked},
    ['R'] = {call},
    [0x81] = {call},
    ['b'] = {build},
    ['Q'] = {persistent},
};

static rt_status run(machine *m, rt_pickle **out) {
  m->none = rt_pickle_new(&m->r, RT_PICKLE_NONE);
  m->yes = rt_pickle_new(&m->r, RT_PICKLE_BOOL);
  m->no = rt_pickle_new(&m->r, RT_PICKLE_BOOL);
  if (!m->none || !m->yes || !m->no) return RT_E_MEMORY;
  m->yes->integer = 1;
  rt_status s = RT_OK;
  while (s == RT_OK && !m->stopped) {
    if (m->at == m->end) return truncated(m);
    unsigned char code = *m->at++;
    if (!opcodes[code].run)
      return rt_pickle_fail(&m->r, "byte %zu, 0x%02x, is no pickle opcode that plain data needs",
                            (size_t)(m->at - m->begin) - 1, code);
    s = opcodes[code].run(m, opcodes[code].width);
  }
  return s == RT_OK ? pop(m, out) : s;
}

rt_status rt_pickle_read_storages(rt_arena *arena, const void *bytes, size_t size, const char *what, rt_pickle **out,
                                  size_t *used, rt_pickle_storage **storages) {
  size_t budget = size;
  machine m = {.r = {arena, what, &budget, storages}, .begin = bytes, .at = bytes};
  m.end = size ? m.begin + size : m.begin;
  *out = NULL;
  *storages = NULL;
  rt_status s = run(&m, out);
  if (used) *used = m.at == m.begin ? 0 : (size_t)(m.at - m.begin);
  rt_free(m.stack);
  rt_free(m.mark);
  rt_free(m.memo);
  return s;
}

rt_status rt_pickle_read(rt_arena *arena, const void *bytes, size_t size, const char *what, rt_pickle **out,
                         size_t *used) {
  rt_pickle_storage *ignored;
  return rt_pickle_read_storages(arena, bytes, size, what, out, used, &ignored);
}

bool rt_pickle_is_text(const rt_pickle *v, const char *text) {
  return v && (v->kind == RT_PICKLE_TEXT || v->kind == RT_PICKLE_BYTES) && v->text.length == strlen(text) &&
         memcmp(v->text.bytes, text, v->text.length) == 0;
}

const rt_pickle *rt_pickle_find(const rt_pickle *dict, const char *key) {
  if (!dict || dict->kind != RT_PICKLE_DICT) return NULL;
  for (size_t i = dict->list.n; i >= 2; i -= 2) /* the last one counts */
    if (rt_pickle_is_text(dict->list.item[i - 2], key)) return dict->list.item[i - 1];
  return NULL;
}
