#include "base/alloc.h"
#include "kernel/kernel.h"
#include "record/record.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* "fp32:layer1.*" or "bf16:fc": which form layers of this name keep. */
static rt_status parse_keep(const char *text, rt_form *form, const char **pattern) {
  *form = strncmp(text, "bf16:", 5) == 0 ? RT_FORM_BF16 : RT_FORM_FP32;
  if (strncmp(text, "fp32:", 5) != 0 && *form != RT_FORM_BF16)
    return rt_fail(RT_E_ARGUMENT,
                   "quantize: keep \"%s\": expected fp32:PATTERN or bf16:PATTERN, as in \"fp32:layer4.*\"", text);
  *pattern = text + 5;
  return RT_OK;
}

static rt_status parse_scheme(const char *text, char pattern[256], rt_weights *weights) {
  const char *equals = strchr(text, '=');
  snprintf(pattern, 256, "%.*s", equals ? (int)(equals - text) : 0, text);
  *weights = equals && strcmp(equals + 1, "per_channel") == 0  ? RT_WEIGHTS_PER_CHANNEL
             : equals && strcmp(equals + 1, "per_tensor") == 0 ? RT_WEIGHTS_PER_TENSOR
                                                               : RT_WEIGHTS_NONE;
  if (*weights != RT_WEIGHTS_NONE) return RT_OK;
  return rt_fail(RT_E_ARGUMENT, "quantize: scheme \"%s\": expected PATTERN=per_channel or PATTERN=per_tensor", text);
}

typedef struct rules {
  const char *const *keep, *const *scheme;
  int keeps, schemes;
  bool *used; /* by rule: some layer has such a name */
} rules;

static rt_status apply(const rules *r, rt_record_node *n) {
  for (int i = 0; i < r->keeps; i++) {
    rt_form form;
    const char *pattern = "";
    rt_status s = parse_keep(r->keep[i], &form, &pattern);
    if (s != RT_OK) return s;
    if (fnmatch(pattern, n->node, 0) != 0) continue;
    r->used[i] = true;
    if (n->form != RT_FORM_INT8) continue;
    n->form = form;
    n->weights = RT_WEIGHTS_NONE;
    n->why = "kept floating as told";
  }
  for (int i = 0; i < r->schemes; i++) {
    rt_weights weights;
    char pattern[256];
    rt_status s = parse_scheme(r->scheme[i], pattern, &weights);
    if (s != RT_OK) return s;
    if (fnmatch(pattern, n->node, 0) != 0) continue;
    r->used[r->keeps + i] = true;
    if (rt_record_is_product(n)) n->weights = weights;
  }
  return RT_OK;
}

static const char *obstacle(const rt_decisions *d, const rt_node *node) {
  if (node->op->moves) return "it only moves values, in whatever form they come";
  if (d->method == RT_METHOD_DYNAMIC && !d->convolutions && node->op == RT_OP(conv2d))
    return "convolutions have dynamic ranges only if asked to";
  if (d->method == RT_METHOD_DYNAMIC && node->op->regrids) return "with dynamic ranges only products are in int8";
  return rt_int8_obstacle(node);
}

static rt_status decide_node(rt_record *record, const rt_decisions *d, const rules *r, const rt_node *node) {
  const char *why = obstacle(d, node);
  rt_record_node n = {.node = node->name, .op = node->op->name, .why = why ? why : ""};
  if (!why) {
    n.form = RT_FORM_INT8;
    if (node->op->int8) n.weights = rt_target_weights(record->target);
  }
  rt_status s = apply(r, &n);
  return s == RT_OK && !rt_record_find(record, n.node) ? rt_record_add(record, &n) : s;
}

static rt_status decide_inputs(rt_record *record, const rt_graph *folded) {
  rt_status s = RT_OK;
  for (int i = 0; i < folded->n_values && s == RT_OK; i++) {
    const rt_value *v = folded->value[i];
    if (v->kind == RT_VALUE_INPUT && v->type.rank >= 2)
      s = rt_record_add(record, &(rt_record_node){.node = v->name, .op = "input", .why = "it comes in floating"});
  }
  return s;
}

static rt_status check_used(const rules *r) {
  for (int i = 0; i < r->keeps + r->schemes; i++)
    if (!r->used[i])
      return rt_fail(RT_E_UNKNOWN, "quantize: %s \"%s\": no layer has such a name", i < r->keeps ? "keep" : "scheme",
                     i < r->keeps ? r->keep[i] : r->scheme[i - r->keeps]);
  return RT_OK;
}

bool rt_record_is_product(const rt_record_node *n) {
  const rt_op *op = rt_op_find(n->op);
  return n->form == RT_FORM_INT8 && op && op->int8;
}

bool rt_record_covers(const rt_record *record) {
  for (int i = 0; i < record->n; i++)
    if (rt_record_is_product(&record->node[i])) return true;
  return false;
}

static rt_status check_covers(const rt_record *record, const rt_decisions *d) {
  if (rt_record_covers(record)) return RT_OK;
  return rt_fail(RT_E_ARGUMENT,
                 "quantize: no layer would be in int8: the network has no convolution and no linear layer that could "
                 "be, or keep leaves none%s",
                 d->method == RT_METHOD_DYNAMIC && !d->convolutions
                     ? "; dynamic takes convolutions only if told to (convolutions)"
                     : "");
}

rt_status rt_record_decide(rt_record *record, const rt_graph *folded, const rt_decisions *d) {
  rules r = {0};
  record->target = d->target == RT_TARGET_AUTO ? rt_target_here() : d->target;
  record->method = d->method;
  record->cpu = rt_isa_name(rt_cpu_get()->isa);
  rt_status s = rt_split_list(d->keep, &record->arena, &r.keep, &r.keeps);
  if (s == RT_OK) s = rt_split_list(d->schemes, &record->arena, &r.scheme, &r.schemes);
  if (s == RT_OK && !(r.used = rt_arena_alloc(&record->arena, (size_t)(r.keeps + r.schemes) + 1))) s = RT_E_MEMORY;
  if (s == RT_OK) s = decide_inputs(record, folded);
  for (int i = 0; i < folded->n_nodes && s == RT_OK; i++) s = decide_node(record, d, &r, folded->node[i]);
  if (s == RT_OK) s = check_used(&r);
  return s == RT_OK ? check_covers(record, d) : s;
}

rt_status rt_split_list(const char *text, rt_arena *arena, const char *const **out, int *n) {
  int most = 1;
  for (const char *c = text; *c; c++) most += *c == ';';
  char *copy = rt_arena_text(arena, "%s", text);
  const char **list = rt_arena_alloc(arena, (size_t)most * sizeof *list);
  if (!copy || !list) return RT_E_MEMORY;
  *n = 0;
  for (char *p = strtok_r(copy, ";", &copy); p; p = strtok_r(NULL, ";", &copy)) list[(*n)++] = p;
  *out = list;
  return RT_OK;
}
