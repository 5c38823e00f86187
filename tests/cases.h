/* The grammar of a row's cases, "INPUT INPUT … ; options":
 *
 *   INPUT  KIND[dims]MODIFIERS, or - for an optional input left out
 *   KIND   x   floating, in the dtype under test
 *          f   floating, f32 where the others are bf16 (f64 where they are f64)
 *          s64 s32 s8 u8 bool
 *   MOD    <N  whole numbers in 0 … N-1 (floats: uniform in [0, N))      =V  the constant V
 *          +   floats in [0.5, 1.5)     ~  floats far from 0 and from each other (kinks, ties)
 *          !   not differentiated       v  the input is a variable
 *   without one: floats are normal, integers below 2
 *
 * An error case is a case and " => fragment of the sentence". */
#ifndef TESTS_CASES_H
#define TESTS_CASES_H

#include "op/op.h"

typedef struct test_input {
  bool given, differentiated, variable;
  rt_type type;
  void *data; /* row major; rt_alloc'd */
} test_input;

typedef struct test_case {
  test_input input[32];
  int n;
  char options[256];
  const char *fragment; /* of an error case; NULL */
} test_case;

/* Floats in `dtype` for x, and the matching one for f. Draws depend on the text only. */
void test_case_parse(const char *text, rt_dtype dtype, test_case *out);
void test_case_release(test_case *c);
/* The case as a graph of one node over inputs "i0", "i1", … (and variables of those names). */
rt_value *test_case_build(const test_case *c, const rt_op *op, rt_graph *g);
int test_case_feeds(const test_case *c, rt_feed *feeds); /* room for 32 */
/* Set the variables' values. */
void test_case_load(const test_case *c, rt_store *store);
/* Every element as a double, in logical order; for rt_free. */
double *test_values(const rt_result *r, int64_t *n);

#endif
