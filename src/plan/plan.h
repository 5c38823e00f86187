/* A plan runs the marked outputs and assigns of a graph: bind the symbols, choose kernels, lay out memory, run.
 *
 *   bind.c    feeds → symbols → the bound type of every value
 *   build.c   bound types → steps: kernels, packs, what belongs to the prologue
 *   memory.c  steps → one arena, by liveness; in-place results, assigns without copies
 *   plan.c    the cache of bindings, running, profile */
#ifndef RT_PLAN_PLAN_H
#define RT_PLAN_PLAN_H

#include "kernel/kernel.h"

typedef enum rt_place {
  RT_PLACE_ARENA,      /* shared by all plans over a store; lives from step `first` to step `last` */
  RT_PLACE_PERSISTENT, /* derived weights: kept between runs */
  RT_PLACE_FEED,       /* the user's memory */
  RT_PLACE_VARIABLE,   /* the store's */
  RT_PLACE_CONSTANT,   /* the graph's */
} rt_place;

typedef struct rt_buffer {
  rt_place place;
  int64_t bytes, offset;
  int first, last;       /* steps that write and read it, inclusive; first is -1 where no step writes it */
  bool pinned;           /* a result: nobody may take it over */
  const rt_value *value; /* of a feed, variable or constant; else whose data it is, for messages */
  void *data;            /* resolved before each run */
} rt_buffer;

typedef enum rt_step_kind {
  RT_STEP_KERNEL,
  RT_STEP_PACK, /* one input in the form that a kernel wants */
  RT_STEP_COPY, /* an assign that could not be had for nothing */
} rt_step_kind;

typedef struct rt_step {
  rt_step_kind kind;
  bool prologue;
  const rt_node *node;
  rt_site *site;           /* of RT_STEP_KERNEL */
  const rt_kernel *kernel; /* NULL: the op row's reference */
  const rt_pack *pack;     /* of RT_STEP_PACK */
  int n_in, n_out;
  rt_tensor *in_view, *out_view;
  const rt_tensor **in;        /* into in_view; NULL where an optional input is left out */
  int *in_buffer, *out_buffer; /* -1: none */
  int workspace;               /* buffer; -1: none */
  double seconds;
  int64_t runs;
} rt_step;

/* What of a graph a plan runs: found once, the same for every binding. */
typedef struct rt_live {
  const rt_graph *graph;
  bool *node;  /* by id: reaches a marked output or an assign */
  bool *value; /* by id: a live node reads it, or it is marked */
} rt_live;

/* A graph with its symbols bound. Everything small is in `memory`. */
typedef struct rt_bound {
  struct rt_bound *next; /* most recently used first */
  rt_arena memory;
  const rt_graph *graph;
  const rt_live *live;
  int64_t *symbol; /* the number, by symbol; 0: no input mentions it */
  int threads;     /* that its kernels were prepared for */
  rt_type *type;   /* by value id */
  int *buffer;     /* by value id; -1: none */
  rt_buffer *buffers;
  rt_step *steps;
  int n_buffers, n_steps, n_prologue;
  int buffer_capacity, step_capacity;
  int64_t arena_bytes, persistent_bytes;
  unsigned char *persistent;
  rt_var **watched; /* variables that the prologue reads, and the versions it last saw */
  uint64_t *seen;
  int n_watched;
  bool prologue_ran;
} rt_bound;

/* Bind the symbols to what the feeds say. *out owns everything. */
rt_status rt_bind(const rt_live *live, const rt_feed *feeds, int n, rt_bound **out);
void rt_bound_free(rt_bound *b);
/* Numbers of the symbols, or what is wrong with the feeds. Inputs that nothing live reads need not be fed. */
rt_status rt_bind_symbols(const rt_live *live, const rt_feed *feeds, int n, int64_t *symbol);

rt_status rt_build_steps(rt_bound *b, rt_kernels policy);
rt_status rt_plan_layout(rt_bound *b);

rt_buffer *rt_bound_new_buffer(rt_bound *b, rt_place place, int64_t bytes, const rt_value *value); /* NULL: no memory */
rt_step *rt_bound_new_step(rt_bound *b, rt_step_kind kind, const rt_node *node, int n_in, int n_out);
void *rt_bound_alloc(rt_bound *b, size_t count, size_t size);

#endif
