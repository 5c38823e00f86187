/* quantize: an int8 form of a model, OUT/NAME.pth. */
#include "quant/quant.h"
#include "recipe/recipe.h"

#include <cjson/cJSON.h>
#include <string.h>

/* The table of quantization, without what is the recipe's business. */
static rt_status setting(int i, rt_setting *out) {
  for (int k = 0;; k++) {
    rt_status s = rt_quantize_setting(k, out);
    if (s != RT_OK) return s;
    if (strcmp(out->name, "out") != 0 && i-- == 0) return RT_OK;
  }
}

static rt_status check(const rt_pair *settings, int n) {
  bool model = n == 1;
  for (int i = 0; i < n; i++) model |= strcmp(settings[i].key, "model") == 0 && *settings[i].text;
  return model ? RT_OK : rt_fail(RT_E_ARGUMENT, "quantize needs a model, as in from: student");
}

static bool tell(void *context, const char *text, const rt_news *training) {
  if (text) rt_recipe_say(context, "%s", text);
  return training ? rt_recipe_training(context, training) : !((rt_recipe_run *)context)->stop;
}

/* Defaults of the recipe's training stages mean nothing to methods that don't train. */
static bool is_meant(const rt_pair *pair, bool trains) { return trains || !rt_quantize_trains(pair->key); }

static rt_status run(rt_stage_run *r, bool *going) {
  enum { MOST = 64 };
  char out[RT_RECIPE_PATH], cache[RT_RECIPE_PATH], *report;
  rt_pair pair[MOST + 1];
  int n = 0;
  bool trains = strcmp(rt_stage_run_text(r, "method"), "qat") == 0;
  for (int i = 0; i < r->n && n < MOST; i++)
    if (is_meant(&r->pair[i], trains)) pair[n++] = r->pair[i];
  for (int i = 0; i < n; i++) rt_recipe_place_cache(r, &pair[i], cache);
  pair[n++] = (rt_pair){"out", rt_stage_model(r->all, r->stage, out)};
  rt_status s = rt_quantize(pair, n, tell, r->all, &report);
  *going = s != RT_OK || report != NULL;
  if (s != RT_OK || !report) return s;
  cJSON *said = cJSON_Parse(report), *layers = cJSON_DetachItemFromObjectCaseSensitive(said, "layers");
  rt_text_free(report);
  if (layers) cJSON_AddItemToObject(r->result, "layers", layers);
  cJSON_AddItemToObject(r->result, "quantization", said);
  return rt_measure_model(r, out, r->result);
}

static const char *const refers[] = {"model", "teacher", NULL};

const rt_stage_kind rt_stage_kind_quantize = {.name = "quantize",
                                              .summary = "bring a model to int8",
                                              .setting = setting,
                                              .refers = refers,
                                              .file = "record",
                                              .input = "model",
                                              .extension = "pth",
                                              .check = check,
                                              .run = run};
