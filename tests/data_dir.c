#include "data_dir.h"

#include "directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static void must(int good, const char *what) {
  if (good) return;
  perror(what);
  exit(1);
}

const char *data_dir_make(void) {
  snprintf(root, sizeof root, "/tmp/retort-test-XXXXXX");
  must(mkdtemp(root) != NULL, root);
  return root;
}

void data_dir_remove(void) { directory_remove(root); }

const char *data_dir_path(const char *name) {
  static char paths[4][512];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", root, name);
  for (char *p = path + strlen(root) + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(path, 0777);
    *p = '/';
  }
  return path;
}

void data_dir_write(const char *name, const void *bytes, size_t n) {
  const char *path = data_dir_path(name);
  FILE *f = fopen(path, "wb");
  must(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, path);
}

static uint8_t *be32(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
  return p + 4;
}

void data_dir_mnist(const uint8_t *pixels, int n, int height, int width) {
  size_t each = (size_t)(height * width), size = 16 + (size_t)n * each;
  uint8_t *images = malloc(size), *labels = malloc(8 + (size_t)n);
  must(images && labels, "malloc");
  memcpy(be32(be32(be32(be32(images, 0x803), (uint32_t)n), (uint32_t)height), (uint32_t)width), pixels, size - 16);
  uint8_t *p = be32(be32(labels, 0x801), (uint32_t)n);
  for (int i = 0; i < n; i++) p[i] = (uint8_t)(i % 10);
  data_dir_write("train-images-idx3-ubyte", images, size);
  data_dir_write("t10k-images-idx3-ubyte", images, size);
  data_dir_write("train-labels-idx1-ubyte", labels, 8 + (size_t)n);
  data_dir_write("t10k-labels-idx1-ubyte", labels, 8 + (size_t)n);
  free(images);
  free(labels);
}
