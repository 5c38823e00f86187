#include "onnx/onnx.h"

static rt_status read_graph(rt_file *file, const rt_onnx_options *o, rt_store *store, rt_graph *g) {
  rt_onnx *m;
  rt_status s = rt_onnx_open(file, &m);
  if (s != RT_OK) return s;
  s = rt_onnx_build(m, g, o);
  if (s == RT_OK) s = rt_onnx_load(m, store, true);
  rt_onnx_free(m);
  return s;
}

rt_status rt_graph_read(const char *path, const rt_read_options *options, rt_store *store, rt_graph **out) {
  rt_file *file;
  rt_onnx_options o = {0};
  if (options)
    o = (rt_onnx_options){.network = options->classifier, .dim = {options->channels, options->height, options->width}};
  *out = NULL;
  rt_status s = rt_file_open(path, &file);
  if (s != RT_OK) return s;
  rt_graph *g = NULL;
  s = rt_graph_new(store, &g);
  if (s == RT_OK) s = read_graph(file, &o, store, g);
  rt_file_free(file);
  if (s == RT_OK)
    *out = g;
  else
    rt_graph_free(g);
  return s;
}
