/* A training run: what its files share.
 *
 *   settings.c   the table of settings; what is left to "auto"; config.json
 *   graphs.c     graphs and plans of training and evaluation over one store; weights from and to files
 *   diagnose.c   which layer of a step that went wrong isn't finite
 *   directory.c  the run's directory, its lock, the lines of metrics.jsonl
 *   state.c      counters, to and from the checkpoint
 *   news.c       what is told to the listener, to metrics.jsonl and to TensorBoard
 *   loop.c       steps and epochs
 *   train.c      rt_train: all of it in order */
#ifndef RT_TRAIN_TRAIN_H
#define RT_TRAIN_TRAIN_H

#include "base/option.h"
#include "data/data.h"
#include "graph/graph.h"
#include "train/events.h"

/* ---- settings ---- */

enum { RT_PRECISION_AUTO, RT_PRECISION_FP32, RT_PRECISION_BF16 };
enum { RT_OPTIMIZER_SGD, RT_OPTIMIZER_ADAMW, RT_OPTIMIZER_MUON };

typedef struct rt_train_settings {
  const char *model, *data, *data_options, *augment;
  int64_t epochs, batch, accumulate;
  int optimizer;
  const char *optimizer_options, *lr, *weight_decay, *schedule;
  double momentum, label_smoothing, clip, ema;
  bool nesterov;
  int precision, kernels;
  int64_t seed;
  const char *init_seed, *order_seed, *augment_seed, *dropout_seed;
  double validation;
  int64_t patience;
  const char *init;
  bool allow_partial;
  int64_t threads, loader_threads, checkpoint_steps, log_steps;
  const char *out;
  bool resume;
} rt_train_settings;

/* What "auto" stands for is replaced by what it means, so that the same settings give the same run later. */
rt_status rt_settings_parse(rt_train_settings *o, const rt_pair *settings, int n, rt_arena *arena);
/* Those of a run that goes on: from its config.json where there is one, else as given. Given ones must agree with it. */
rt_status rt_settings_resume(rt_train_settings *o, const char *config, const rt_pair *settings, int n, rt_arena *arena);
/* After the data set is known: what depends on it. */
rt_status rt_settings_resolve(rt_train_settings *o, const rt_data_info *data, rt_arena *arena);
rt_status rt_settings_save(const rt_train_settings *o, const char *path);
/* A number that is one: after rt_settings_resolve none is "auto". */
double rt_settings_number(const char *text);

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

/* ---- all of a run ---- */

typedef struct rt_trainer {
  rt_arena arena;
  rt_train_settings o;
  char model[64]; /* name, and its options */
  const char *model_options;
  rt_data *data;
  rt_data_info info;
  rt_loader *loader, *validation; /* validation: NULL where nothing is held out */
  bool soft;                      /* targets are probabilities: mixup, cutmix */
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

/* ---- graphs.c ---- */

rt_status rt_train_build(rt_trainer *t);
/* The forward graph up to its marked "logits" and "loss", fused and in the run's precision. */
rt_status rt_train_forward(const rt_trainer *t, rt_store *store, rt_graph **out);
rt_status rt_train_start(rt_trainer *t); /* first weights: drawn, or from the file `init` */
rt_status rt_train_save_model(rt_trainer *t, const char *file);

/* ---- a step ---- */

enum { RT_MOST_FEEDS = 8 };

/* What a plan is fed with; numbers it points to live here too. */
typedef struct rt_train_feeds {
  rt_feed feed[RT_MOST_FEEDS];
  int n;
  int64_t image[4], target[2], seed, draw;
  float lr, share, update;
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

/* ---- news.c: also to metrics.jsonl and TensorBoard ---- */

rt_status rt_news_begin(rt_trainer *t, bool resumed);
rt_status rt_news_note(rt_trainer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
rt_status rt_news_step(rt_trainer *t, double loss);
rt_status rt_news_images(rt_trainer *t, const rt_batch *batch);
void rt_news_evaluate(rt_trainer *t, int64_t done, int64_t all);
rt_status rt_news_epoch(rt_trainer *t, bool best);
rt_status rt_news_end(rt_trainer *t, const rt_train_report *report);

#endif
