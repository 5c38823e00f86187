/* ONNX models: messages, names, order, and a graph of it all. */
#include "files.h"

#include "onnx/onnx.h"

static void import(rt_file *file, bool network) {
  rt_store *store;
  rt_graph *g;
  rt_onnx *m;
  rt_onnx_options o = {.network = network};
  if (rt_onnx_open(file, &m) != RT_OK) return;
  if (rt_store_new(&store) == RT_OK) {
    if (rt_graph_new(store, &g) == RT_OK) {
      rt_onnx_build(m, g, &o);
      rt_graph_free(g);
    }
    rt_store_free(store);
  }
  rt_onnx_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rt_file *file;
  int64_t live = rt_alloc_count().live;
  if (!size || data[0] != 8) return 0; /* other forms have targets of their own */
  if (rt_file_open_bytes(size ? data : (const uint8_t *)"", size, "input", &file) == RT_OK) {
    fuzz_read_all(file);
    import(file, false);
    import(file, true);
  }
  rt_file_free(file);
  if (rt_alloc_count().live != live) __builtin_trap();
  return 0;
}
