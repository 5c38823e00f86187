/* CIFAR's records, of both sets. */
#include "data/cifar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  for (int64_t labels = 1; labels <= 2; labels++) {
    int64_t records, classes = labels == 1 ? 10 : 100;
    if (rt_cifar_parse(data, (int64_t)size, labels, classes, "input", &records) != RT_OK) {
      if (!*rt_error()) __builtin_trap();
    } else if (records * (labels + 3072) != (int64_t)size) {
      __builtin_trap();
    }
  }
  return 0;
}
