/* Build a small network, train it, run it: two classes of points, inside and outside a circle. */
#include <math.h>
#include <retort.h>
#include <stdio.h>

enum { N = 256, STEPS = 300 };

static float points[N][2];
static int64_t inside[N];

static void make_points(void) {
  uint32_t random = 1;
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < 2; j++) points[i][j] = (float)((random = random * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1;
    inside[i] = hypotf(points[i][0], points[i][1]) < 0.7f;
  }
}

/* x (batch×2) → logits (batch×2); with a target also the loss. */
static rt_status build(rt_store *store, bool training, rt_plan **plan, rt_graph **graph) {
  rt_status s = rt_graph_new(store, graph);
  if (s != RT_OK) return s;
  rt_dim batch = rt_symbol(*graph, "batch"), shape[] = {batch, 2};
  rt_value *x = rt_input(*graph, "x", RT_F32, 2, shape);
  rt_value *logits = rt_model(*graph, "mlp", x, "hidden=32,32 classes=2");
  rt_mark_output(*graph, "logits", logits);
  if (training)
    rt_mark_output(*graph, "loss",
                   rt_cross_entropy(*graph, logits, rt_input(*graph, "target", RT_S64, 1, &batch), NULL));
  s = rt_graph_status(*graph); /* the first failure of any builder above */
  if (s == RT_OK && training) s = rt_pass_train(graph, "loss", "optimizer=adamw");
  if (s == RT_OK) s = rt_plan_new(*graph, NULL, plan);
  return s;
}

static rt_status run(rt_store *store, rt_plan *training, rt_plan *inference) {
  int64_t shape[] = {N, 2};
  float rate = 0.01f;
  rt_feed feeds[] = {{"x", 2, shape, points}, {"target", 1, shape, inside}, {"lr", 0, NULL, &rate}};
  rt_result loss, logits;
  rt_status s = rt_store_init(store, 1);
  for (int step = 0; step < STEPS && s == RT_OK; step++) {
    s = rt_plan_run(training, feeds, 3);
    if (s == RT_OK) s = rt_plan_result(training, "loss", &loss);
    if (s == RT_OK && step % 100 == 0) printf("step %3d  loss %.4f\n", step, (double)*(const float *)loss.data);
  }
  if (s == RT_OK) s = rt_plan_run(inference, feeds, 1);
  if (s == RT_OK) s = rt_plan_result(inference, "logits", &logits);
  if (s != RT_OK) return s;
  int correct = 0;
  for (int i = 0; i < N; i++)
    correct += (((const float *)logits.data)[2 * i + 1] > ((const float *)logits.data)[2 * i]) == inside[i];
  printf("%d of %d points are on their side of the circle\n", correct, N);
  return RT_OK;
}

int main(void) {
  rt_store *store = NULL;
  rt_graph *graphs[2] = {0};
  rt_plan *plans[2] = {0};
  make_points();
  rt_status s = rt_store_new(&store);
  if (s == RT_OK) s = build(store, true, &plans[0], &graphs[0]);
  if (s == RT_OK) s = build(store, false, &plans[1], &graphs[1]);
  if (s == RT_OK) s = run(store, plans[0], plans[1]);
  if (s != RT_OK) fprintf(stderr, "%s\n", rt_error());
  for (int i = 0; i < 2; i++) rt_plan_free(plans[i]), rt_graph_free(graphs[i]);
  rt_store_free(store);
  return s != RT_OK;
}
