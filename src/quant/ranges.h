/* What passes through a folded network when images do: ranges by value, and means by channel. */
#ifndef RT_QUANT_RANGES_H
#define RT_QUANT_RANGES_H

#include "calibrate/calibrate.h"
#include "graph/graph.h"

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
 * "PATTERN=OBSERVER" with the pattern of a shell. Names are the graph's: it outlives this. */
rt_status rt_ranges_new(const rt_graph *graph, const char *observer, const char *const *overrides, int n,
                        rt_ranges *out);
void rt_ranges_release(rt_ranges *ranges);
/* The batches of a loader up to `images` images through the graph; *seen is how many there were. */
rt_status rt_ranges_observe(rt_ranges *ranges, const rt_graph *graph, rt_loader *loader, int64_t images, int64_t *seen);
const rt_watched *rt_ranges_find(const rt_ranges *ranges,
                                 const char *name); /* NULL: nothing of this name was watched */

#endif
