#include "recipe/yaml.h"

#include "base/alloc.h"
#include "base/file.h"

#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 32, LARGEST = 1 << 20 };

typedef struct reader {
  const char *path;
  rt_arena *arena;
} reader;

/* ---- the tree ---- */

static rt_yaml_place place_of(struct fy_token *token) {
  const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
  return mark ? (rt_yaml_place){mark->line + 1, mark->column + 1} : (rt_yaml_place){0};
}

static const char *scalar(const reader *r, struct fy_node *node) {
  size_t length = 0;
  const char *text = fy_node_get_scalar(node, &length);
  if (text && memchr(text, 0, length)) return NULL;
  return rt_arena_text(r->arena, "%.*s", (int)length, text ? text : "");
}

static rt_status convert(const reader *r, struct fy_node *node, int depth, rt_yaml **out);

static rt_status convert_pair(const reader *r, struct fy_node_pair *pair, int depth, rt_yaml **out) {
  struct fy_node *key = fy_node_pair_key(pair);
  if (!key || fy_node_get_type(key) != FYNT_SCALAR) return rt_fail(RT_E_FORMAT, "%s: a key is no text", r->path);
  rt_status s = convert(r, fy_node_pair_value(pair), depth, out);
  if (s != RT_OK) return s;
  (*out)->key = scalar(r, key);
  (*out)->key_place = place_of(fy_node_get_scalar_token(key));
  if (!(*out)->place.line) (*out)->place = (*out)->key_place;
  return (*out)->key ? RT_OK : rt_fail(RT_E_FORMAT, "%s: a key holds a zero byte", r->path);
}

static rt_status convert(const reader *r, struct fy_node *node, int depth, rt_yaml **out) {
  rt_status s = RT_OK;
  rt_yaml *y = *out = rt_arena_alloc(r->arena, sizeof *y);
  if (!y) return RT_E_MEMORY;
  if (depth == DEEPEST) return rt_fail(RT_E_FORMAT, "%s: more than %d levels deep", r->path, DEEPEST);
  rt_yaml **last = &y->child;
  void *at = NULL;
  if (!node || fy_node_get_type(node) == FYNT_SCALAR) {
    y->text = node ? scalar(r, node) : "";
    if (node) y->place = place_of(fy_node_get_scalar_token(node));
    return y->text ? RT_OK : rt_fail(RT_E_FORMAT, "%s: a text holds a zero byte", r->path);
  }
  if (fy_node_get_type(node) == FYNT_MAPPING) {
    y->kind = RT_YAML_MAP;
    struct fy_node_pair *pair;
    while (s == RT_OK && (pair = fy_node_mapping_iterate(node, &at))) {
      s = convert_pair(r, pair, depth + 1, last);
      if (s == RT_OK) last = &(*last)->next;
    }
    if (y->child) y->place = y->child->key_place;
    return s;
  }
  y->kind = RT_YAML_LIST;
  struct fy_node *item;
  while (s == RT_OK && (item = fy_node_sequence_iterate(node, &at))) {
    s = convert(r, item, depth + 1, last);
    if (s == RT_OK) last = &(*last)->next;
  }
  if (y->child) y->place = y->child->place;
  return s;
}

const rt_yaml *rt_yaml_find(const rt_yaml *map, const char *key) {
  const rt_yaml *y = map && map->kind == RT_YAML_MAP ? map->child : NULL;
  while (y && strcmp(y->key, key) != 0) y = y->next;
  return y;
}

/* ---- --set ---- */

/* The settings of "- train: {…}" */
static struct fy_node *inside(struct fy_node *item) {
  if (!item || fy_node_get_type(item) != FYNT_MAPPING || fy_node_mapping_item_count(item) != 1) return item;
  struct fy_node *value = fy_node_pair_value(fy_node_mapping_get_by_index(item, 0));
  return value && fy_node_get_type(value) == FYNT_MAPPING ? value : item;
}

/* "- train: {as: NAME}"; "- bench: {…}" by its kind. */
static bool is_called(struct fy_node *item, const char *name) {
  struct fy_node *settings = inside(item);
  struct fy_node *as =
      fy_node_get_type(settings) == FYNT_MAPPING ? fy_node_mapping_lookup_by_string(settings, "as", FY_NT) : NULL;
  if (!as && settings != item) as = fy_node_pair_key(fy_node_mapping_get_by_index(item, 0));
  size_t length = 0;
  const char *text = as ? fy_node_get_scalar(as, &length) : NULL;
  return text && length == strlen(name) && memcmp(text, name, length) == 0;
}

static struct fy_node *step_into(struct fy_node *node, const char *part) {
  if (!node) return NULL;
  if (fy_node_get_type(node) == FYNT_MAPPING) return fy_node_mapping_lookup_by_string(node, part, FY_NT);
  if (fy_node_get_type(node) != FYNT_SEQUENCE) return NULL;
  char *end;
  long i = strtol(part, &end, 10);
  if (*part && !*end && i >= 0) return inside(fy_node_sequence_get_by_index(node, (int)i));
  void *at = NULL;
  struct fy_node *item;
  while ((item = fy_node_sequence_iterate(node, &at)))
    if (is_called(item, part)) return inside(item);
  return NULL;
}

/* The document keeps pointing to the value's text. */
static rt_status put(struct fy_document *d, struct fy_node *map, const char *key, const char *text, rt_arena *arena) {
  const char *value = rt_arena_text(arena, "%s", text);
  if (!value) return RT_E_MEMORY;
  struct fy_node *node = fy_node_build_from_string(d, value, strlen(value));
  struct fy_node_pair *pair = fy_node_mapping_lookup_pair_by_string(map, key, FY_NT);
  if (!node) return rt_fail(RT_E_ARGUMENT, "--set: %s=%s: the value is no YAML", key, value);
  int failed = pair ? fy_node_pair_set_value(pair, node)
                    : fy_node_mapping_append(map, fy_node_create_scalar_copy(d, key, strlen(key)), node);
  return failed ? rt_fail(RT_E_MEMORY, "--set: %s: out of memory", key) : RT_OK;
}

static rt_status apply(struct fy_document *d, const char *setting, rt_arena *arena) {
  char copy[1024];
  char *equals = strchr(setting, '=') ? copy + (strchr(setting, '=') - setting) : NULL;
  if (!equals || strlen(setting) >= sizeof copy)
    return rt_fail(RT_E_ARGUMENT, "--set %s: expected PATH=VALUE, as in stages.0.epochs=2", setting);
  memcpy(copy, setting, strlen(setting) + 1);
  *equals = 0;
  struct fy_node *node = fy_document_root(d);
  char *part = copy, *dot;
  for (; (dot = strchr(part, '.')); part = dot + 1) {
    *dot = 0;
    struct fy_node *next = step_into(node, part);
    int walked = part > copy ? (int)(part - copy) - 1 : 0;
    if (!next)
      return rt_fail(RT_E_UNKNOWN, "--set %s: there is no %s%s%.*s", setting, part, walked ? " in " : "", walked,
                     setting);
    node = next;
  }
  if (!node || fy_node_get_type(node) != FYNT_MAPPING)
    return rt_fail(RT_E_ARGUMENT, "--set %s: what %s should be set in isn't a mapping", setting, part);
  return put(d, node, part, equals + 1, arena);
}

/* ---- the file ---- */

static rt_status syntax_error(const char *path, struct fy_diag *diag) {
  void *at = NULL;
  const struct fy_diag_error *e = fy_diag_errors_iterate(diag, &at);
  if (!e) return rt_fail(RT_E_FORMAT, "%s: isn't YAML", path);
  return rt_fail(RT_E_FORMAT, "%s:%d:%d: %s", path, e->line, e->column, e->msg);
}

static rt_status parse(const char *path, const rt_map *map, struct fy_diag *diag, struct fy_document **out) {
  struct fy_parse_cfg config = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_RESOLVE_DOCUMENT, .diag = diag};
  *out = fy_document_build_from_string(&config, (const char *)map->data, map->size);
  if (!*out) return syntax_error(path, diag);
  if (fy_document_root(*out) && fy_node_get_type(fy_document_root(*out)) == FYNT_MAPPING) return RT_OK;
  return rt_fail(RT_E_FORMAT, "%s: expected a mapping with name, data and stages", path);
}

static char *emit(struct fy_document *d) {
  enum { SIZE = 4 * LARGEST };
  char *buffer = rt_alloc(SIZE);
  if (!buffer) return NULL;
  int n = fy_emit_document_to_buffer(d, FYECF_MODE_ORIGINAL | FYECF_WIDTH_INF, buffer, SIZE - 1);
  char *text = n < 0 ? NULL : rt_copy_text(buffer);
  if (n < 0) rt_fail(RT_E_RANGE, "the recipe is too large to be written");
  rt_free(buffer);
  return text;
}

rt_status rt_yaml_read(const char *path, const char *const *set, int n, rt_arena *arena, rt_yaml **out, char **text) {
  rt_map map;
  *text = NULL;
  rt_status s = rt_map_open(path, &map);
  if (s != RT_OK) return s;
  struct fy_diag_cfg config;
  fy_diag_cfg_default(&config);
  struct fy_diag *diag = fy_diag_create(&config);
  struct fy_document *d = NULL;
  if (!diag)
    s = rt_fail(RT_E_MEMORY, "%s: out of memory", path);
  else if (!map.size || map.size > LARGEST)
    s = rt_fail(RT_E_FORMAT, "%s: %zu bytes: expected a recipe of 1 to %d", path, map.size, LARGEST);
  if (s == RT_OK) {
    fy_diag_set_collect_errors(diag, true);
    s = parse(path, &map, diag, &d);
  }
  for (int i = 0; i < n && s == RT_OK; i++) s = apply(d, set[i], arena);
  if (s == RT_OK) s = convert(&(reader){path, arena}, fy_document_root(d), 0, out);
  if (s == RT_OK && !(*text = emit(d))) s = RT_E_MEMORY;
  if (d) fy_document_destroy(d);
  if (diag) fy_diag_destroy(diag);
  rt_map_close(&map);
  return s;
}
