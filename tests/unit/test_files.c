/* Files as a whole: written and read again in every form, stores saved and loaded, names of other projects, disks that are
 * full, and memory that runs out anywhere. */
#include "base/alloc.h"
#include "base/file.h"
#include "directory.h"
#include "format/format.h"
#include "format/pickle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above before it */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/retort-files-XXXXXX";

static const char *in_directory(const char *name) {
  static char path[4][128];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", directory, name);
  return path[turn];
}

static int entries(void) {
  int n = 0;
  DIR *d = opendir(directory);
  assert_non_null(d);
  while (readdir(d)) n++;
  closedir(d);
  return n - 2;
}

static int make_directory(void **state) { return mkdtemp(directory) ? 0 : -1; }

static int remove_directory(void **state) { return directory_remove(directory); }

#define OK(call) \
  do { \
    if ((call) != RT_OK) fail_msg("%s: %s", #call, rt_error()); \
  } while (0)

static void says(const char *fragment) {
  if (!strstr(rt_error(), fragment)) fail_msg("expected \"%s\" in: %s", fragment, rt_error());
}

/* ---- forms ---- */

static const float matrix[] = {1, 2, 3, 4, 5, 6};
static const double twice[] = {0.1, -0.0};
static const int64_t whole[] = {INT64_MIN, INT64_MAX}, scalar = 7;
static const int32_t half_whole[] = {-1};
static const uint16_t halves[] = {0x3C00, 0x7BFF, 0xFC00};
static const uint8_t bytes8[] = {0, 255};
static const int8_t signed8[] = {-128};
static const bool flags[] = {true, false, true};
static const int64_t d23[] = {2, 3}, d1[] = {1}, d2[] = {2}, d3[] = {3}, d03[] = {0, 3};

static const rt_array all[] = {
    {"layer.weight", RT_F32, 2, d23, matrix},
    {"tied.weight", RT_F32, 2, d23, matrix},
    {"f64", RT_F64, 1, d2, twice},
    {"s64", RT_S64, 1, d2, whole},
    {"scalar", RT_S64, 0, NULL, &scalar},
    {"s32", RT_S32, 1, d1, half_whole},
    {"f16", RT_F16, 1, d3, halves},
    {"u8", RT_U8, 1, d2, bytes8},
    {"s8", RT_S8, 1, d1, signed8},
    {"bool", RT_BOOL, 1, d3, flags},
    {"empty", RT_F32, 2, d03, matrix},
    {"bf16", RT_BF16, 1, d3, halves},
};
enum { ALL = sizeof all / sizeof *all };
static const rt_pair notes[] = {{"model", "mlp"}, {"classes", "[\"a\",\"ß\"]"}, {"quote\"d", "line\nline"}};

static void same_arrays(rt_file *file, int n) {
  assert_int_equal(rt_file_count(file), n);
  for (int i = 0; i < n; i++) {
    rt_file_info info;
    unsigned char read[256];
    OK(rt_file_find(file, all[i].name, &info));
    assert_int_equal(info.dtype, all[i].dtype);
    assert_int_equal(info.rank, all[i].rank);
    for (int d = 0; d < info.rank; d++) assert_int_equal(info.dim[d], all[i].dim[d]);
    assert_int_equal(info.bytes, rt_array_bytes(&all[i]));
    OK(rt_file_read(file, all[i].name, read, (size_t)info.bytes));
    assert_memory_equal(read, all[i].data, (size_t)info.bytes);
  }
}

static void forms(void **state) {
  static const struct {
    const char *name, *form;
    int n; /* NumPy has no bf16, which comes last */
    bool notes;
  } cases[] = {
      {"all.pth", "pth", ALL, true}, {"all.safetensors", "safetensors", ALL, true}, {"all.npz", "npz", ALL - 1, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *path = in_directory(cases[i].name);
    rt_file *file;
    OK(rt_file_write(path, all, cases[i].n, notes, 3));
    OK(rt_file_open(path, &file));
    assert_string_equal(rt_file_form(file), cases[i].form);
    same_arrays(file, cases[i].n);
    for (int k = 0; k < 3; k++) {
      const char *text = rt_file_metadata(file, notes[k].key);
      if (cases[i].notes)
        assert_string_equal(text, notes[k].text);
      else
        assert_null(text);
    }
    rt_file_info info;
    assert_int_equal(rt_file_find(file, "layer.weigth", &info), RT_E_UNKNOWN);
    says("did you mean layer.weight?");
    assert_int_equal(rt_file_read(file, "f64", &info, 3), RT_E_SHAPE);
    rt_file_free(file);
  }
}

static void conversions(void **state) {
  rt_file *file;
  OK(rt_file_write(in_directory("a.pth"), all, ALL, notes, 3));
  OK(rt_file_open(in_directory("a.pth"), &file));
  OK(rt_file_convert(file, in_directory("b.safetensors")));
  assert_int_equal(rt_file_convert(file, in_directory("b.npz")), RT_E_UNSUPPORTED);
  says("bf16 is bf16, which NumPy doesn't have");
  assert_int_equal(rt_file_convert(file, in_directory("b.npy")), RT_E_ARGUMENT);
  assert_int_equal(rt_file_convert(file, in_directory("b.onyx")), RT_E_ARGUMENT);
  says("one of safetensors npy npz pth pt th");
  rt_file_free(file);
  OK(rt_file_open(in_directory("b.safetensors"), &file));
  same_arrays(file, ALL);
  assert_string_equal(rt_file_metadata(file, "quote\"d"), "line\nline");
  OK(rt_file_convert(file, in_directory("c.pth")));
  rt_file_free(file);
  OK(rt_file_open(in_directory("c.pth"), &file));
  same_arrays(file, ALL);
  rt_file_free(file);
  OK(rt_file_write(in_directory("one.npy"), all, 1, NULL, 0));
  OK(rt_file_open(in_directory("one.npy"), &file));
  float read[6];
  OK(rt_file_read(file, "data", read, sizeof read));
  assert_memory_equal(read, matrix, sizeof read);
  rt_file_free(file);
}

/* Column major, and integers that grow: as NumPy writes them. */
static void numpy(void **state) {
  static const struct {
    const char *header, *data;
    size_t bytes;
    rt_dtype dtype;
    int32_t first, second;
  } cases[] = {
      {"{'descr': '<i2', 'fortran_order': True, 'shape': (2, 2), }", "\1\0\2\0\xff\xff\0\x80", 8, RT_S32, 1, -1},
      {"{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }", "\xff\xff\1\0", 4, RT_S32, 65535, 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    unsigned char bytes[256] = "\x93NUMPY\1\0\x46";
    int32_t read[4];
    memset(bytes + 10, ' ', 70);
    memcpy(bytes + 10, cases[i].header, strlen(cases[i].header));
    memcpy(bytes + 80, cases[i].data, cases[i].bytes);
    rt_file *file;
    OK(rt_file_open_bytes(bytes, 80 + cases[i].bytes, "array", &file));
    rt_file_info info;
    OK(rt_file_entry(file, 0, &info));
    assert_int_equal(info.dtype, cases[i].dtype);
    OK(rt_file_read(file, "data", read, (size_t)info.bytes));
    assert_int_equal(read[0], cases[i].first);
    assert_int_equal(read[1], cases[i].second);
    rt_file_free(file);
  }
}

/* What CIFAR's Python version holds: texts of Python 2, a NumPy array, lists. */
static void pickled_arrays(void **state) {
  static const char bytes[] =
      "\x80\2}(U\4datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1btR(K\1(K\2K\3t"
      "cnumpy\ndtype\n(U\2u1K\0K\1tR(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T\6\0\0\0abcdeftb"
      "U\6labels](K\1K\2eC\3rawG?\xf8\0\0\0\0\0\0L-5L\n\x88su.";
  rt_arena arena = {0};
  rt_pickle *root;
  size_t used;
  assert_int_equal(rt_pickle_read(&arena, bytes, sizeof bytes - 1, "batch", &root, &used), RT_E_FORMAT);
  static const char good[] =
      "\x80\2}(U\4datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1btR(K\1(K\2K\3t"
      "cnumpy\ndtype\n(U\2u1K\0K\1tR(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T\6\0\0\0abcdeftb"
      "U\6labels](K\1L-5L\neC\3rawG?\xf8\0\0\0\0\0\0u.tail";
  OK(rt_pickle_read(&arena, good, sizeof good - 1, "batch", &root, &used));
  assert_int_equal(used, sizeof good - 1 - 4);
  const rt_pickle *data = rt_pickle_find(root, "data"), *labels = rt_pickle_find(root, "labels");
  assert_true(data && data->kind == RT_PICKLE_ARRAY && data->array->element->dtype == RT_U8 && !data->array->fortran);
  assert_true(data->array->rank == 2 && data->array->dim[0] == 2 && data->array->dim[1] == 3);
  assert_memory_equal(data->array->data, "abcdef", 6);
  assert_true(labels && labels->kind == RT_PICKLE_LIST && labels->list.n == 2 && labels->list.item[1]->integer == -5);
  assert_true(rt_pickle_find(root, "raw")->real == 1.5);
  assert_null(rt_pickle_find(root, "dat"));
  rt_arena_release(&arena);
}

/* ---- stores ---- */

static rt_store *model_store(const char *model, const char *options, uint64_t seed) {
  rt_store *store;
  rt_graph *g;
  OK(rt_store_new(&store));
  OK(rt_graph_new(store, &g));
  rt_value *x = rt_input(g, "x", RT_F32, 4, (rt_dim[]){rt_symbol(g, "batch"), 3, 8, 8});
  rt_value *logits = rt_model(g, model, x, options);
  rt_value *target = rt_input(g, "target", RT_S64, 1, (rt_dim[]){rt_symbol(g, "batch")});
  rt_mark_output(g, "loss", rt_cross_entropy(g, logits, target, NULL));
  OK(rt_graph_status(g));
  OK(rt_pass_train(&g, "loss", "optimizer=adamw"));
  rt_graph_free(g);
  OK(rt_store_init(store, seed));
  return store;
}

/* The same variables; values too, but for those of the segments that are left out. */
static bool same_stores(rt_store *a, rt_store *b, bool parameters_only) {
  assert_int_equal(rt_store_count(a), rt_store_count(b));
  bool same = true;
  for (int i = 0; i < rt_store_count(a); i++) {
    rt_variable_info v;
    OK(rt_store_info(a, i, &v));
    size_t n = rt_dtype_size(v.dtype);
    for (int d = 0; d < v.rank; d++) n *= (size_t)v.dim[d];
    void *x = malloc(n), *y = malloc(n);
    assert_true(x && y);
    OK(rt_store_get(a, v.name, x, n));
    OK(rt_store_get(b, v.name, y, n));
    if (memcmp(x, y, n) != 0 && (v.parameter || !parameters_only)) same = false;
    free(x);
    free(y);
  }
  return same;
}

static rt_status load(rt_store *store, const char *path, const rt_load_options *options, rt_load_report *report) {
  rt_file *file;
  OK(rt_file_open(path, &file));
  rt_status s = rt_store_load(store, file, options, report);
  rt_file_free(file);
  return s;
}

static void stores(void **state) {
  rt_store *a = model_store("resnet18", "width=4", 1), *b = model_store("resnet18", "width=4", 2);
  float step = 12;
  OK(rt_store_set(a, "optimizer.step", &step, sizeof step));
  rt_load_report r;
  static const char *const names[] = {"m.pth", "m.safetensors"};
  for (int i = 0; i < 2; i++) {
    OK(rt_store_init(b, 2));
    assert_false(same_stores(a, b, true));
    OK(rt_store_save(a, in_directory(names[i]), RT_MODEL, notes, 1));
    OK(load(b, in_directory(names[i]), NULL, &r));
    assert_true(same_stores(a, b, true) && !same_stores(a, b, false));
    assert_true(r.loaded == 102 && !r.missing && !r.unexpected && !r.mismatched);
    assert_string_equal(r.dialect, "native");
  }
  rt_file *file;
  OK(rt_file_open(in_directory("m.pth"), &file));
  assert_int_equal(rt_file_count(file), 122); /* with a count of batches for each batch norm, as PyTorch has */
  rt_file_free(file);
  rt_load_options everything = {.segments = RT_ALL};
  assert_int_equal(load(b, in_directory("m.pth"), &everything, &r), RT_E_SHAPE);
  says("missing: optimizer.step, conv1.weight.exp_avg, ");
  OK(rt_store_save(a, in_directory("checkpoint.safetensors"), RT_ALL, NULL, 0));
  OK(load(b, in_directory("checkpoint.safetensors"), &everything, &r));
  assert_true(same_stores(a, b, false));
  OK(load(b, in_directory("checkpoint.safetensors"), NULL, &r)); /* only the model of it */
  assert_true(r.loaded == 102);
  rt_store_free(a);
  rt_store_free(b);
}

static void mismatches(void **state) {
  rt_store *ten = model_store("resnet18", "width=4", 1), *five = model_store("resnet18", "width=4 classes=5", 2);
  rt_load_report r;
  OK(rt_store_save(ten, in_directory("ten.pth"), RT_MODEL, NULL, 0));
  rt_store *before = model_store("resnet18", "width=4 classes=5", 2);
  assert_int_equal(load(five, in_directory("ten.pth"), NULL, &r), RT_E_SHAPE);
  says("mismatched: fc.weight (f32[10, 32] in the file, f32[5, 32] here), fc.bias");
  assert_true(r.mismatched == 2 && r.loaded == 100 && same_stores(five, before, false)); /* nothing was touched */
  rt_load_options partial = {.allow_partial = true};
  OK(load(five, in_directory("ten.pth"), &partial, &r));
  assert_false(same_stores(five, before, false));
  static const char *const away[] = {"fc=head"};
  rt_load_options renamed = {.rename = away, .n_rename = 1};
  assert_int_equal(load(ten, in_directory("ten.pth"), &renamed, &r), RT_E_SHAPE);
  says("missing: fc.weight, fc.bias; unexpected: fc.weight, fc.bias");
  static const char *const nonsense[] = {"fc"};
  renamed.rename = nonsense;
  assert_int_equal(load(ten, in_directory("ten.pth"), &renamed, &r), RT_E_ARGUMENT);
  OK(rt_file_write(in_directory("other.pth"), all, 2, NULL, 0));
  assert_int_equal(load(ten, in_directory("other.pth"), &partial, &r), RT_E_SHAPE);
  says("other.pth: nothing in it fits");
  rt_store_free(ten);
  rt_store_free(five);
  rt_store_free(before);
}

/* The store's own tensors under the names that another project gives them. */
static void foreign(const char *dialect, const char *from, const char *to, const char *prefix) {
  rt_store *a = model_store("resnet18", "width=4", 1), *b = model_store("resnet18", "width=4", 2);
  rt_file *file;
  rt_arena arena = {0};
  OK(rt_store_save(a, in_directory("own.safetensors"), RT_MODEL, NULL, 0));
  OK(rt_file_open(in_directory("own.safetensors"), &file));
  int n = rt_file_count(file);
  rt_array *arrays = calloc((size_t)n, sizeof *arrays);
  assert_non_null(arrays);
  for (int i = 0; i < n; i++) {
    rt_file_info t;
    OK(rt_file_entry(file, i, &t));
    void *data = rt_arena_alloc(&arena, (size_t)t.bytes);
    OK(rt_file_read(file, t.name, data, (size_t)t.bytes));
    const char *at = strstr(t.name, from);
    const char *name =
        at ? rt_arena_text(&arena, "%s%.*s%s%s", prefix, (int)(at - t.name), t.name, to, at + strlen(from))
           : rt_arena_text(&arena, "%s%s", prefix, t.name);
    arrays[i] = (rt_array){name, t.dtype, t.rank, t.dim, data};
  }
  OK(rt_file_write(in_directory("theirs.pth"), arrays, n, NULL, 0));
  rt_file_free(file);
  rt_load_report r;
  OK(load(b, in_directory("theirs.pth"), NULL, &r));
  assert_string_equal(r.dialect, dialect);
  assert_true(same_stores(a, b, true));
  free(arrays);
  rt_arena_release(&arena);
  rt_store_free(a);
  rt_store_free(b);
}

static void dialects(void **state) {
  foreign("native", "fc.", "fc.", "module.");
  foreign("native", "fc.", "fc.", "_orig_mod.module.");
  foreign("kuangliu", "fc.", "linear.", "");
  foreign("kuangliu", ".downsample.", ".shortcut.", "");
}

/* Weights in other precisions become what the store has; rounding is to nearest. */
static void precisions(void **state) {
  rt_store *store;
  rt_graph *g;
  OK(rt_store_new(&store));
  OK(rt_graph_new(store, &g));
  rt_parameter(g, "w", 1, d3, (rt_init){0});
  rt_parameter(g, "v", 1, d2, (rt_init){0});
  rt_graph_free(g);
  static const uint16_t brain[] = {0x3F80, 0xC000, 0x4049};
  const rt_array arrays[] = {{"w", RT_BF16, 1, d3, brain}, {"v", RT_F64, 1, d2, twice}};
  OK(rt_file_write(in_directory("low.pth"), arrays, 2, NULL, 0));
  OK(load(store, in_directory("low.pth"), NULL, NULL));
  float w[3], v[2];
  OK(rt_store_get(store, "w", w, sizeof w));
  OK(rt_store_get(store, "v", v, sizeof v));
  assert_true(w[0] == 1 && w[1] == -2 && w[2] == 3.140625F && v[0] == 0.1F && v[1] == 0);
  rt_store_free(store);
}

/* ---- what goes wrong outside ---- */

static void untouched(const char *path) {
  rt_file *file;
  OK(rt_file_open(path, &file));
  same_arrays(file, 1);
  rt_file_free(file);
}

static void full_disk(void **state) {
  static float large[1 << 16];
  static const int64_t dim[] = {1 << 16};
  const rt_array array = {"w", RT_F32, 1, dim, large};
  struct rlimit was, small;
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &was);
  static const char *const names[] = {"full.pth", "full.safetensors", "full.npz"};
  for (int i = 0; i < 3; i++) {
    const char *path = in_directory(names[i]);
    OK(rt_file_write(path, all, 1, NULL, 0));
    int before = entries();
    small = was;
    small.rlim_cur = 20000;
    setrlimit(RLIMIT_FSIZE, &small);
    rt_status s = rt_file_write(path, &array, 1, NULL, 0);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(s, RT_E_IO);
    says("can't be written");
    says("File too large");
    untouched(path);
    assert_int_equal(entries(), before); /* and nothing half-made beside it */
  }
}

static void bad_places(void **state) {
  rt_file *file;
  static const char *const names[] = {"none/a.pth", "none/a.safetensors", "none/a.npz"};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(rt_file_write(in_directory(names[i]), all, 1, NULL, 0), RT_E_IO);
    says("No such file or directory");
  }
  assert_int_equal(rt_file_open(in_directory("none.pth"), &file), RT_E_IO);
  says("No such file or directory");
  assert_int_equal(rt_file_open(directory, &file), RT_E_IO);
  says("is a directory");
  assert_int_equal(rt_file_open("/dev/zero", &file), RT_E_IO);
  if (geteuid() == 0) return; /* whom nothing is read-only for */
  OK(rt_file_write(in_directory("kept.pth"), all, 1, NULL, 0));
  chmod(directory, 0500);
  rt_status s = rt_file_write(in_directory("kept.pth"), all, 2, NULL, 0);
  chmod(directory, 0700);
  assert_int_equal(s, RT_E_IO);
  untouched(in_directory("kept.pth"));
}

static rt_status there_and_back(rt_store *store, const char *path) {
  rt_file *file = NULL;
  rt_status s = rt_store_save(store, path, RT_ALL, notes, 1);
  if (s == RT_OK) s = rt_file_open(path, &file);
  if (s == RT_OK) s = rt_store_load(store, file, &(rt_load_options){.segments = RT_ALL}, NULL);
  if (s == RT_OK) s = rt_file_convert(file, path);
  rt_file_free(file);
  return s;
}

/* Every allocation fails once: an error (or none, where only a sentence needed it), and nothing stays behind. */
static void no_memory(void **state) {
  rt_store *store = model_store("mlp", "hidden=4", 1);
  static const char *const names[] = {"n.pth", "n.safetensors", "n.npz"};
  for (int i = 0; i < 3; i++) {
    const char *path = in_directory(names[i]);
    rt_alloc_counts before = rt_alloc_count();
    OK(there_and_back(store, path));
    int64_t calls = rt_alloc_count().calls - before.calls, failures = 0;
    for (int64_t after = 0; after < calls; after++) {
      rt_alloc_fail_after(after);
      rt_status s = there_and_back(store, path);
      rt_alloc_fail_after(-1);
      if (s != RT_OK) assert_int_equal(s, RT_E_MEMORY);
      failures += s != RT_OK;
      assert_int_equal(rt_alloc_count().live, before.live);
    }
    if (calls < 15 || failures < calls - 4)
      fail_msg("%s: %d of %d allocations matter", path, (int)failures, (int)calls);
  }
  rt_store_free(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forms),          cmocka_unit_test(conversions), cmocka_unit_test(numpy),
      cmocka_unit_test(pickled_arrays), cmocka_unit_test(stores),      cmocka_unit_test(mismatches),
      cmocka_unit_test(dialects),       cmocka_unit_test(precisions),  cmocka_unit_test(full_disk),
      cmocka_unit_test(bad_places),     cmocka_unit_test(no_memory),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
