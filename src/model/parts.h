/* What the convolutional models share. Weights start normal with variance 2/fan (He, Zhang, Ren, Sun 2015), biases at 0. */
#ifndef RT_MODEL_PARTS_H
#define RT_MODEL_PARTS_H

#include "model/model.h"

typedef enum rt_fan { RT_FAN_OUT, RT_FAN_IN } rt_fan;

typedef struct rt_conv_part {
  int64_t out, kernel;
  int64_t stride, groups; /* 0: 1 */
  bool bias;
  rt_fan fan;
} rt_conv_part;

/* x is N×C×H×W with C known; else the graph's error, named after the model, and false. */
bool rt_part_image(rt_graph *g, const char *model, const rt_value *x);
/* Same padding. Parameters are "name.weight" and "name.bias". */
rt_value *rt_part_conv(rt_graph *g, const char *name, rt_value *x, rt_conv_part c);
/* conv, then batch norm. */
rt_value *rt_part_conv_norm(rt_graph *g, const char *conv, const char *norm, rt_value *x, rt_conv_part c);
/* The mean over all pixels, N×C. */
rt_value *rt_part_mean(rt_graph *g, rt_value *x);
/* A linear layer that starts as `weight` says, its bias as `bias`. */
rt_value *rt_part_linear(rt_graph *g, const char *name, rt_value *x, int64_t out, rt_init weight, rt_init bias);
/* A parameter that training leaves as it is. */
void rt_part_freeze(rt_value *parameter);
/* Channels of a network whose width is multiplied: the nearest multiple of 8, and not less than nine tenths. */
int64_t rt_part_channels(int64_t channels, double width);
/* "stem=cifar|imagenet" as an option's choice. */
enum { RT_STEM_CIFAR, RT_STEM_IMAGENET };

static inline int64_t rt_part_width(const rt_value *x) { return x ? x->type.dim[1] : 0; }

/* Names and scopes from numbers. */
const char *rt_part_name(rt_graph *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
