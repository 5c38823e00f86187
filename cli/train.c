/* Training a model, with one flag a setting of the library's. */
#include "command.h"
#include "progress.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SETTINGS = 64, NAME = 40, OWN = 3, EXIT_INTERRUPTED = 130 };

static bool quiet, as_json;
static flag flags[MOST_SETTINGS + OWN + 1];
static char names[MOST_SETTINGS][NAME], helps[MOST_SETTINGS][256];
static const char *values[MOST_SETTINGS]; /* what was given */
static bool given[MOST_SETTINGS];         /* the same, of those that are false unless given */
static int n_settings;

/* A flag a row: "label_smoothing" is --label-smoothing. */
static void prepare(void) {
  n_settings = rt_train_setting_count() < MOST_SETTINGS ? rt_train_setting_count() : MOST_SETTINGS;
  for (int i = 0; i < n_settings; i++) {
    rt_setting s;
    rt_train_setting(i, &s);
    snprintf(names[i], NAME, "%s", s.name);
    for (char *c = names[i]; *c; c++)
      if (*c == '_') *c = '-';
    bool off = strcmp(s.fallback, "false") == 0; /* then the flag alone means true */
    bool told = !off && *s.fallback;
    snprintf(helps[i], sizeof helps[i], "%s%s%s%s", s.help, told ? " (" : "", told ? s.fallback : "", told ? ")" : "");
    flags[i] = off ? (flag){names[i], FLAG_BOOL, &given[i], NULL, helps[i]}
                   : (flag){names[i], FLAG_TEXT, &values[i], s.argument, helps[i]};
  }
  flags[n_settings] = (flag){"json", FLAG_BOOL, &as_json, NULL, "what happens, as lines of JSON on standard output"};
  flags[n_settings + 1] = (flag){"quiet", FLAG_BOOL, &quiet, NULL, "only the result"};
}

/* ---- interruption: the first signal asks for a checkpoint, the second one ends the program ---- */

static volatile sig_atomic_t interrupted;

static void interrupt(int signal) {
  (void)signal;
  interrupted = 1;
}

static void catch_signals(void) {
  struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

static bool listen(void *context, const rt_news *news) {
  progress_tell(context, news);
  return !interrupted;
}

/* ---- the result ---- */

static void print_score(const char *name, const rt_score *s) {
  if (s->images)
    printf("%s accuracy %.2f %% (%lld of %lld)", name, 100 * s->top1, (long long)s->correct, (long long)s->images);
}

static int report(const rt_train_report *r) {
  if (r->interrupted) {
    fprintf(stderr, "%s: interrupted after step %lld; %s train --resume --out %s goes on\n", PROGRAM,
            (long long)r->steps, PROGRAM, r->directory);
    return EXIT_INTERRUPTED;
  }
  if (as_json) return EXIT_DONE; /* the last line said it */
  printf("%lld epoch%s in %.0f s%s; best is epoch %lld: ", (long long)r->epochs, r->epochs == 1 ? "" : "s", r->seconds,
         r->stopped_early ? ", stopped early" : "", (long long)r->best_epoch + 1);
  print_score("validation", &r->validation);
  if (r->validation.images && r->test.images) printf(", ");
  print_score("test", &r->test);
  printf("\n%s/model.best.pth\n", r->directory);
  return EXIT_DONE;
}

static int run(const char *const *arguments, int n) {
  (void)arguments;
  (void)n;
  rt_pair pairs[MOST_SETTINGS];
  int count = 0;
  for (int i = 0; i < n_settings; i++) {
    rt_setting s;
    rt_train_setting(i, &s);
    if (given[i]) pairs[count++] = (rt_pair){s.name, "true"};
    if (values[i]) pairs[count++] = (rt_pair){s.name, values[i]};
  }
  progress p = {.quiet = quiet, .json = as_json};
  rt_train_report r;
  catch_signals();
  rt_status s = rt_train(pairs, count, listen, &p, &r);
  progress_clear(&p);
  return s == RT_OK ? report(&r) : complain(s);
}

const command command_train = {
    .name = "train",
    .arguments = "",
    .summary = "train a model on a data set",
    .example = "retort train --model resnet20 --data fashion-mnist --out runs/first",
    .flags = flags,
    .prepare = prepare,
    .run = run,
};
