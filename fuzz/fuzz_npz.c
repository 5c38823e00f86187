/* NumPy's .npy and .npz. */
#include "files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return fuzz_open(data, size); }
