#ifndef RT_DATA_CIFAR_H
#define RT_DATA_CIFAR_H

#include "base/status.h"

#include <stdbool.h>

/* How many records of `labels` label bytes and 3072 pixels `bytes` holds, after a look at every class. `path` is for the
 * sentence only. */
rt_status rt_cifar_parse(const uint8_t *bytes, int64_t n, int64_t labels, int64_t classes, const char *path,
                         int64_t *records);

/* A file of the version for Python (of CIFAR-100, or -10) as such records; freed with rt_free. */
rt_status rt_cifar_unpickle(const uint8_t *pickled, int64_t n, bool hundred, const char *path, uint8_t **out,
                            int64_t *bytes);

#endif
