/* How right a network is on a data set. */
#include "weights.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static const char *data_text, *data_options, *split_text = "test", *teacher_path, *teacher_model, *teacher_mean,
                                             *teacher_std;
static bool as_json, per_class;

static const flag flags[] = {
    {"data", FLAG_TEXT, &data_text, "NAME[:PATH]", "the data set (see retort data list)"},
    {"data-options", FLAG_TEXT, &data_options, "TEXT", "its options, as in \"validation=0.2\""},
    {"split", FLAG_TEXT, &split_text, "test|validation|train", "which part of it (test)"},
    WEIGHTS_FLAGS,
    {"teacher", FLAG_TEXT, &teacher_path, "FILE",
     "a network to compare with: agreement, divergence, calibration of both"},
    {"teacher-model", FLAG_TEXT, &teacher_model, "NAME[:OPTIONS]", "which model it is, where its file doesn't say it"},
    {"teacher-mean", FLAG_TEXT, &teacher_mean, "A,B,C", "what --mean is for the other"},
    {"teacher-std", FLAG_TEXT, &teacher_std, "A,B,C", "what --std is for the other"},
    {"per-class", FLAG_BOOL, &per_class, NULL, "a line for every class"},
    {"json", FLAG_BOOL, &as_json, NULL, "one JSON object on standard output, with classes and confusion matrix"},
    {0},
};

/* ---- the result ---- */

static void print_class(const rt_data_info *d, const int64_t *confusion, int64_t c) {
  const int64_t *row = confusion + c * d->classes;
  int64_t images = 0, worst = -1;
  for (int64_t k = 0; k < d->classes; k++) {
    images += row[k];
    if (k != c && row[k] > 0 && (worst < 0 || row[k] > row[worst])) worst = k;
  }
  printf("  %-20s %6.2f %%  %lld of %lld", d->class_name[c], images ? 100 * (double)row[c] / (double)images : 0,
         (long long)row[c], (long long)images);
  if (worst >= 0) printf("; %lld taken for %s", (long long)row[worst], d->class_name[worst]);
  printf("\n");
}

/* What was measured. */
typedef struct outcome {
  rt_metrics *metrics, *of_teacher; /* of_teacher: NULL without one */
  rt_agreement agreement;
} outcome;

static void print_agreement(const outcome *m) {
  rt_score t;
  rt_metrics_score(m->of_teacher, &t);
  printf("%s: %lld right: top-1 %.2f %%, loss %.4f, calibration error %.4f; agrees on %lld (%.2f %%), KL to it %.4f\n",
         teacher_path, (long long)t.correct, 100 * t.top1, t.loss, t.ece, (long long)m->agreement.agree,
         100 * (double)m->agreement.agree / (double)m->agreement.images, m->agreement.kl);
}

static int print_table(const char *path, const rt_data_info *d, const outcome *out) {
  const rt_metrics *m = out->metrics;
  rt_score s;
  rt_metrics_score(m, &s);
  printf(
      "%s: %lld of %lld %s images of %s are right: top-1 %.2f %%, top-5 %.2f %%, loss %.4f, calibration error %.4f\n",
      path, (long long)s.correct, (long long)s.images, split_text, d->kind, 100 * s.top1, 100 * s.top5, s.loss, s.ece);
  if (teacher_path) print_agreement(out);
  for (int64_t c = 0; per_class && c < d->classes; c++) print_class(d, rt_metrics_confusion(m), c);
  return EXIT_DONE;
}

static void add_teacher(cJSON *o, const outcome *m) {
  rt_score t;
  rt_metrics_score(m->of_teacher, &t);
  cJSON *part = cJSON_AddObjectToObject(o, "teacher");
  cJSON_AddStringToObject(part, "file", teacher_path);
  cJSON_AddNumberToObject(part, "correct", (double)t.correct);
  cJSON_AddNumberToObject(part, "top1", t.top1);
  cJSON_AddNumberToObject(part, "loss", t.loss);
  cJSON_AddNumberToObject(part, "ece", t.ece);
  cJSON_AddNumberToObject(part, "agree", (double)m->agreement.agree);
  cJSON_AddNumberToObject(part, "agreement", (double)m->agreement.agree / (double)m->agreement.images);
  cJSON_AddNumberToObject(part, "kl", m->agreement.kl);
}

static int print_result_json(const char *path, const rt_network *network, const rt_data_info *d, const outcome *m) {
  char *text;
  rt_status s = rt_metrics_json(m->metrics, d->class_name, true, &text);
  if (s != RT_OK) return complain(s);
  cJSON *o = weights_json(path, network), *measured = cJSON_Parse(text);
  rt_text_free(text);
  cJSON_AddStringToObject(o, "data", d->kind);
  cJSON_AddStringToObject(o, "split", split_text);
  for (cJSON *item; measured && (item = cJSON_DetachItemViaPointer(measured, measured->child));)
    cJSON_AddItemToObject(o, item->string, item);
  cJSON_Delete(measured);
  if (teacher_path) add_teacher(o, m);
  return print_json(o);
}

/* ---- the evaluation ---- */

static rt_status evaluate_beside(rt_network *network, const rt_data *data, const rt_data_info *d, rt_split split,
                                 outcome *m) {
  rt_network_info info;
  rt_network *teacher;
  rt_network_options o = {.model = teacher_model,
                          .mean = teacher_mean,
                          .std = teacher_std,
                          .channels = d->channels,
                          .height = d->height,
                          .width = d->width,
                          .classes = d->classes};
  rt_status s = rt_network_open(teacher_path, &o, &teacher);
  if (s != RT_OK) return s;
  rt_network_describe(teacher, &info);
  s = rt_metrics_new(info.classes, &m->of_teacher);
  if (s == RT_OK)
    s = rt_evaluate_beside(network, teacher, data, split, weights.batch, m->metrics, m->of_teacher, &m->agreement);
  rt_network_free(teacher);
  return s;
}

static int evaluate(const char *path, rt_network *network, const rt_data *data, const rt_data_info *d, rt_split split) {
  rt_network_info info;
  outcome m = {0};
  rt_network_describe(network, &info);
  if (!info.mean)
    fprintf(stderr, "%s: %s doesn't say mean and std: those of the data set's training images are used\n", PROGRAM,
            path);
  rt_status s = rt_metrics_new(info.classes, &m.metrics);
  if (s == RT_OK && teacher_path)
    s = evaluate_beside(network, data, d, split, &m);
  else if (s == RT_OK)
    s = rt_evaluate(network, data, split, weights.batch, m.metrics);
  int status = s != RT_OK ? complain(s) : as_json ? print_result_json(path, network, d, &m) : print_table(path, d, &m);
  rt_metrics_free(m.metrics);
  rt_metrics_free(m.of_teacher);
  return status;
}

static int run(const char *const *arguments, int n) {
  static const char *const splits[] = {"train", "validation", "test", NULL};
  (void)n;
  rt_data *data;
  rt_data_info d;
  rt_network *network;
  int split;
  if (!data_text) return complain_usage("eval: --data is missing: on what? (see %s data list)", PROGRAM);
  if (parse_choice("split", split_text, splits, &split) != EXIT_DONE) return EXIT_USAGE;
  int status = weights_open_data(arguments[0], data_text, data_options, &data);
  if (status != EXIT_DONE) return status;
  rt_data_describe(data, &d);
  rt_network_options o = {.channels = d.channels, .height = d.height, .width = d.width, .classes = d.classes};
  status = weights_open(arguments[0], o, &network);
  if (status == EXIT_DONE) {
    status = evaluate(arguments[0], network, data, &d, (rt_split)split);
    rt_network_free(network);
  }
  rt_data_free(data);
  return status;
}

const command command_eval = {
    .name = "eval",
    .arguments = "FILE",
    .summary = "how right a network is: accuracy, loss, calibration, confusion",
    .example = "retort eval resnet20.pth --data cifar10:DIR",
    .flags = flags,
    .least = 1,
    .most = 1,
    .run = run,
};
