#include "loss_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void loss_run_close(loss_run *run) {
  rt_plan_free(run->plan);
  rt_graph_free(run->graph);
  rt_store_free(run->store);
  for (int i = 0; i < run->arrays; i++) free(run->array[i].data);
  *run = (loss_run){0};
}

/* ---- files ---- */

static int read_from(rt_file *file, const char *path, loss_array *a) {
  if (rt_file_count(file) != 1) return complain_usage("%s: expected one array, found %d", path, rt_file_count(file));
  rt_status s = rt_file_entry(file, 0, &a->info);
  if (s != RT_OK) return complain(s);
  for (int d = 0; d < a->info.rank; d++) a->dim[d] = a->info.dim[d];
  a->data = malloc((size_t)a->info.bytes + 1);
  if (!a->data) return complain_usage("%s: out of memory", path);
  s = rt_file_read(file, a->info.name, a->data, (size_t)a->info.bytes);
  a->info.name = path;
  a->info.dim = NULL; /* the file's */
  return s == RT_OK ? EXIT_DONE : complain(s);
}

/* The next array of the run, under an input's name. */
static int read_array(loss_run *run, const char *path, const char *name) {
  loss_array *a = &run->array[run->arrays];
  rt_file *file;
  rt_status s = rt_file_open(path, &file);
  if (s != RT_OK) return complain(s);
  snprintf(a->name, sizeof a->name, "%s", name);
  a->student = name[0] == 's';
  int status = read_from(file, path, a);
  rt_file_free(file);
  run->arrays++;
  return status;
}

/* Class numbers of any width become s64. */
static int widen(loss_array *a) {
  int64_t n = 1;
  for (int d = 0; d < a->info.rank; d++) n *= a->dim[d];
  rt_dtype from = a->info.dtype;
  if (from != RT_S32 && from != RT_U8 && from != RT_S8) return EXIT_DONE;
  int64_t *wide = malloc((size_t)n * sizeof *wide + 1);
  if (!wide) return complain_usage("%s: out of memory", a->info.name);
  for (int64_t i = 0; i < n; i++)
    wide[i] = from == RT_S32  ? ((const int32_t *)a->data)[i]
              : from == RT_U8 ? ((const uint8_t *)a->data)[i]
                              : ((const int8_t *)a->data)[i];
  free(a->data);
  a->data = wide;
  a->info.dtype = RT_S64;
  return EXIT_DONE;
}

static int read_layers(loss_run *run, const char *paths, const char *side) {
  char copy[4096], *rest;
  if (!paths) return EXIT_DONE;
  if (strlen(paths) >= sizeof copy) return complain_usage("the list of layers is longer than %zu bytes", sizeof copy);
  snprintf(copy, sizeof copy, "%s", paths);
  int n = 0;
  for (char *path = strtok_r(copy, ",", &rest); path; path = strtok_r(NULL, ",", &rest)) {
    char name[32];
    if (n == MOST_LOSS_LAYERS) return complain_usage("more than %d layers", MOST_LOSS_LAYERS);
    snprintf(name, sizeof name, "%s.layer%d", side, ++n);
    int status = read_array(run, path, name);
    if (status != EXIT_DONE) return status;
    run->array[run->arrays - 1].info.name = NULL; /* the copy's */
  }
  return EXIT_DONE;
}

static int read_all(loss_run *run, const loss_files *files) {
  int status = EXIT_DONE;
  if (files->student) status = read_array(run, files->student, "student");
  if (status == EXIT_DONE && files->teacher) status = read_array(run, files->teacher, "teacher");
  if (status == EXIT_DONE && files->labels) status = read_array(run, files->labels, "labels");
  if (status == EXIT_DONE && files->labels) status = widen(&run->array[run->arrays - 1]);
  if (status == EXIT_DONE) status = read_layers(run, files->student_layers, "student");
  if (status == EXIT_DONE) status = read_layers(run, files->teacher_layers, "teacher");
  return status;
}

/* ---- the graph ---- */

static rt_value *find(const loss_run *run, const char *name) {
  for (int i = 0; i < run->arrays; i++)
    if (strcmp(run->array[i].name, name) == 0) return run->array[i].value;
  return NULL;
}

/* Inputs "student.layer1" … as the layers "layer1" …. */
static int layers_of(const loss_run *run, const char *side, rt_layer *layer) {
  size_t length = strlen(side);
  int n = 0;
  for (int i = 0; i < run->arrays; i++) {
    const loss_array *a = &run->array[i];
    if (strncmp(a->name, side, length) == 0 && a->name[length] == '.')
      layer[n++] = (rt_layer){a->name + length + 1, a->value};
  }
  return n;
}

static rt_status differentiate(loss_run *run, rt_value *loss) {
  for (int i = 0; i < run->arrays; i++) {
    loss_array *a = &run->array[i];
    rt_value *gradient = NULL;
    char name[48];
    if (!a->student) continue;
    rt_status s = rt_gradients(loss, &a->value, 1, &gradient);
    if (s != RT_OK) return s;
    if (!gradient) continue;
    snprintf(name, sizeof name, "gradient of %s", a->name);
    rt_mark_output(run->graph, name, gradient);
    run->gradient_of[run->gradients++] = a->name;
  }
  return RT_OK;
}

static rt_status build(loss_run *run, const char *term, bool gradient) {
  rt_layer student[MOST_LOSS_LAYERS], teacher[MOST_LOSS_LAYERS];
  rt_status s = rt_store_new(&run->store);
  if (s == RT_OK) s = rt_graph_new(run->store, &run->graph);
  if (s != RT_OK) return s;
  for (int i = 0; i < run->arrays; i++) {
    loss_array *a = &run->array[i];
    a->value = rt_input(run->graph, a->name, a->info.dtype, a->info.rank, a->dim);
  }
  rt_loss_inputs in = {.student = find(run, "student"),
                       .teacher = find(run, "teacher"),
                       .labels = find(run, "labels"),
                       .student_layer = student,
                       .teacher_layer = teacher,
                       .student_layers = layers_of(run, "student", student),
                       .teacher_layers = layers_of(run, "teacher", teacher)};
  rt_value *loss = rt_loss(run->graph, &term, 1, NULL, &in);
  if (!loss) return rt_graph_status(run->graph);
  rt_mark_output(run->graph, "value", loss);
  return gradient ? differentiate(run, loss) : RT_OK;
}

static rt_status compute(loss_run *run, bool reference) {
  rt_plan_options options = {.kernels = reference ? RT_KERNELS_REFERENCE : RT_KERNELS_AUTO};
  rt_feed feeds[MOST_LOSS_ARRAYS + 2];
  int64_t zero = 0;
  int n = 0;
  for (int i = 0; i < run->arrays; i++) {
    const loss_array *a = &run->array[i];
    feeds[n++] = (rt_feed){a->name, a->info.rank, a->dim, a->data};
  }
  if (rt_find(run->graph, "step")) { /* of a loss that draws */
    feeds[n++] = (rt_feed){.name = "step", .data = &zero};
    feeds[n++] = (rt_feed){.name = "dropout_seed", .data = &zero};
  }
  rt_status s = rt_plan_new(run->graph, &options, &run->plan);
  if (s == RT_OK) s = rt_store_init(run->store, 0);
  return s == RT_OK ? rt_plan_run(run->plan, feeds, n) : s;
}

int loss_run_open(loss_run *run, const char *term, const loss_files *files, bool gradient, bool reference) {
  *run = (loss_run){0};
  int status = read_all(run, files);
  rt_status s = RT_OK;
  if (status == EXIT_DONE) {
    s = build(run, term, gradient);
    if (s == RT_OK) s = compute(run, reference);
    if (s != RT_OK) status = complain(s);
  }
  if (status != EXIT_DONE) loss_run_close(run);
  return status;
}

rt_status loss_run_value(const loss_run *run, double *out) {
  rt_result r;
  rt_status s = rt_plan_result(run->plan, "value", &r);
  if (s == RT_OK) *out = r.dtype == RT_F64 ? *(const double *)r.data : (double)*(const float *)r.data;
  return s;
}

rt_status loss_run_gradient(const loss_run *run, int i, rt_result *out) {
  char name[48];
  snprintf(name, sizeof name, "gradient of %s", run->gradient_of[i]);
  return rt_plan_result(run->plan, name, out);
}
