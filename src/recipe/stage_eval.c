/* eval: a model that was made elsewhere, or on other data. */
#include "recipe/recipe.h"

#include <cjson/cJSON.h>
#include <string.h>

static const rt_setting table[] = {
    {.name = "model", .fallback = "", .help = "a stage, or a file", .argument = "NAME"},
    {.name = "data", .fallback = "", .help = "NAME or NAME:PATH of a data set", .argument = "TEXT"},
    {.name = "data_options", .fallback = "", .help = "of the data set", .argument = "TEXT"},
};

static rt_status setting(int i, rt_setting *out) { return rt_setting_at(table, sizeof table / sizeof *table, i, out); }

static rt_status check(const rt_pair *settings, int n) {
  int given = 0;
  for (int i = 0; i < n; i++) given += *settings[i].text && strcmp(settings[i].key, "data_options") != 0;
  return n == 1 || given == 2 ? RT_OK : rt_fail(RT_E_ARGUMENT, "eval needs model and data");
}

static rt_status run(rt_stage_run *r, bool *going) {
  *going = true;
  return rt_measure_model(r, rt_stage_run_text(r, "model"), r->result);
}

static const char *const refers[] = {"model", NULL};

const rt_stage_kind rt_stage_kind_eval = {.name = "eval",
                                          .summary = "measure the accuracy of a model",
                                          .setting = setting,
                                          .refers = refers,
                                          .input = "model",
                                          .check = check,
                                          .run = run};
