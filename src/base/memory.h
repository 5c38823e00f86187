#ifndef RT_BASE_MEMORY_H
#define RT_BASE_MEMORY_H

#include <stdint.h>

/* Bytes that can still be had without swapping: the smaller of the machine's and the control group's; INT64_MAX if unknown. */
int64_t rt_memory_available(void);

#endif
