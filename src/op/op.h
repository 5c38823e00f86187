/* The table of ops. A row is everything about an op: see rt_op in graph/graph.h. */
#ifndef RT_OP_OP_H
#define RT_OP_OP_H

#include "graph/graph.h"

/* X(name) for each row: declares rt_op_row_<name>. */
#define ROW(name) extern const rt_op rt_op_row_##name;
#include "op/op.def"
#undef ROW
#define RT_OP(name) (&rt_op_row_##name)

const rt_op *rt_op_find(const char *name); /* NULL when there is none */
const rt_op *rt_op_at(int i);

/* rt_batch_norm with options of batch_norm_train. */
rt_value *rt_batch_norm_by(rt_graph *graph, const char *name, rt_value *x, const char *options);

/* ---- option structs that more than one room reads ---- */

typedef struct rt_conv2d_attr {
  int64_t stride[2], padding[2], dilation[2], groups;
  int activation; /* rt_activation: applied to the sum of convolution, bias and residual */
} rt_conv2d_attr;

typedef enum rt_activation { RT_ACTIVATION_NONE, RT_ACTIVATION_RELU } rt_activation;

/* Products in int8: acc = Σ x·weight in s32 of x u8 and weight s8, then, in f32,
 *   v = acc·scale[o] + bias[o] + residual_scale·residual,  y = act(v), or rint of it within 0 … high where y is u8.
 * Zero points are in the bias; a padded image has them around it already. An op's attributes are these and then those of its
 * floating form. */
typedef struct rt_int8_attr {
  double residual_scale;
  int64_t high;   /* of u8 results */
  int64_t x_high; /* of x: up to 127, two products together fit into 16 bits, as CPUs without VNNI need */
  bool f32;       /* results are f32 */
} rt_int8_attr;

typedef struct rt_conv2d_int8_attr {
  rt_int8_attr int8;
  rt_conv2d_attr conv;
} rt_conv2d_int8_attr;

/* The same for 3×3 filters by Winograd's F(2×2, 3×3), whose products are of int8 again: see op/conv2d_winograd_int8.c. */
typedef struct rt_conv2d_winograd_int8_attr {
  rt_int8_attr int8;
  int64_t padding[2];
  int activation;
  rt_ints multiplier; /* 16 numbers up to 32767: levels of a transformed input are it times that, over 2¹⁵ */
  int64_t centre;     /* of the one that sums four pixels; the others are differences */
} rt_conv2d_winograd_int8_attr;

enum { RT_WINOGRAD_TAPS = 16, RT_WINOGRAD_SUM = 5 }; /* SUM: the tap that sums four pixels */

/* A filter's C×3×3 weights transformed: levels u[16×C], what one is worth (the input's levels included), and what `centre`
 * took out of the sum. */
void rt_winograd_int8_filter(const rt_conv2d_winograd_int8_attr *attr, const int8_t *w, int64_t channels, int8_t *u,
                             float factor[RT_WINOGRAD_TAPS], float *constant);
/* Bᵀ·d·B of 4×4 pixels. */
void rt_winograd_int8_tile(const int32_t d[RT_WINOGRAD_TAPS], int32_t v[RT_WINOGRAD_TAPS]);

typedef struct rt_quantize_attr {
  double scale;
  int64_t zero_point, high; /* levels are 0 … high */
} rt_quantize_attr;

/* Levels of some grids to levels of another: v = Σ over the inputs of (x − from)·scale, a mean or the only one,
 * y = clamp(zero_point + rint(v), 0, high). An op's attributes are these and then those of its floating form. */
typedef struct rt_regrid_attr {
  double scale[2];
  int64_t from[2], zero_point, high;
} rt_regrid_attr;

typedef struct rt_fake_quant_attr {
  int64_t low, high;
  bool learned, scaled; /* the scale has a gradient; it is divided by √(numbers of a sample · high) */
} rt_fake_quant_attr;

typedef struct rt_fake_quant_weight_attr {
  bool per_tensor; /* one scale for all filters */
} rt_fake_quant_weight_attr;

typedef struct rt_observe_attr {
  int64_t high; /* levels are 0 … high */
} rt_observe_attr;

typedef struct rt_batch_norm_attr {
  double eps, momentum; /* running = (1 - momentum) running + momentum batch, as in PyTorch */
  int activation;       /* applied to the sum of the normalised value and residual */
} rt_batch_norm_attr;

typedef struct rt_batch_norm_backward_attr {
  rt_batch_norm_attr forward;
  bool residual; /* a fourth output: its gradient */
} rt_batch_norm_backward_attr;

typedef struct rt_layer_norm_attr {
  double eps;
} rt_layer_norm_attr;

typedef struct rt_matmul_attr {
  bool transpose_a, transpose_b; /* of the last two dimensions */
  bool f32;                      /* an f32 product of bf16 factors: parameter gradients */
  bool exact;                    /* stays as it is whatever precision its scope is cast to: losses */
} rt_matmul_attr;

typedef struct rt_pool2d_attr {
  int64_t kernel[2], stride[2], padding[2]; /* stride 0: the kernel's */
  bool ceil_mode, count_include_pad;
} rt_pool2d_attr;

typedef struct rt_adaptive_pool2d_attr {
  int64_t output_size[2];
} rt_adaptive_pool2d_attr;

typedef struct rt_resize_attr {
  int64_t size[2]; /* rows, columns; 0: by the scale */
  double scale[2]; /* 0: by the size */
  int mode, place, nearest;
} rt_resize_attr;

typedef struct rt_reduce_attr {
  rt_ints axes; /* empty: all */
  bool keepdim;
} rt_reduce_attr;

typedef struct rt_axis_attr {
  int64_t axis;
} rt_axis_attr;

typedef struct rt_reshape_attr {
  rt_ints shape; /* 0: the input's own dimension; one -1: whatever is left */
} rt_reshape_attr;

typedef struct rt_flatten_attr {
  int64_t start, end;
} rt_flatten_attr;

typedef struct rt_transpose_attr {
  rt_ints perm; /* empty: the order reversed */
} rt_transpose_attr;

typedef struct rt_slice_attr {
  int64_t axis, start, end, step; /* negative start and end count from the end of the axis */
} rt_slice_attr;

typedef struct rt_pad_attr {
  rt_ints pads; /* before and after, axis by axis from the first */
  double value;
} rt_pad_attr;

typedef struct rt_reorder_attr {
  int layout; /* rt_layout */
} rt_reorder_attr;

typedef struct rt_cast_attr {
  int dtype; /* rt_dtype */
} rt_cast_attr;

typedef struct rt_unary_attr {
  double alpha;    /* slope of leaky_relu; unused elsewhere */
  int approximate; /* of gelu: 0 none, 1 tanh */
} rt_unary_attr;

typedef struct rt_dropout_attr {
  int64_t stream; /* what is drawn: hash of the layer's name */
} rt_dropout_attr;

typedef struct rt_cross_entropy_attr {
  double label_smoothing;
  int64_t ignore_index;
} rt_cross_entropy_attr;

typedef struct rt_smooth_l1_attr {
  double beta;
} rt_smooth_l1_attr;

typedef struct rt_optimizer_attr {
  bool nesterov; /* sgd */
} rt_optimizer_attr;

typedef struct rt_sum_to_attr {
  bool f32; /* the sum is f32 (f64 of f64), whatever comes in */
} rt_sum_to_attr;

typedef struct rt_expand_to_attr {
  rt_reduce_attr reduce; /* what is undone */
  bool mean;             /* divide by the number of elements each reduced one stood for */
} rt_expand_to_attr;

typedef struct rt_embedding_attr {
  int64_t padding_idx; /* this row of the weight gets no gradient; -1: none */
} rt_embedding_attr;

#endif
