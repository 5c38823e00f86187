/* TensorBoard event files: what its reader finds in a directory, in real time. Records are protobuf messages (events.proto),
 * each framed by its length and checksums; they are appended, and a torn last record is what readers expect. */
#ifndef RT_TRAIN_EVENTS_H
#define RT_TRAIN_EVENTS_H

#include "base/status.h"

typedef struct rt_events rt_events;

/* A new file "events.out.tfevents.TIME.HOST.PID" in an existing directory. A run that goes on from `step` hides what files
 * that are there already say of this step and later ones; 0: hides nothing. */
rt_status rt_events_open(const char *directory, int64_t step, rt_events **out);
/* Events come out at once. What can't be written is RT_E_IO with the file's name. */
rt_status rt_events_scalar(rt_events *events, const char *tag, int64_t step, double value);
/* Of n values; those that are not finite are left out. */
rt_status rt_events_histogram(rt_events *events, const char *tag, int64_t step, const float *x, int64_t n);
rt_status rt_events_image(rt_events *events, const char *tag, int64_t step, const rt_image *image);
void rt_events_close(rt_events *events); /* NULL is fine */

#endif
