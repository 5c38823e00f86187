#include "command.h"
#include "interrupt.h"
#include "progress.h"

#include <stdlib.h>
#include <string.h>

static const char *out;
static texts set;
static bool dry, quiet, as_json;

static const flag flags[] = {
    {"out", FLAG_TEXT, &out, "DIR", "where everything goes (runs/NAME, after the recipe's name)"},
    {"set", FLAG_TEXTS, &set, "PATH=VALUE", "change the recipe, as in stages.0.epochs=2; may come again"},
    {"dry-run", FLAG_BOOL, &dry, NULL, "say what would be done, and how long it might take"},
    {"json", FLAG_BOOL, &as_json, NULL, "what happens, as lines of JSON on standard output"},
    {"quiet", FLAG_BOOL, &quiet, NULL, "only the result"},
    {0},
};

static bool listen(void *context, const rt_recipe_news *news) {
  progress *p = context;
  if (news->training) {
    progress_tell(p, news->training);
    return !interrupted();
  }
  progress_clear(p);
  if (!quiet && !as_json)
    fprintf(stderr, "[%d/%d] %s (%s)%s%s\n", news->index + 1, news->count, news->stage, news->kind,
            news->text ? ": " : "", news->text ? news->text : "");
  return !interrupted();
}

static int explain(const rt_recipe *recipe) {
  char *text;
  rt_status s = rt_recipe_explain(recipe, &text);
  if (s != RT_OK) return complain(s);
  fputs(text, stdout);
  rt_text_free(text);
  return EXIT_DONE;
}

static int run_all(rt_recipe *recipe) {
  char path[512];
  bool stopped = false;
  progress p = {.quiet = quiet, .json = as_json};
  snprintf(path, sizeof path, "runs/%s", rt_recipe_name(recipe));
  const char *to = out ? out : path;
  catch_signals();
  rt_status s = rt_recipe_run_all(recipe, to, listen, &p, &stopped);
  progress_clear(&p);
  if (s != RT_OK) return complain(s);
  if (stopped) {
    fprintf(stderr, "%s: interrupted; the same command goes on\n", PROGRAM);
    return EXIT_INTERRUPTED;
  }
  if (!as_json) printf("%s\n", to);
  return EXIT_DONE;
}

static int run(const char *const *arguments, int n) {
  rt_recipe *recipe;
  (void)n;
  rt_status s = rt_recipe_open(arguments[0], set.text, set.n, &recipe);
  if (s != RT_OK) return complain(s);
  int status = dry ? explain(recipe) : run_all(recipe);
  rt_recipe_free(recipe);
  return status;
}

const command command_run = {
    .name = "run",
    .arguments = "RECIPE.yaml",
    .summary = "run a recipe: train, distil, quantize, measure and report in stages",
    .example = "retort run recipes/smoke.yaml --out runs/smoke",
    .flags = flags,
    .least = 1,
    .most = 1,
    .run = run,
};
