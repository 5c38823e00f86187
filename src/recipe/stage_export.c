/* export: a model in another form of file. */
#include "recipe/recipe.h"

#include <cjson/cJSON.h>
#include <string.h>

static const rt_setting table[] = {
    {.name = "model", .fallback = "", .help = "a stage, or a file", .argument = "NAME"},
    {.name = "to",
     .fallback = "",
     .help = "a file in the recipe's directory, as in student.safetensors",
     .argument = "FILE"},
};

static rt_status setting(int i, rt_setting *out) { return rt_setting_at(table, sizeof table / sizeof *table, i, out); }

static rt_status check(const rt_pair *settings, int n) {
  int given = 0;
  for (int i = 0; i < n; i++) {
    given += *settings[i].text != 0;
    if (strcmp(settings[i].key, "to") == 0 && strchr(settings[i].text, '/'))
      return rt_fail(RT_E_ARGUMENT, "to=%s: expected a name without a directory", settings[i].text);
  }
  return n == 1 || given == 2 ? RT_OK : rt_fail(RT_E_ARGUMENT, "export needs from and to");
}

static rt_status run(rt_stage_run *r, bool *going) {
  char path[RT_RECIPE_PATH];
  rt_file *file;
  *going = true;
  rt_status s = rt_file_open(rt_stage_run_text(r, "model"), &file);
  if (s != RT_OK) return s;
  s = rt_file_convert(file, rt_recipe_path(r->all, path, "%s", rt_stage_run_text(r, "to")));
  rt_file_free(file);
  cJSON_AddStringToObject(r->result, "file", rt_stage_run_text(r, "to"));
  return s;
}

static const char *const refers[] = {"model", NULL};

const rt_stage_kind rt_stage_kind_export = {.name = "export",
                                            .summary = "write a model in another form",
                                            .setting = setting,
                                            .refers = refers,
                                            .input = "model",
                                            .check = check,
                                            .run = run};
