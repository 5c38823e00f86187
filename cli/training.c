#include "training.h"

#include "interrupt.h"
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>

static bool quiet, as_json;
static settings all = {.count = rt_train_setting_count, .at = rt_train_setting};

int training_flags(flag flags[MOST_TRAINING_FLAGS]) {
  int n = settings_flags(&all, flags, NULL);
  flags[n++] = (flag){"json", FLAG_BOOL, &as_json, NULL, "what happens, as lines of JSON on standard output"};
  flags[n++] = (flag){"quiet", FLAG_BOOL, &quiet, NULL, "only the result"};
  flags[n] = (flag){0};
  return n;
}

const char **training_value(const char *setting) { return settings_value(&all, setting); }

bool training_given(const char *setting) { return settings_given(&all, setting); }

static bool listen(void *context, const rt_news *news) {
  progress_tell(context, news);
  return !interrupted();
}

/* ---- the result ---- */

static void print_score(const char *name, const rt_score *s) {
  if (s->images)
    printf("%s accuracy %.2f %% (%lld of %lld)", name, 100 * s->top1, (long long)s->correct, (long long)s->images);
}

static int report(const rt_train_report *r, const char *verb) {
  if (r->interrupted) {
    fprintf(stderr, "%s: interrupted after step %lld; %s %s --resume --out %s goes on\n", PROGRAM, (long long)r->steps,
            PROGRAM, verb, r->directory);
    return EXIT_INTERRUPTED;
  }
  if (as_json) return EXIT_DONE; /* the last line said it */
  printf("%lld epoch%s in %.0f s%s; best is epoch %lld: ", (long long)r->epochs, r->epochs == 1 ? "" : "s", r->seconds,
         r->stopped_early ? ", stopped early" : "", (long long)r->best_epoch + 1);
  print_score("validation", &r->validation);
  if (r->validation.images && r->test.images) printf(", ");
  print_score("test", &r->test);
  printf("\n%s/%s\n", r->directory, r->model);
  return EXIT_DONE;
}

int training_run(const char *verb) {
  rt_pair pairs[MOST_SETTINGS];
  int n;
  int status = settings_collect(&all, pairs, &n);
  if (status != EXIT_DONE) return status;
  progress p = {.quiet = quiet, .json = as_json};
  rt_train_report r;
  catch_signals();
  rt_status s = rt_train(pairs, n, listen, &p, &r);
  progress_clear(&p);
  return s == RT_OK ? report(&r, verb) : complain(s);
}

int training_explain(void) {
  rt_pair pairs[MOST_SETTINGS];
  char *text;
  int n;
  int status = settings_collect(&all, pairs, &n);
  if (status != EXIT_DONE) return status;
  rt_status s = rt_train_explain(pairs, n, &text);
  if (s != RT_OK) return complain(s);
  fputs(text, stdout);
  rt_text_free(text);
  return EXIT_DONE;
}
