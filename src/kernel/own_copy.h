#ifndef RT_KERNEL_OWN_COPY_H
#define RT_KERNEL_OWN_COPY_H

#include "kernel/own.h"

/* to = from, same dimensions and dtype, any strides (0 repeats); they don't overlap. */
void own_copy(const rt_tensor *from, const rt_tensor *to);

#endif
