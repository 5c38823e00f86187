/* report: OUT/report.html of all that was recorded before. */
#include "recipe/recipe.h"

#include <cjson/cJSON.h>

static const rt_setting table[] = {
    {.name = "baseline",
     .fallback = "",
     .help = "the model that others are compared with; left out: the first one",
     .argument = "NAME"},
};

static rt_status setting(int i, rt_setting *out) { return rt_setting_at(table, sizeof table / sizeof *table, i, out); }

static rt_status run(rt_stage_run *r, bool *going) {
  char path[RT_RECIPE_PATH];
  *going = true;
  rt_recipe_path(r->all, path, "report.html");
  rt_status s = rt_report(&r->all->out, 1, rt_stage_run_text(r, "baseline"), path);
  cJSON_AddStringToObject(r->result, "file", "report.html");
  return s;
}

const rt_stage_kind rt_stage_kind_report = {
    .name = "report", .summary = "a page of all results", .setting = setting, .always = true, .run = run};
