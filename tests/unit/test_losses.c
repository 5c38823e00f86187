/* Walks the table of losses: values computed independently, finite differences, extremes, parts of a batch, precision,
 * refusals. */
#include "base/alloc.h"
#include "loss/crd.h"
#include "pass/pass.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

#define OK(call) \
  do { \
    if ((call) != RT_OK) fail_msg("%s: %s", #call, rt_error()); \
  } while (0)

enum { S, T, FS0, FT0, FS1, FT1, ARRAYS, MOST = 4096 };
static const char *const array_name[ARRAYS] = {"s", "t", "fs0", "ft0", "fs1", "ft1"};

/* What a loss is computed of: float arrays in doubles, fed in the dtype under test. */
typedef struct problem {
  int64_t n, classes;
  int rank[ARRAYS];
  int64_t dim[ARRAYS][4];
  double value[ARRAYS][MOST];
  int64_t label[64];
} problem;

static int64_t elements(const problem *p, int a) {
  int64_t n = 1;
  for (int d = 0; d < p->rank[a]; d++) n *= p->dim[a][d];
  return n;
}

static void shape(problem *p, int a, int64_t c, int64_t h, int64_t w) {
  p->rank[a] = a < FS0 ? 2 : 4;
  p->dim[a][0] = p->n;
  p->dim[a][1] = c;
  p->dim[a][2] = h;
  p->dim[a][3] = w;
  assert_true(elements(p, a) <= MOST);
}

/* The input that the recorded values are of. */
static void golden_problem(problem *p) {
  *p = (problem){.n = 4, .classes = 5};
  for (int a = 0; a < ARRAYS; a++) a < FS0 ? shape(p, a, 5, 1, 1) : shape(p, a, 3, 2, 2);
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < 5; j++) {
      p->value[S][5 * i + j] = 2 * sin(1 + 5 * i + j);
      p->value[T][5 * i + j] = 3 * cos(0.5 + 5 * i + 2 * j);
    }
    p->label[i] = i;
  }
  for (int k = 0; k < 48; k++) {
    p->value[FS0][k] = sin(k);
    p->value[FT0][k] = cos(0.7 * k);
    p->value[FS1][k] = sin(0.3 * k + 1);
    p->value[FT1][k] = cos(1.1 * k + 2);
  }
}

/* Other shapes, of which some have to be adapted, and numbers without a pattern. */
static void varied_problem(problem *p, int64_t n, bool adapt, double scale) {
  *p = (problem){.n = n, .classes = 7};
  for (int a = 0; a < ARRAYS; a++) {
    bool teacher = a == FT0 || a == FT1;
    if (a < FS0)
      shape(p, a, 7, 1, 1);
    else
      shape(p, a, teacher && adapt ? 4 : 3, teacher && adapt ? 2 : 4, teacher && adapt ? 3 : 4);
    for (int64_t i = 0; i < elements(p, a); i++)
      p->value[a][i] = scale * sin(1.7 * (double)(i * i % 97) + 0.9 * (double)i + 2.3 * a);
  }
  for (int64_t i = 0; i < n; i++) p->label[i] = (3 * i + 1) % 7;
}

/* ---- a loss, built and run ---- */

typedef struct fixture {
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
  const problem *problem;
  rt_dtype dtype;
  bool fresh_z; /* crd's normaliser is found in the first batch, and not fixed */
} fixture;

static rt_value *build(fixture *f, const char *const *terms, int n, const char *options) {
  rt_graph *g = f->graph;
  const problem *p = f->problem;
  rt_value *in[ARRAYS];
  rt_dim batch = rt_symbol(g, "batch");
  for (int a = 0; a < ARRAYS; a++)
    in[a] =
        rt_input(g, array_name[a], f->dtype, p->rank[a], (rt_dim[]){batch, p->dim[a][1], p->dim[a][2], p->dim[a][3]});
  rt_layer student[] = {{"a", in[FS0]}, {"b", in[FS1]}}, teacher[] = {{"a", in[FT0]}, {"b", in[FT1]}};
  rt_loss_inputs inputs = {in[S], in[T], rt_input(g, "y", RT_S64, 1, &batch), student, teacher, 2, 2};
  rt_value *loss = rt_loss(g, terms, n, options, &inputs);
  if (loss) rt_mark_output(g, "loss", loss);
  return loss;
}

static fixture begin(const problem *p, rt_dtype dtype) {
  fixture f = {.problem = p, .dtype = dtype};
  OK(rt_store_new(&f.store));
  OK(rt_graph_new(f.store, &f.graph));
  return f;
}

static void end(fixture *f) {
  rt_plan_free(f->plan);
  rt_graph_free(f->graph);
  rt_store_free(f->store);
}

/* Gradients of the student's arrays as outputs "d0", "d2", "d4". */
static void differentiate(fixture *f, rt_value *loss) {
  for (int a = 0; a < ARRAYS; a++) {
    char name[16];
    rt_value *x = rt_find(f->graph, array_name[a]), *grad = NULL;
    OK(rt_gradients(loss, &x, 1, &grad));
    snprintf(name, sizeof name, "d%d", a);
    if (grad) rt_mark_output(f->graph, name, grad);
  }
  OK(rt_graph_status(f->graph));
}

static void compile(fixture *f, rt_kernels kernels) {
  rt_plan_options options = {.kernels = kernels};
  OK(rt_plan_new(f->graph, &options, &f->plan));
}

static fixture make(const problem *p, rt_dtype dtype, rt_kernels kernels, const char *term) {
  fixture f = begin(p, dtype);
  rt_value *loss = build(&f, &term, 1, NULL);
  OK(rt_graph_status(f.graph));
  differentiate(&f, loss);
  compile(&f, kernels);
  return f;
}

static void encode(rt_dtype dtype, const double *from, int64_t n, void *to) {
  rt_type type = rt_type_of(dtype, 1, &n);
  rt_tensor t = rt_tensor_view(&type, to);
  for (int64_t i = 0; i < n; i++) rt_store_at(&t, i, from[i]);
}

/* Every variable as at the start; crd's normaliser as if there had been a batch, where that is wanted. */
static void reset(fixture *f) {
  OK(rt_store_init(f->store, 7));
  for (int i = 0; i < rt_store_count(f->store); i++) {
    rt_variable_info v;
    OK(rt_store_info(f->store, i, &v));
    const char *suffix = strrchr(v.name, '.');
    if (f->fresh_z || !suffix || strcmp(suffix, ".log_z_set") != 0) continue;
    if (v.dtype == RT_F64)
      OK(rt_store_set(f->store, v.name, &(double){1}, 8));
    else
      OK(rt_store_set(f->store, v.name, &(float){1}, 4));
  }
}

static void run_more(fixture *f, const rt_feed *more, int n_more) {
  static double buffer[ARRAYS][MOST];
  const problem *p = f->problem;
  int64_t seed = 3, step = 0;
  rt_feed feeds[16];
  int n = 0;
  for (int a = 0; a < ARRAYS; a++) {
    encode(f->dtype, p->value[a], elements(p, a), buffer[a]);
    feeds[n++] = (rt_feed){array_name[a], p->rank[a], p->dim[a], buffer[a]};
  }
  feeds[n++] = (rt_feed){"y", 1, &p->n, p->label};
  if (rt_find(f->graph, "step")) {
    feeds[n++] = (rt_feed){.name = "step", .data = &step};
    feeds[n++] = (rt_feed){.name = "dropout_seed", .data = &seed};
  }
  for (int i = 0; i < n_more; i++) feeds[n++] = more[i];
  OK(rt_plan_run(f->plan, feeds, n));
}

static void run(fixture *f) {
  reset(f);
  run_more(f, NULL, 0);
}

static double scalar(const fixture *f, const char *name) {
  rt_result r;
  OK(rt_plan_result(f->plan, name, &r));
  assert_int_equal(r.rank, 0);
  return r.dtype == RT_F64 ? *(const double *)r.data : (double)*(const float *)r.data;
}

static double loss_of(fixture *f) {
  run(f);
  return scalar(f, "loss");
}

/* The value of terms in one dtype. */
static double value(const problem *p, rt_dtype dtype, rt_kernels kernels, const char *const *terms, int n,
                    const char *options) {
  fixture f = begin(p, dtype);
  build(&f, terms, n, options);
  OK(rt_graph_status(f.graph));
  compile(&f, kernels);
  double v = loss_of(&f);
  end(&f);
  return v;
}

static void check_near(const char *what, double found, double expected, double tolerance) {
  if (!(fabs(found - expected) <= tolerance * fabs(expected)))
    fail_msg("%s: expected %.10g, found %.10g", what, expected, found);
}

/* ---- values ---- */

static const struct {
  const char *terms[2], *options;
  double value;
} golden[] = {
    {{"kd:temperature=4"}, NULL, 3.638418527},
    {{"kd:temperature=4,t2=false"}, NULL, 3.638418527 / 16},
    {{"soft_cross_entropy:temperature=4"}, NULL, 27.459299301},
    {{"dkd:temperature=4,alpha=1,beta=0"}, NULL, 0.344785484},
    {{"dkd:temperature=4,alpha=0,beta=1"}, NULL, 4.118015672},
    {{"dkd:temperature=4,alpha=1,beta=8"}, NULL, 33.288910862},
    {{"hint:layers=a:a"}, NULL, 0.914059246},
    {{"attention_transfer:layers=a:a"}, NULL, 0.078696655},
    {{"attention_transfer:layers=a:a,norm=euclidean"}, NULL, 0.550221012},
    {{"rkd_distance:layers=a:a"}, NULL, 0.206694087},
    {{"rkd_angle:layers=a:a"}, NULL, 0.205679506},
    {{"rkd_distance:layers=a:a,weight=25", "rkd_angle:layers=a,weight=50"}, NULL, 15.451327503},
    {{"sp:layers=a:a"}, NULL, 0.480940065},
    {{"pkt:layers=a:a"}, NULL, 0.062822761},
    {{"nst:layers=a:a"}, NULL, 0.473049432},
    {{"fsp:layers=a:a+b:b"}, NULL, 0.178099954},
    {{"fsp"}, NULL, 0.178099954},
    {{"vid:layers=a:a"}, NULL, 0.896124881},
    {{"dist"}, NULL, 2.709671},
    {{"cross_entropy", "kd:temperature=1"}, NULL, 3.478398794},
    {{"jsd:beta=0"}, NULL, 2.015214789},
    {{"jsd:beta=0.1"}, NULL, 0.155092198},
    {{"jsd:beta=0.5"}, NULL, 0.379048935},
    {{"jsd:beta=1"}, NULL, 2.670632302},
    {{"reverse_kl"}, NULL, 2.670632302},
    {{"mgd:layers=a:a,mask=0,generator=false"}, NULL, 10.968710947},
};

static void golden_values(void **state) {
  problem p;
  golden_problem(&p);
  for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
    const char *const *terms = golden[i].terms;
    int n = terms[1] ? 2 : 1;
    check_near(terms[0], value(&p, RT_F64, RT_KERNELS_REFERENCE, terms, n, NULL), golden[i].value, 1e-6);
    check_near(terms[0], value(&p, RT_F32, RT_KERNELS_AUTO, terms, n, NULL), golden[i].value, 1e-4);
  }
  /* mutual learning, the other way round */
  for (int i = 0; i < MOST; i++) {
    double s = p.value[S][i];
    p.value[S][i] = p.value[T][i];
    p.value[T][i] = s;
  }
  const char *mutual[] = {"cross_entropy", "kd:temperature=1"};
  check_near("mutual", value(&p, RT_F64, RT_KERNELS_REFERENCE, mutual, 2, NULL), 5.885258965, 1e-6);
}

static void course_example(void **state) {
  problem p = {.n = 1, .classes = 3, .label = {1}};
  for (int a = 0; a < ARRAYS; a++) a < FS0 ? shape(&p, a, 3, 1, 1) : shape(&p, a, 1, 1, 1);
  const double s[] = {2, 5, 1}, t[] = {2.1, 5.8, 1.2};
  memcpy(p.value[S], s, sizeof s);
  memcpy(p.value[T], t, sizeof t);
  const char *hard[] = {"cross_entropy"}, *half[] = {"cross_entropy:weight=0.5", "kd:temperature=2,weight=0.5"};
  const char *two[] = {"cross_entropy", "kd:temperature=2"}, *four[] = {"kd", "cross_entropy"};
  check_near("hard", value(&p, RT_F64, RT_KERNELS_REFERENCE, hard, 1, NULL), 0.065883904, 1e-6);
  check_near("half", value(&p, RT_F64, RT_KERNELS_REFERENCE, half, 2, NULL), 0.052043178, 1e-6);
  check_near("alpha", value(&p, RT_F64, RT_KERNELS_REFERENCE, two, 2, "alpha=0.5 alpha_is=soft"), 0.052043178, 1e-6);
  for (int fast = 0; fast < 2; fast++) {
    rt_dtype dtype = fast ? RT_F32 : RT_F64;
    rt_kernels kernels = fast ? RT_KERNELS_AUTO : RT_KERNELS_REFERENCE;
    double tolerance = fast ? 1e-4 : 1e-6;
    check_near("hard α", value(&p, dtype, kernels, four, 2, "alpha=0.7 alpha_is=hard"), 0.062080713, tolerance);
    check_near("soft α", value(&p, dtype, kernels, four, 2, "alpha=0.3 alpha_is=soft"), 0.062080713, tolerance);
  }
}

/* The half of dkd that is about other classes doesn't see the target's logit, however large. */
static void target_left_out(void **state) {
  problem p;
  const char *others = "dkd:alpha=0,beta=1";
  golden_problem(&p);
  for (int fast = 0; fast < 2; fast++) {
    rt_dtype dtype = fast ? RT_F32 : RT_F64;
    rt_kernels kernels = fast ? RT_KERNELS_AUTO : RT_KERNELS_REFERENCE;
    for (int i = 0; i < 4; i++) {
      p.value[S][5 * i + i] = 1e4;
      p.value[T][5 * i + i] = -1e4;
    }
    check_near("others", value(&p, dtype, kernels, &others, 1, NULL), 4.118015672, fast ? 1e-4 : 1e-6);
  }
}

static void contrast(void **state) {
  const double P[] = {.9, .1, .2, .3, .5, .05, .4, .6};
  double log_p[8];
  for (int i = 0; i < 8; i++) log_p[i] = log(P[i]);
  problem p = {0};
  fixture f = begin(&p, RT_F64);
  rt_loss_build b = {.graph = f.graph, .term = "crd", .node = "loss.crd", .dtype = RT_F64};
  rt_value *each = rt_crd_samples(&b, rt_constant(f.graph, RT_F64, 2, (int64_t[]){2, 4}, log_p), NULL, 3, 10);
  rt_value *some =
      rt_crd_samples(&b, rt_constant(f.graph, RT_F64, 2, (int64_t[]){2, 4}, log_p),
                     rt_constant(f.graph, RT_F64, 2, (int64_t[]){2, 3}, (double[]){1, 0, 1, 0, 0, 0}), 3, 10);
  rt_mark_output(f.graph, "loss", rt_loss_op(&b, "mean", each, NULL));
  rt_mark_output(f.graph, "some", rt_loss_op(&b, "mean", some, NULL));
  OK(rt_graph_status(f.graph));
  compile(&f, RT_KERNELS_REFERENCE);
  OK(rt_plan_run(f.plan, NULL, 0));
  check_near("crd", scalar(&f, "loss"), 2.174701386, 1e-6);
  /* −½·[ln .9/1.2 + ln .3/.4 + ln .3/.6 + ln .5/.8] */
  check_near("crd with negatives that don't count", scalar(&f, "some"), 0.869257566, 1e-6);
  end(&f);
}

/* ---- gradients ---- */

/* A row with options that make its test small and its random choices few. */
static const char *small(const rt_loss_row *row) {
  static char text[128];
  snprintf(text, sizeof text, "%s%s", row->name,
           rt_option_find(row->options, "queue", 5) ? ":queue=6,width=4,images=20" : "");
  return text;
}

/* Elements whose gradient is checked: each is two runs, which take long where each access is watched, and in qemu. */
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__ || defined __aarch64__
enum { EVERY = 7 };
#else
enum { EVERY = 1 };
#endif

/* `teaches`: no gradient passes through what the array is. */
static void check_array(fixture *f, problem *p, int a, bool teaches, const char *term) {
  char name[16];
  rt_result r;
  double gradient[MOST];
  const double step = 1e-5;
  snprintf(name, sizeof name, "d%d", a);
  run(f);
  bool any = rt_find(f->graph, name) != NULL;
  if (any) OK(rt_plan_result(f->plan, name, &r));
  for (int64_t i = 0; i < elements(p, a); i++) gradient[i] = any ? ((const double *)r.data)[i] : 0;
  if (teaches) assert_false(any);
  for (int64_t i = 0; i < elements(p, a) && !teaches; i += EVERY) {
    double x = p->value[a][i];
    p->value[a][i] = x + step;
    double above = loss_of(f);
    p->value[a][i] = x - step;
    double below = loss_of(f), expected = (above - below) / (2 * step);
    p->value[a][i] = x;
    if (!(fabs(expected - gradient[i]) <= 2e-6 * (1 + fabs(expected))))
      fail_msg("%s: gradient of %s[%lld]: finite difference %.9g, found %.9g", term, array_name[a], (long long)i,
               expected, gradient[i]);
  }
}

/* What is trained along: f32 in the store, so a step that f32 can hold. */
static void check_parameters(problem *p, const char *term) {
  fixture f = begin(p, RT_F64);
  rt_value *loss = build(&f, &term, 1, NULL);
  for (int i = 0, n = f.graph->n_values; i < n; i++) {
    rt_value *v = f.graph->value[i], *grad = NULL;
    if (v->kind != RT_VALUE_VARIABLE || v->var->segment != RT_SEGMENT_PARAMETER) continue;
    OK(rt_gradients(loss, &v, 1, &grad));
    if (!grad) fail_msg("%s: %s gets no gradient", term, v->name);
    rt_mark_output(f.graph, v->name, grad);
  }
  OK(rt_graph_status(f.graph));
  compile(&f, RT_KERNELS_REFERENCE);
  for (int k = 0; k < f.graph->n_outputs; k++) {
    const char *name = f.graph->output[k].name;
    rt_var *var = rt_store_find(f.store, name);
    rt_result r;
    if (!var) continue;
    run(&f);
    OK(rt_plan_result(f.plan, name, &r));
    double gradient = r.dtype == RT_F64 ? *(const double *)r.data : *(const float *)r.data, value_at[2];
    for (int side = 0; side < 2; side++) {
      reset(&f);
      ((float *)var->data)[0] += side ? 0x1p-12f : -0x1p-12f;
      var->version++;
      run_more(&f, NULL, 0);
      value_at[side] = scalar(&f, "loss");
    }
    double expected = (value_at[1] - value_at[0]) / 0x1p-11;
    if (!(fabs(expected - gradient) <= 2e-4 * (fabs(expected) + 1e-2)))
      fail_msg("%s: gradient of %s[0]: finite difference %.9g, found %.9g", term, name, expected, gradient);
  }
  end(&f);
}

static void gradients(void **state) {
  for (int i = 0; i < rt_loss_count(); i++)
    for (int adapt = 0; adapt < 2; adapt++) {
      problem p;
      const rt_loss_row *row = rt_loss_at(i);
      const char *term = small(row);
      varied_problem(&p, 4, adapt, 1);
      fixture probe = begin(&p, RT_F64);
      bool fits = build(&probe, &term, 1, NULL) != NULL;
      if (!fits && !(adapt && strstr(rt_error(), "channels"))) fail_msg("%s", rt_error());
      end(&probe);
      if (!fits) continue;
      fixture f = make(&p, RT_F64, RT_KERNELS_REFERENCE, term);
      bool own = (row->needs & RT_LOSS_OWN_LAYERS) != 0; /* the student's logits teach its own layers */
      for (int a = 0; a < ARRAYS; a++) check_array(&f, &p, a, a % 2 || (own && a == S), term);
      end(&f);
      check_parameters(&p, term);
    }
}

/* ---- extremes ---- */

static void check_finite(fixture *f, const char *what) {
  run(f);
  for (int k = 0; k < f->graph->n_outputs; k++) {
    rt_result r;
    OK(rt_plan_result(f->plan, f->graph->output[k].name, &r));
    int64_t n = 1;
    for (int d = 0; d < r.rank; d++) n *= r.dim[d];
    rt_type type = rt_type_of(r.dtype, 1, &n);
    rt_tensor t = rt_tensor_view(&type, (void *)(uintptr_t)r.data);
    for (int64_t i = 0; i < n; i++)
      if (!isfinite(rt_load(&t, i)))
        fail_msg("%s, %s: %s[%lld] is %g", what, rt_dtype_name(f->dtype), f->graph->output[k].name, (long long)i,
                 rt_load(&t, i));
  }
}

/* Both kernels, f32 and bf16 inputs; and the f32 value is that of f64, as far as f32 can tell. */
static void check_extreme(const problem *p, const char *term) {
  static const rt_dtype dtypes[] = {RT_F32, RT_BF16};
  for (int d = 0; d < 2; d++)
    for (int fast = 0; fast < 2; fast++) {
      fixture f = make(p, dtypes[d], fast ? RT_KERNELS_AUTO : RT_KERNELS_REFERENCE, term);
      check_finite(&f, term);
      end(&f);
    }
}

static void extreme_logits(void **state) {
  static const double scales[] = {1e4, 1, 0};
  static const char *const temperatures[] = {"0.05", "0.3", "1", "20", "1000"};
  for (int i = 0; i < rt_loss_count(); i++) {
    const rt_loss_row *row = rt_loss_at(i);
    if (!(row->needs & RT_LOSS_STUDENT)) continue;
    bool has = rt_option_find(row->options, "temperature", 11) != NULL;
    for (int t = 0; t < (has ? 5 : 1); t++)
      for (int k = 0; k < 3; k++) {
        char term[64];
        problem p;
        snprintf(term, sizeof term, has ? "%s:temperature=%s" : "%s", row->name, temperatures[t]);
        varied_problem(&p, 5, false, scales[k]);
        for (int64_t j = 0; j < 7 && scales[k] > 1; j++) /* as far apart as they get */
          p.value[S][j] = j ? -1e4 : 1e4, p.value[T][j] = j ? 1e4 : -1e4;
        check_extreme(&p, term);
        if (scales[k] < 1) continue;
        const char *one = term;
        double wide = value(&p, RT_F64, RT_KERNELS_REFERENCE, &one, 1, NULL);
        double found = value(&p, RT_F32, RT_KERNELS_AUTO, &one, 1, NULL);
        if (fabs(found - wide) > 1e-3 * (fabs(wide) + (t == 4 ? 50 : 1)))
          fail_msg("%s at logits of %g: f64 %g, f32 %g", term, scales[k], wide, found);
      }
  }
}

/* Layers of zeros, of equal samples, and large. */
static void extreme_layers(void **state) {
  for (int i = 0; i < rt_loss_count(); i++) {
    const rt_loss_row *row = rt_loss_at(i);
    if (!(row->needs & (RT_LOSS_LAYERS | RT_LOSS_OWN_LAYERS))) continue;
    for (int kind = 0; kind < 3; kind++) {
      problem p;
      varied_problem(&p, 5, false, kind == 2 ? 1e3 : 0);
      for (int a = FS0; a < ARRAYS && kind == 1; a++)
        for (int64_t k = 0; k < elements(&p, a); k++) p.value[a][k] = 1 + (double)a;
      check_extreme(&p, small(row));
    }
  }
}

/* ---- parts of a batch ---- */

static problem part_of(const problem *p, int64_t from, int64_t n) {
  problem part = *p;
  part.n = n;
  for (int a = 0; a < ARRAYS; a++) {
    int64_t each = elements(p, a) / p->n;
    part.dim[a][0] = n;
    memcpy(part.value[a], p->value[a] + from * each, (size_t)(n * each) * sizeof(double));
  }
  memcpy(part.label, p->label + from, (size_t)n * sizeof *part.label);
  return part;
}

static void parts_of_a_batch(void **state) {
  for (int i = 0; i < rt_loss_count(); i++) {
    const rt_loss_row *row = rt_loss_at(i);
    problem p, part;
    char term[160];
    snprintf(term, sizeof term, "%s%s", small(row),
             rt_option_find(row->options, "mask", 4) ? ":mask=0" : ""); /* drawn anew for each batch */
    varied_problem(&p, 7, false, 1);
    fixture f = make(&p, RT_F64, RT_KERNELS_REFERENCE, term);
    f.fresh_z = true;
    double whole = loss_of(&f), sum = 0;
    for (int64_t from = 0, n = 2; from < 7; from += n, n = 5) {
      part = part_of(&p, from, n);
      f.problem = &part;
      sum += loss_of(&f) * (double)n / 7;
    }
    end(&f);
    bool same = fabs(sum - whole) <= 1e-12 * fabs(whole);
    if (same == row->couples_samples)
      fail_msg("%s says that it %s samples, but the whole batch gives %.15g, its parts %.15g", row->name,
               row->couples_samples ? "couples" : "doesn't couple", whole, sum);
  }
}

/* ---- schedules, precision, memory ---- */

static void schedules(void **state) {
  problem p;
  golden_problem(&p);
  const char *terms[] = {"kd:temperature=2,weight=3", "cross_entropy"},
             *other[] = {"kd:temperature=5", "cross_entropy"};
  fixture f = begin(&p, RT_F32);
  build(&f, terms, 2, NULL);
  OK(rt_graph_status(f.graph));
  compile(&f, RT_KERNELS_AUTO);
  run(&f);
  check_near("weighted", scalar(&f, "loss.kd.weighted"), 3 * scalar(&f, "loss.kd"), 1e-6);
  check_near("total", scalar(&f, "loss"), scalar(&f, "loss.kd.weighted") + scalar(&f, "loss.cross_entropy.weighted"),
             1e-6);
  float temperature = 5, weight = 1;
  rt_feed feeds[] = {{.name = "kd.temperature", .data = &temperature}, {.name = "kd.weight", .data = &weight}};
  run_more(&f, feeds, 2);
  check_near("fed", scalar(&f, "loss"), value(&p, RT_F32, RT_KERNELS_AUTO, other, 2, NULL), 1e-6);
  end(&f);
}

/* Two terms of a kind, and one under a name of its own. */
static void names(void **state) {
  problem p;
  golden_problem(&p);
  const char *terms[] = {"kd:temperature=1", "kd:as=warm,temperature=4", "kd:temperature=1"};
  fixture f = begin(&p, RT_F32);
  build(&f, terms, 3, NULL);
  OK(rt_graph_status(f.graph));
  compile(&f, RT_KERNELS_AUTO);
  run(&f);
  check_near("kd", scalar(&f, "loss.kd"), 2.015214789, 1e-4);
  check_near("warm", scalar(&f, "loss.warm"), 3.638418527, 1e-4);
  check_near("kd2", scalar(&f, "loss.kd2.weighted"), 2.015214789, 1e-4);
  assert_non_null(rt_find(f.graph, "warm.temperature"));
  end(&f);
}

/* Whatever the networks are cast to, only layers of an adapter go down with them. */
static void stays_f32(void **state) {
  for (int i = 0; i < rt_loss_count(); i++) {
    problem p;
    const char *term = small(rt_loss_at(i));
    golden_problem(&p);
    fixture f = begin(&p, RT_F32);
    build(&f, &term, 1, NULL);
    OK(rt_pass_cast(&f.graph, NULL, RT_BF16));
    for (int k = 0; k < f.graph->n_nodes; k++) {
      const rt_node *node = f.graph->node[k];
      if (node->op != RT_OP(conv2d) && node->op != RT_OP(cast) && node->out[0]->type.dtype == RT_BF16)
        fail_msg("%s: %s %s runs in bf16", term, node->op->name, node->name);
    }
    end(&f);
  }
}

static rt_status whole_life(const problem *p) {
  static const char *const terms[] = {"kd", "hint:layers=a:a+b", "rkd_angle:layers=a:a", "crd:queue=4,width=3"};
  fixture f = {.problem = p, .dtype = RT_F32};
  rt_status s = rt_store_new(&f.store);
  if (s == RT_OK) s = rt_graph_new(f.store, &f.graph);
  if (s == RT_OK) {
    build(&f, terms, 4, NULL);
    s = rt_graph_status(f.graph);
  }
  if (s == RT_OK) s = rt_pass_train(&f.graph, "loss", "optimizer=sgd");
  if (s == RT_OK) s = rt_pass_prune(&f.graph);
  if (s == RT_OK) s = rt_plan_new(f.graph, NULL, &f.plan);
  end(&f);
  return s;
}

static void failing_memory(void **state) {
  problem p;
  varied_problem(&p, 4, true, 1);
  int64_t live = rt_alloc_count().live, after = 0;
  for (rt_status s = RT_E_MEMORY; s != RT_OK; after++) {
    rt_alloc_fail_after(after);
    s = whole_life(&p);
    rt_alloc_fail_after(-1);
    if (s != RT_OK && s != RT_E_MEMORY) fail_msg("allocation %lld: %s", (long long)after, rt_error());
    assert_int_equal(rt_alloc_count().live, live);
  }
  assert_true(after > 10);
}

/* ---- refusals ---- */

static void refuse(const problem *p, const char *const *terms, int n, const char *options, const char *fragment) {
  fixture f = begin(p, RT_F32);
  if (build(&f, terms, n, options)) fail_msg("%s %s was accepted", terms[0], options ? options : "");
  if (!strstr(rt_error(), fragment)) fail_msg("%s: the sentence is: %s", terms[0], rt_error());
  assert_int_not_equal(rt_graph_status(f.graph), RT_OK);
  end(&f);
}

static void refuse_one(const problem *p, const char *term, const char *fragment) {
  refuse(p, &term, 1, NULL, fragment);
}

static void refusals(void **state) {
  problem p, q;
  golden_problem(&p);
  const char *both[] = {"cross_entropy", "kd"}, *zero[] = {"cross_entropy:weight=0", "kd:weight=0"};
  const char *heavy[] = {"cross_entropy", "kd:weight=0.5"}, *three[] = {"cross_entropy", "kd", "dkd"};
  refuse_one(&p, "kd:temperature=0", "kd: temperature=0 must be above 0");
  refuse_one(&p, "kd:temperature=-2", "kd: temperature=-2 must be above 0");
  refuse_one(&p, "dist:temperature=inf", "must be above 0");
  refuse_one(&p, "crd:temperature=0", "temperature=0 is outside");
  refuse_one(&p, "kd:weight=0", "weights are all zero");
  refuse_one(&p, "kd:weight=-1", "weight=-1 must be at least 0");
  refuse_one(&p, "kd:temprature=3", "did you mean temperature?");
  refuse_one(&p, "kdd", "did you mean kd?");
  refuse_one(&p, "jsd:beta=2", "beta=2 is outside 0 to 1");
  refuse_one(&p, "hint:layers=a:c", "the teacher has no layer c");
  refuse_one(&p, "hint:layers=c:a", "it has a, b");
  refuse_one(&p, "fsp:layers=a:a", "it needs 2 pairs of layers, found 1");
  refuse(&p, zero, 2, NULL, "weights are all zero");
  refuse(&p, both, 2, "alpha=0.7", "alpha_is=hard means 0.7·hard + 0.3·soft, alpha_is=soft means 0.3·hard + 0.7·soft");
  refuse(&p, both, 2, "alpha=1.5 alpha_is=hard", "alpha");
  refuse(&p, both, 2, "alpha_is=hard", "no alpha");
  refuse(&p, both, 1, "alpha=0.7 alpha_is=hard", "found 1 hard and 0 soft among 1");
  refuse(&p, three, 3, "alpha=0.7 alpha_is=hard", "found 1 hard and 2 soft among 3");
  refuse(&p, heavy, 2, "alpha=0.7 alpha_is=hard", "kd: weight=0.5 and alpha=0.7");
  refuse(&p, both, 0, NULL, "at least one term");
  q = p;
  q.dim[T][1] = 4;
  refuse_one(&q, "kd", "the student has 5 classes and the teacher 4");
  q = p;
  q.dim[S][1] = q.dim[T][1] = 2;
  refuse_one(&q, "dkd", "with 2 classes nothing is left");
  q = p;
  q.rank[FT0] = 3;
  refuse_one(&q, "hint", "layer a can't be adapted: expected N×C×H×W or N×C");
  q = p;
  q.dim[FT0][1] = 4;
  refuse_one(&q, "fsp", "3 channels in the student and 4 in the teacher");
  fixture f = begin(&p, RT_F32);
  const char *kd = "kd";
  assert_null(rt_loss(f.graph, &kd, 1, NULL, &(rt_loss_inputs){0}));
  assert_non_null(strstr(rt_error(), "kd: it needs the student's logits"));
  end(&f);
}

/* A class that isn't there is found when it runs. */
static void wrong_label(void **state) {
  problem p;
  golden_problem(&p);
  p.label[2] = 5;
  fixture f = make(&p, RT_F32, RT_KERNELS_AUTO, "dkd");
  float x[20] = {0};
  int64_t dim[] = {4, 5};
  rt_feed feeds[] = {{"s", 2, dim, x}, {"t", 2, dim, x}, {"y", 1, dim, p.label}};
  assert_int_not_equal(rt_plan_run(f.plan, feeds, 3), RT_OK);
  assert_non_null(strstr(rt_error(), "label[2] is 5; expected 0 to 4"));
  end(&f);
}

static void table(void **state) {
  for (int i = 0; i < rt_loss_count(); i++) {
    rt_loss_info info;
    char *text;
    OK(rt_loss_describe(i, &info));
    OK(rt_loss_options_text(info.name, &text));
    assert_non_null(strstr(text, "weight=1"));
    assert_true(info.formula[0] && info.paper[0] && info.needs);
    rt_text_free(text);
  }
  rt_loss_info info;
  assert_int_equal(rt_loss_describe(rt_loss_count(), &info), RT_E_RANGE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(golden_values),  cmocka_unit_test(course_example),   cmocka_unit_test(target_left_out),
      cmocka_unit_test(contrast),       cmocka_unit_test(gradients),        cmocka_unit_test(extreme_logits),
      cmocka_unit_test(extreme_layers), cmocka_unit_test(parts_of_a_batch), cmocka_unit_test(schedules),
      cmocka_unit_test(names),          cmocka_unit_test(stays_f32),        cmocka_unit_test(failing_memory),
      cmocka_unit_test(refusals),       cmocka_unit_test(wrong_label),      cmocka_unit_test(table),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
