/* Train a small network, bring it to int8, and say what that changed.
 *   cc quantize.c $(pkg-config --cflags --libs retort) && ./a.out OUT fashion-mnist
 * The second argument is any data set of `retort data list`; without arguments a made-up one is learned. Run again, it goes on where it was stopped. */
#include <retort.h>

#include <stdio.h>

static bool tell(void *context, const char *text, const rt_news *training) {
  (void)context;
  (void)training;
  if (text) printf("  %s\n", text);
  return true;
}

static rt_status count_right(const char *file, const rt_data *data, rt_score *score) {
  rt_network *network;
  rt_network_info info;
  rt_metrics *metrics = NULL;
  rt_status s = rt_network_open(file, NULL, &network);
  if (s != RT_OK) return s;
  rt_network_describe(network, &info);
  s = rt_metrics_new(info.classes, &metrics);
  if (s == RT_OK) s = rt_evaluate(network, data, RT_TEST, 100, metrics);
  if (s == RT_OK) rt_metrics_score(metrics, score);
  rt_metrics_free(metrics);
  rt_network_free(network);
  return s;
}

int main(int argc, char **argv) {
  const char *out = argc > 1 ? argv[1] : "quantized", *name = argc > 2 ? argv[2] : "synthetic";
  const char *more = argc > 2 ? "" : "shape=1,8,8 images=600 test_images=300 noise=40";
  char trained[600], int8[600], *report = NULL;
  rt_train_report training;
  rt_data *data = NULL;
  rt_score before = {0}, after = {0};
  snprintf(trained, sizeof trained, "%s/model.best.pth", out);
  snprintf(int8, sizeof int8, "%s/int8.pth", out);
  const rt_pair train[] = {
      {"model", "resnet8:width=8"}, {"data", name}, {"data_options", more}, {"epochs", "4"}, {"batch", "32"},
      {"augment", "none"},          {"out", out},   {"resume", "true"}};
  const rt_pair quantize[] = {
      {"model", trained}, {"data", name}, {"data_options", more}, {"images", "200"}, {"out", int8}};

  rt_status s = rt_train(train, sizeof train / sizeof *train, NULL, NULL, &training);
  if (s == RT_OK) s = rt_quantize(quantize, sizeof quantize / sizeof *quantize, tell, NULL, &report);
  if (s == RT_OK) s = rt_data_open(name, more, &data);
  if (s == RT_OK) s = count_right(trained, data, &before);
  if (s == RT_OK) s = count_right(int8, data, &after);
  if (s != RT_OK)
    fprintf(stderr, "%s\n", rt_error());
  else
    printf("%s: %d of %d test images are right in floating point, %d in int8\n", int8, (int)before.correct,
           (int)before.images, (int)after.correct);
  rt_data_free(data);
  rt_text_free(report);
  return s != RT_OK;
}
