/* Grids that numbers are rounded to: the value of level q is scale·(q − zero_point). */
#ifndef RT_TENSOR_GRID_H
#define RT_TENSOR_GRID_H

#include <stdbool.h>

typedef struct rt_range {
  double low, high; /* low ≤ 0 ≤ high: 0 is always on the grid */
} rt_range;

/* Integers that a tensor is quantized to. */
typedef struct rt_levels {
  int low, high;
  bool symmetric; /* the zero point is the middle, 0: weights; else it is where the range says */
} rt_levels;

typedef struct rt_scale {
  double scale;
  int zero_point;
} rt_scale;

/* affine: s = max((high − low)/(qmax − qmin), 2⁻²³), z = clamp(qmin − rint(low/s)); symmetric: s = max(|low|, |high|)/qmax, z = 0 */
rt_scale rt_scale_of(rt_range range, rt_levels levels);

/* A moving average of ranges: `state` goes by `rate` of the way to the range of what was seen. In f32, as the store keeps it. */
rt_range rt_range_moved(rt_range state, rt_range seen, double rate);

#endif
