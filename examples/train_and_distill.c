/* A teacher, a student that learns from labels alone, and one that learns from the teacher too; how right each of them is.
 *   cc train_and_distill.c $(pkg-config --cflags --libs retort) && ./a.out OUT fashion-mnist
 * The second argument is any data set of `retort data list`; without arguments a made-up one is learned. Run again, it goes on where it was stopped. */
#include <retort.h>

#include <stdio.h>

static bool tell(void *context, const rt_news *news) {
  (void)context;
  if (news->kind == RT_NEWS_EPOCH)
    printf("  epoch %d: loss %.3f, validation %.2f %%\n", (int)news->epoch + 1, news->loss,
           100 * news->validation.top1);
  return true; /* false would stop the run, after a checkpoint */
}

static rt_status train(const char *what, const rt_pair *settings, int n, double *accuracy) {
  rt_train_report report;
  printf("%s\n", what);
  rt_status s = rt_train(settings, n, tell, NULL, &report);
  *accuracy = report.test.top1;
  return s;
}

int main(int argc, char **argv) {
  const char *out = argc > 1 ? argv[1] : "distilled", *data = argc > 2 ? argv[2] : "synthetic";
  const char *more = argc > 2 ? "" : "shape=1,8,8 images=1000 test_images=500 noise=40";
  char directory[3][512], teacher[600];
  double accuracy[3];
  for (int i = 0; i < 3; i++) snprintf(directory[i], sizeof directory[i], "%s-%d", out, i);
  snprintf(teacher, sizeof teacher, "%s/model.best.pth", directory[0]);
#define COUNT(list) ((int)(sizeof list / sizeof *list))
#define COMMON \
  {"data", data}, {"resume", "true"}, {"data_options", more}, {"epochs", "6"}, {"batch", "32"}, {"augment", "none"}, { \
    "lr", "0.01" \
  }
  const rt_pair large[] = {COMMON, {"model", "mlp:hidden=256,128"}, {"out", directory[0]}};
  const rt_pair alone[] = {COMMON, {"model", "mlp:hidden=16"}, {"out", directory[1]}};
  const rt_pair taught[] = {COMMON,
                            {"model", "mlp:hidden=16"},
                            {"out", directory[2]},
                            {"teacher", teacher},
                            {"losses", "cross_entropy:weight=0.3 kd:weight=0.7,temperature=4"}};
  rt_status s = train("teacher", large, COUNT(large), &accuracy[0]);
  if (s == RT_OK) s = train("student alone", alone, COUNT(alone), &accuracy[1]);
  if (s == RT_OK) s = train("student with the teacher", taught, COUNT(taught), &accuracy[2]);
  if (s != RT_OK) {
    fprintf(stderr, "%s\n", rt_error());
    return 1;
  }
  printf("test accuracy: teacher %.2f %%, student alone %.2f %%, distilled %.2f %%\n", 100 * accuracy[0],
         100 * accuracy[1], 100 * accuracy[2]);
  return 0;
}
