#include "base/alloc.h"
#include "kernel/kernel.h"
#include "pass/pass.h"
#include "quant/quant.h"

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
    if (n->form == RT_FORM_INT8) n->weights = weights;
  }
  return RT_OK;
}

static rt_status decide_node(rt_quantizer *q, const rules *r, const rt_node *node) {
  const char *why = node->op->moves ? "it only moves values, in whatever form they come" : rt_int8_obstacle(node);
  rt_record_node n = {.node = node->name, .op = node->op->name, .why = why ? why : ""};
  if (!why) {
    n.form = RT_FORM_INT8;
    n.weights = rt_target_weights(q->record.target);
  }
  rt_status s = apply(r, &n);
  return s == RT_OK && !rt_record_find(&q->record, n.node) ? rt_record_add(&q->record, &n) : s;
}

static rt_status decide_inputs(rt_quantizer *q) {
  rt_status s = RT_OK;
  for (int i = 0; i < q->folded->n_values && s == RT_OK; i++) {
    const rt_value *v = q->folded->value[i];
    if (v->kind == RT_VALUE_INPUT && v->type.rank >= 2)
      s = rt_record_add(&q->record, &(rt_record_node){.node = v->name, .op = "input", .why = "it comes in floating"});
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

rt_status rt_quantize_decide(rt_quantizer *q) {
  rules r = {0};
  rt_record *record = &q->record;
  record->target = q->o.target == RT_TARGET_AUTO ? rt_target_here() : (rt_target)q->o.target;
  record->method = "static";
  record->cpu = rt_isa_name(rt_cpu_get()->isa);
  record->data = q->o.data;
  rt_status s = rt_split_list(q->o.keep, &q->arena, &r.keep, &r.keeps);
  if (s == RT_OK) s = rt_split_list(q->o.schemes, &q->arena, &r.scheme, &r.schemes);
  if (s == RT_OK && !(r.used = rt_arena_alloc(&q->arena, (size_t)(r.keeps + r.schemes) + 1))) s = RT_E_MEMORY;
  if (s == RT_OK) s = decide_inputs(q);
  for (int i = 0; i < q->folded->n_nodes && s == RT_OK; i++) s = decide_node(q, &r, q->folded->node[i]);
  return s == RT_OK ? check_used(&r) : s;
}
