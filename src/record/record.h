/* The quantization record: what of a network is quantized how, and why the rest isn't. Decided once, written into every
 * int8 model as readable JSON, and obeyed from then on.
 *
 *   record.c  to and from JSON
 *   decide.c  which nodes are quantized how, and why the others aren't
 *   ranges.c  what passes through a network when images do
 *   folded.c  the float network that it speaks of
 *   lower.c   that network in int8, and its variables
 *   grids.c   both of a graph that came in int8 */
#ifndef RT_RECORD_RECORD_H
#define RT_RECORD_RECORD_H

#include "calibrate/calibrate.h"
#include "data/data.h"
#include "pass/pass.h"

typedef enum rt_form { RT_FORM_FP32, RT_FORM_BF16, RT_FORM_INT8 } rt_form; /* what a node computes in */
typedef enum rt_weights { RT_WEIGHTS_NONE, RT_WEIGHTS_PER_CHANNEL, RT_WEIGHTS_PER_TENSOR } rt_weights;
/* Where the ranges of activations come from: images seen beforehand, the activations themselves, training. */
typedef enum rt_method { RT_METHOD_STATIC, RT_METHOD_DYNAMIC, RT_METHOD_QAT } rt_method;
typedef enum rt_target { RT_TARGET_AUTO, RT_TARGET_VNNI, RT_TARGET_FBGEMM, RT_TARGET_QNNPACK } rt_target;

/* Targets: vnni has weights per channel and activations of 8 bits; fbgemm 7 bits, for CPUs whose sums of two products
 * saturate at 16 bits; qnnpack one scale per weight tensor. */
rt_levels rt_target_activations(rt_target target);
rt_weights rt_target_weights(rt_target target);
const char *rt_target_name(rt_target target);
const char *rt_method_name(rt_method method);
/* What auto means here: the instruction set in effect. */
rt_target rt_target_here(void);

typedef struct rt_record_node {
  const char *node, *op; /* of a graph's input: its name, and "input" */
  rt_form form;
  const char *why; /* it isn't int8; "" where it is */
  rt_weights weights;
  const char *observer; /* that the range came from; "" where there is none */
  rt_range range;       /* of its output */
  double scale;         /* of its output; 0: it isn't quantized */
  int zero_point;
  int winograd[RT_WINOGRAD_TAPS +
               1];          /* multipliers and centre of conv2d_winograd_int8; the first 0: it runs directly */
  const char *winograd_why; /* or why it doesn't; "" where nobody asked */
} rt_record_node;

typedef struct rt_record {
  rt_arena arena;
  const char *cpu, *data; /* cpu: the instruction set it was made on; data: calibrated on, "" for none */
  rt_method method;
  rt_target target;
  int64_t images; /* calibrated on */
  rt_record_node *node;
  int n, capacity;
} rt_record;

void rt_record_release(rt_record *record);
/* A node more; texts are copied. */
rt_status rt_record_add(rt_record *record, const rt_record_node *node);
void rt_record_run_directly(rt_record *record);                                  /* no convolution by Winograd */
const rt_record_node *rt_record_find(const rt_record *record, const char *node); /* NULL: not there */

rt_status rt_record_print(const rt_record *record, char **out); /* freed with rt_text_free */
/* From text; errors begin with `what`. The record is empty on failure. */
rt_status rt_record_parse(const char *text, size_t bytes, const char *what, rt_record *out);
rt_status rt_record_save(const rt_record *record, const char *path);
rt_status rt_record_open(const char *path, rt_record *out);

/* ---- decide.c ---- */

typedef struct rt_decisions {
  rt_method method;
  rt_target target;
  bool convolutions;          /* dynamic: they too, not only matrix products */
  const char *keep, *schemes; /* lists, "fp32:layer4.*;bf16:fc" and "conv1=per_tensor" */
} rt_decisions;

/* A record without ranges of a folded graph. RT_E_ARGUMENT where no node would be in int8. */
rt_status rt_record_decide(rt_record *record, const rt_graph *folded, const rt_decisions *decisions);
/* It is a product in int8: it has weights. */
bool rt_record_is_product(const rt_record_node *node);
/* Is any product in int8? */
bool rt_record_covers(const rt_record *record);
/* A list, "a;b", split where it stands; *n are there. */
rt_status rt_split_list(const char *text, rt_arena *arena, const char *const **out, int *n);

/* ---- ranges.c ---- */

/* A value that is looked at: an input of the graph, or what a node makes. */
typedef struct rt_watched {
  const char *name; /* of the input, or of the node */
  const rt_value *value;
  const char *observer_text; /* which observer, and its options */
  rt_observer *observer;
  double *mean;           /* by channel (axis 1), of all seen so far; as long as the value's channels */
  int64_t channels, seen; /* seen: numbers of each channel */
} rt_watched;

typedef struct rt_ranges {
  rt_watched *value;
  int n;
} rt_ranges;

/* Every float value of rank 2 and more that is an input or that a node makes; `observer` is the default, and overrides are
 * a list of "PATTERN=OBSERVER" with the pattern of a shell. Names are the graph's and the arena's: they outlive this. */
rt_status rt_ranges_new(const rt_graph *graph, const char *observer, const char *overrides, rt_arena *arena,
                        rt_ranges *out);
void rt_ranges_release(rt_ranges *ranges);
/* The batches of a loader up to `images` images through the graph; *seen is how many there were. */
rt_status rt_ranges_observe(rt_ranges *ranges, const rt_graph *graph, rt_loader *loader, int64_t images, int64_t *seen);
const rt_watched *rt_ranges_find(const rt_ranges *ranges,
                                 const char *name); /* NULL: nothing of this name was watched */
/* Ranges, scales and zero points of the record's values from them. */
rt_status rt_record_calibrate(rt_record *record, const rt_ranges *ranges);

/* ---- folded.c ---- */

/* A network whose derived weights have become variables of a store of their own: what is left is a plain float network,
 * conv2d and linear with the weight and the bias that they compute with, "conv1.weight" and "conv1.bias". `from` is in
 * evaluation form, folded and fused. With `values` the variables are computed; else they have none. */
rt_status rt_folded_new(const rt_graph *from, bool values, rt_store **store, rt_graph **graph);

/* Give each node that computes with images a name of its own, "add", "add.2" …: the record speaks of them by name. The same
 * nodes have the same names in a model's folded graph and in its fused training graph. */
rt_status rt_name_nodes(rt_graph *graph);

/* ---- lower.c ---- */

/* The table that the passes take; freed with rt_free(table->node). Texts stay the record's. */
rt_status rt_record_table(const rt_record *record, rt_int8_table *out);
/* The folded graph in int8 over the empty store `to`. Its variables, which a file holds too:
 *   NODE.weight s8, NODE.weight_scale f32 (a number a filter), NODE.bias f32, of int8 nodes
 *   NODE.out_scale f32, NODE.out_zero_point s32, scalars, of every value that is on a grid
 * RT_E_ARGUMENT where the record isn't of this graph. */
rt_status rt_record_lower(const rt_record *record, const rt_graph *folded, rt_store *to, rt_graph **out);
/* What nothing around it has on a grid stays floating: nodes without weights of which the lowered graph has no form for levels. */
rt_status rt_record_settle(rt_record *record, const rt_graph *folded);
/* Values of these variables from those of the folded graph. RT_E_RANGE where a weight isn't finite. */
rt_status rt_record_fill(const rt_record *record, const rt_graph *folded, rt_store *to);
/* Both over a new store, not compiled. On failure store and graph may be there, and are the caller's. */
rt_status rt_record_build(const rt_record *record, const rt_graph *folded, rt_store **store, rt_graph **graph);
/* Do the variables, as a file had them, agree with the record? */
rt_status rt_record_check(const rt_record *record, rt_store *store);

/* ---- grids.c ---- */

bool rt_record_has_grids(
    const rt_graph *graph); /* it is an int8 network, as quantize and dequantize around its products */
/* Such a graph, over variables that have their values, in int8 over a new store, and the record that it amounts to. The record may
 * have no int8 node; *from is brought into evaluation form. */
rt_status rt_record_of_grids(rt_graph **from, rt_record *record, rt_store **store, rt_graph **out);

#endif
