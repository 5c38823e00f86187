/* Elements moved, not changed: one strided copy serves reorder, transpose, concat, slice, pad and expand_to. */
#include "kernel/own_copy.h"

#include "op/row.h"

enum { BLOCK = 32, PIECE = 4096, READS = 8 };

/* Loops from outermost to innermost in `to`. A unit of work is a piece of axis `cut`, the last or the one before it, for
 * one index of each axis before that, and all of the axis behind. */
typedef struct walk {
  const char *from;
  char *to;
  size_t size; /* of an element */
  int rank;    /* >= 2 */
  int64_t dim[RT_MAX_RANK + 2], in[RT_MAX_RANK + 2], out[RT_MAX_RANK + 2];
  int cut;
  int64_t piece, pieces;
} walk;

static void add_axis(walk *w, int64_t dim, int64_t in, int64_t out) {
  int last = w->rank - 1;
  if (dim == 1) return;
  if (w->rank && w->in[last] == in * dim && w->out[last] == out * dim) { /* goes on where the last one ends */
    w->dim[last] *= dim;
    w->in[last] = in;
    w->out[last] = out;
    return;
  }
  w->dim[w->rank] = dim;
  w->in[w->rank] = in;
  w->out[w->rank++] = out;
}

static void swap_axes(walk *w, int a, int b) {
  int64_t dim = w->dim[a], in = w->in[a], out = w->out[a];
  w->dim[a] = w->dim[b], w->in[a] = w->in[b], w->out[a] = w->out[b];
  w->dim[b] = dim, w->in[b] = in, w->out[b] = out;
}

static walk walk_of(const rt_tensor *from, const rt_tensor *to) {
  walk w = {.from = from->data, .to = to->data, .size = rt_dtype_size(to->dtype)};
  int order[RT_MAX_RANK] = {0};
  for (int d = 0; d < to->rank; d++) { /* by stride of the destination, descending */
    int i = d;
    for (; i > 0 && to->stride[order[i - 1]] < to->stride[d]; i--) order[i] = order[i - 1];
    order[i] = d;
  }
  for (int i = 0; i < to->rank; i++) add_axis(&w, to->dim[order[i]], from->stride[order[i]], to->stride[order[i]]);
  while (w.rank < 2) { /* an axis of 1 in front */
    w.dim[w.rank] = 1;
    w.in[w.rank] = w.out[w.rank] = w.rank == 0;
    if (w.rank++) swap_axes(&w, 0, 1);
  }
  int last = w.rank - 1;
  w.cut = w.dim[last] > PIECE ? last : last - 1;
  w.piece = w.cut == last ? PIECE : PIECE / w.dim[last];
  for (int i = 0; i < last && w.in[last] > 1; i++)
    if (w.in[i] == 1) { /* a transposition of this axis and the last */
      swap_axes(&w, i, last - 1);
      w.cut = last - 1;
      w.piece = w.dim[last] < READS ? PIECE / READS : BLOCK;
      break;
    }
  w.pieces = (w.dim[w.cut] + w.piece - 1) / w.piece;
  return w;
}

/* to[j][i] = from[i][j]: few rows of `from` are read side by side, so that strides of a power of two don't evict them. */
#define MOVE(type) \
  static void move_##type(const type *from, type *to, int64_t rows, int64_t n, const int64_t *in, \
                          const int64_t *out) { \
    if (in[1] == 0 && out[1] == 1) { /* an element repeated */ \
      for (int64_t j = 0; j < rows; j++) \
        for (int64_t i = 0; i < n; i++) to[j * out[0] + i] = from[j * in[0]]; \
      return; \
    } \
    if (n == 3) { /* colours */ \
      for (int64_t j = 0; j < rows; j++) \
        for (int64_t i = 0; i < 3; i++) to[j * out[0] + i * out[1]] = from[j * in[0] + i * in[1]]; \
      return; \
    } \
    for (int64_t begin = 0; begin < n; begin += READS) { \
      int64_t end = begin + READS < n ? begin + READS : n; \
      for (int64_t j = 0; j < rows; j++) \
        for (int64_t i = begin; i < end; i++) to[j * out[0] + i * out[1]] = from[j * in[0] + i * in[1]]; \
    } \
  }
MOVE(uint8_t)
MOVE(uint16_t)
MOVE(uint32_t)
MOVE(uint64_t)

static void move(const walk *w, const char *from, char *to, int64_t rows, int64_t n) {
  const int64_t *in = w->in + w->rank - 2, *out = w->out + w->rank - 2;
  if (in[1] == 1 && out[1] == 1) {
    for (int64_t j = 0; j < rows; j++)
      memcpy(to + j * out[0] * (int64_t)w->size, from + j * in[0] * (int64_t)w->size, (size_t)n * w->size);
    return;
  }
  switch (w->size) {
  case 1: move_uint8_t((const void *)from, (void *)to, rows, n, in, out); break;
  case 2: move_uint16_t((const void *)from, (void *)to, rows, n, in, out); break;
  case 4: move_uint32_t((const void *)from, (void *)to, rows, n, in, out); break;
  default: move_uint64_t((const void *)from, (void *)to, rows, n, in, out); break;
  }
}

static void units(void *p, int64_t begin, int64_t end) {
  const walk *w = p;
  int last = w->rank - 1;
  for (int64_t u = begin; u < end; u++) {
    int64_t outer = u / w->pieces, first = u % w->pieces * w->piece;
    int64_t n = w->dim[w->cut] - first < w->piece ? w->dim[w->cut] - first : w->piece;
    int64_t in = first * w->in[w->cut], out = first * w->out[w->cut];
    for (int d = w->cut - 1; d >= 0; d--) {
      in += outer % w->dim[d] * w->in[d];
      out += outer % w->dim[d] * w->out[d];
      outer /= w->dim[d];
    }
    move(w, w->from + in * (int64_t)w->size, w->to + out * (int64_t)w->size, w->cut == last ? 1 : n,
         w->cut == last ? n : w->dim[last]);
  }
}

void own_copy(const rt_tensor *from, const rt_tensor *to) {
  walk w = walk_of(from, to);
  int64_t n = w.pieces, each = w.piece * (w.cut == w.rank - 1 ? 1 : w.dim[w.rank - 1]);
  for (int d = 0; d < w.cut; d++) n *= w.dim[d];
  rt_parallel_for(n, 1 + OWN_GRAIN / each, units, &w);
}
