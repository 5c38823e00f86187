#include "training.h"

#include "interrupt.h"
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 40, JOINED = 1 << 14 };

static bool quiet, as_json;
static char names[MOST_SETTINGS][NAME], helps[MOST_SETTINGS][320];
static const char *values[MOST_SETTINGS]; /* what was given */
static bool given[MOST_SETTINGS];         /* the same, of those that are false unless given */
static texts lists[MOST_SETTINGS];        /* the same, of lists that are given one by one */

static int settings(void) {
  return rt_train_setting_count() < MOST_SETTINGS ? rt_train_setting_count() : MOST_SETTINGS;
}

/* "label_smoothing" is --label-smoothing; a list's flag is called after one of its elements and may come again. */
static flag setting_flag(int i) {
  rt_setting s;
  rt_train_setting(i, &s);
  snprintf(names[i], NAME, "%s", s.one ? s.one : s.name);
  for (char *c = names[i]; *c; c++)
    if (*c == '_') *c = '-';
  bool off = strcmp(s.fallback, "false") == 0; /* then the flag alone means true */
  bool told = !off && *s.fallback;
  snprintf(helps[i], sizeof helps[i], "%s%s%s%s%s", s.help, told ? " (" : "", told ? s.fallback : "", told ? ")" : "",
           s.one ? "; may come again" : "");
  if (off) return (flag){names[i], FLAG_BOOL, &given[i], NULL, helps[i]};
  if (s.one) return (flag){names[i], FLAG_TEXTS, &lists[i], s.argument, helps[i]};
  return (flag){names[i], FLAG_TEXT, &values[i], s.argument, helps[i]};
}

int training_flags(flag flags[MOST_TRAINING_FLAGS]) {
  int n = settings();
  for (int i = 0; i < n; i++) flags[i] = setting_flag(i);
  flags[n++] = (flag){"json", FLAG_BOOL, &as_json, NULL, "what happens, as lines of JSON on standard output"};
  flags[n++] = (flag){"quiet", FLAG_BOOL, &quiet, NULL, "only the result"};
  flags[n] = (flag){0};
  return n;
}

static int find(const char *setting) {
  rt_setting s;
  int i = 0;
  while (i < settings() - 1 && rt_train_setting(i, &s) == RT_OK && strcmp(s.name, setting) != 0) i++;
  return i;
}

const char **training_value(const char *setting) { return &values[find(setting)]; }

bool training_given(const char *setting) {
  int i = find(setting);
  return given[i] || values[i] || lists[i].n;
}

/* What was given, as settings: *n of them. */
static int collect(rt_pair *pairs, int *n) {
  static char joined[JOINED];
  size_t used = 0;
  *n = 0;
  for (int i = 0; i < settings(); i++) {
    rt_setting s;
    rt_train_setting(i, &s);
    if (given[i]) pairs[(*n)++] = (rt_pair){s.name, "true"};
    if (values[i]) pairs[(*n)++] = (rt_pair){s.name, values[i]};
    if (!lists[i].n) continue;
    pairs[(*n)++] = (rt_pair){s.name, joined + used};
    for (int k = 0; k < lists[i].n && used < JOINED; k++)
      used += (size_t)snprintf(joined + used, JOINED - used, "%s%s", k ? s.join : "", lists[i].text[k]);
    if (++used >= JOINED) return complain_usage("--%s: more than %d bytes in all", names[i], JOINED);
  }
  return EXIT_DONE;
}

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
  int status = collect(pairs, &n);
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
  int status = collect(pairs, &n);
  if (status != EXIT_DONE) return status;
  rt_status s = rt_train_explain(pairs, n, &text);
  if (s != RT_OK) return complain(s);
  fputs(text, stdout);
  rt_text_free(text);
  return EXIT_DONE;
}
