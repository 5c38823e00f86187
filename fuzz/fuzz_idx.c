/* IDX, of images and of labels. */
#include "data/idx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  for (int rank = 1; rank <= RT_IDX_RANKS; rank++) {
    rt_idx idx;
    if (rt_idx_parse(data, (int64_t)size, rank, "input", &idx) != RT_OK) {
      if (!*rt_error()) __builtin_trap();
      continue;
    }
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= idx.dim[i];
    if (n < 1 || idx.value + n != data + size) __builtin_trap();
  }
  return 0;
}
