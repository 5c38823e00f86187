/* sum, mean and sum_to. In memory order x is kept×reduced×kept: that covers sums over all, over leading and trailing axes,
 * over the pixels of channels-last images, and over all but their channels. */
#include "kernel/own.h"

#include "op/row.h"

enum { MOST_BLOCKS = 64, BLOCK = 1 << 16 };

typedef struct reduction {
  const rt_simd *simd;
  rt_dtype dtype;
  int64_t outer, rows, inner;
  int64_t blocks, rows_each; /* of the rows of one outer index */
  double scale;
  const void *x;
  const rt_tensor *y;
  double *part; /* outer × blocks × inner */
} reduction;

static void cut(reduction *r) {
  r->rows_each = (r->rows + MOST_BLOCKS - 1) / MOST_BLOCKS;
  if (r->rows_each * r->inner < BLOCK) r->rows_each = (BLOCK + r->inner - 1) / r->inner;
  r->blocks = (r->rows + r->rows_each - 1) / r->rows_each;
}

/* Axes of the mask vanish. y has the kept ones in the order in which they lie in x. */
static bool reduction_of(const rt_type *x, unsigned mask, const rt_type *y, reduction *r) {
  static const int row_major[] = {0, 1, 2, 3, 4, 5, 6, 7}, channels_last[] = {0, 2, 3, 1};
  bool last = x->layout == RT_CHANNELS_LAST && x->rank == 4;
  enum { INNER, ROWS, OUTER } run = INNER;
  *r = (reduction){.simd = rt_simd_get(), .dtype = x->dtype, .outer = 1, .rows = 1, .inner = 1};
  int kept[RT_MAX_RANK], n = 0;
  for (int i = x->rank; i-- > 0;) {
    int axis = last ? channels_last[i] : row_major[i];
    if (x->dim[axis] == 1) continue;
    if (mask >> axis & 1) {
      if (run == OUTER) return false;
      run = ROWS;
      r->rows *= x->dim[axis];
    } else {
      if (run == ROWS) run = OUTER;
      *(run == OUTER ? &r->outer : &r->inner) *= x->dim[axis];
      kept[n++] = axis;
    }
  }
  for (int i = 1; i < n; i++) /* in row-major order, too, so that y's elements are those of x in turn */
    if (kept[i] > kept[i - 1]) return false;
  cut(r);
  return y->layout == RT_ROW_MAJOR || rt_layouts_agree(y) || n < 2;
}

static bool site_reduction(const rt_site *site, reduction *r) {
  const rt_type *x = site->in[0], *y = site->out;
  if (!own_dtype(x->dtype) || !own_dtype(y->dtype)) return false;
  unsigned mask = 0;
  if (site->op == RT_OP(sum_to)) {
    int lead = x->rank - y->rank;
    for (int d = 0; d < x->rank; d++)
      if (d < lead || y->dim[d - lead] == 1) mask |= 1u << d;
  } else {
    mask = rt_axes_mask(&((const rt_reduce_attr *)site->attr)->axes, x->rank);
  }
  if (!reduction_of(x, mask, y, r)) return false;
  r->scale = site->op == RT_OP(mean) ? 1 / (double)r->rows : 1;
  return true;
}

static bool accepts(const rt_site *site) {
  reduction r;
  return site_reduction(site, &r);
}

static rt_status prepare(rt_site *site) {
  reduction r;
  site_reduction(site, &r);
  site->workspace = r.outer * r.blocks * r.inner * (int64_t)sizeof(double);
  return RT_OK;
}

static void sum_blocks(void *p, int64_t begin, int64_t end) {
  const reduction *r = p;
  for (int64_t u = begin; u < end; u++) {
    int64_t first = u % r->blocks * r->rows_each,
            rows = r->rows - first < r->rows_each ? r->rows - first : r->rows_each;
    const void *x = own_at(r->x, r->dtype, (u / r->blocks * r->rows + first) * r->inner);
    if (r->inner == 1)
      r->simd->sum[r->dtype](x, rows, r->part + u);
    else
      r->simd->column_sums[r->dtype](x, rows, r->inner, r->part + u * r->inner);
  }
}

static void merge(void *p, int64_t begin, int64_t end) {
  const reduction *r = p;
  for (int64_t i = begin; i < end; i++) {
    const double *part = r->part + i / r->inner * r->blocks * r->inner + i % r->inner;
    double sum = 0;
    for (int64_t b = 0; b < r->blocks; b++) sum += part[b * r->inner];
    rt_store_at(r->y, i, r->scale * sum);
  }
}

static void reduce(reduction *r) {
  rt_parallel_for(r->outer * r->blocks, 1 + OWN_GRAIN / (r->rows_each * r->inner), sum_blocks, r);
  rt_parallel_for(r->outer * r->inner, 1 + OWN_GRAIN / 4 / r->blocks, merge, r);
}

static rt_status run(const rt_kernel_call *call) {
  reduction r;
  site_reduction(call->site, &r);
  r.x = own_in(call, 0);
  r.y = call->out;
  r.part = call->workspace;
  reduce(&r);
  return RT_OK;
}

int64_t own_sum_pixels_bytes(int64_t c) { return MOST_BLOCKS * c * (int64_t)sizeof(double); }

void own_sum_pixels(const rt_tensor *image, const rt_tensor *sum, void *workspace) {
  int64_t c = image->dim[1];
  reduction r = {.simd = rt_simd_get(),
                 .dtype = image->dtype,
                 .outer = 1,
                 .rows = rt_tensor_elements(image) / c,
                 .inner = c,
                 .scale = 1,
                 .x = image->data,
                 .y = sum,
                 .part = workspace};
  cut(&r);
  reduce(&r);
}

const rt_kernel rt_kernel_sum = {"own_sum", RT_OP(sum), accepts, prepare, run, NULL};
const rt_kernel rt_kernel_mean = {"own_mean", RT_OP(mean), accepts, prepare, run, NULL};
const rt_kernel rt_kernel_sum_to = {"own_sum_to", RT_OP(sum_to), accepts, prepare, run, NULL};
