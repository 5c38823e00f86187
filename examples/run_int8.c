/* Where an int8 network is deployed: verify it on this CPU, then let it say what an image shows.
 *   cc run_int8.c $(pkg-config --cflags --libs retort) && ./a.out student_int8.pth IMAGE.png
 * Without an image it is asked about a grey one. */
#include <retort.h>

#include <stdio.h>
#include <stdlib.h>

/* The picture as the network learned to see it: scaled, cut, normalised; x has room for one. */
static rt_status read_image(const char *path, const rt_network_info *n, float *x) {
  rt_image image;
  rt_status s = rt_image_read(path, n->channels, &image);
  if (s != RT_OK) return s;
  s = rt_image_input(&image, n->shorter, n->filter, n->mean, n->deviation, n->channels, n->height, n->width, x);
  rt_image_release(&image);
  return s;
}

static rt_status classify(rt_network *network, const rt_network_info *n, const char *path) {
  const float *logits;
  float *x = calloc((size_t)(n->channels * n->height * n->width), sizeof *x);
  rt_status s = path ? read_image(path, n, x) : RT_OK;
  if (s == RT_OK) s = rt_network_run(network, x, 1, &logits);
  int best = 0;
  for (int c = 1; s == RT_OK && c < n->classes; c++)
    if (logits[c] > logits[best]) best = c;
  if (s == RT_OK)
    printf("%s: class %d%s%s\n", path ? path : "grey", best, n->class_name ? ", " : "",
           n->class_name ? n->class_name[best] : "");
  free(x);
  return s;
}

int main(int argc, char **argv) {
  const char *file = argc > 1 ? argv[1] : "quantized/int8.pth";
  rt_network *network = NULL;
  rt_network_info info;
  rt_verification v = {0};
  rt_bench speed;
  rt_status s = rt_network_open(file, NULL, &network);
  if (s == RT_OK) {
    rt_network_describe(network, &info);
    if (info.int8_misfit) printf("%s was made for %s: not for this CPU\n", file, info.int8_target);
    s = rt_network_verify(network, &v);
  }
  if (s == RT_OK) {
    printf("%s: %d of %d images it carries are classified as where it was made; %s\n", file, (int)v.classes_right,
           (int)v.images, v.exact ? "every bit is the same" : "logits differ a little");
    s = classify(network, &info, argc > 2 ? argv[2] : NULL);
  }
  if (s == RT_OK) s = rt_bench_run(&network, 1, 1, 0.1, &speed);
  if (s == RT_OK) printf("one image takes %.3f ms\n", speed.p50 * 1e3);
  if (s != RT_OK) fprintf(stderr, "%s\n", rt_error());
  rt_network_free(network);
  return s != RT_OK || v.classes_right != v.images;
}
