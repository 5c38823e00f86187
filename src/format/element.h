/* How files store the elements of a tensor, and how those become ours. Little-endian throughout. */
#ifndef RT_FORMAT_ELEMENT_H
#define RT_FORMAT_ELEMENT_H

#include "tensor/tensor.h"

typedef struct rt_element {
  const char *name;
  size_t size;    /* bytes in the file */
  rt_dtype dtype; /* what it is read as: the same, or a wider integer */
  const char *torch, *numpy, *safetensors;
} rt_element;

/* NULL when there is none of this name. */
const rt_element *rt_element_of_torch(const char *storage, size_t length);
const rt_element *rt_element_of_numpy(const char *code, size_t length); /* without the byte order: "f4" */
const rt_element *rt_element_of_safetensors(const char *name);
const rt_element *rt_element_of_name(const char *name);
const rt_element *rt_element_of(rt_dtype dtype); /* what a dtype is written as */

/* Elements of a shape, -1 if that overflows or a dimension is negative. */
int64_t rt_shape_elements(int rank, const int64_t *dim);
/* n elements, neighbours in the file; neither side need be aligned. */
void rt_element_copy(const rt_element *element, const void *from, int64_t n, void *to);
/* A strided view (strides in elements, from its first element) into row-major order. */
void rt_element_gather(const rt_element *element, const void *from, int rank, const int64_t *dim, const int64_t *stride,
                       void *to);

#endif
