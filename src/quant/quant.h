/* Quantizing a network: what its files share.
 *
 *   settings.c   the table of settings
 *   train.c      training for int8
 *   refine.c     equalization of layers, correction of biases
 *   winograd.c   which convolutions run by Winograd in int8
 *   winograd_choice.c  those of them whose rounding the logits bear
 *   measure.c    accuracy, signal to noise, which layer costs what
 *   twin.c       int8 beside its fake-quantized twin
 *   noise.c      signal to noise of every layer
 *   write.c      the file
 *   quantize.c   rt_quantize: all of it in order */
#ifndef RT_QUANT_QUANT_H
#define RT_QUANT_QUANT_H

#include "data/data.h"
#include "record/record.h"
#include "train/train.h"

typedef struct rt_quantize_settings {
  const char *model, *data, *data_options, *network, *mean, *std;
  int method, target;
  const char *observer, *keep, *schemes, *observers, *record, *save_record;
  int64_t images, batch, seed, analyze_images;
  bool convolutions, equalize, correct_bias, winograd, analyze;
  double max_drop;
  int64_t threads;
  const char *quantize_options, *out;
} rt_quantize_settings;

/* Is a setting of method=qat alone. */
bool rt_quantize_trains(const char *setting);
/* Those that are of training are left to rt_train: *training of them. */
rt_status rt_quantize_parse(rt_quantize_settings *o, const rt_pair *settings, int n, rt_arena *arena,
                            rt_pair **training, int *n_training);

typedef struct rt_layer_cost {
  double weight_sqnr, output_sqnr; /* dB: of the weight, of what the node makes */
  double alone_sqnr;               /* dB of the logits when this node alone is in int8 */
  double steps;                    /* at most, from what the fake-quantized twin makes of the same levels */
  double float_seconds, int8_seconds;
} rt_layer_cost;

typedef struct rt_quantizer {
  rt_arena arena;
  rt_quantize_settings o;
  rt_data *data;       /* NULL: none */
  rt_network *network; /* from the file */
  rt_pair *training;   /* settings of method=qat */
  int n_training;
  rt_network *given, *original; /* before it was trained, and compiled; NULL: it wasn't */
  bool interrupted;
  rt_store *folded_store, *untouched_store;
  rt_graph *folded, *untouched; /* untouched: as it was before refinements changed its weights; NULL: they didn't */
  rt_ranges ranges;
  rt_record record;
  rt_layer_cost *cost;    /* by node of the record; NULL: not analyzed */
  rt_score before, after; /* on the split that was measured */
  rt_split split;
  int64_t agree;            /* of its images: float and int8 say the same class */
  rt_agreement beside_twin; /* int8 and its fake-quantized twin, on the test images; none: not analyzed */
  float *image;             /* test vectors */
  int64_t vectors;
  rt_quantize_listener *listen;
  void *context;
} rt_quantizer;

void rt_quantize_tell(const rt_quantizer *q, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- quantize.c ---- */
/* The float network of a file, folded. */
rt_status rt_quantize_open(rt_quantizer *q, const char *path);

/* ---- train.c ---- */
rt_status rt_quantize_train(rt_quantizer *q);

/* ---- refine.c ---- */
rt_status rt_quantize_equalize(rt_quantizer *q, int *pairs);
/* After the ranges are known: b −= Σ (ŵ − w)·E[x] over each filter (Nagel et al. 2019). */
rt_status rt_quantize_correct(rt_quantizer *q);

/* ---- winograd.c ---- */
/* Which convolutions of the record run by Winograd, and the grids of their transformed inputs. After the scales are known. */
rt_status rt_quantize_winograd(rt_quantizer *q);
/* ---- winograd_choice.c: of n nodes that have such grids, those that keep them; products: multiplications, to compare ---- */
rt_status rt_quantize_choose_winograd(rt_quantizer *q, rt_record_node *const *node, const double *products, int n);

/* ---- measure.c ---- */
/* Keep the network as it is, before its weights are changed: what the int8 one is compared with. */
rt_status rt_quantize_keep(rt_quantizer *q);
/* A compiled network of the record over new variables, and of the untouched float graph. */
rt_status rt_quantize_form(const rt_quantizer *q, const rt_record *record, bool profile, rt_network **out);
rt_status rt_quantize_float(const rt_quantizer *q, bool profile, rt_network **out);
rt_status rt_quantize_measure(rt_quantizer *q, rt_network *int8);
rt_status rt_quantize_analyze(rt_quantizer *q);
rt_status rt_quantize_max_drop(rt_quantizer *q);
/* Images that calibration uses, n at most, one block of x. */
rt_status rt_quantize_images(const rt_quantizer *q, int64_t n, float **x, int64_t *got);

/* ---- noise.c ---- */
double rt_quantize_sqnr(const float *clean, const float *noisy, int64_t n); /* dB */
rt_status rt_quantize_output_noise(rt_quantizer *q, const float *images, int64_t n);
/* The node of this name, and of this op (NULL: of any); NULL where there is none. */
const rt_node *rt_quantize_node(const rt_graph *g, const char *name, const rt_op *op);
/* The one node that reads v; NULL where several do, or none, or it is a result. */
const rt_node *rt_quantize_only_reader(const rt_graph *g, const rt_value *v);

/* ---- twin.c: static ranges only ---- */
/* Into the costs: by how many levels each node's results differ from its fake-quantized twin's. */
rt_status rt_quantize_twin_steps(rt_quantizer *q, const float *images, int64_t n);

/* ---- write.c ---- */
rt_status rt_quantize_write(rt_quantizer *q, rt_network *int8);
rt_status rt_quantize_report_json(const rt_quantizer *q, char **out);

#endif
