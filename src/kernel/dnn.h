/* What the rest of retort knows of oneDNN: only dnn*.c see its headers. */
#ifndef RT_KERNEL_DNN_H
#define RT_KERNEL_DNN_H

#include "kernel/kernel.h"

/* What oneDNN limits itself to: the CPU's instruction set, or less where ONEDNN_MAX_CPU_ISA says so. */
rt_isa dnn_isa(void);
/* "oneDNN 3.2.0 (avx512_core_bf16)" */
const char *dnn_info(char *buffer, size_t size);

#endif
