/* A network from a file, ready to run. */
#ifndef RT_TRAIN_NETWORK_H
#define RT_TRAIN_NETWORK_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "record/record.h"
#include "retort.h"

struct rt_network {
  rt_arena arena;
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
  rt_network_info info;       /* texts are in the arena */
  const char *input, *output; /* what an ONNX model calls "x" and "logits"; NULL: it is none */
  bool bytes;                 /* an ONNX model that takes pixels and normalises them itself */
  int rank;                   /* of its input: 4, or less where an ONNX model takes vectors */
  rt_tta tta;
  float *view; /* memory for `reserved` images and their logits */
  int64_t reserved;
};

/* rt_network_open before it compiles: the graph is the model's, its logits marked, and there is no plan. */
rt_status rt_network_load(const char *path, const rt_network_options *options, rt_network **out);
/* The same for options->model with weights drawn from a seed. */
rt_status rt_network_draw(const rt_network_options *options, uint64_t seed, rt_network **out);

bool rt_is_onnx(const char *name); /* by its ending */

/* The float network that an int8 file was made of: a model of the table, batch norms folded, variables without values. */
rt_status rt_network_folded(const rt_file *file, rt_network **out);

/* Metadata that weights of such a network carry. */
#define RT_FOLDED "folded"
/* Tensors of an int8 file beside its weights: a few images, normalised, and the logits expected of them. */
#define RT_VECTOR_IMAGES "verify.images"
#define RT_VECTOR_LOGITS "verify.logits"

/* ---- vectors.c ---- */

/* Declare and fill both, of n images x and their logits. */
rt_status rt_vectors_keep(rt_store *store, const rt_network_info *info, int64_t n, const float *x, const float *logits);
/* As metadata of an ONNX file, appended to pairs where the store has them (two at most). */
rt_status rt_vectors_metadata(const rt_store *store, rt_arena *arena, rt_pair *pairs, int *n);
/* From there into the store, where the file has them. */
rt_status rt_vectors_read(rt_store *store, const rt_file *file);

/* ---- int8.c: networks of a folded graph whose variables have values; `of` lends texts and shapes, and outlives them ---- */

/* The folded graph again, over a copy of its variables; the same with everything rounded that int8 rounds. On failure as above. */
rt_status rt_folded_copy(const rt_graph *folded, rt_store **store, rt_graph **graph);
rt_status rt_twin_new(const rt_graph *folded, const rt_record *record, rt_store **store, rt_graph **twin);
/* It compiled; the folded network itself, over a copy of its variables; that one with everything rounded that int8 rounds. */
rt_status rt_int8_network(const rt_network *of, const rt_graph *folded, const rt_record *record, bool profile,
                          rt_network **out);
rt_status rt_float_network(const rt_network *of, const rt_graph *folded, bool profile, rt_network **out);
rt_status rt_twin_network(const rt_network *of, const rt_graph *folded, const rt_record *record, rt_network **out);
/* Grids of the record into the variables of a twin, those that there are. */
rt_status rt_record_set_grids(const rt_record *record, rt_store *store);

/* ---- int8_file.c ---- */

typedef struct rt_int8_file {
  const rt_network *of;
  const rt_graph *folded;
  const rt_record *record;
  const float *image;      /* test vectors, normalised */
  int64_t vectors;         /* how many; 0: none */
  const char *data;        /* that was measured on */
  rt_score int8, floating; /* of test images; images 0: not measured */
} rt_int8_file;
/* `network` is its int8 form, and gets the vectors. */
rt_status rt_int8_write(const rt_int8_file *file, rt_network *network, const char *out);

/* Another graph and its store in place of the network's, which then is not compiled. */
void rt_network_replace(rt_network *network, rt_store *store, rt_graph *graph);
/* Evaluation form, batch norms folded, fused. */
rt_status rt_pass_inference(rt_graph **graph);
/* A model's graph into its evaluation form, and a plan of it; `averages`: of the moving averages of its weights. */
rt_status rt_compile_evaluation(rt_graph **graph, bool averages, bool bf16, const rt_plan_options *options,
                                rt_plan **out);

/* Images of a split as this network wants them; options of the loader as in "batch=100". */
rt_status rt_network_loader(const rt_network *network, const rt_data *data, rt_split split, const char *options,
                            rt_loader **out);
/* The same in order. */
rt_status rt_network_batches(const rt_network *network, const rt_data *data, rt_split split, int64_t batch,
                             rt_loader **out);

/* softmax(z/T) of n logits. */
void rt_soft_targets(const float *z, int64_t n, double temperature, double *p);

/* rt_network_run without views. */
rt_status rt_network_run_once(rt_network *network, const float *x, int64_t n, const float **logits);
/* Logits of the views that network->tta says. */
rt_status rt_views_run(rt_network *network, const float *x, int64_t n, const float **logits);
rt_status rt_views_check(rt_tta tta, int64_t height, int64_t width); /* can such images be seen that way? */

/* "0.5,0.25", exactly. */
void rt_add_numbers(rt_strbuf *text, const float *v, int64_t n);

#endif
