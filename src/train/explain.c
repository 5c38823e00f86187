/* A run in words: what is added up, with its numbers put in, what is compared, what is trained along. */
#include "data/data.h"
#include "train/train.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- numbers in formulas ---- */

/* Letters that formulas have for options. */
static const struct {
  const char *letter, *option;
} letters[] = {{"T", "temperature"}, {"τ", "temperature"}, {"τ", "tau"}, {"α", "alpha"}, {"β", "beta"}, {"γ", "gamma"}};

static const char *option_text(const rt_term *term, const char *name, char text[64]) {
  const rt_option *o = rt_option_find(term->row->options, name, strlen(name));
  rt_strbuf value = {0};
  if (!o) return NULL;
  rt_option_print(o, term->options, &value);
  snprintf(text, 64, "%s", value.text ? value.text : "");
  rt_strbuf_release(&value);
  return text;
}

/* The option that a letter at p stands for: not in the middle of a word. */
static const char *letter_at(const rt_term *term, const char *begin, const char *p, size_t *length, char text[64]) {
  if (p > begin && (isalnum((unsigned char)p[-1]) || p[-1] == '_')) return NULL;
  for (size_t i = 0; i < sizeof letters / sizeof *letters; i++) {
    size_t n = strlen(letters[i].letter);
    if (strncmp(p, letters[i].letter, n) != 0 || isalnum((unsigned char)p[n])) continue;
    *length = n;
    const char *value = option_text(term, letters[i].option, text);
    if (value) return value;
  }
  return NULL;
}

static void add_formula(const rt_term *term, rt_strbuf *out) {
  char text[64];
  size_t n;
  for (const char *p = term->row->formula; *p;) {
    const char *value = letter_at(term, term->row->formula, p, &n, text);
    if (value) {
      rt_strbuf_add(out, "%s", value);
      p += n;
    } else {
      rt_strbuf_put(out, p++, 1);
    }
  }
}

/* "0.9", or what alpha makes of it. */
static void add_weight(const rt_trainer *t, const rt_term *term, rt_strbuf *out) {
  if (!*t->o.alpha) {
    rt_strbuf_add(out, "%g", term->options->weight);
    return;
  }
  bool hard = (term->row->needs & RT_LOSS_LABELS) && !(term->row->needs & RT_LOSS_TEACHER);
  double alpha = rt_settings_number(t->o.alpha);
  rt_strbuf_add(out, "%g", hard == (t->o.alpha_is == RT_ALPHA_HARD) ? alpha : 1 - alpha);
}

/* Its name, from the output that it marked. */
static const char *term_name(const rt_trainer *t, int i) {
  const rt_objective *o = &t->objective;
  return 2 * i < o->outputs ? o->output[2 * i] + strlen("loss.") : o->term[i].row->name;
}

void rt_explain_sum(const rt_trainer *t, rt_strbuf *out) {
  for (int i = 0; i < t->objective.terms; i++) {
    rt_strbuf_add(out, "%s", i ? " + " : "");
    add_weight(t, &t->objective.term[i], out);
    rt_strbuf_add(out, "·%s", term_name(t, i));
  }
}

static void add_terms(const rt_trainer *t, rt_strbuf *out) {
  const rt_objective *o = &t->objective;
  rt_strbuf_add(out, "loss      ");
  rt_explain_sum(t, out);
  rt_strbuf_add(out, "\n");
  for (int i = 0; i < o->terms; i++) {
    rt_strbuf_add(out, "          %s = ", term_name(t, i));
    add_formula(&o->term[i], out);
    rt_strbuf_add(out, "   (%s)\n", o->term[i].row->paper);
  }
  for (int i = 0; i < o->n_scheduled; i++) {
    const rt_scheduled *one = &o->scheduled[i];
    rt_strbuf_add(out, "          %s: %g at first, %g in the middle, %g at last\n", one->name,
                  rt_schedule_value(one->schedule, 0, t->steps),
                  rt_schedule_value(one->schedule, t->steps / 2, t->steps),
                  rt_schedule_value(one->schedule, t->steps - 1, t->steps));
  }
}

/* ---- networks ---- */

static const char *precision_text(int precision) { return precision == RT_PRECISION_BF16 ? "bf16" : "fp32"; }

static const char *teacher_precision_text(const rt_trainer *t, const rt_network_info *n) {
  return n->int8_target ? "int8" : precision_text(t->o.teacher_precision);
}

static int64_t count_parameters(const rt_store *store, const char *prefix) {
  int64_t n = 0;
  for (int i = 0; i < store->n; i++) {
    const rt_var *v = store->var[i];
    if (v->segment == RT_SEGMENT_PARAMETER && !v->alias && strncmp(v->name, prefix, strlen(prefix)) == 0)
      n += rt_type_elements(&v->type);
  }
  return n;
}

int64_t rt_adapter_parameters(const rt_trainer *t) { return count_parameters(t->store, "adapter."); }

static void add_networks(const rt_trainer *t, rt_strbuf *out) {
  const rt_objective *o = &t->objective;
  rt_strbuf_add(out, "student   %s, %s: %lld parameters, %s\n", t->model, t->model_options, (long long)t->parameters,
                precision_text(t->o.precision));
  for (int k = 0; k < o->teachers; k++) {
    const rt_teacher *teacher = &o->teacher[k];
    const rt_network_info *n = &teacher->network->info;
    if (teacher->outputs) {
      rt_strbuf_add(out, "teacher   what it said, in %s, weight %g\n", teacher->text, teacher->weight);
      continue;
    }
    if (teacher->peer) {
      rt_strbuf_add(out, "peer      %s, %s: %lld parameters, trained along\n", n->model, n->options,
                    (long long)count_parameters(teacher->network->store, ""));
      continue;
    }
    rt_strbuf_add(out, "teacher   %s, %s%s: %lld parameters, %s, %s%s, weight %g\n", n->model, teacher->text,
                  teacher->trained ? "" : " (untrained)", (long long)count_parameters(teacher->network->store, ""),
                  teacher_precision_text(t, n),
                  t->o.teacher_mode == RT_TEACHER_EVAL ? "evaluation form" : "batch norm of the batch",
                  rt_teacher_normalises(t, k) ? ", images converted to its mean and std" : "", teacher->weight);
  }
}

static void add_cache(const rt_trainer *t, rt_strbuf *out) {
  if (!t->fed.cache) return;
  rt_strbuf_add(out, "cache     ");
  rt_cache_explain(t->fed.cache, out);
  rt_strbuf_add(out, "\n");
}

/* ---- layers ---- */

static const rt_tap *find_tap(const rt_objective *o, bool student, const char *name, size_t length) {
  for (int i = 0; i < o->taps; i++)
    if ((o->tap[i].network == RT_STUDENT) == student && strlen(o->tap[i].name) == length &&
        strncmp(o->tap[i].name, name, length) == 0)
      return &o->tap[i];
  return NULL;
}

/* The pairs of a term, from its text: "hint:weight=1,layers=layer1:layer1+layer2:layer3". */
static void add_pairs(const rt_trainer *t, int i, rt_strbuf *out) {
  const rt_objective *o = &t->objective;
  const char *p = strstr(o->term[i].text, "layers=");
  for (p = p ? p + strlen("layers=") : ""; *p && *p != ','; p += *p == '+') {
    size_t n = strcspn(p, "+,"), colon = strcspn(p, ":");
    if (colon >= n) colon = n;
    const rt_tap *a = find_tap(o, true, p, colon);
    const rt_tap *b = colon < n ? find_tap(o, false, p + colon + 1, n - colon - 1) : find_tap(o, false, p, n);
    if (a && b)
      rt_strbuf_add(out, "layers    %s: %s %s of the student, %s %s of the teacher\n", term_name(t, i), a->name,
                    a->shape, b->name, b->shape);
    else if (a)
      rt_strbuf_add(out, "layers    %s: %s %s of the student\n", term_name(t, i), a->name, a->shape);
    p += n;
  }
}

static void add_adapters(const rt_trainer *t, rt_strbuf *out) {
  int64_t parameters = rt_adapter_parameters(t);
  for (int i = 0; i < t->store->n; i++) {
    const rt_var *v = t->store->var[i];
    char shape[RT_TYPE_TEXT];
    if (v->segment != RT_SEGMENT_PARAMETER || strncmp(v->name, "adapter.", 8) != 0) continue;
    rt_strbuf_add(out, "adapter   %s %s: %lld parameters\n", v->name, rt_type_text(NULL, &v->type, shape, sizeof shape),
                  (long long)rt_type_elements(&v->type));
  }
  if (parameters)
    rt_strbuf_add(out, "          %lld parameters are trained along; no model file has them\n", (long long)parameters);
}

void rt_explain(const rt_trainer *t, rt_strbuf *out) {
  rt_memory m = rt_plan_memory(t->train_plan);
  add_terms(t, out);
  add_networks(t, out);
  for (int i = 0; i < t->objective.terms; i++) add_pairs(t, i, out);
  add_adapters(t, out);
  add_cache(t, out);
  rt_strbuf_add(out, "data      %s: %lld training, %lld validation, %lld test images", t->info.kind,
                (long long)t->info.count[RT_TRAIN], (long long)t->info.count[RT_VALIDATION],
                (long long)t->info.count[RT_TEST]);
  if (t->data->unlabelled)
    rt_strbuf_add(out, "; %lld of the training images have no label", (long long)t->data->unlabelled);
  rt_strbuf_add(out, "\n");
  rt_strbuf_add(
      out, "steps     %lld of %lld images in %lld epochs; %.0f MB for what a step computes, %.0f MB for variables\n",
      (long long)t->steps, (long long)t->o.batch, (long long)t->o.epochs, (double)m.arena / 1e6, (double)m.store / 1e6);
}
