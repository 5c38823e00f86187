/* y = a ∘ b. In memory order an operand is full in an inner run of axes, repeats over a middle run, and is full again in
 * the rest: that covers equal shapes, scalars, a bias, a value per channel, per row, and per image and channel. */
#include "kernel/own.h"

typedef void loop(const float *a, const float *b, float *y, int64_t n);

/* Element p of the output meets element p / span * inner + p % inner of the operand. */
typedef struct operand {
  const void *data;
  int64_t inner, span;
} operand;

static bool operand_of(const rt_type *type, const rt_type *out, operand *o) {
  static const int row_major[] = {0, 1, 2, 3, 4, 5, 6, 7}, channels_last[] = {0, 2, 3, 1};
  const int *order = out->layout == RT_CHANNELS_LAST && out->rank == 4 ? channels_last : row_major;
  rt_tensor t = rt_tensor_view(type, NULL);
  enum { INNER, MIDDLE, OUTER } run = INNER;
  int64_t elements = 1; /* of the operand, in the axes so far */
  o->inner = o->span = 1;
  for (int i = out->rank; i-- > 0;) {
    int axis = order[i] - (out->rank - type->rank);
    int64_t dim = out->dim[order[i]];
    if (dim == 1) continue;
    if (axis < 0 || type->dim[axis] == 1) {
      if (run == OUTER) return false;
      run = MIDDLE;
    } else {
      if (t.stride[axis] != elements) return false;
      if (run == MIDDLE) run = OUTER;
      elements *= dim;
    }
    if (run == INNER) o->inner *= dim;
    if (run != OUTER) o->span *= dim;
  }
  return true;
}

/* The operand as floats, from element p of the output on. */
typedef struct cursor {
  operand o;
  int64_t row, phase, ready; /* what a tile of a narrow operand holds */
  float tile[OWN_TILE];
} cursor;

/* At most *n floats (and sets *n to how many), of one row of the operand. */
static const float *fetch(cursor *c, const rt_simd *simd, rt_dtype dtype, int64_t p, int64_t *n) {
  int64_t inner = c->o.inner, row = p / c->o.span, left = c->o.span - p % c->o.span, phase = p % inner;
  if (*n > left) *n = left;
  if (inner > OWN_TILE / 2) { /* wide: where it lies */
    if (*n > inner - phase) *n = inner - phase;
    return own_tile(simd, dtype, c->o.data, row * inner + phase, *n, c->tile);
  }
  int64_t whole = OWN_TILE / inner * inner;
  if (*n > whole) *n = whole;
  if (c->row == row && c->phase == phase && c->ready >= *n) return c->tile;
  for (int64_t i = 0, from = phase; i < *n; i++, from = from + 1 < inner ? from + 1 : 0) {
    int64_t at = row * inner + from;
    c->tile[i] = dtype == RT_F32 ? ((const float *)c->o.data)[at] : rt_bf16_to_f32(((const uint16_t *)c->o.data)[at]);
  }
  c->row = row;
  c->phase = phase;
  c->ready = *n;
  return c->tile;
}

typedef struct job {
  const rt_simd *simd;
  rt_dtype dtype;
  operand a, b;
  void *y;
  loop *loop;
} job;

static void apply(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  cursor a = {.o = j->a, .row = -1}, b = {.o = j->b, .row = -1};
  float buffer[OWN_TILE];
  for (int64_t i = begin, n; i < end; i += n) {
    n = end - i < OWN_TILE ? end - i : OWN_TILE;
    const float *va = fetch(&a, j->simd, j->dtype, i, &n), *vb = fetch(&b, j->simd, j->dtype, i, &n);
    float *y = own_tile_begin(j->dtype, j->y, i, buffer);
    j->loop(va, vb, y, n);
    own_tile_end(j->simd, j->dtype, j->y, i, n, y);
  }
}

static bool accepts(const rt_site *site) {
  operand o;
  for (int i = 0; i < 2; i++)
    if (site->in[i]->dtype != site->out->dtype || !operand_of(site->in[i], site->out, &o)) return false;
  return own_dtype(site->out->dtype);
}

static rt_status run(const rt_kernel_call *call, loop *f) {
  job j = {.simd = rt_simd_get(), .dtype = call->out->dtype, .y = call->out->data, .loop = f};
  operand_of(call->site->in[0], call->site->out, &j.a);
  operand_of(call->site->in[1], call->site->out, &j.b);
  j.a.data = own_in(call, 0);
  j.b.data = own_in(call, 1);
  rt_parallel_for(rt_tensor_elements(call->out), OWN_GRAIN, apply, &j);
  return RT_OK;
}

#define BINARY(name_, formula, text) \
  static rt_status run_##name_(const rt_kernel_call *call) { return run(call, rt_simd_get()->binary_##name_); } \
  const rt_kernel rt_kernel_##name_ = {"own_" #name_, RT_OP(name_), accepts, NULL, run_##name_, NULL};

#include "op/binary.def"
