/* ONNX files as messages (onnx.proto), and their tensors as entries of a file. What the nodes mean is src/onnx. */
#ifndef RT_FORMAT_ONNX_H
#define RT_FORMAT_ONNX_H

#include "format/format.h"

#include <onnx.pb-c.h> /* made of onnx.proto */

typedef Rt__Onnx__Model rt_onnx_model;
typedef Rt__Onnx__Graph rt_onnx_graph;
typedef Rt__Onnx__Node rt_onnx_node;
typedef Rt__Onnx__Attribute rt_onnx_attribute;
typedef Rt__Onnx__Tensor rt_onnx_tensor;

/* The model of a file in this form, which always has a graph; NULL for any other. Initializer i is entry i. */
const rt_onnx_model *rt_onnx_model_of(const rt_file *file);

/* A tensor that isn't an initializer: of an attribute. `what` is what errors call it. */
rt_status rt_onnx_describe(const rt_file *file, const rt_onnx_tensor *tensor, const char *what, rt_entry *out);
rt_status rt_onnx_read(rt_file *file, const rt_entry *entry, void *to);
/* Give back the memory of initializer i's elements: it can't be read after that. */
void rt_onnx_forget(rt_file *file, int i);

/* ONNX's number of a dtype. */
int32_t rt_onnx_code(rt_dtype dtype);
const rt_element *rt_onnx_element(int32_t code); /* NULL: text, complex numbers, 8-bit floats */

#endif
