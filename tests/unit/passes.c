/* What passes leave of a graph, and what they say when they can't. */
#include "pass/pass.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

#define OK(call) \
  do { \
    if ((call) != RT_OK) fail_msg("%s: %s", #call, rt_error()); \
  } while (0)

typedef struct fixture {
  rt_store *store;
  rt_graph *graph;
} fixture;

static fixture begin(void) {
  fixture f;
  OK(rt_store_new(&f.store));
  OK(rt_graph_new(f.store, &f.graph));
  return f;
}

static void end(fixture *f) {
  rt_graph_free(f->graph);
  rt_store_free(f->store);
}

static fixture resnet18(void) {
  fixture f = begin();
  rt_dim dim[] = {rt_symbol(f.graph, "batch"), 3, 32, 32};
  rt_value *logits = rt_model(f.graph, "resnet18", rt_input(f.graph, "x", RT_F32, 4, dim), NULL);
  rt_mark_output(f.graph, "logits", logits);
  rt_mark_output(f.graph, "loss", rt_cross_entropy(f.graph, logits, rt_input(f.graph, "target", RT_S64, 1, dim), NULL));
  OK(rt_graph_status(f.graph));
  return f;
}

static int count(const rt_graph *g, const char *op, const char *scope) {
  int n = 0;
  for (int i = 0; i < g->n_nodes; i++)
    n += strcmp(g->node[i]->op->name, op) == 0 && strncmp(g->node[i]->name, scope, strlen(scope)) == 0;
  return n;
}

static void fusing_leaves_no_elementwise_node(void **state) {
  fixture f = resnet18();
  assert_int_equal(count(f.graph, "relu", ""), 17);
  assert_int_equal(count(f.graph, "add", ""), 8);
  OK(rt_pass_fuse(&f.graph, NULL));
  assert_int_equal(count(f.graph, "relu", ""), 0);
  assert_int_equal(count(f.graph, "add", ""), 0);
  assert_int_equal(count(f.graph, "batch_norm_train", ""), 20);
  assert_int_equal(count(f.graph, "assign", ""), 40);
  end(&f);
}

static void evaluation_is_convolutions_only(void **state) {
  fixture f = resnet18();
  OK(rt_pass_eval(&f.graph, NULL));
  assert_int_equal(count(f.graph, "assign", ""), 0);
  assert_int_equal(count(f.graph, "batch_norm", ""), 20);
  OK(rt_pass_fold_batch_norm(&f.graph, NULL));
  OK(rt_pass_fuse(&f.graph, NULL));
  assert_int_equal(count(f.graph, "batch_norm", "") + count(f.graph, "relu", ""), 0);
  assert_int_equal(count(f.graph, "conv2d", ""), 20);
  end(&f);
}

static void scopes_limit(void **state) {
  fixture f = resnet18();
  OK(rt_pass_eval(&f.graph, "layer1."));
  assert_int_equal(count(f.graph, "batch_norm", "layer1."), 4);
  assert_int_equal(count(f.graph, "batch_norm", ""), 4);
  assert_int_equal(count(f.graph, "batch_norm_train", ""), 16);
  OK(rt_pass_cast(&f.graph, "layer2.", RT_BF16));
  for (int i = 0; i < f.graph->n_nodes; i++) {
    const rt_node *node = f.graph->node[i];
    if (node->op != RT_OP(conv2d)) continue;
    bool inside = strncmp(node->name, "layer2.", 7) == 0;
    assert_int_equal(node->out[0]->type.dtype, inside ? RT_BF16 : RT_F32);
  }
  end(&f);
}

/* Master weights, their gradients, statistics and losses stay f32; results keep their dtype. */
static void bf16_keeps_f32_where_it_must(void **state) {
  fixture f = resnet18();
  OK(rt_pass_fuse(&f.graph, NULL));
  OK(rt_pass_cast(&f.graph, NULL, RT_BF16));
  OK(rt_pass_train(&f.graph, "loss", NULL));
  for (int i = 0; i < f.graph->n_nodes; i++) {
    const rt_node *node = f.graph->node[i];
    if (node->op == RT_OP(conv2d_backward_weight)) assert_int_equal(node->out[0]->type.dtype, RT_F32);
    if (node->op == RT_OP(conv2d) || node->op == RT_OP(batch_norm_train))
      assert_int_equal(node->out[0]->type.dtype, RT_BF16);
    if (node->op == RT_OP(batch_norm_train)) assert_int_equal(node->out[3]->type.dtype, RT_F32);
    if (node->op != RT_OP(sgd)) continue;
    for (int j = 0; j < node->n_in; j++) assert_int_equal(node->in[j]->type.dtype, RT_F32);
  }
  assert_int_equal(rt_find(f.graph, "logits")->type.dtype, RT_F32);
  assert_int_equal(rt_find(f.graph, "loss")->type.dtype, RT_F32);
  end(&f);
}

static void failures_leave_the_graph(void **state) {
  fixture f = resnet18();
  rt_graph *before = f.graph;
  assert_int_equal(rt_pass_train(&f.graph, "lost", NULL), RT_E_UNKNOWN);
  assert_non_null(strstr(rt_error(), "no output lost"));
  assert_int_equal(rt_pass_train(&f.graph, "loss", "optimiser=sgd"), RT_E_ARGUMENT);
  assert_non_null(strstr(rt_error(), "did you mean optimizer?"));
  assert_int_equal(rt_pass_cast(&f.graph, NULL, RT_S8), RT_E_ARGUMENT);
  assert_ptr_equal(f.graph, before);
  rt_value *logits = rt_find(f.graph, "logits"), *grad;
  assert_int_equal(rt_gradients(logits, &logits, 1, &grad), RT_E_SHAPE);
  assert_non_null(strstr(rt_error(), "floating scalar"));
  end(&f);
}

static void an_op_without_gradient_is_named(void **state) {
  fixture f = begin();
  rt_value *x = rt_input(f.graph, "x", RT_F32, 2, (rt_dim[]){2, 3}), *grad;
  rt_value *in[] = {x, x}, *y = rt_apply(f.graph, "relu_backward", "odd", in, 2, NULL);
  y = rt_apply(f.graph, "sum", NULL, &y, 1, NULL);
  OK(rt_graph_status(f.graph));
  assert_int_equal(rt_gradients(y, &x, 1, &grad), RT_E_UNSUPPORTED);
  assert_non_null(strstr(rt_error(), "relu_backward odd has no gradient"));
  end(&f);
}

static void detach_stops(void **state) {
  fixture f = begin();
  rt_value *x = rt_input(f.graph, "x", RT_F32, 1, (rt_dim[]){3}), *grad;
  rt_value *stopped = rt_apply(f.graph, "detach", NULL, &x, 1, NULL);
  rt_value *y = rt_apply(f.graph, "sum", NULL, &stopped, 1, NULL);
  OK(rt_gradients(y, &x, 1, &grad));
  assert_null(grad);
  end(&f);
}

/* The first failure of building stays, whatever is called after it. */
static void errors_stick(void **state) {
  fixture f = begin();
  rt_value *x = rt_input(f.graph, "x", RT_F32, 4, (rt_dim[]){rt_symbol(f.graph, "n"), 3, 8, 8});
  rt_value *y = rt_conv2d(f.graph, "first", x, 4, 9, false, NULL);
  y = rt_relu(f.graph, rt_linear(f.graph, "second", y, 0, true));
  assert_null(y);
  assert_int_equal(rt_graph_status(f.graph), RT_E_SHAPE);
  assert_non_null(strstr(rt_error(), "first"));
  rt_plan *plan;
  assert_int_equal(rt_plan_new(f.graph, NULL, &plan), RT_E_SHAPE);
  end(&f);
}

static void scopes_name(void **state) {
  fixture f = begin();
  rt_scope_push(f.graph, "a");
  rt_scope_push(f.graph, "b");
  rt_value *inner = rt_parameter(f.graph, "w", 0, NULL, (rt_init){0});
  rt_scope_pop(f.graph);
  rt_value *outer = rt_parameter(f.graph, "w", 0, NULL, (rt_init){0});
  rt_scope_pop(f.graph);
  assert_string_equal(inner->name, "a.b.w");
  assert_string_equal(outer->name, "a.w");
  rt_scope_push(f.graph, "a.b");
  assert_int_equal(rt_graph_status(f.graph), RT_E_ARGUMENT);
  end(&f);
}

/* Tied weights: one variable under two names. */
static void aliases_share(void **state) {
  fixture f = begin();
  rt_dim two[] = {2};
  float v[2] = {3, 4}, w[2];
  rt_value *a = rt_parameter(f.graph, "a", 1, two, (rt_init){0});
  OK(rt_store_alias(f.store, "b", "a"));
  assert_ptr_equal(rt_parameter(f.graph, "b", 1, two, (rt_init){0}), a);
  OK(rt_store_set(f.store, "b", v, sizeof v));
  OK(rt_store_get(f.store, "a", w, sizeof w));
  assert_true(w[0] == 3 && w[1] == 4);
  assert_int_equal(rt_store_alias(f.store, "b", "a"), RT_E_ARGUMENT);
  assert_int_equal(rt_store_alias(f.store, "c", "x"), RT_E_UNKNOWN);
  assert_int_equal(rt_store_set(f.store, "a", v, 4), RT_E_SHAPE);
  end(&f);
}

static void text_and_dot(void **state) {
  fixture f = begin();
  rt_value *x = rt_input(f.graph, "x", RT_F32, 4, (rt_dim[]){rt_symbol(f.graph, "batch"), 3, 8, 8});
  rt_mark_output(f.graph, "y", rt_relu(f.graph, rt_conv2d(f.graph, "conv\"1\"", x, 4, 3, false, "stride=2 padding=1")));
  char *text, *dot;
  OK(rt_graph_text(f.graph, &text));
  OK(rt_graph_dot(f.graph, &dot));
  assert_non_null(strstr(text, "conv2d conv\"1\"(x, conv\"1\".weight) stride=2 padding=1 : f32[batch, 4, 4, 4]"));
  assert_non_null(strstr(dot, "conv\\\"1\\\""));
  assert_non_null(strstr(dot, "-> o0;"));
  rt_text_free(text);
  rt_text_free(dot);
  end(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fusing_leaves_no_elementwise_node),
      cmocka_unit_test(evaluation_is_convolutions_only),
      cmocka_unit_test(scopes_limit),
      cmocka_unit_test(bf16_keeps_f32_where_it_must),
      cmocka_unit_test(failures_leave_the_graph),
      cmocka_unit_test(an_op_without_gradient_is_named),
      cmocka_unit_test(detach_stops),
      cmocka_unit_test(errors_stick),
      cmocka_unit_test(scopes_name),
      cmocka_unit_test(aliases_share),
      cmocka_unit_test(text_and_dot),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
