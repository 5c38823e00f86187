/* Training runs that follow one another, each network the teacher of the next: born again (Furlanello et al. 2018), from a wider
 * one of its kind, through teacher assistants (Mirzadeh et al. 2020). The runs on the way are in OUT/1-MODEL, OUT/2-MODEL …, the
 * last is the run in OUT. Each goes on where it was, so the chain does. */
#include "train/train.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_LINKS = 32 };

typedef struct chain {
  const rt_train_settings *o;
  rt_arena arena;
  const char *model[MOST_LINKS]; /* on the way; the last is the student's */
  int n;
} chain;

static rt_status add_link(chain *c, const char *model, size_t length) {
  if (c->n == MOST_LINKS - 1)
    return rt_fail(RT_E_ARGUMENT, "train: more than %d networks on the way to the student", MOST_LINKS - 1);
  bool same = length == 4 && memcmp(model, "same", 4) == 0;
  c->model[c->n] = same ? c->o->model : rt_arena_text(&c->arena, "%.*s", (int)length, model);
  return c->model[c->n++] ? RT_OK : RT_E_MEMORY;
}

static rt_status list_links(chain *c) {
  const rt_train_settings *o = c->o;
  rt_status s = RT_OK;
  if (o->generations > 1 && *o->through)
    return rt_fail(RT_E_ARGUMENT,
                   "train: generations=%lld and through=%s both say what is trained before the student: "
                   "give one of them",
                   (long long)o->generations, o->through);
  for (const char *p = o->through; *p && s == RT_OK; p += *p == ';') {
    while (*p == ' ') p++;
    size_t n = strcspn(p, ";");
    if (n) s = add_link(c, p, n);
    p += n;
  }
  for (int64_t i = 1; i < o->generations && s == RT_OK; i++) s = add_link(c, "same", 4);
  c->model[c->n] = o->model;
  return s;
}

bool rt_chain_wanted(const rt_train_settings *o) { return o->generations > 1 || *o->through; }

/* What run i is told: all that the student's is, but for where it comes from. The first weights of each are drawn anew. */
static rt_status settings_of(chain *c, int i, const char *out, rt_train_settings *to) {
  double seed = strcmp(c->o->init_seed, "auto") == 0 ? (double)c->o->seed : rt_settings_number(c->o->init_seed);
  *to = *c->o;
  to->out = out;
  to->resume = true;
  if (i > 0) {
    to->teacher_model = to->teacher_mean = to->teacher_std = to->teacher_outputs = "";
    to->teacher_weights = "mean";
  }
  if (i == c->n) return RT_OK;
  to->model = c->model[i];
  to->init = "";
  to->init_seed = rt_arena_text(&c->arena, "%.0f", seed + c->n - i);
  if (i == 0 && !*to->teacher && !*to->teacher_outputs) { /* nobody to learn from yet */
    to->losses = "auto";
    to->alpha = to->schedules = "";
    to->alpha_is = RT_ALPHA_UNSAID;
  }
  return to->init_seed ? RT_OK : RT_E_MEMORY;
}

/* "OUT/2-resnet14" */
static const char *place(chain *c, const char *out, int i) {
  const char *model = strrchr(c->model[i], '/') ? strrchr(c->model[i], '/') + 1 : c->model[i];
  return i == c->n ? out : rt_arena_text(&c->arena, "%s/%d-%.*s", out, i + 1, (int)strcspn(model, ":"), model);
}

/* The directory with its config.json, so that the whole can go on by itself; a new one must be nobody's. */
static rt_status begin(chain *c, rt_run *run) {
  char name[256], path[RT_RUN_PATH];
  const rt_train_settings *o = c->o;
  snprintf(name, sizeof name, "%.*s-%.*s", (int)strcspn(o->model, ":/"), o->model, (int)strcspn(o->data, ":"), o->data);
  rt_status s = rt_run_open(run, o->out, name, o->resume);
  if (s == RT_OK && !o->resume) s = rt_settings_save(o, rt_run_path(run, "config.json", path));
  rt_run_close(run);
  return s;
}

static rt_status run_links(chain *c, const char *out, rt_listener *listen, void *context, rt_train_report *report) {
  const char *from = NULL;
  rt_status s = RT_OK;
  for (int i = 0; i <= c->n && s == RT_OK; i++) {
    rt_train_settings o;
    const char *where = place(c, out, i);
    s = where ? settings_of(c, i, where, &o) : RT_E_MEMORY;
    if (s == RT_OK) s = rt_train_one(&o, from, listen, context, report);
    if (s != RT_OK || report->interrupted) break;
    from = rt_arena_text(&c->arena, "%s/%s", report->directory, report->model);
    if (!from) s = RT_E_MEMORY;
  }
  return s;
}

rt_status rt_train_chain(const rt_train_settings *o, rt_listener *listen, void *context, rt_train_report *report) {
  chain c = {.o = o};
  rt_run run = {.log = -1};
  rt_status s = list_links(&c);
  if (s == RT_OK && *o->cache_teacher)
    s = rt_fail(RT_E_ARGUMENT,
                "train: cache_teacher keeps what one run's teachers say, and here each run has others: leave it "
                "out");
  if (s == RT_OK) s = begin(&c, &run);
  if (s == RT_OK) s = run_links(&c, run.path, listen, context, report);
  rt_arena_release(&c.arena);
  return s;
}

/* The student's run, with the network before it untrained in the teacher's place. */
rt_status rt_chain_explain(const rt_train_settings *o, rt_strbuf *text) {
  chain c = {.o = o};
  rt_train_settings last;
  rt_status s = list_links(&c);
  if (s == RT_OK) s = settings_of(&c, c.n, o->out, &last);
  rt_strbuf_add(text, "chain     ");
  for (int i = 0; i < c.n; i++) rt_strbuf_add(text, "%s%s", i ? " → " : *o->teacher ? "teacher → " : "", c.model[i]);
  rt_strbuf_add(text, " → %s: each learns from the one before it, in a run of its own; the last of them:\n", o->model);
  if (s == RT_OK) s = rt_explain_one(&last, c.n ? c.model[c.n - 1] : NULL, text);
  rt_arena_release(&c.arena);
  return s;
}
