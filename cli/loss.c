#include "loss_files.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *student, *teacher, *labels, *student_layers, *teacher_layers, *out_path;
static bool list, with_gradient, as_json, reference;
static char term[1024]; /* "kd:temperature=4": options that other flags gave are appended */

static const flag flags[] = {
    {"list", FLAG_BOOL, &list, NULL, "what there is, with formula, paper and options"},
    {"student", FLAG_TEXT, &student, "FILE", "logits, N×C, as .npy; or its layers, where the loss compares layers"},
    {"teacher", FLAG_TEXT, &teacher, "FILE", "the same of the teacher"},
    {"labels", FLAG_TEXT, &labels, "FILE", "N class numbers"},
    {"student-features", FLAG_TEXT, &student_layers, "FILE,…", "layers, N×C×H×W or N×C, for losses that compare them"},
    {"teacher-features", FLAG_TEXT, &teacher_layers, "FILE,…", "the teacher's, in the same order"},
    {"grad", FLAG_BOOL, &with_gradient, NULL, "the gradient by the student as well"},
    {"out", FLAG_TEXT, &out_path, "FILE.npy", "write the gradient there"},
    {"reference", FLAG_BOOL, &reference, NULL, "plain loops instead of fast kernels"},
    {"json", FLAG_BOOL, &as_json, NULL, "one JSON object on standard output"},
    {0},
};

/* ---- the list ---- */

static cJSON *describe(const rt_loss_info *info, const char *options) {
  cJSON *o = cJSON_CreateObject(), *needs = cJSON_AddArrayToObject(o, "needs");
  static const char *const names[] = {"student", "teacher", "labels", "layers"};
  cJSON_AddStringToObject(o, "name", info->name);
  cJSON_AddStringToObject(o, "formula", info->formula);
  cJSON_AddStringToObject(o, "paper", info->paper);
  for (int i = 0; i < 4; i++)
    if (info->needs >> i & 1) cJSON_AddItemToArray(needs, cJSON_CreateString(names[i]));
  cJSON_AddBoolToObject(o, "couples_samples", info->couples_samples);
  cJSON_AddStringToObject(o, "options", options);
  return o;
}

static int print_list(void) {
  cJSON *all = cJSON_CreateArray();
  for (int i = 0; i < rt_loss_count(); i++) {
    rt_loss_info info;
    char *options = NULL;
    rt_status s = rt_loss_describe(i, &info);
    if (s == RT_OK) s = rt_loss_options_text(info.name, &options);
    if (s != RT_OK) {
      cJSON_Delete(all);
      return complain(s);
    }
    if (as_json)
      cJSON_AddItemToArray(all, describe(&info, options));
    else
      printf("%s: %s\n  %s%s\n%s\n", info.name, info.formula, info.paper,
             info.couples_samples ? "; couples the samples of a batch" : "", options);
    rt_text_free(options);
  }
  if (as_json) return print_json(all);
  cJSON_Delete(all);
  return EXIT_DONE;
}

/* ---- options of the loss ---- */

/* "--temperature 4" is what "kd:temperature=4" says; the loss itself knows its options. */
static int take_option(const char *name, const char *value) {
  static char more[768];
  size_t n = strlen(more);
  if (strpbrk(value, ", ") || n + strlen(name) + strlen(value) + 3 > sizeof more)
    return complain_usage("--%s %s: expected one value", name, value);
  snprintf(more + n, sizeof more - n, ",%s=%s", name, value);
  snprintf(term, sizeof term, "%s", more);
  return EXIT_DONE;
}

static bool join_term(const char *name) {
  char options[sizeof term];
  snprintf(options, sizeof options, "%s", term);
  bool colon = strchr(name, ':') != NULL;
  int n = snprintf(term, sizeof term, "%s%s%s", name, *options && !colon ? ":" : "",
                   colon ? options : options + !!*options);
  return n < (int)sizeof term;
}

/* What it needs; 0, with no complaint, for a name that isn't there: the library says that best. */
static unsigned needs_of(const char *name) {
  size_t n = strcspn(name, ":");
  for (int i = 0; i < rt_loss_count(); i++) {
    rt_loss_info info;
    if (rt_loss_describe(i, &info) == RT_OK && strlen(info.name) == n && strncmp(info.name, name, n) == 0)
      return info.needs;
  }
  return 0;
}

/* ---- results ---- */

static cJSON *nested(const rt_result *r, int axis, int64_t *at) {
  if (axis == r->rank) {
    double v = r->dtype == RT_F64 ? ((const double *)r->data)[*at] : (double)((const float *)r->data)[*at];
    ++*at;
    return cJSON_CreateNumber(v);
  }
  cJSON *list_of = cJSON_CreateArray();
  for (int64_t i = 0; i < r->dim[axis]; i++) cJSON_AddItemToArray(list_of, nested(r, axis + 1, at));
  return list_of;
}

static void print_gradient(const char *of, const rt_result *r) {
  double square = 0, most = 0;
  int64_t n = 1;
  printf("gradient of %s, ", of);
  for (int d = 0; d < r->rank; d++) {
    printf("%s%lld", d ? "x" : "", (long long)r->dim[d]);
    n *= r->dim[d];
  }
  for (int64_t i = 0; i < n; i++) {
    double v = r->dtype == RT_F64 ? ((const double *)r->data)[i] : (double)((const float *)r->data)[i];
    square += v * v;
    if (fabs(v) > most) most = fabs(v);
  }
  printf(": norm %.9g, largest %.9g\n", sqrt(square), most);
}

static rt_status write_gradient(const rt_result *r) {
  rt_array array = {.name = "gradient", .dtype = r->dtype, .rank = r->rank, .dim = r->dim, .data = r->data};
  return rt_file_write(out_path, &array, 1, NULL, 0);
}

static int print_results(const loss_run *run) {
  double value;
  rt_status s = loss_run_value(run, &value);
  if (s != RT_OK) return complain(s);
  cJSON *o = cJSON_CreateObject(), *gradients = NULL;
  cJSON_AddNumberToObject(o, "value", value);
  if (!as_json) printf("%s %.9g\n", term, value);
  for (int i = 0; i < run->gradients && s == RT_OK; i++) {
    rt_result r;
    int64_t at = 0;
    s = loss_run_gradient(run, i, &r);
    if (s == RT_OK && out_path) s = write_gradient(&r);
    if (s != RT_OK) break;
    if (!as_json) {
      print_gradient(run->gradient_of[i], &r);
      continue;
    }
    cJSON *values = nested(&r, 0, &at);
    if (run->gradients == 1)
      cJSON_AddItemToObject(o, "gradient", values);
    else
      cJSON_AddItemToArray(gradients ? gradients : (gradients = cJSON_AddArrayToObject(o, "gradient")), values);
  }
  if (s == RT_OK && as_json) return print_json(o);
  cJSON_Delete(o);
  return s == RT_OK ? EXIT_DONE : complain(s);
}

static int run_loss(const char *const *arguments, int n) {
  if (list) return print_list();
  if (n == 0) return complain_usage("loss: NAME is missing (see %s loss --list)", PROGRAM);
  if (!join_term(arguments[0])) return complain_usage("loss: more options than fit");
  unsigned needs = needs_of(arguments[0]);
  bool layers_only = needs == RT_LOSS_LAYERS && !student_layers && !teacher_layers;
  loss_files files = {.student = layers_only ? NULL : student,
                      .teacher = layers_only ? NULL : teacher,
                      .labels = labels,
                      .student_layers = layers_only ? student : student_layers,
                      .teacher_layers = layers_only ? teacher : teacher_layers};
  loss_run run;
  int status = loss_run_open(&run, term, &files, with_gradient || out_path, reference);
  if (status != EXIT_DONE) return status;
  status = out_path && run.gradients != 1
               ? complain_usage("loss: --out holds one array, but there are %d gradients", run.gradients)
               : print_results(&run);
  loss_run_close(&run);
  return status;
}

const command command_loss = {
    .name = "loss",
    .arguments = "NAME",
    .summary = "the value and the gradient of a loss, from arrays in files",
    .example = "retort loss kd --student s.npy --teacher t.npy --temperature 4 --grad",
    .flags = flags,
    .other = take_option,
    .least = 0,
    .most = 1,
    .run = run_loss,
};
