/* retort: make neural networks small and fast on CPUs. The only public header.
 *
 * Every fallible function returns an rt_status; rt_error() then gives the sentence: which file, node or tensor, what was
 * expected, what was found, what to do. The library never prints, exits or aborts. Objects made by rt_X_new are freed by
 * rt_X_free. A graph under construction keeps its first error: builders return NULL from then on, and rt_graph_status
 * tells it once at the end. Shapes are logical, in PyTorch's order (N, C, H, W), whatever the memory layout.
 *
 * One thread at a time may use a store and what was made over it; different stores are independent. */
#ifndef RETORT_H
#define RETORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RT_API __attribute__((visibility("default")))

#define RT_STATUS_LIST(X) \
  X(RT_OK, "ok") \
  X(RT_E_MEMORY, "out of memory") \
  X(RT_E_ARGUMENT, "wrong argument") \
  X(RT_E_SHAPE, "shapes do not fit") \
  X(RT_E_UNKNOWN, "unknown name") \
  X(RT_E_UNSUPPORTED, "not supported") \
  X(RT_E_RANGE, "value out of range") \
  X(RT_E_IO, "input or output failed") \
  X(RT_E_FORMAT, "damaged or refused file") \
  X(RT_E_DIVERGED, "not finite any more") \
  X(RT_E_INTERNAL, "internal error")

typedef enum rt_status {
#define RT_ID(id, text) id,
  RT_STATUS_LIST(RT_ID)
#undef RT_ID
} rt_status;

RT_API const char *rt_status_name(rt_status status);
/* The sentence of the last failure on this thread. Valid until the next one. */
RT_API const char *rt_error(void);
RT_API const char *rt_version(void);
/* The name most like `word` by edit distance, or NULL where none is near: for "did you mean". */
RT_API const char *rt_nearest_name(const char *word, const char *const *names, int n);

/* X(identifier, name, bytes, is floating) */
#define RT_DTYPE_LIST(X) \
  X(RT_F32, "f32", 4, true) \
  X(RT_BF16, "bf16", 2, true) \
  X(RT_F16, "f16", 2, true) \
  X(RT_F64, "f64", 8, true) \
  X(RT_S64, "s64", 8, false) \
  X(RT_S32, "s32", 4, false) \
  X(RT_S8, "s8", 1, false) \
  X(RT_U8, "u8", 1, false) \
  X(RT_BOOL, "bool", 1, false)

typedef enum rt_dtype {
#define RT_ID(id, name, size, is_float) id,
  RT_DTYPE_LIST(RT_ID)
#undef RT_ID
} rt_dtype;

RT_API const char *rt_dtype_name(rt_dtype dtype);

/* ---- threads ---- */

/* Threads that every loop uses; at first, as many as there are processors (or OMP_NUM_THREADS). */
RT_API int rt_threads(void);
RT_API rt_status rt_set_threads(int n);

/* ---- store: the variables, by name ---- */

typedef struct rt_store rt_store;

typedef enum rt_init_kind {
  RT_INIT_ZERO,
  RT_INIT_CONSTANT, /* a */
  RT_INIT_UNIFORM,  /* in [a, b) */
  RT_INIT_NORMAL,   /* mean a, standard deviation b */
  RT_INIT_DIRAC,    /* filter o hands on channel o, as PyTorch's dirac_; those there is no channel for lie in [a, b) */
  RT_INIT_WHITEN, /* filters that whiten patches: rt_train takes them from its images; till then unit vectors, and again
                     * with the other sign */
} rt_init_kind;

typedef struct rt_init {
  rt_init_kind kind;
  double a, b;
} rt_init;

RT_API rt_status rt_store_new(rt_store **out);
RT_API void rt_store_free(rt_store *store); /* after every graph and plan over it */
/* Give every variable its initial value, drawn from `seed` and its name: the order of declaration doesn't matter. */
RT_API rt_status rt_store_init(rt_store *store, uint64_t seed);
/* Copy a whole variable in or out, row major in its own dtype; `bytes` must be its size. */
RT_API rt_status rt_store_set(rt_store *store, const char *name, const void *data, size_t bytes);
RT_API rt_status rt_store_get(rt_store *store, const char *name, void *data, size_t bytes);

/* Another name for a variable: tied weights. Graphs that ask for `name` get the variable `of` itself. */
RT_API rt_status rt_store_alias(rt_store *store, const char *name, const char *of);

typedef struct rt_variable_info {
  const char *name;
  rt_dtype dtype;
  int rank;
  const int64_t *dim;
  bool parameter; /* false: statistics and optimizer state */
} rt_variable_info;
RT_API int rt_store_count(const rt_store *store);
RT_API rt_status rt_store_info(const rt_store *store, int i, rt_variable_info *out);

/* ---- graph ---- */

typedef struct rt_graph rt_graph;
typedef struct rt_value rt_value;
typedef int64_t rt_dim; /* a number, or a symbol made by rt_symbol */

RT_API rt_status rt_graph_new(rt_store *store, rt_graph **out); /* borrows the store */
RT_API void rt_graph_free(rt_graph *graph);
/* RT_OK, or the first failure of building; restores its sentence. */
RT_API rt_status rt_graph_status(const rt_graph *graph);

/* A dimension that stays open until a plan binds it: "batch", "length". The same name is the same symbol. */
RT_API rt_dim rt_symbol(rt_graph *graph, const char *name);
RT_API rt_value *rt_input(rt_graph *graph, const char *name, rt_dtype dtype, int rank, const rt_dim *dim);
/* A scalar f32 input that a schedule may change from step to step without a new plan. Where it isn't fed it has the
 * value `fallback`; NaN means that it must be fed. */
RT_API rt_value *rt_scalar_input(rt_graph *graph, const char *name, double fallback);
RT_API rt_value *rt_constant(rt_graph *graph, rt_dtype dtype, int rank, const int64_t *dim,
                             const void *data);            /* copied */
RT_API rt_value *rt_scalar(rt_graph *graph, double value); /* f32 constant of rank 0 */
/* A trainable variable; shared with every other graph over the store that names it. Takes the scope's prefix. */
RT_API rt_value *rt_parameter(rt_graph *graph, const char *name, int rank, const int64_t *dim, rt_init init);
/* A variable that no optimizer touches: running statistics, queues. */
RT_API rt_value *rt_statistic(rt_graph *graph, const char *name, rt_dtype dtype, int rank, const int64_t *dim,
                              rt_init init);

/* Names of nodes and variables made until the matching pop begin with "name.". One part at a time: no dots. */
RT_API void rt_scope_push(rt_graph *graph, const char *name);
RT_API void rt_scope_pop(rt_graph *graph);

/* Any op of the table (rt_op_count, rt_op_name): options as in "stride=2 padding=1". An optional input left out is
 * NULL. `name` may be NULL. Returns the first output. */
RT_API rt_value *rt_apply(rt_graph *graph, const char *op, const char *name, rt_value *const *in, int n_in,
                          const char *options);
/* Another output of the node that made this value. */
RT_API rt_value *rt_output(rt_value *value, int index);
/* Keep a value as a result, under this name, whatever passes do. */
RT_API void rt_mark_output(rt_graph *graph, const char *name, rt_value *value);
RT_API rt_value *rt_find(rt_graph *graph, const char *name); /* a marked output or an input, else NULL */

/* A layer: the last result of the node of this name, "layer1.0.conv1", or behind this scope, "layer1.0" or "layer1"; NULL
 * where there is none. Passes change what there is: look before them. */
RT_API rt_value *rt_find_layer(rt_graph *graph, const char *name);
typedef struct rt_layer_info {
  const char *name;
  rt_dtype dtype;
  int rank;
  int64_t dim[8]; /* -1: open until a plan binds it */
} rt_layer_info;
/* All of them, scopes too; the list is in the graph. */
RT_API rt_status rt_graph_layers(rt_graph *graph, const rt_layer_info **out, int *n);

typedef struct rt_value_type {
  rt_dtype dtype;
  int rank;
  rt_dim dim[8]; /* below 0: a symbol */
} rt_value_type;
RT_API rt_value_type rt_value_type_of(const rt_value *value);

RT_API int rt_op_count(void);
RT_API const char *rt_op_name(int i);

/* Layers that people write by hand; parameters are named "name.weight", "name.bias", as PyTorch's modules name them,
 * and start as PyTorch's start. x: N×C×H×W for conv2d, batch norm, pooling; …×K for linear. */
RT_API rt_value *rt_conv2d(rt_graph *graph, const char *name, rt_value *x, int64_t out_channels, int64_t kernel,
                           bool bias, const char *options);
RT_API rt_value *rt_linear(rt_graph *graph, const char *name, rt_value *x, int64_t out_features, bool bias);
/* Batch norm in training form; the pass rt_eval turns it into its evaluation form. */
RT_API rt_value *rt_batch_norm(rt_graph *graph, const char *name, rt_value *x);
RT_API rt_value *rt_layer_norm(rt_graph *graph, const char *name, rt_value *x);
RT_API rt_value *rt_embedding(rt_graph *graph, const char *name, rt_value *ids, int64_t count, int64_t width);
RT_API rt_value *rt_dropout(rt_graph *graph, const char *name, rt_value *x, rt_value *rate);
RT_API rt_value *rt_relu(rt_graph *graph, rt_value *x);
RT_API rt_value *rt_add(rt_graph *graph, rt_value *a, rt_value *b);
RT_API rt_value *rt_sub(rt_graph *graph, rt_value *a, rt_value *b);
RT_API rt_value *rt_mul(rt_graph *graph, rt_value *a, rt_value *b);
RT_API rt_value *rt_div(rt_graph *graph, rt_value *a, rt_value *b);
/* Mean cross-entropy of logits (N×C) and targets (N class numbers, s64; or N×C probabilities): sum / count. */
RT_API rt_value *rt_cross_entropy(rt_graph *graph, rt_value *logits, rt_value *target, const char *options);

/* Text, one line a node; or Graphviz's DOT. Freed with rt_text_free. */
RT_API rt_status rt_graph_text(const rt_graph *graph, char **out);
RT_API rt_status rt_graph_dot(const rt_graph *graph, char **out);
RT_API void rt_text_free(char *text);

/* ---- passes: graph to graph ---- */

/* Emit the gradient of a scalar into its own graph. wrt[i] gets its gradient in grad[i], NULL where none reaches it. */
RT_API rt_status rt_gradients(rt_value *loss, rt_value *const *wrt, int n, rt_value **grad);

/* Each of these replaces *graph by a rewritten one (the old one is freed); on failure it stays as it was. `scope` limits
 * the pass to nodes whose name begins with it; NULL means all. */
RT_API rt_status rt_pass_eval(rt_graph **graph, const char *scope);            /* evaluation form, no dropout */
RT_API rt_status rt_pass_fold_batch_norm(rt_graph **graph, const char *scope); /* evaluation form into conv weights */
RT_API rt_status rt_pass_fuse(rt_graph **graph, const char *scope); /* + add + relu into conv and batch norm */
RT_API rt_status rt_pass_cast(rt_graph **graph, const char *scope, rt_dtype dtype); /* compute in bf16 */
RT_API rt_status rt_pass_layout(rt_graph **graph);
RT_API rt_status rt_pass_prune(rt_graph **graph);

/* ---- plan ---- */

typedef struct rt_plan rt_plan;

typedef enum rt_kernels {
  RT_KERNELS_AUTO,
  RT_KERNELS_DIRECT,    /* no Winograd: its rounding errors are somewhat larger */
  RT_KERNELS_REFERENCE, /* plain loops */
} rt_kernels;

typedef struct rt_plan_options {
  rt_kernels kernels;
  int64_t memory_limit; /* bytes; 0: what the machine has available */
  bool profile;         /* time every node */
} rt_plan_options;

/* Runs the marked outputs and assigns of a graph. Borrows graph and store; each set of shapes that inputs arrive with is
 * bound once and kept, and all of them share one arena. */
RT_API rt_status rt_plan_new(rt_graph *graph, const rt_plan_options *options, rt_plan **out);
RT_API void rt_plan_free(rt_plan *plan);

typedef struct rt_feed {
  const char *name; /* of the input */
  int rank;
  const int64_t *dim;
  const void *data; /* row major, in the input's dtype */
} rt_feed;

typedef struct rt_result {
  rt_dtype dtype;
  int rank;
  int64_t dim[8];
  const void *data; /* row major; valid until the plan, or another of the same store, runs again */
} rt_result;

/* Bind shapes only (data may be NULL): memory is planned, nothing runs. rt_plan_memory is known after it. */
RT_API rt_status rt_plan_bind(rt_plan *plan, const rt_feed *feeds, int n);
RT_API rt_status rt_plan_run(rt_plan *plan, const rt_feed *feeds, int n);
RT_API rt_status rt_plan_result(const rt_plan *plan, const char *output, rt_result *out);

typedef struct rt_memory {
  int64_t arena;      /* activations, gradients and workspaces of the largest binding so far */
  int64_t persistent; /* derived weights kept between runs */
  int64_t store;      /* variables */
} rt_memory;
RT_API rt_memory rt_plan_memory(const rt_plan *plan);

typedef struct rt_step_info {
  const char *name, *op, *kernel;
  rt_dtype dtype; /* of its first output */
  int rank;
  int64_t dim[8];
  double seconds; /* of all profiled runs */
  int64_t runs;
  double flops, bytes; /* of one run: arithmetic, and memory read and written at least once */
  bool weights;        /* it depends on variables only: it runs again when one of them has changed */
} rt_step_info;
/* Forget what was timed so far: after a warm-up. */
RT_API void rt_plan_reset_profile(rt_plan *plan);
/* Steps of the binding that ran last. */
RT_API int rt_plan_steps(const rt_plan *plan);
RT_API rt_status rt_plan_step(const rt_plan *plan, int i, rt_step_info *out);

/* ---- training ---- */

/* Append gradients and an optimizer to a graph whose marked output `loss` is a scalar. Every trainable parameter that
 * the loss reaches gets a step. options as in "optimizer=sgd momentum=0.9 weight_decay=5e-4 nesterov=true"; the learning
 * rate is the scalar input "lr", and numbers given here are the fallbacks of scalar inputs of the same names.
 *
 *   optimizer=sgd|adamw|muon   muon: hidden weights of rank 2 and more; what it leaves goes by rest=sgd|adamw at lr·rest_lr
 *   decay=weights              weight decay spares norms and biases (rank 0 and 1)
 *   bias_lr=K                  norms and biases learn at K times the rate; their decay stays lr·weight_decay
 *   clip=NORM                  all gradients together are scaled down to this norm; implies check
 *   check=true                 where the loss or a gradient isn't finite, nothing in the store changes. Marked outputs
 *                              "grad_norm" (before clipping) and "finite" (f32, 1 or 0) say so
 *   accumulate=true            gradients are summed over micro-batches: "update" is 0 for all but the last of a step (1
 *                              unless fed), "share" is the part of the step's samples that this one has. The same step as
 *                              from one batch where no layer couples samples: see rt_coupled_layer
 *   ema=DECAY                  moving averages of parameters and statistics, variables "<name>.ema", copies at the first
 *                              step; the scalar input is "ema_decay". Read with rt_pass_ema */
RT_API rt_status rt_pass_train(rt_graph **graph, const char *loss, const char *options);
/* Make an evaluation graph read the moving averages in place of the variables that have one. */
RT_API rt_status rt_pass_ema(rt_graph **graph);
/* Name of the first layer whose result for a sample depends on the others in the batch (batch norm in training form), or
 * NULL: then a step doesn't depend on how its batch is split. Lives as long as the graph. */
RT_API const char *rt_coupled_layer(const rt_graph *graph);

/* ---- schedules ---- */

/* What a number is at each step of a run: learning rate, momentum, temperature, weight of a loss. */
typedef struct rt_schedule rt_schedule;

/* From text: a number (constant), or a name of the table and options, "cosine value=0.1 warmup=5%". Every schedule has
 * `value`, its highest or first (1: the schedule is a factor), and a linear warm-up: `warmup` steps, or percent of all, from
 * the value `from` (0). Places in a run are steps or percent of it. */
RT_API rt_status rt_schedule_new(const char *text, rt_schedule **out);
RT_API void rt_schedule_free(rt_schedule *schedule);
/* A pure function; steps count from 0 to total_steps - 1 and are cut to that. */
RT_API double rt_schedule_value(const rt_schedule *schedule, int64_t step, int64_t total_steps);
RT_API int rt_schedule_count(void);
RT_API const char *rt_schedule_name(int i);

/* ---- losses: what a student learns from labels and teachers ---- */

typedef enum rt_loss_needs {                      /* bits */
                             RT_LOSS_STUDENT = 1, /* the student's logits */
                             RT_LOSS_TEACHER = 2, /* the teacher's */
                             RT_LOSS_LABELS = 4,
                             RT_LOSS_LAYERS = 8,      /* a layer of each */
                             RT_LOSS_OWN_LAYERS = 16, /* layers of the student alone */
} rt_loss_needs;

typedef struct rt_loss_info {
  const char *name, *formula, *paper;
  unsigned needs;       /* rt_loss_needs */
  int least_layers;     /* pairs of layers that it takes at least */
  bool couples_samples; /* a sample's part depends on the others in the batch: it isn't the same over parts of one */
} rt_loss_info;

RT_API int rt_loss_count(void);
RT_API rt_status rt_loss_describe(int i, rt_loss_info *out);
/* The options a loss takes, a line each: for help. Freed with rt_text_free. */
RT_API rt_status rt_loss_options_text(const char *name, char **out);

typedef struct rt_layer {
  const char *name;
  rt_value *value; /* N×C×H×W, or vectors N×C */
} rt_layer;

typedef struct rt_loss_inputs {
  rt_value *student, *teacher; /* logits, N×C */
  rt_value *labels;            /* s64[N]; for cross_entropy also probabilities, N×C */
  const rt_layer *student_layer, *teacher_layer;
  int student_layers, teacher_layers;
  rt_value *const *teachers; /* of several: what a term's from=1, from=2 … means; `teacher` is then their mean */
  int n_teachers;
} rt_loss_inputs; /* what no term needs may be missing */

/* The weighted total of n terms "NAME" or "NAME:option=value,option=value", as in "kd:temperature=4,weight=0.7": a
 * scalar, f32 whatever the networks compute in (f64 where an input is f64). Only the student gets a gradient, and what
 * some terms train along, variables "adapter.TERM.…". A term is called after its loss, the second of a kind "kd2", or
 * as=NAME: needed where rt_loss is called for each of several teachers in one graph. Marked as outputs: "loss.TERM" and "loss.TERM.weighted". Scalar inputs, for schedules: "TERM.weight", "TERM.temperature" and
 * others whose help says so. mgd draws from the inputs "dropout_seed" and "step", as dropout does.
 *
 * options (NULL: none): "alpha=0.7 alpha_is=hard" with exactly one hard term (cross_entropy) and one that compares logits
 * means 0.7·hard + 0.3·soft, with alpha_is=soft 0.3·hard + 0.7·soft; alpha is a scalar input then. */
RT_API rt_value *rt_loss(rt_graph *graph, const char *const *terms, int n, const char *options,
                         const rt_loss_inputs *in);

/* ---- models ---- */

RT_API int rt_model_count(void);
RT_API const char *rt_model_name(int i);
/* Build a model of the table on x (N×C×H×W); returns logits (N×classes). options as in "classes=10 stem=cifar width=64",
 * also behind the name, "resnet18:stem=cifar"; variables have the names of PyTorch's state dicts. */
RT_API rt_value *rt_model(rt_graph *graph, const char *name, rt_value *x, const char *options);

/* ---- files: tensors by name, as PyTorch, safetensors and NumPy store them ---- */

typedef struct rt_file rt_file;

typedef struct rt_pair {
  const char *key, *text;
} rt_pair;

/* Open a file that holds tensors: PyTorch's .pth (the zip and the older stream form), .safetensors, .npz or .npy, told by
 * its content. It is mapped, read only, and must not change until rt_file_free. Nothing in it is executed: a pickle that
 * would call anything but PyTorch's tensors, NumPy's arrays and containers is refused by that name (RT_E_FORMAT).
 * Of a .pth, the tensors are those of the state dict in it ("state_dict", "model", "net" …); numbers and strings beside
 * it become metadata, "extra.epoch". Tensors in other containers are named by their path, "0.weight". */
RT_API rt_status rt_file_open(const char *path, rt_file **out);
RT_API void rt_file_free(rt_file *file);
RT_API const char *rt_file_form(const rt_file *file); /* "pth", "pth_legacy", "safetensors", "npz", "npy" */

typedef struct rt_file_info {
  const char *name; /* valid until rt_file_free, as are the others */
  rt_dtype dtype;   /* integers of 16 bits are read as s32, u32 as s64 */
  int rank;
  const int64_t *dim;
  int64_t bytes; /* row major in this dtype */
} rt_file_info;

RT_API int rt_file_count(const rt_file *file);
RT_API rt_status rt_file_entry(const rt_file *file, int i, rt_file_info *out);
RT_API rt_status rt_file_find(const rt_file *file, const char *name, rt_file_info *out); /* RT_E_UNKNOWN: not there */
/* Copy a tensor out, row major in the dtype that its info tells; `bytes` must be its size. */
RT_API rt_status rt_file_read(rt_file *file, const char *name, void *to, size_t bytes);

/* Text by key, NULL where there is none. Keys of ours: "model" (a name of the table), "options" (of the model),
 * "classes" (a JSON list of names), "mean" and "std" (numbers with commas, one a channel, of pixels in 0 to 1). */
RT_API const char *rt_file_metadata(const rt_file *file, const char *key);
RT_API int rt_file_metadata_count(const rt_file *file);
RT_API rt_status rt_file_metadata_at(const rt_file *file, int i, rt_pair *out);

typedef struct rt_array {
  const char *name;
  rt_dtype dtype;
  int rank;
  const int64_t *dim;
  const void *data; /* row major; arrays with the same data share one storage in a .pth */
} rt_array;

/* Write arrays in the form that the path's extension names: .pth .pt .th (loads with torch.load(weights_only=True)),
 * .safetensors, .npz, .npy (exactly one array; its name is lost). The NumPy forms have no place for metadata. The file
 * appears whole or not at all. */
RT_API rt_status rt_file_write(const char *path, const rt_array *arrays, int n, const rt_pair *metadata,
                               int n_metadata);
/* Everything that a file holds, in the form of another path: tensors, names, metadata. */
RT_API rt_status rt_file_convert(rt_file *file, const char *path);

/* What of a store is read or written; bits. */
typedef enum rt_segments {
  RT_PARAMETERS = 1,
  RT_STATISTICS = 2,
  RT_STATE = 4,
  RT_MODEL = RT_PARAMETERS | RT_STATISTICS, /* what PyTorch's state_dict holds */
  RT_ALL = RT_MODEL | RT_STATE,             /* a checkpoint to resume from: optimizer state, averages … */
} rt_segments;

/* Write a store's variables by name. Beside every running_var goes a num_batches_tracked of 0, so that PyTorch's
 * load_state_dict(strict=True) takes the file; names of the state segment begin with "state/". */
RT_API rt_status rt_store_save(rt_store *store, const char *path, rt_segments segments, const rt_pair *metadata,
                               int n_metadata);

typedef struct rt_load_options {
  rt_segments segments;      /* 0: RT_MODEL */
  bool allow_partial;        /* load what fits, leave the rest as it is: a new head */
  const char *const *rename; /* "OLD=NEW": dotted parts of the file's names, as in "head=fc"; first the prefixes */
  int n_rename;              /* "module." and "_orig_mod." are taken off, then these apply in order */
} rt_load_options;

typedef struct rt_load_report {
  int loaded, missing, unexpected, mismatched; /* tensors; mismatched: another shape or kind of number */
  const char *dialect;                         /* whose names they were: "native", "kuangliu" … */
  char text[900];                              /* one sentence that lists them, at most a few of each */
} rt_load_report;

/* Give a store's variables the values of a file. All must be there with the right shape, and nothing else, or nothing
 * is loaded, and the error lists what is missing, unexpected and mismatched; allow_partial loads what fits. Floating
 * numbers are converted. Names in the style of other projects (dialect.def) are understood. `options` and `report` may
 * be NULL. */
RT_API rt_status rt_store_load(rt_store *store, rt_file *file, const rt_load_options *options, rt_load_report *report);

/* ---- ONNX: models made elsewhere ---- */

typedef struct rt_read_options {
  bool
      classifier; /* it has one input, which is called "x" and has an open batch (of f32, pixels in 0 to 1, where the file takes
                      bytes), and its first output, "logits" (without a softmax at the end), is the only one marked */
  int64_t channels, height, width; /* of a classifier's images, where the file leaves them open; 0: it says them */
} rt_read_options;

/* The graph of an .onnx file (opsets 7 to 28), its initializers as variables of the store, which should be empty. Batch norm
 * and dropout have their training form: rt_pass_eval gives the other. Inputs and marked outputs have the file's names unless
 * it is read as a classifier; everything floating is f32. What isn't supported is listed completely, node by node, before
 * anything is built (RT_E_UNSUPPORTED); docs/onnx.md has the table. `options` may be NULL. */
RT_API rt_status rt_graph_read(const char *path, const rt_read_options *options, rt_store *store, rt_graph **out);

/* ---- images ---- */

typedef struct rt_image {
  int64_t height, width, channels; /* channels 1 (grey) or 3 (red, green, blue) */
  uint8_t *pixel;                  /* height×width×channels */
} rt_image;

/* Read a PNG or JPEG, told apart by its first bytes; channels 1 or 3 asks for a conversion, 0 takes what the file has.
 * Pixels are those that Pillow gives: alpha dropped, 16 bits cut to 8, colour to grey by ITU-R 601. */
RT_API rt_status rt_image_read(const char *path, int64_t channels, rt_image *out);
RT_API rt_status rt_image_write(const char *path, const rt_image *image); /* PNG, whole or not at all */
/* Antialiased, as Pillow resizes; filter is "bilinear" or "bicubic". */
RT_API rt_status rt_image_resize(const rt_image *image, int64_t height, int64_t width, const char *filter,
                                 rt_image *out);
/* What a network evaluates: the shorter side scaled to `shorter`, the centre height×width cut out, normalised with mean
 * and deviation per channel (in units of the whole range 0 to 1): x is channels×height×width. */
RT_API rt_status rt_image_input(const rt_image *image, int64_t shorter, const char *filter, const float *mean,
                                const float *deviation, int64_t channels, int64_t height, int64_t width, float *x);
RT_API void rt_image_release(rt_image *image);

/* ---- data sets ---- */

typedef struct rt_data rt_data;

typedef enum rt_split {
  RT_TRAIN,
  RT_VALIDATION, /* held out of the training images: what settings and checkpoints are chosen by */
  RT_TEST,
  RT_SPLITS
} rt_split;

typedef struct rt_data_info {
  const char *kind;      /* "cifar10" */
  const char *directory; /* where it was found; "" where it is made up */
  rt_dtype dtype;        /* RT_U8: pixels; RT_F32: arrays as they came */
  int64_t channels, height, width, classes;
  const char *const *class_name;
  int64_t count[RT_SPLITS];
  const char *augment;           /* what training images of this kind usually get: "crop=4 flip"; "" for nothing */
  const float *mean, *deviation; /* per channel, of the training split; pixels in units of the whole range 0 to 1 */
} rt_data_info;

/* `text` is NAME or NAME:PATH as in "cifar10:data/cifar10"; without a path the places named by rt_data_kind_at are
 * searched. options as in "validation=0.1 subset=5000"; NULL: the defaults. Every data set takes
 *   validation  the part of the training images that is held out, evenly over the classes (0.1; 0: train on all);
 *               a set with a validation part of its own keeps that
 *   test        the same for sets without a test part of their own (0.1; 1: all is test)
 *   subset      so many training images, evenly over the classes (0: all)
 *   split_seed  which images those are (0)
 * and some take options of their own; MNIST and CIFAR
 *   size        height and width that all images are scaled to, bilinearly, as in "24" or "24,16" (0: as they are)
 * Reads all of it into memory, but folders of images larger than their `memory`; sets that are
 * open at a time over the same unchanged files (not folders) share their images. */
RT_API rt_status rt_data_open(const char *text, const char *options, rt_data **out);
RT_API void rt_data_free(rt_data *data);                              /* after every loader over it */
RT_API void rt_data_describe(const rt_data *data, rt_data_info *out); /* borrowed from data */
/* The id of image i of a split, and its class (−1: a training image without a label). Ids number the whole set, training images first; they stay the same
 * whatever validation, subset and split_seed are. */
RT_API rt_status rt_data_sample(const rt_data *data, rt_split split, int64_t i, int64_t *id, int64_t *label);

/* What there is, and where it comes from. */
typedef struct rt_data_file {
  const char *name;   /* in the data set's directory, where it may also be NAME.gz */
  int64_t bytes;      /* of its contents, unpacked */
  const char *sha256; /* of the same, as 64 hexadecimal digits */
  const char *url;    /* of NAME.gz; NULL: it is a member of the archive */
} rt_data_file;
typedef struct rt_data_kind {
  const char *name, *summary;
  bool needs_path;     /* made of the user's own files: NAME:PATH */
  const char *archive; /* URL of a tar.gz that holds the files; NULL: they come one by one */
  const rt_data_file *file;
  int files; /* 0: nothing to download */
} rt_data_kind;
RT_API int rt_data_kind_count(void);
RT_API rt_status rt_data_kind_at(int i, rt_data_kind *out);
/* Where a data set without a path is: *out is its directory, or NULL where it isn't anywhere; freed with rt_text_free. */
RT_API rt_status rt_data_find(const char *kind, char **out);
/* Where one that is fetched belongs: $RETORT_DATA/KIND, else $XDG_DATA_HOME/retort/KIND, else ~/.local/share/retort/KIND. */
RT_API rt_status rt_data_home(const char *kind, char **out);
/* The options that a data set, a loader or an augmentation takes, a line each: for help. Freed with rt_text_free. */
RT_API rt_status rt_data_options_text(const char *kind, char **out);
RT_API rt_status rt_loader_options_text(char **out);
RT_API rt_status rt_augment_options_text(char **out);

/* ---- loader: batches of a split, prepared ahead by a thread of its own ---- */

typedef struct rt_loader rt_loader;

typedef struct rt_batch {
  int64_t n;                       /* images in it: `batch`, or fewer at the end of an epoch */
  int64_t channels, height, width; /* the same in every batch */
  const float *x;                  /* n×channels×height×width, normalised */
  const int64_t *label;            /* n */
  const float *target;             /* n×classes probabilities with mixup or cutmix, else NULL */
  const int64_t *id, *draw;        /* n: which sample, and which augmented variant of it */
  int64_t epoch, index;            /* from 0; index counts the batches of the epoch */
  bool last;                       /* of its epoch */
} rt_batch;

/* Every random choice is a function of seeds, sample and epoch: the same whatever threads do and wherever a run was
 * resumed. x[i] depends on (augment_seed, id[i], draw[i]) only — with mixup and cutmix too, whose partners come from the
 * draw — so what a teacher says of it can be kept. options as in "batch=128 shuffle=true":
 *   batch         images a batch (128)
 *   shuffle       a new order every epoch (false)
 *   drop_last     leave out the batch that isn't full (false)
 *   order_seed, augment_seed  (0)
 *   draws         so many augmented variants of a sample: draw = epoch mod draws (0: a new one every epoch)
 *   ahead         batches prepared in advance (3; 0: in rt_loader_next itself)
 *   threads       that prepare them (1)
 *   mean, std     a number a channel, "0.49,0.48,0.45"; left out: the data set's own
 * augment as in "crop=4 flip cutout=8", NULL for none:
 *   crop          cut the image out of itself padded by so many pixels (0)
 *   reflect       pad with the mirrored image instead of black (false)
 *   flip          left and right, every other time (false)
 *   alternate     flip every image in every other epoch, instead of at random (false)
 *   resized_crop  cut out a random part of at least this area and of 3:4 to 4:3, and scale it (0: off; 0.08 is usual)
 *   brightness, contrast, saturation, hue  how far each may change, as in torchvision's ColorJitter (0)
 *   cutout        side of a square that is set to the mean (0)
 *   mixup, cutmix α of the Beta distribution of the share of the other image (0: off); both: one of them at random */
RT_API rt_status rt_loader_new(const rt_data *data, rt_split split, const char *options, const char *augment,
                               rt_loader **out); /* borrows data */
RT_API void rt_loader_free(rt_loader *loader);
RT_API int64_t rt_loader_batches(const rt_loader *loader); /* in an epoch */
/* The next batch; after the last of an epoch comes the first of the next. Its memory is the loader's and valid until
 * the next call. What failed in the thread fails here. */
RT_API rt_status rt_loader_next(rt_loader *loader, rt_batch *out);
/* Go on with this batch: the same bits as if all before it had been taken. */
RT_API rt_status rt_loader_seek(rt_loader *loader, int64_t epoch, int64_t index);

/* ---- metrics: how right a classifier is ---- */

typedef struct rt_metrics rt_metrics;

typedef struct rt_score {
  int64_t images, correct, correct5; /* the label has the highest logit; it is among the five highest */
  double top1, top5;                 /* shares of the images, 0 to 1 */
  double loss;                       /* mean cross-entropy, natural logarithm */
  double ece; /* expected calibration error: mean |accuracy − confidence| over 15 bins of confidence, by images */
} rt_score;

RT_API rt_status rt_metrics_new(int64_t classes, rt_metrics **out);
RT_API void rt_metrics_free(rt_metrics *metrics);
RT_API void rt_metrics_clear(rt_metrics *metrics);
/* Count n images more: logits are n×classes. Of equal logits the first class comes first. A label that is no class, or a
 * logit that isn't finite, is RT_E_RANGE, and none of the n is counted. */
RT_API rt_status rt_metrics_add(rt_metrics *metrics, const float *logits, const int64_t *label, int64_t n);
RT_API void rt_metrics_score(const rt_metrics *metrics, rt_score *out); /* zeros where there are no images */
/* classes×classes: images of class row that were taken for class column. */
RT_API const int64_t *rt_metrics_confusion(const rt_metrics *metrics);
/* A JSON object with images, correct, top1, top5, loss, ece; with `detail` also "classes", a list of {name, images, correct,
 * accuracy}, and "confusion", a list of rows. class_name may be NULL. Freed with rt_text_free. */
RT_API rt_status rt_metrics_json(const rt_metrics *metrics, const char *const *class_name, bool detail, char **out);

/* ---- networks: a model of the table with the weights of a file, ready to run ---- */

typedef struct rt_network rt_network;

/* Test-time augmentation: the logits of an image are the mean of those of several views of it. */
typedef enum rt_tta {
  RT_TTA_NONE,
  RT_TTA_FLIP,           /* the image and its mirror image */
  RT_TTA_FLIP_TRANSLATE, /* of both: the image itself for a half, moved by a pixel up left and down right for a quarter each */
} rt_tta;

/* What is given here comes before what the file's metadata say; zero and NULL leave it to them. */
typedef struct rt_network_options {
  const char *model;               /* "NAME" or "NAME:OPTIONS" */
  int64_t channels, height, width; /* of one image; what neither is given nor told is 3, 32, 32 */
  int64_t classes;                 /* an option that the model gets where neither its options nor the file say it */
  const char *mean, *std;          /* numbers with commas, one a channel */
  const char *resize;              /* "256 bilinear" */
  bool bf16;                       /* compute in bf16 */
  rt_tta tta;
  rt_kernels kernels;
  bool profile; /* time every node: see rt_network_plan */
  rt_load_options load;
} rt_network_options;

/* From a .pth, .safetensors or .npz: the model is built in its evaluation form, given the file's weights, its batch norms
 * folded, and compiled. A file that doesn't say its model needs options->model. An .onnx holds its model: `model` is "onnx"
 * then. `options` may be NULL. */
RT_API rt_status rt_network_open(const char *path, const rt_network_options *options, rt_network **out);
RT_API void rt_network_free(rt_network *network);

typedef struct rt_network_info {
  const char *model, *options; /* options: "" for none */
  int64_t channels, height, width, classes;
  const char *const *class_name; /* NULL where neither file nor options tell */
  const float *mean, *deviation; /* per channel, of pixels in 0 to 1; NULL where it isn't known */
  int64_t shorter;               /* what an image's shorter side is scaled to before the centre is cut out */
  const char *filter;            /* "bilinear" or "bicubic" */
  rt_load_report load;
  const char *int8_target; /* what an int8 network was made for: "vnni", "fbgemm", "qnnpack"; NULL: it is floating */
  bool int8_misfit;        /* made for another kind of CPU than this one: sums may saturate, results may be wrong */
} rt_network_info;
RT_API void rt_network_describe(const rt_network *network, rt_network_info *out); /* borrowed from network */

/* x: n×channels×height×width, normalised, row major; *logits: n×classes, valid until the next run. */
RT_API rt_status rt_network_run(rt_network *network, const float *x, int64_t n, const float **logits);
/* Run over a split of a data set, normalised with the network's mean and deviation or else with the data's own, and count
 * into `metrics`, made for as many classes as the network has. The data must have its shape and number of classes. */
RT_API rt_status rt_evaluate(rt_network *network, const rt_data *data, rt_split split, int64_t batch,
                             rt_metrics *metrics);

typedef struct rt_agreement {
  int64_t images, agree; /* agree: student and teacher take the image for the same class, rightly or not */
  double kl; /* mean over the images of Σ pₜ (ln pₜ − ln pₛ), natural logarithm, at temperature 1 */
} rt_agreement;
/* rt_evaluate of two networks that tell the same classes apart, and how far the first one does as the second. */
RT_API rt_status rt_evaluate_beside(rt_network *student, rt_network *teacher, const rt_data *data, rt_split split,
                                    int64_t batch, rt_metrics *metrics, rt_metrics *teacher_metrics, rt_agreement *out);

/* Its plan: memory, and the time of every node where it was opened with `profile`. Borrowed. */
RT_API rt_plan *rt_network_plan(const rt_network *network);

/* ---- benchmarks: what networks cost to run ---- */

typedef struct rt_bench {
  int64_t runs;
  double best, p50, p90, p99; /* seconds of one run */
  double joules;              /* of one run, all packages of the CPU; NaN where the kernel's counters can't be read */
} rt_bench;

/* Time forward passes of `batch` synthetic images through n networks, alternately, `seconds` each after a warm-up; out has
 * n elements. */
RT_API rt_status rt_bench_run(rt_network *const *networks, int n, int64_t batch, double seconds, rt_bench *out);
/* Most bytes that the process had resident so far, or since it was last told to `forget`; 0 where the system doesn't tell. */
RT_API int64_t rt_peak_memory(bool forget);

/* ---- export ---- */

typedef struct rt_export_options {
  int64_t opset;   /* 13 to 21; 0: 17 */
  bool preprocess; /* the file takes the pixels of images, bytes N×C×H×W called "image", and normalises them itself */
  bool check;      /* read the file back and compare what both say of random images */
} rt_export_options;

typedef struct rt_export_report {
  int64_t nodes, tensors;
  double difference; /* of the check: the largest of logits, in parts of the largest logit */
} rt_export_report;

/* Write the network of a file as rt_network_open reads it (fp32, batch norm not folded, the batch open) as an .onnx file that
 * carries its metadata. Tensors keep their names, input and output too where they came from ONNX; else they are "x" and
 * "logits". RT_E_INTERNAL: the check found a difference above 1e-4 (of int8, 0.05). `network`, `options` and `report` may be NULL. */
RT_API rt_status rt_export(const char *path, const rt_network_options *network, const char *out,
                           const rt_export_options *options, rt_export_report *report);

/* Weights of an int8 file in fp32, w = weight·weight_scale, under the names of its model with batch norms folded: what PyTorch's
 * load_state_dict(strict=True) takes where a convolution has a bias and its norm is an Identity, and what rt_network_open takes
 * (metadata "folded"). The record, grids of activations, the accuracy and test images stay behind. `out` is .pth,
 * .safetensors or .npz; *tensors (may be NULL): how many were written. RT_E_ARGUMENT: the file isn't quantized. */
RT_API rt_status rt_dequantize(const char *path, const char *out, int *tensors);

/* ---- training runs: data, model, optimizer, checkpoints, in a directory ---- */

/* What a run can be told; names and texts as in rt_pair. The same table makes the flags of `retort train`. */
typedef struct rt_setting {
  const char *name, *fallback, *help;
  const char *argument; /* what it takes: "N", "TEXT", "sgd|adamw|muon", "true|false" */
  const char *one;      /* of a list: what one of its elements is called, "loss"; else NULL */
  const char *join;     /* what stands between the elements */
} rt_setting;
RT_API int rt_train_setting_count(void);
RT_API rt_status rt_train_setting(int i, rt_setting *out);

typedef enum rt_news_kind {
  RT_NEWS_BEGIN,    /* everything is ready; directory is known */
  RT_NEWS_NOTE,     /* `text` is worth knowing */
  RT_NEWS_STEP,     /* a step was made */
  RT_NEWS_EVALUATE, /* a batch was evaluated, after an epoch or at the end */
  RT_NEWS_EPOCH,    /* an epoch was made and evaluated */
  RT_NEWS_END,      /* all is done and tested */
} rt_news_kind;

typedef struct rt_news {
  rt_news_kind kind;
  const char *directory, *text; /* text: of a note; else NULL */
  const char *json;             /* one line for machines, as in metrics.jsonl; NULL where there is none */
  int64_t epoch, epochs;        /* from 0 */
  int64_t step, steps;          /* made so far, and of the whole run */
  int64_t index, count;         /* steps of this epoch, or batches of this evaluation: made, and all */
  double loss, accuracy;        /* of the epoch's training images so far */
  double lr, images_per_second, seconds_left;
  rt_score validation; /* of the last evaluation; images is 0 without one */
  bool best;           /* it was the best so far */
} rt_news;

/* Called on the thread that called rt_train, after every step and batch. False: stop, after a checkpoint. */
typedef bool rt_listener(void *context, const rt_news *news);

typedef struct rt_train_report {
  char directory[1024];
  const char *model;         /* name of the file in it that has the best epoch's weights */
  int64_t epochs, steps;     /* made */
  int64_t best_epoch;        /* whose weights model.best.pth has */
  rt_score validation, test; /* of those; images is 0 where there is no such split */
  bool interrupted;          /* the listener said so; resume goes on */
  bool stopped_early;        /* by patience */
  double seconds;            /* of training and evaluating, over all resumptions */
} rt_train_report;

/* Train a model. Settings that are not given have their defaults; of one given twice the last counts. `listen` may be
 * NULL. The directory gets
 *   config.json              every setting as it was resolved
 *   metrics.jsonl            a line per logged step, per epoch, and at the end
 *   events.out.tfevents.*    the same for TensorBoard, histograms of the weights, some images
 *   model.best.pth           (.onnx where the model is an .onnx file) the weights of the best epoch by validation accuracy (the last one without validation images)
 *   model.last.pth           those of the last epoch; both load with PyTorch's load_state_dict(strict=True)
 *   model.int8.pth           (.onnx) of a run with quantize=qat: the best epoch in int8, as rt_quantize writes it; validation and
 *                            test are measured in int8, and model.best.json is its quantization record
 *   checkpoint.safetensors   everything that going on needs, every epoch, every `checkpoint_steps` and at an interruption
 *   dark_knowledge.json      of a run with teachers: some test images and what teacher and student say of them
 * With resume=true a run in `out` goes on from its last checkpoint to the same bits as if it had never stopped, on the same
 * machine, build and number of threads; other settings come from its config.json, and ones that differ are refused.
 * With `teacher` the model is a student: `losses` may then have terms that compare it with the teachers, which run frozen in the
 * same plan. What such terms train along (adapters, queues) is in the checkpoint, not in the model's files.
 * RT_E_DIVERGED: the loss or a gradient was not finite; the sentence names step, term and layer, and nothing was changed. */
RT_API rt_status rt_train(const rt_pair *settings, int n, rt_listener *listen, void *context, rt_train_report *report);
/* What a run with these settings would do, in words: the loss with its numbers put in, layers compared, what is trained along,
 * sizes. Nothing is written. Freed with rt_text_free. */
RT_API rt_status rt_train_explain(const rt_pair *settings, int n, char **out);

/* ---- recipes: training, distilling, measuring, reporting in stages, from a YAML file ---- */

typedef struct rt_recipe rt_recipe;

/* Read and check all of a recipe; nothing runs. `set` are n changes "PATH=VALUE", as in "stages.0.epochs=2" or
 * "stages.teacher.lr=0.05". What is wrong is told with file, line and column. */
RT_API rt_status rt_recipe_open(const char *path, const char *const *set, int n, rt_recipe **out);
RT_API void rt_recipe_free(rt_recipe *recipe);
RT_API const char *rt_recipe_name(const rt_recipe *recipe);
/* What it would do, in words: stages, models, parameters, multiply-adds, an estimate of time on this machine (networks are
 * timed for it). Freed with rt_text_free. */
RT_API rt_status rt_recipe_explain(const rt_recipe *recipe, char **out);

typedef struct rt_recipe_news {
  const char *stage, *kind; /* its name: "student_kd"; "distill" */
  int index, count;         /* from 0, of all stages */
  const rt_news *training;  /* of the training run that the stage is; else NULL */
  const char *text;         /* a remark: "done before"; NULL where the stage begins */
} rt_recipe_news;
/* Called on the thread that called rt_recipe_run_all. False: stop, after a checkpoint. */
typedef bool rt_recipe_listener(void *context, const rt_recipe_news *news);

/* Run all stages in order into the directory `out`: a record of each in records/NAME.json, models as NAME.pth, training runs in NAME/.
 * A stage whose record says that it was done with the same settings, over the same models, is skipped; one that was
 * interrupted goes on to the same bits as if it hadn't been. What was made with other settings is kept as NAME.old-1, …-2. */
RT_API rt_status rt_recipe_run_all(rt_recipe *recipe, const char *out, rt_recipe_listener *listen, void *context,
                                   bool *interrupted);

/* One HTML file, which opens offline, of the records in directories of rt_recipe_run_all or rt_train; its summary also as CSV
 * beside it. Models are compared with the one called `baseline`; NULL or "": the first. */
RT_API rt_status rt_report(const char *const *directories, int n, const char *baseline, const char *path);

/* ---- quantization: a trained network in int8 ---- */

RT_API int rt_quantize_setting_count(void);
RT_API rt_status rt_quantize_setting(int i, rt_setting *out);

/* A line of what is going on, or, with method=qat, news of the training (text is NULL then). False: stop, after a checkpoint of
 * the training; what doesn't train isn't stopped. */
typedef bool rt_quantize_listener(void *context, const char *text, const rt_news *training);

/* Quantize the network of the file `model` into the file `out`. Settings are those of rt_quantize_setting; of one given twice the
 * last counts; `listen` may be NULL. *report, freed with rt_text_free, is a JSON object: "target", "images" (calibrated on),
 * "before" and "after" ({images, correct, top1}, where there are data), "agree", "bytes", "int8" and "nodes" (how many), and
 * "layers", a list of {node, op, precision, why, weights, scale, zero_point …} with what analysis adds to it. The file holds
 * int8 weights, their scales, the record (metadata "quantization"), the accuracy, and images with the logits expected.
 * With method=qat the network is trained first, by rt_train with quantize=qat, in the directory that `out` is called after
 * (NAME for NAME.pth); a run that was stopped there goes on. *report is NULL where the listener stopped it.
 * RT_E_ARGUMENT where no layer could be quantized. */
RT_API rt_status rt_quantize(const rt_pair *settings, int n, rt_quantize_listener *listen, void *context,
                             char **report);

typedef struct rt_verification {
  int64_t images, classes_right; /* images replayed; of them, those with the expected class */
  double worst, typical;         /* largest difference of a logit, and the root mean square of the expected ones */
  bool exact;                    /* every bit is as expected */
} rt_verification;
/* Replay the images that an int8 file carries. RT_E_ARGUMENT where it carries none. */
RT_API rt_status rt_network_verify(rt_network *network, rt_verification *out);

/* ---- the machine ---- */

typedef struct rt_machine {
  char cpu[64];
  const char *isa;   /* instruction set in effect: "avx2", "avx512", "avx512_bf16", "amx" … */
  const char *simd;  /* which build of our own loops runs */
  char backend[64];  /* "oneDNN 3.2.0 (…)" or "reference" */
  char winograd[64]; /* convolutions with fewer multiplications that run here, or "none" */
  bool bf16, vnni, amx;
  int64_t l1, l2, l3; /* data cache bytes; 0 where unknown */
  int64_t memory;     /* bytes available */
} rt_machine;
RT_API void rt_machine_info(rt_machine *out);

/* Blocks that the library has asked the heap for so far, and those still live. */
RT_API void rt_heap_counts(int64_t *calls, int64_t *live);

#ifdef __cplusplus
}
#endif

#endif
