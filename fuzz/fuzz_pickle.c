/* A pickle, and the search for tensors in what it holds. */
#include "files.h"
#include "format/pth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rt_file file = {.path = "input"};
  rt_pickle *root;
  size_t used;
  if (rt_pickle_read(&file.arena, data, size, "input", &root, &used) == RT_OK) {
    rt_pth_add(&file, root);
    rt_pickle_find(root, "data");
  }
  if (used > size) __builtin_trap();
  rt_free(file.entry);
  rt_free(file.metadata);
  rt_arena_release(&file.arena);
  return 0;
}
