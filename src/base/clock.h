#ifndef RT_BASE_CLOCK_H
#define RT_BASE_CLOCK_H

/* Seconds of a clock that never goes back. */
double rt_now(void);

#endif
