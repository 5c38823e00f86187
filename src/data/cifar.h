#ifndef RT_DATA_CIFAR_H
#define RT_DATA_CIFAR_H

#include "base/status.h"

/* How many records of `labels` label bytes and 3072 pixels `bytes` holds, after a look at every class. `path` is for the
 * sentence only. */
rt_status rt_cifar_parse(const uint8_t *bytes, int64_t n, int64_t labels, int64_t classes, const char *path,
                         int64_t *records);

#endif
