/* Data sets on disk for tests, in a directory that is removed with everything in it. */
#ifndef RT_TESTS_DATA_DIR_H
#define RT_TESTS_DATA_DIR_H

#include <stddef.h>
#include <stdint.h>

/* A new directory; its path is valid until data_dir_remove. */
const char *data_dir_make(void);
void data_dir_remove(void);
/* "directory/name", directories made on the way; valid until the fourth next call. */
const char *data_dir_path(const char *name);
void data_dir_write(const char *name, const void *bytes, size_t n);
/* MNIST's four files: the same n images of height×width for training and for testing; image i has label i % 10. */
void data_dir_mnist(const uint8_t *pixels, int n, int height, int width);

#endif
