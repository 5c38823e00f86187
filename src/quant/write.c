#include "base/alloc.h"
#include "quant/quant.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

rt_status rt_quantize_write(rt_quantizer *q, rt_network *int8) {
  const rt_int8_file file = {.of = q->network,
                             .folded = q->folded,
                             .record = &q->record,
                             .image = q->image,
                             .vectors = q->vectors,
                             .data = q->o.data,
                             .int8 = q->after,
                             .floating = q->before};
  return rt_int8_write(&file, int8, q->o.out);
}

/* ---- the report ---- */

static void add_score(cJSON *o, const char *name, const rt_score *s) {
  if (!s->images) return;
  cJSON *score = cJSON_AddObjectToObject(o, name);
  cJSON_AddNumberToObject(score, "images", (double)s->images);
  cJSON_AddNumberToObject(score, "correct", (double)s->correct);
  cJSON_AddNumberToObject(score, "top1", s->top1);
}

static void add_cost(cJSON *o, const rt_layer_cost *c, bool product) {
  if (product) cJSON_AddNumberToObject(o, "weight_sqnr", c->weight_sqnr);
  cJSON_AddNumberToObject(o, "output_sqnr", c->output_sqnr);
  if (product) cJSON_AddNumberToObject(o, "alone_sqnr", c->alone_sqnr);
  cJSON_AddNumberToObject(o, "steps", c->steps);
  cJSON_AddNumberToObject(o, "float_ms", c->float_seconds * 1e3);
  cJSON_AddNumberToObject(o, "int8_ms", c->int8_seconds * 1e3);
}

/* The record's layers, as the record prints them, and what was measured of each. */
static rt_status add_layers(const rt_quantizer *q, cJSON *o) {
  char *text;
  int int8 = 0, products = 0;
  rt_status s = rt_record_print(&q->record, &text);
  if (s != RT_OK) return s;
  cJSON *record = cJSON_Parse(text), *nodes = cJSON_DetachItemFromObject(record, "nodes");
  rt_free(text);
  for (int i = 0; i < q->record.n; i++) {
    const rt_record_node *n = &q->record.node[i];
    int8 += n->form == RT_FORM_INT8;
    products += strcmp(n->op, "input") != 0;
    if (q->cost && n->form == RT_FORM_INT8)
      add_cost(cJSON_GetArrayItem(nodes, i), &q->cost[i], rt_record_is_product(n));
  }
  cJSON_AddNumberToObject(o, "nodes", products);
  cJSON_AddNumberToObject(o, "int8", int8);
  cJSON_AddItemToObject(o, "layers", nodes);
  cJSON_Delete(record);
  return RT_OK;
}

rt_status rt_quantize_report_json(const rt_quantizer *q, char **out) {
  struct stat now;
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "file", q->o.out);
  cJSON_AddStringToObject(o, "method", rt_method_name(q->record.method));
  cJSON_AddStringToObject(o, "target", rt_target_name(q->record.target));
  cJSON_AddNumberToObject(o, "images", (double)q->record.images);
  add_score(o, "before", &q->before);
  add_score(o, "after", &q->after);
  if (q->after.images) cJSON_AddNumberToObject(o, "agree", (double)q->agree);
  if (q->beside_twin.images) cJSON_AddNumberToObject(o, "agree_twin", (double)q->beside_twin.agree);
  if (stat(q->o.model, &now) == 0) cJSON_AddNumberToObject(o, "bytes_before", (double)now.st_size);
  if (stat(q->o.out, &now) == 0) cJSON_AddNumberToObject(o, "bytes", (double)now.st_size);
  rt_status s = add_layers(q, o);
  char *text = s == RT_OK ? cJSON_PrintUnformatted(o) : NULL;
  cJSON_Delete(o);
  *out = text ? rt_copy_text(text) : NULL;
  cJSON_free(text);
  return *out ? RT_OK : RT_E_MEMORY;
}
