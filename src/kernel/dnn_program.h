/* What a site runs in oneDNN: a few primitives over slots. A slot is a memory descriptor, and where its bytes are found
 * when the kernel runs. prepare builds a program; errors stick, so that it checks once, at the end. Running one sets
 * addresses and executes: nothing is allocated. Memory descriptors, attributes and primitive descriptors that are
 * returned here belong to the program and go when it is finished. */
#ifndef RT_KERNEL_DNN_PROGRAM_H
#define RT_KERNEL_DNN_PROGRAM_H

#include "kernel/kernel.h"

#include <dnnl.h>

typedef struct dnn_program dnn_program;

/* A logical shape and its strides in elements. */
typedef struct dnn_shape {
  int rank;
  dnnl_dims_t dim, stride;
} dnn_shape;

/* Dimensions and strides of a bound type. Where both memory orders are the same it is called channels last. */
dnn_shape dnn_shape_of(const rt_type *type);
dnn_shape dnn_channels_last(const rt_type *type); /* its dimensions in this order, whatever its own */
dnn_shape dnn_row_major(const rt_type *type);
/* Filters as they lie, OIHW, or GOIHW where there are groups. */
dnn_shape dnn_grouped(const rt_type *w, int64_t groups);
dnn_shape dnn_matrix(int64_t rows, int64_t columns);
dnn_shape dnn_transposed(dnn_shape shape); /* the last two dimensions */
/* Types that kernels here take: f32, bf16 where the CPU multiplies it; nothing is empty. */
bool dnn_accepts(const rt_type *type);
bool dnn_is_channels_last(const rt_type *type);
bool dnn_is_row_major(const rt_type *type);
const rt_type *dnn_optional(const rt_site *site, int i); /* of input i; NULL where it is left out */

dnn_program *dnn_program_new(void);
/* Hand the program over to the site, or release it and return what went wrong. */
rt_status dnn_program_finish(dnn_program *p, rt_site *site);
void dnn_program_release(void *program);
rt_status dnn_program_run(const rt_kernel_call *call);

dnnl_engine_t dnn_engine(const dnn_program *p);
bool dnn_failed(const dnn_program *p);
/* Record the outcome of a call of oneDNN that does `what`; true when it went well. */
bool dnn_check(dnn_program *p, dnnl_status_t status, const char *what);

/* With these strides, or (any) as the primitive likes it. */
const_dnnl_memory_desc_t dnn_md(dnn_program *p, rt_dtype dtype, dnn_shape shape);
const_dnnl_memory_desc_t dnn_md_any(dnn_program *p, rt_dtype dtype, dnn_shape shape);
/* What a primitive made of an `any`. */
const_dnnl_memory_desc_t dnn_wanted(dnn_program *p, dnnl_primitive_desc_t pd, dnnl_query_t what);
/* The user's scratchpad; y = act(result [+ what y held]). */
dnnl_primitive_attr_t dnn_attr(dnn_program *p, bool sum, bool relu);
/* The program owns it from now on. NULL in, NULL out. */
dnnl_primitive_desc_t dnn_keep(dnn_program *p, dnnl_primitive_desc_t pd);

/* Slots: input or output i of the node; memory of the workspace; another view of a slot. NULL in, -1 out. */
int dnn_input(dnn_program *p, int i, const_dnnl_memory_desc_t md);
int dnn_output(dnn_program *p, int i, const_dnnl_memory_desc_t md);
int dnn_temporary(dnn_program *p, const_dnnl_memory_desc_t md);
int dnn_view(dnn_program *p, int slot, const_dnnl_memory_desc_t md);
/* Input i packed as `md`; `shape` is its own. Already so: no pack. */
int dnn_weights(dnn_program *p, rt_site *site, int i, dnn_shape shape, const_dnnl_memory_desc_t md);
/* The slot, where it has this form; else one of the workspace, which a step fills from it (dnn_converted) or which the
 * caller reorders into it after computing (dnn_staged). */
int dnn_converted(dnn_program *p, int slot, const_dnnl_memory_desc_t md);
int dnn_staged(dnn_program *p, int slot, const_dnnl_memory_desc_t md);

/* Steps. */
typedef struct dnn_arg {
  int name; /* DNNL_ARG_… */
  int slot; /* -1: left out */
} dnn_arg;

enum { DNN_ARGS = 6 };
void dnn_execute(dnn_program *p, dnnl_primitive_desc_t pd, const dnn_arg *arg, int n);
void dnn_reorder(dnn_program *p, int from, int to); /* nothing to do where both are the same memory */
void dnn_zero(dnn_program *p, int slot);

/* c = attr(a·b + bias), b as the primitive likes it where it has no strides. bias may be NULL. */
dnnl_primitive_desc_t dnn_product(dnn_program *p, const_dnnl_memory_desc_t a, const_dnnl_memory_desc_t b,
                                  const_dnnl_memory_desc_t bias, const_dnnl_memory_desc_t c,
                                  dnnl_primitive_attr_t attr);

/* dnn.c */
rt_status dnn_fail(dnnl_status_t status, const char *what);
rt_status dnn_start(dnnl_engine_t *engine); /* the one engine, made when it is first asked for */
dnnl_stream_t dnn_stream(void);
void dnn_use_threads(int n);

#endif
