/* What a network costs to run.
 *
 *   run.c       seconds of forward passes, several networks alternately
 *   counters.c  what the kernel counts: energy, peak memory */
#ifndef RT_BENCH_BENCH_H
#define RT_BENCH_BENCH_H

#include "retort.h"

/* Joules that all packages have used since some moment; NaN where the kernel doesn't tell. */
double rt_energy(void);

#endif
