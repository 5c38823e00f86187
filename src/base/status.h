/* Status codes carry what kind of failure it was; a thread-local sentence says what happened to what. */
#ifndef RT_BASE_STATUS_H
#define RT_BASE_STATUS_H

#include "retort.h"

#include <stdarg.h>

/* Record the sentence and return the status, so that a failing function ends in `return rt_fail(...)`. */
rt_status rt_fail(rt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
rt_status rt_vfail(rt_status status, const char *format, va_list arguments);

/* Put "text: " before the sentence of a failure that is being passed on, and return its status. */
rt_status rt_fail_in(rt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
