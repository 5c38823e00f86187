#include "tensor/grid.h"

#include <math.h>

rt_scale rt_scale_of(rt_range r, rt_levels levels) {
  const double least = 0x1p-23; /* a tensor of zeros has a scale too, and 1/s is finite */
  double low = fmin(r.low, 0), high = fmax(r.high, 0);
  if (levels.symmetric) return (rt_scale){fmax(fmax(-low, high) / levels.high, least), 0};
  double s = fmax((high - low) / (levels.high - levels.low), least);
  double z = levels.low - nearbyint(low / s);
  return (rt_scale){s, (int)fmin(fmax(z, levels.low), levels.high)};
}

rt_range rt_range_moved(rt_range state, rt_range seen, double rate) {
  return (rt_range){(double)(float)(state.low + rate * (fmin(seen.low, 0) - state.low)),
                    (double)(float)(state.high + rate * (fmax(seen.high, 0) - state.high))};
}
