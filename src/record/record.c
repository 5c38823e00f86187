#include "record/record.h"

#include "base/alloc.h"
#include "base/file.h"
#include "format/format.h"
#include "kernel/kernel.h"

#include <cjson/cJSON.h>
#include <string.h>

static const char *const form_names[] = {"fp32", "bf16", "int8", NULL};
static const char *const weights_names[] = {"none", "per_channel", "per_tensor", NULL};
static const char *const target_names[] = {"auto", "vnni", "fbgemm", "qnnpack", NULL};
static const char *const method_names[] = {"static", "dynamic", "qat", NULL};
static const char FORMAT[] = "retort quantization 1";
enum { TEXT_MOST = 1000, NODES_MOST = 1 << 16, WINOGRAD_NUMBERS = RT_WINOGRAD_TAPS + 1 };

/* ---- targets ---- */

rt_levels rt_target_activations(rt_target target) {
  return (rt_levels){.low = 0, .high = target == RT_TARGET_FBGEMM ? 127 : 255};
}

rt_weights rt_target_weights(rt_target target) {
  return target == RT_TARGET_QNNPACK ? RT_WEIGHTS_PER_TENSOR : RT_WEIGHTS_PER_CHANNEL;
}

const char *rt_target_name(rt_target target) { return target_names[target]; }

const char *rt_method_name(rt_method method) { return method_names[method]; }

rt_target rt_target_here(void) { return rt_cpu_get()->vnni ? RT_TARGET_VNNI : RT_TARGET_FBGEMM; }

/* ---- the list ---- */

void rt_record_release(rt_record *r) {
  rt_free(r->node);
  rt_arena_release(&r->arena);
  *r = (rt_record){0};
}

static const char *copy(rt_record *r, const char *text) { return rt_arena_text(&r->arena, "%s", text ? text : ""); }

rt_status rt_record_add(rt_record *r, const rt_record_node *node) {
  if (r->n == r->capacity) {
    int capacity = r->capacity ? 2 * r->capacity : 64;
    rt_record_node *grown = rt_grow(r->node, (size_t)r->n * sizeof *grown, (size_t)capacity * sizeof *grown);
    if (!grown) return RT_E_MEMORY;
    r->node = grown;
    r->capacity = capacity;
  }
  rt_record_node *now = &r->node[r->n];
  *now = *node;
  now->node = copy(r, node->node);
  now->op = copy(r, node->op);
  now->why = copy(r, node->why);
  now->observer = copy(r, node->observer);
  now->winograd_why = copy(r, node->winograd_why);
  if (!now->node || !now->op || !now->why || !now->observer || !now->winograd_why) return RT_E_MEMORY;
  r->n++;
  return RT_OK;
}

const rt_record_node *rt_record_find(const rt_record *r, const char *node) {
  for (int i = 0; i < r->n; i++)
    if (strcmp(r->node[i].node, node) == 0) return &r->node[i];
  return NULL;
}

void rt_record_run_directly(rt_record *r) {
  for (int i = 0; i < r->n; i++) r->node[i].winograd[0] = 0;
}

/* ---- to text: a line a node ---- */

static cJSON *node_json(const rt_record_node *n) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "node", n->node);
  cJSON_AddStringToObject(o, "op", n->op);
  cJSON_AddStringToObject(o, "precision", form_names[n->form]);
  if (*n->why) cJSON_AddStringToObject(o, "why", n->why);
  if (n->weights) cJSON_AddStringToObject(o, "weights", weights_names[n->weights]);
  if (n->scale > 0) {
    cJSON_AddNumberToObject(o, "scale", n->scale);
    cJSON_AddNumberToObject(o, "zero_point", n->zero_point);
  }
  if (*n->observer) {
    cJSON_AddNumberToObject(o, "low", n->range.low);
    cJSON_AddNumberToObject(o, "high", n->range.high);
    cJSON_AddStringToObject(o, "observer", n->observer);
  }
  if (*n->winograd) cJSON_AddItemToObject(o, "winograd", cJSON_CreateIntArray(n->winograd, WINOGRAD_NUMBERS));
  if (*n->winograd_why) cJSON_AddStringToObject(o, "winograd_why", n->winograd_why);
  return o;
}

static void add_object(rt_strbuf *out, cJSON *object) {
  char *text = object ? cJSON_PrintUnformatted(object) : NULL;
  if (text)
    rt_strbuf_put(out, text, strlen(text));
  else
    out->failed = true;
  cJSON_free(text);
  cJSON_Delete(object);
}

static cJSON *head_json(const rt_record *r) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "format", FORMAT);
  cJSON_AddStringToObject(o, "method", method_names[r->method]);
  cJSON_AddStringToObject(o, "target", target_names[r->target]);
  cJSON_AddStringToObject(o, "cpu", r->cpu);
  cJSON_AddStringToObject(o, "data", r->data);
  cJSON_AddNumberToObject(o, "images", (double)r->images);
  return o;
}

rt_status rt_record_print(const rt_record *r, char **out) {
  rt_strbuf text = {0};
  add_object(&text, head_json(r));
  if (!text.failed) text.text[--text.length] = 0; /* the brace: its nodes follow */
  rt_strbuf_add(&text, ",\n \"nodes\": [");
  for (int i = 0; i < r->n; i++) {
    rt_strbuf_add(&text, "%s\n  ", i ? "," : "");
    add_object(&text, node_json(&r->node[i]));
  }
  rt_strbuf_add(&text, "\n]}\n");
  if (!text.failed) {
    *out = text.text;
    return RT_OK;
  }
  rt_strbuf_release(&text);
  return rt_fail(RT_E_MEMORY, "out of memory for the quantization record");
}

/* ---- from text ---- */

typedef struct reading {
  rt_record *record;
  const char *what, *node; /* node: which one, for sentences; NULL in the head */
} reading;

static rt_status wrong(const reading *r, const char *key, const char *expected) {
  if (r->node) return rt_fail(RT_E_FORMAT, "%s: node %.80s: \"%s\": expected %s", r->what, r->node, key, expected);
  return rt_fail(RT_E_FORMAT, "%s: \"%s\": expected %s", r->what, key, expected);
}

/* A line of text; "" where it may be left out and is. */
static rt_status text_of(const reading *r, const cJSON *o, const char *key, bool needed, const char **out) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
  *out = "";
  if (!item && !needed) return RT_OK;
  if (!cJSON_IsString(item) || strlen(item->valuestring) > TEXT_MOST || !rt_printable(item->valuestring, false))
    return wrong(r, key, "a line of text");
  *out = item->valuestring;
  return RT_OK;
}

static rt_status choice_of(const reading *r, const cJSON *o, const char *key, bool needed, const char *const *names,
                           int *out) {
  char list[80] = "";
  const char *text;
  rt_status s = text_of(r, o, key, needed, &text);
  *out = 0;
  if (s != RT_OK || (!needed && !*text)) return s;
  for (int i = 0; names[i]; i++) {
    if (strcmp(names[i], text) == 0) {
      *out = i;
      return RT_OK;
    }
    size_t n = strlen(list);
    snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "one of ", names[i]);
  }
  return wrong(r, key, list);
}

static rt_status number_of(const reading *r, const cJSON *o, const char *key, bool needed, double least, double most,
                           double *out) {
  char expected[80];
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
  *out = 0;
  if (!item && !needed) return RT_OK;
  *out = cJSON_IsNumber(item) ? item->valuedouble : NAN;
  if (*out >= least && *out <= most) return RT_OK;
  snprintf(expected, sizeof expected, "a number from %g to %g", least, most);
  return wrong(r, key, expected);
}

static rt_status read_output(const reading *r, const cJSON *o, rt_record_node *n) {
  double zero;
  rt_status s = text_of(r, o, "observer", false, &n->observer);
  if (s == RT_OK) s = number_of(r, o, "low", *n->observer, -3.4e38, 0, &n->range.low);
  if (s == RT_OK) s = number_of(r, o, "high", *n->observer, 0, 3.4e38, &n->range.high);
  if (s == RT_OK) s = number_of(r, o, "scale", false, 0, 3.4e38, &n->scale);
  if (s == RT_OK) s = number_of(r, o, "zero_point", n->scale > 0, -128, 255, &zero);
  if (s == RT_OK && zero != nearbyint(zero)) s = wrong(r, "zero_point", "a whole number");
  if (s == RT_OK) n->zero_point = (int)zero;
  n->scale = (double)(float)n->scale;
  return s;
}

static rt_status read_winograd(const reading *r, const cJSON *o, rt_record_node *n) {
  const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "winograd"), *item;
  int i = 0;
  rt_status s = text_of(r, o, "winograd_why", false, &n->winograd_why);
  if (!list || s != RT_OK) return s;
  cJSON_ArrayForEach(item, list) {
    double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
    bool centre = i == RT_WINOGRAD_TAPS;
    if (i < WINOGRAD_NUMBERS && v == nearbyint(v) && v >= !centre && v <= (centre ? 1020 : 32767))
      n->winograd[i++] = (int)v;
    else
      return wrong(r, "winograd", "16 whole numbers from 1 to 32767 and one from 0 to 1020");
  }
  return i == WINOGRAD_NUMBERS ? RT_OK
                               : wrong(r, "winograd", "16 whole numbers from 1 to 32767 and one from 0 to 1020");
}

static rt_status read_node(reading *r, const cJSON *o) {
  rt_record_node n = {0};
  int form = 0, weights = 0;
  r->node = NULL;
  rt_status s = text_of(r, o, "node", true, &n.node);
  r->node = n.node;
  if (s == RT_OK && rt_record_find(r->record, n.node)) s = wrong(r, "node", "each name once");
  if (s == RT_OK) s = text_of(r, o, "op", true, &n.op);
  if (s == RT_OK) s = choice_of(r, o, "precision", true, form_names, &form);
  if (s == RT_OK) s = text_of(r, o, "why", false, &n.why);
  if (s == RT_OK) s = choice_of(r, o, "weights", false, weights_names, &weights);
  n.form = (rt_form)form;
  n.weights = (rt_weights)weights;
  if (s == RT_OK) s = read_output(r, o, &n);
  if (s == RT_OK) s = read_winograd(r, o, &n);
  return s == RT_OK ? rt_record_add(r->record, &n) : s;
}

static rt_status read_head(reading *r, const cJSON *json) {
  rt_record *record = r->record;
  const char *format, *cpu, *data;
  double images;
  int target, method;
  rt_status s = text_of(r, json, "format", true, &format);
  if (s == RT_OK && strcmp(format, FORMAT) != 0) s = wrong(r, "format", FORMAT);
  if (s == RT_OK) s = choice_of(r, json, "method", true, method_names, &method);
  if (s == RT_OK) s = choice_of(r, json, "target", true, target_names, &target);
  if (s == RT_OK) s = text_of(r, json, "cpu", false, &cpu);
  if (s == RT_OK) s = text_of(r, json, "data", false, &data);
  if (s == RT_OK) s = number_of(r, json, "images", false, 0, 1e15, &images);
  if (s != RT_OK) return s;
  record->target = (rt_target)target;
  record->images = (int64_t)images;
  record->method = (rt_method)method;
  record->cpu = copy(record, cpu);
  record->data = copy(record, data);
  return record->cpu && record->data ? RT_OK : RT_E_MEMORY;
}

static rt_status read_all(reading *r, const cJSON *json) {
  if (!cJSON_IsObject(json)) return rt_fail(RT_E_FORMAT, "%s: no JSON object: not a quantization record", r->what);
  const cJSON *nodes = cJSON_GetObjectItemCaseSensitive(json, "nodes"), *item;
  rt_status s = read_head(r, json);
  if (s == RT_OK && (!cJSON_IsArray(nodes) || cJSON_GetArraySize(nodes) > NODES_MOST)) s = wrong(r, "nodes", "a list");
  if (s != RT_OK) return s;
  cJSON_ArrayForEach(item, nodes) {
    s = read_node(r, item);
    if (s != RT_OK) return s;
  }
  return RT_OK;
}

rt_status rt_record_parse(const char *text, size_t bytes, const char *what, rt_record *out) {
  *out = (rt_record){0};
  reading r = {.record = out, .what = what};
  cJSON *json = cJSON_ParseWithLength(text, bytes);
  rt_status s = read_all(&r, json);
  cJSON_Delete(json);
  if (s != RT_OK) rt_record_release(out);
  return s;
}

/* ---- files ---- */

rt_status rt_record_save(const rt_record *r, const char *path) {
  char *text;
  rt_status s = rt_record_print(r, &text);
  if (s != RT_OK) return s;
  s = rt_write_file(path, text, strlen(text));
  rt_free(text);
  return s;
}

rt_status rt_record_open(const char *path, rt_record *out) {
  rt_map map;
  *out = (rt_record){0};
  rt_status s = rt_map_open(path, &map);
  if (s != RT_OK) return s;
  s = rt_record_parse((const char *)map.data, map.size, path, out);
  rt_map_close(&map);
  return s;
}
