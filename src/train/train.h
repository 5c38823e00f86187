/* A training run: what its files share.
 *
 *   settings.c   the table of settings; what is left to "auto"; config.json
 *   student.c    a student that comes as a graph, from an .onnx file
 *   reinsert.c   its batch norms, where the exporter folded them
 *   teacher.c    teachers: from files or the table, in their form
 *   objective.c  terms of the loss, which layers they compare, what schedules change
 *   fed.c        what teachers say, where the step doesn't compute it
 *   cache.c      the same kept on disk
 *   outputs.c    a teacher that is what it said, brought from elsewhere
 *   graphs.c     graphs and plans of training and evaluation over one store; weights from and to files
 *   explain.c    all of that in words, before the first step
 *   dark.c       images with what teacher and student say of them, after the last
 *   qat.c        rounding as int8 does while it trains; the int8 file at the end
 *   int8.c       networks in int8, and rounded in float
 *   int8_file.c  their files
 *   whiten.c     filters that whiten patches, from the training images
 *   diagnose.c   which layer of a step that went wrong isn't finite
 *   directory.c  the run's directory, its lock, the lines of metrics.jsonl
 *   state.c      counters, to and from the checkpoint
 *   news.c       what is told to the listener, to metrics.jsonl and to TensorBoard
 *   loop.c       steps and epochs
 *   chain.c      runs that follow one another, each network the teacher of the next
 *   train.c      rt_train: all of it in order */
#ifndef RT_TRAIN_TRAIN_H
#define RT_TRAIN_TRAIN_H

#include "base/option.h"
#include "data/data.h"
#include "graph/graph.h"
#include "loss/loss.h"
#include "train/events.h"
#include "train/network.h"

/* ---- settings ---- */

enum { RT_PRECISION_AUTO, RT_PRECISION_FP32, RT_PRECISION_BF16, RT_PRECISION_INT8 }; /* int8: of teachers */
enum { RT_OPTIMIZER_AUTO, RT_OPTIMIZER_SGD, RT_OPTIMIZER_ADAMW, RT_OPTIMIZER_MUON };
enum { RT_TEACHER_EVAL, RT_TEACHER_TRAIN };
enum { RT_ALPHA_UNSAID, RT_ALPHA_HARD, RT_ALPHA_SOFT };

typedef struct rt_train_settings {
  const char *model, *data, *data_options, *augment;
  const char *teacher, *teacher_model, *teacher_mean, *teacher_std, *losses, *layers, *alpha, *teacher_weights,
      *schedules;
  int alpha_is, teacher_precision, teacher_mode;
  const char *cache_teacher, *teacher_outputs, *through, *peers;
  int64_t cache_top, generations, draws, epochs, batch, accumulate;
  int optimizer;
  const char *optimizer_options, *lr, *weight_decay, *schedule;
  double momentum, label_smoothing, clip, ema;
  bool nesterov, recompute;
  int precision, kernels, tta;
  int64_t seed;
  const char *init_seed, *order_seed, *augment_seed, *dropout_seed;
  double validation;
  int64_t patience;
  const char *init;
  const char *mean, *std;
  int quantize;
  const char *quantize_options;
  bool allow_partial, reinsert_batchnorm;
  int64_t threads, loader_threads, checkpoint_steps, log_steps;
  const char *out;
  bool resume;
} rt_train_settings;

/* What "auto" stands for is replaced by what it means, so that the same settings give the same run later. */
rt_status rt_settings_parse(rt_train_settings *o, const rt_pair *settings, int n, rt_arena *arena);
/* Those of a run that goes on: from its config.json where there is one, else as given. Given ones must agree with it. */
rt_status rt_settings_resume(rt_train_settings *o, const char *config, const rt_pair *settings, int n, rt_arena *arena);
/* After the data set is known: what depends on it. */
rt_status rt_settings_resolve(rt_train_settings *o, const rt_data_info *data, bool teachers, rt_arena *arena);
rt_status rt_settings_save(const rt_train_settings *o, const char *path);
/* A number that is one: after rt_settings_resolve none is "auto". */
double rt_settings_number(const char *text);
/* May a run that goes on be told it anew? Such a setting changes no bit of the model. */
bool rt_setting_is_free(const char *name);

/* ---- state: what a checkpoint holds beside the store ---- */

typedef struct rt_train_state {
  int64_t step;          /* steps made */
  int64_t epochs;        /* epochs made and evaluated */
  int64_t log_bytes;     /* length of metrics.jsonl */
  int64_t best_epoch;    /* -1: none yet */
  rt_score best;         /* validation of it */
  double loss_sum;       /* of this epoch's images so far */
  int64_t correct, seen; /* the same */
  double seconds;        /* of all so far */
} rt_train_state;

/* ---- the directory ---- */

typedef struct rt_run {
  char path[1024];
  int log; /* file descriptor of metrics.jsonl, locked; -1: not open */
} rt_run;

enum { RT_RUN_PATH = 1152 };

/* A new directory `out`, or the next free runs/NAME-N for NULL; an old one is only taken over to go on. */
rt_status rt_run_open(rt_run *run, const char *out, const char *name, bool resume);
void rt_run_close(rt_run *run);
const char *rt_run_path(const rt_run *run, const char *file, char buffer[RT_RUN_PATH]);
rt_status rt_run_line(rt_run *run, const char *json); /* appends it and a line end */
/* Bring metrics.jsonl back to the length it had at a checkpoint, and take away what killed writers left behind. */
rt_status rt_run_rewind(rt_run *run, int64_t bytes);
int64_t rt_run_length(const rt_run *run);

/* ---- what a student learns from ---- */

typedef struct rt_outputs rt_outputs;

typedef struct rt_teacher {
  const char *text;    /* as it was named: a file, or a model of the table */
  const char *prefix;  /* of its nodes: "teacher.", of several "teacher2." */
  rt_network *network; /* not compiled: its graph is the model's */
  rt_outputs *outputs; /* of one that is only known by what it said; its graph is inputs. NULL: it runs */
  double weight;       /* of its logits in the mean of all */
  uint64_t hash;       /* of its weights */
  bool trained;        /* false: drawn, of the table */
  bool peer; /* it learns along, from the others, and its weights are in the run's store; `network` is its plan */
} rt_teacher;

typedef struct rt_term {
  const char *text; /* as rt_loss takes it, with the layers it compares */
  const rt_loss_row *row;
  const rt_loss_options *options; /* the row's, which begin with these */
} rt_term;

/* A layer that a term compares. */
typedef struct rt_tap {
  const char *name;  /* as the term names it: "layer1", "teacher2.layer1" */
  const char *layer; /* the same in its own network */
  const char *shape; /* "64x8x8" */
  int network;       /* number of the teacher; RT_STUDENT */
} rt_tap;
enum { RT_STUDENT = -1 };

/* A scalar input that isn't the same at every step. */
typedef struct rt_scheduled {
  const char *name;
  rt_schedule *schedule;
} rt_scheduled;

enum { RT_MOST_TEACHERS = 8, RT_MOST_TERMS = 24, RT_MOST_TAPS = 128, RT_MOST_SCHEDULED = 16 };

typedef struct rt_objective {
  rt_teacher teacher[RT_MOST_TEACHERS];
  rt_term term[RT_MOST_TERMS];
  rt_tap tap[RT_MOST_TAPS];
  rt_scheduled scheduled[RT_MOST_SCHEDULED];
  int teachers, terms, taps, n_scheduled;
  /* Marked outputs "loss.TERM" and "loss.TERM.weighted", and what they came to in the last step. */
  const char *output[2 * RT_MOST_TERMS];
  double value[2 * RT_MOST_TERMS];
  int outputs;
} rt_objective;

/* ---- what teachers say, fed to the step ---- */

typedef struct rt_fed {
  const char *name; /* of the step's input: "teacher.logits", "teacher.layer2" */
  rt_dtype dtype;
  int rank;
  int64_t dim[RT_MAX_RANK]; /* dim[0] is the images of a part of a step */
  int64_t bytes;            /* of an image */
  char *data;               /* of the images that were asked for last */
  bool live;                /* the step reads it */
  rt_outputs *from;         /* NULL: of a teacher that runs */
} rt_fed;
enum { RT_MOST_FED = RT_MOST_TEACHERS + RT_MOST_TAPS };

typedef struct rt_cache rt_cache;

typedef struct rt_fed_list {
  rt_fed fed[RT_MOST_FED];
  int n;
  rt_graph *graph; /* the teachers alone, where the step has none */
  rt_plan *plan;
  rt_cache *cache; /* NULL: nothing is kept */
} rt_fed_list;

/* ---- quantization-aware training ---- */

typedef struct rt_qat_options {
  int target;
  const char *keep, *schemes, *observer, *observers;
  int64_t images;
  bool learned;
  rt_span freeze_statistics, freeze_ranges;
} rt_qat_options;

typedef struct rt_qat {
  rt_qat_options o;
  rt_record record;                         /* what runs in int8; its grids are in the run's store */
  int64_t freeze_statistics, freeze_ranges; /* steps */
  bool frozen;                              /* the training graph's batch norms use their running statistics */
} rt_qat;

/* ---- all of a run ---- */

typedef struct rt_trainer {
  rt_arena arena;
  rt_train_settings o;
  const char *from; /* file of the teacher that a chain made; NULL: those that the settings name */
  char model[64];   /* name, and its options */
  const char *model_options;
  rt_file *student_file; /* of a student that comes as a graph; else NULL */
  struct rt_onnx *student;
  float *vector; /* images that its file carries, with what it says of them */
  int64_t vectors;
  rt_data *data;
  rt_data_info info;
  rt_loader *loader, *validation; /* validation: NULL where nothing is held out */
  const char *normal;             /* "mean=… std=…", of its images */
  bool soft;                      /* targets are probabilities: mixup, cutmix */
  rt_objective objective;
  rt_fed_list fed;
  rt_qat qat;
  int64_t parameters; /* of the model */
  rt_store *store;
  rt_graph *training, *evaluation;
  rt_plan *train_plan, *evaluate_plan;
  rt_schedule *schedule;
  rt_metrics *metrics;
  rt_run run;
  rt_events *events;
  rt_train_state state;
  int64_t steps, epoch_steps; /* of the whole run, of an epoch */
  double lr;                  /* that the schedule multiplies */
  double grad_norm;           /* of the last step, before clipping */
  double rate;                /* images/s lately */
  double began;               /* rt_now() when state.seconds was 0 */
  double epoch_time;          /* seconds of this epoch's steps, and their images, since the process began */
  int64_t epoch_images;
  rt_score last; /* of the last evaluation */
  rt_listener *listen;
  void *context;
  bool saved; /* there is a checkpoint */
  bool stop;  /* the listener said so */
} rt_trainer;

/* ---- student.c: a model that is an .onnx file ---- */

rt_status rt_student_open(rt_trainer *t); /* where the settings name one: t->student is NULL else */
void rt_student_close(rt_trainer *t);
const char *rt_student_file(const rt_trainer *t, bool best); /* name of the model's file in the run's directory */
rt_status rt_student_build(const rt_trainer *t, rt_graph *g, rt_value **logits);
rt_status rt_student_start(rt_trainer *t); /* its own weights */
rt_status rt_student_norms(rt_trainer *t); /* first values of batch norms that are new */
rt_status rt_student_save(rt_trainer *t, rt_store *store, const char *path, const rt_pair *metadata, int n);

/* ---- teacher.c ---- */

/* Those that the settings name, compared with the data. */
rt_status rt_teachers_open(rt_trainer *t);
void rt_teachers_close(rt_trainer *t);
/* Frozen, and computed here: its outputs may be kept. */
bool rt_teacher_runs(const rt_trainer *t, int k);
/* How the file of a teacher is opened. */
rt_network_options rt_teacher_options(const rt_trainer *t);
/* It learned with another mean and deviation than the data's. */
bool rt_teacher_normalises(const rt_trainer *t, int k);
/* Append teacher k in its form and precision, reading images x; a peer as it trains. */
rt_status rt_teacher_inline(const rt_trainer *t, int k, rt_graph *g, rt_value *x, rt_value **logits, rt_layer *taps);

/* ---- fed.c ---- */

/* What is fed. The teachers in a graph of their own, where the settings ask for a cache; then a plan of it, once there is a training graph. */
rt_status rt_fed_open(rt_trainer *t);
rt_status rt_fed_plan(rt_trainer *t);
void rt_fed_close(rt_trainer *t);
/* As rt_teacher_inline, with inputs in the teacher's place. */
rt_status rt_fed_inline(const rt_trainer *t, int k, rt_graph *g, rt_value **logits, rt_layer *taps);
/* What is said of images `from` to `from + n` of a batch. */
rt_status rt_fed_take(rt_trainer *t, const rt_batch *batch, int64_t from, int64_t n);

/* ---- outputs.c ---- */

/* teacher->text is the file. Everything in it that is told is checked; arrays are read when they are wanted. */
rt_status rt_outputs_open(rt_trainer *t, rt_teacher *teacher);
void rt_outputs_free(rt_outputs *outputs);
/* Read the array behind an input of its graph; give n samples' rows of it. */
rt_status rt_outputs_load(rt_outputs *outputs, const char *input);
void rt_outputs_take(rt_outputs *outputs, const rt_fed *fed, const int64_t *id, int64_t n);

/* ---- cache.c ---- */

/* Compare the file with the run, if there is one; make one, once the run begins. */
rt_status rt_cache_open(rt_trainer *t);
rt_status rt_cache_begin(rt_trainer *t);
void rt_cache_close(rt_cache *cache);
void rt_cache_explain(const rt_cache *cache, rt_strbuf *out);
/* Take rows of n images; *missing of them aren't there. Then keep those of these images that weren't. */
rt_status rt_cache_read(rt_trainer *t, const int64_t *id, const int64_t *draw, int64_t n, int64_t *missing);
rt_status rt_cache_write(rt_trainer *t, const int64_t *id, const int64_t *draw, int64_t n);

/* ---- objective.c ---- */

/* The terms of the settings and the layers they compare; the teachers are open. */
rt_status rt_objective_open(rt_trainer *t);
void rt_objective_close(rt_trainer *t);
/* Mark what is tapped of a network (RT_STUDENT, or the number of a teacher) in its own graph, and find it again behind a
 * map of rt_graph_inline: taps, by number, gets values and names. */
rt_status rt_taps_mark(const rt_trainer *t, int network, rt_graph *own);
rt_value *rt_tap_find(rt_graph *g, const char *layer); /* NULL: it has none of that name */
void rt_taps_take(const rt_trainer *t, int network, rt_graph *own, rt_value *const *map, rt_layer *taps);
/* The total, from what the networks gave. */
rt_value *rt_objective_build(const rt_trainer *t, rt_graph *g, rt_value *student, rt_value *const *teacher,
                             rt_value *labels, const rt_layer *taps);
/* Once the training graph is there: outputs to be told, inputs to be scheduled. */
rt_status rt_objective_bind(rt_trainer *t);

/* ---- qat.c: nothing of it happens unless the settings say quantize ---- */

rt_status rt_qat_open(rt_trainer *t); /* once data and model are known */
void rt_qat_close(rt_trainer *t);
/* Brings the student's fused training graph to its rounded form. */
rt_status rt_qat_insert(const rt_trainer *t, rt_graph **own);
/* The record of the best epoch, in the run's directory. */
#define RT_QAT_RECORD "model.best.json"
bool rt_qat_freezes(const rt_trainer *t);        /* the next step needs another graph */
float rt_qat_observer_rate(const rt_trainer *t); /* of the next step */
rt_status rt_qat_start(rt_trainer *t);           /* first grids, from the first weights */
/* The network as it is now, in int8. */
rt_status rt_qat_network(const rt_trainer *t, rt_network **out);
rt_status rt_qat_save(rt_trainer *t, bool best); /* the record beside the model's file */
const char *rt_qat_file(const rt_trainer *t);    /* name of the int8 file */
/* That file, from the best epoch's weights and record; what the test images say of it. */
rt_status rt_qat_finish(rt_trainer *t, rt_score *test);
rt_status rt_qat_options_text(char **out); /* freed with rt_free */

/* ---- dark.c ---- */

/* At the end of a run with teachers: dark_knowledge.json, and images beside it. */
rt_status rt_dark_knowledge(const rt_trainer *t, rt_network *student);

/* ---- explain.c ---- */

/* "0.1·cross_entropy + 0.9·kd" */
void rt_explain_sum(const rt_trainer *t, rt_strbuf *out);
/* Parameters of what is trained along with the model. */
int64_t rt_adapter_parameters(const rt_trainer *t);
void rt_explain(const rt_trainer *t, rt_strbuf *out);

/* ---- graphs.c ---- */

rt_status rt_train_build(rt_trainer *t);
/* From now on batch norms use their running statistics: another training graph and plan. */
rt_status rt_train_freeze(rt_trainer *t);
/* The model, its logits from the input "x", marked. */
rt_status rt_train_model(const rt_trainer *t, rt_graph *g, rt_value **logits);
/* Append a network that trains, built over the run's store, in the run's precision; what is tapped of it is marked on the way. */
rt_status rt_train_inline(const rt_trainer *t, int network, rt_graph *own, rt_graph *g, rt_value **logits,
                          rt_layer *taps);
/* The forward graph up to its marked "logits" and "loss", fused and in the run's precision. */
rt_status rt_train_forward(const rt_trainer *t, rt_store *store, rt_graph **out);
rt_status rt_train_start(rt_trainer *t); /* first weights: drawn, or from the file `init` */
/* Variables that start as RT_INIT_WHITEN says. */
rt_status rt_train_whiten(rt_trainer *t);
rt_status rt_train_save_model(rt_trainer *t, const char *file);

/* ---- a step ---- */

enum { RT_MOST_FEEDS = 9 + RT_MOST_SCHEDULED + RT_MOST_FED };

/* What a plan is fed with; numbers it points to live here too. */
typedef struct rt_train_feeds {
  rt_feed feed[RT_MOST_FEEDS];
  int n;
  int64_t image[4], target[2], seed, draw;
  float lr, share, update, observer_rate, scheduled[RT_MOST_SCHEDULED];
} rt_train_feeds;

/* RT_E_DIVERGED, with what went wrong in the step that these feeds made. */
rt_status rt_train_diagnose(rt_trainer *t, const rt_train_feeds *feeds, double loss);

/* ---- state.c ---- */

rt_status rt_train_checkpoint(rt_trainer *t);
/* False in *found where there is no checkpoint yet. */
rt_status rt_train_restore(rt_trainer *t, bool *found);

/* ---- loop.c ---- */

/* Until the last epoch, patience or the listener ends it. */
rt_status rt_train_loop(rt_trainer *t, bool *stopped_early);

/* ---- train.c ---- */

/* A run with these settings, which aren't resolved yet; `from` is its teacher where a chain made one, else NULL. */
rt_status rt_train_one(const rt_train_settings *o, const char *from, rt_listener *listen, void *context,
                       rt_train_report *report);
rt_status rt_explain_one(const rt_train_settings *o, const char *from, rt_strbuf *text);

/* ---- chain.c ---- */

bool rt_chain_wanted(const rt_train_settings *o);
rt_status rt_train_chain(const rt_train_settings *o, rt_listener *listen, void *context, rt_train_report *report);
rt_status rt_chain_explain(const rt_train_settings *o, rt_strbuf *text);

/* ---- news.c: also to metrics.jsonl and TensorBoard ---- */

rt_status rt_news_begin(rt_trainer *t, bool resumed);
rt_status rt_news_note(rt_trainer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
rt_status rt_news_step(rt_trainer *t, double loss);
rt_status rt_news_images(rt_trainer *t, const rt_batch *batch);
/* One image as the network gets it, brought back to levels; freed with rt_image_release. */
rt_status rt_news_level(const rt_trainer *t, const float *x, rt_image *out);
void rt_news_evaluate(rt_trainer *t, int64_t done, int64_t all);
rt_status rt_news_epoch(rt_trainer *t, bool best);
rt_status rt_news_end(rt_trainer *t, const rt_train_report *report);

#endif
