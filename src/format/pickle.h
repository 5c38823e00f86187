/* Python's pickles as data: a stack machine that builds a tree of values and calls nothing. It knows numbers, strings,
 * containers, PyTorch's tensors and storages and NumPy's arrays and scalars; whatever else a pickle would import or call is
 * refused by name. Protocols 0 to 5. Work and memory are linear in the input; a value may be reached by several ways (memo),
 * even from inside itself, so who walks the tree bounds the walk. */
#ifndef RT_FORMAT_PICKLE_H
#define RT_FORMAT_PICKLE_H

#include "base/arena.h"
#include "format/element.h"

typedef enum rt_pickle_kind {
  RT_PICKLE_NONE,
  RT_PICKLE_BOOL,
  RT_PICKLE_INT,
  RT_PICKLE_LONG, /* an integer beyond 64 bits: text, its bytes, least first */
  RT_PICKLE_FLOAT,
  RT_PICKLE_TEXT,  /* str, or a str of Python 2 */
  RT_PICKLE_BYTES, /* bytes, bytearray */
  RT_PICKLE_LIST,
  RT_PICKLE_TUPLE,
  RT_PICKLE_DICT,    /* dict, OrderedDict; items are key, value, key, value … in order */
  RT_PICKLE_ARRAY,   /* numpy.ndarray, or a numpy scalar: rank 0 */
  RT_PICKLE_TENSOR,  /* torch.Tensor, Parameter */
  RT_PICKLE_STORAGE, /* what tensors view; its bytes are elsewhere in the file */
  RT_PICKLE_GLOBAL,  /* a name that only calls look at: text "module name" */
  RT_PICKLE_DTYPE,   /* numpy.dtype */
} rt_pickle_kind;

typedef struct rt_pickle rt_pickle;

typedef struct rt_pickle_array {
  const rt_element *element; /* NULL for a dtype that isn't numbers */
  bool fortran;              /* column major */
  int rank;
  int64_t dim[RT_MAX_RANK];
  const void *data; /* not aligned; row or column major; checked to be all there */
} rt_pickle_array;

typedef struct rt_pickle_storage rt_pickle_storage;
struct rt_pickle_storage {
  const rt_element *element;
  const char *key; /* name of its record in a zip, or its key in the older form */
  size_t key_length;
  int64_t count;           /* elements */
  int64_t position;        /* for the reader of the file: where its bytes are; -1 at first */
  rt_pickle_storage *next; /* in the list that rt_pickle_read_storages makes */
};

typedef struct rt_pickle_tensor {
  rt_pickle_storage *storage;
  int64_t offset; /* elements */
  int rank;
  int64_t dim[RT_MAX_RANK], stride[RT_MAX_RANK]; /* checked: all within the storage's count */
} rt_pickle_tensor;

struct rt_pickle {
  rt_pickle_kind kind;
  union {
    int64_t integer; /* INT, BOOL */
    double real;
    struct {
      const char *bytes; /* in the input or the arena, not 0-terminated */
      size_t length;
    } text;
    struct {
      rt_pickle **item;
      size_t n, capacity;
    } list;
    rt_pickle_array *array; /* ARRAY; DTYPE: element only */
    rt_pickle_tensor *tensor;
    rt_pickle_storage *storage;
  };
};

/* One pickle from the front of `bytes`; *used (may be NULL) is how long it was. Values borrow the input and live in the
 * arena. `what` begins error sentences: a path. */
rt_status rt_pickle_read(rt_arena *arena, const void *bytes, size_t size, const char *what, rt_pickle **out,
                         size_t *used);
/* Also the list of every storage that the pickle refers to, once for each time that it does. */
rt_status rt_pickle_read_storages(rt_arena *arena, const void *bytes, size_t size, const char *what, rt_pickle **out,
                                  size_t *used, rt_pickle_storage **storages);
/* The value under a key that is text or bytes; NULL where there is none, or `dict` isn't one (or is NULL). */
const rt_pickle *rt_pickle_find(const rt_pickle *dict, const char *key);
bool rt_pickle_is_text(const rt_pickle *value, const char *text); /* text or bytes that say just this */
const char *rt_pickle_kind_name(rt_pickle_kind kind);             /* "a list" */

#endif
