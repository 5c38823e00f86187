/* Rounding to grids: f32 to u8 and back, and both at once in floats (fake_quant); ranges for grids. */
#include "kernel/own.h"
#include "tensor/grid.h"

#include <math.h>

typedef struct job {
  const rt_simd *simd;
  rt_dtype dtype;
  const void *x, *dy;
  void *out;
  rt_fake_grid grid;
  int64_t n;   /* elements; of a filter, for weights */
  double *sum; /* of the gradient of the scale, by tile */
  float *part; /* extremes of tiles, or the largest magnitude of filters */
  const float *factor;
} job;

/* ---- to u8 and back ---- */

static void quantize(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const rt_fake_grid *g = &j->grid;
  j->simd->quantize((const float *)j->x + begin, (uint8_t *)j->out + begin, end - begin, 1 / g->scale, g->zero,
                    g->high);
}

static void dequantize(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  j->simd->dequantize((const uint8_t *)j->x + begin, (float *)j->out + begin, end - begin, j->grid.scale, j->grid.zero);
}

static bool alike_but_dtype(const rt_site *site) {
  rt_type as_out = *site->in[0];
  as_out.dtype = site->out->dtype;
  return own_alike(&as_out, site->out);
}

static bool accepts_quantize(const rt_site *site) { return site->in[0]->dtype == RT_F32 && alike_but_dtype(site); }

static rt_status run_flat(const rt_kernel_call *call, rt_body *body) {
  const rt_quantize_attr *a = call->site->attr;
  job j = {.simd = rt_simd_get(),
           .x = call->in[0]->data,
           .out = call->out->data,
           .grid = {(float)a->scale, (float)a->zero_point, 0, (float)a->high}};
  rt_parallel_for(rt_tensor_elements(call->out), OWN_GRAIN, body, &j);
  return RT_OK;
}

/* ---- levels of some grids to another ---- */

typedef struct regrid_job {
  const rt_simd *simd;
  const uint8_t *a, *b;
  uint8_t *out;
  rt_fake_grid from[2], to;
} regrid_job;

static void regrid(void *p, int64_t begin, int64_t end) {
  const regrid_job *j = p;
  j->simd->regrid(j->a + begin, j->b ? j->b + begin : NULL, j->out + begin, end - begin, j->from, &j->to);
}

static rt_status run_regrid(const rt_kernel_call *call) {
  const rt_regrid_attr *a = call->site->attr;
  regrid_job j = {.simd = rt_simd_get(),
                  .a = own_in(call, 0),
                  .b = own_in(call, 1),
                  .out = call->out->data,
                  .to = {.zero = (float)a->zero_point, .high = (float)a->high}};
  for (int i = 0; i < 2; i++) j.from[i] = (rt_fake_grid){.scale = (float)a->scale[i], .zero = (float)a->from[i]};
  rt_parallel_for(rt_tensor_elements(call->out), OWN_GRAIN, regrid, &j);
  return RT_OK;
}

static bool accepts_regrid(const rt_site *site) {
  for (int i = 0; i < site->n_in; i++)
    if (!own_alike(site->in[i], site->out)) return false;
  return true;
}

static rt_status run_quantize_by(const rt_kernel_call *call) {
  const rt_observe_attr *a = call->site->attr;
  job j = {.simd = rt_simd_get(),
           .x = call->in[0]->data,
           .out = call->out->data,
           .grid = {*(const float *)own_in(call, 1), *(const float *)own_in(call, 2), 0, (float)a->high}};
  rt_parallel_for(rt_tensor_elements(call->out), OWN_GRAIN, quantize, &j);
  return RT_OK;
}

static rt_status run_quantize(const rt_kernel_call *call) { return run_flat(call, quantize); }
static rt_status run_dequantize(const rt_kernel_call *call) { return run_flat(call, dequantize); }

/* ---- fake_quant: tiles of floats ---- */

static int64_t tile_size(const job *j, int64_t t) {
  return j->n - t * OWN_TILE < OWN_TILE ? j->n - t * OWN_TILE : OWN_TILE;
}

static void fake(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  float in[OWN_TILE], out[OWN_TILE];
  for (int64_t t = begin; t < end; t++) {
    int64_t first = t * OWN_TILE, n = tile_size(j, t);
    const float *x = own_tile(j->simd, j->dtype, j->x, first, n, in);
    float *y = own_tile_begin(j->dtype, j->out, first, out);
    j->simd->fake_quant(x, y, n, &j->grid);
    own_tile_end(j->simd, j->dtype, j->out, first, n, y);
  }
}

static void fake_backward(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  float in[OWN_TILE], dy_in[OWN_TILE], out[OWN_TILE];
  for (int64_t t = begin; t < end; t++) {
    int64_t first = t * OWN_TILE, n = tile_size(j, t);
    const float *x = own_tile(j->simd, j->dtype, j->x, first, n, in);
    const float *dy = own_tile(j->simd, j->dtype, j->dy, first, n, dy_in);
    float *dx = own_tile_begin(j->dtype, j->out, first, out);
    j->sum[t] = 0;
    j->simd->fake_quant_backward(dy, x, dx, n, &j->grid, &j->sum[t]);
    own_tile_end(j->simd, j->dtype, j->out, first, n, dx);
  }
}

static job job_of(const rt_kernel_call *call, int x) {
  const rt_fake_quant_attr *a = call->site->attr;
  return (job){
      .simd = rt_simd_get(),
      .dtype = call->out->dtype,
      .x = own_in(call, x),
      .out = call->out->data,
      .grid = {*(const float *)own_in(call, x + 1), *(const float *)own_in(call, x + 2), (float)a->low, (float)a->high},
      .n = rt_tensor_elements(call->out)};
}

static int64_t tiles_of(int64_t n) { return (n + OWN_TILE - 1) / OWN_TILE; }

static rt_status run_fake(const rt_kernel_call *call) {
  job j = job_of(call, 0);
  rt_parallel_for(tiles_of(j.n), OWN_GRAIN / OWN_TILE, fake, &j);
  return RT_OK;
}

static rt_status run_fake_backward(const rt_kernel_call *call) {
  const rt_fake_quant_attr *a = call->site->attr;
  job j = job_of(call, 1);
  j.dy = own_in(call, 0);
  j.sum = call->workspace;
  rt_parallel_for(tiles_of(j.n), OWN_GRAIN / OWN_TILE, fake_backward, &j);
  if (!a->learned) return RT_OK;
  double sum = 0;
  for (int64_t t = 0; t < tiles_of(j.n); t++) sum += j.sum[t];
  const rt_tensor *dx = call->out;
  double numbers = (double)j.n / (double)(dx->rank > 1 ? dx->dim[0] : 1);
  *(float *)call->out[1].data = (float)(a->scaled ? sum / sqrt(numbers * (double)a->high) : sum);
  return RT_OK;
}

static rt_status prepare_fake_backward(rt_site *site) {
  site->workspace = tiles_of(rt_type_elements(site->out)) * (int64_t)sizeof(double);
  return RT_OK;
}

static bool accepts_fake(const rt_site *site) {
  return own_dtype(site->out->dtype) && own_alike(site->in[0], site->out) && site->in[1]->dtype == RT_F32;
}

static bool accepts_fake_backward(const rt_site *site) {
  return own_dtype(site->out->dtype) && own_alike(site->in[0], site->out) && own_alike(site->in[1], site->out) &&
         site->in[2]->dtype == RT_F32;
}

/* ---- observe ---- */

static void find_extremes(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  float in[OWN_TILE];
  for (int64_t t = begin; t < end; t++) {
    int64_t first = t * OWN_TILE, n = tile_size(j, t);
    j->simd->extremes(own_tile(j->simd, j->dtype, j->x, first, n, in), n, &j->part[2 * t], &j->part[2 * t + 1]);
  }
}

static rt_status run_observe(const rt_kernel_call *call) {
  const rt_observe_attr *a = call->site->attr;
  job j = {.simd = rt_simd_get(),
           .dtype = call->in[0]->dtype,
           .x = call->in[0]->data,
           .n = rt_tensor_elements(call->in[0]),
           .part = call->workspace};
  rt_range range = {0, 0};
  rt_parallel_for(tiles_of(j.n), OWN_GRAIN / OWN_TILE, find_extremes, &j);
  for (int64_t t = 0; t < tiles_of(j.n); t++) { /* not fmin and fmax: gcc 12 for aarch64 breaks off there */
    double low = (double)j.part[2 * t], high = (double)j.part[2 * t + 1];
    if (low < range.low) range.low = low;
    if (high > range.high) range.high = high;
  }
  const float *low = own_in(call, 1), *high = own_in(call, 2), *rate = own_in(call, 3);
  if (low) range = rt_range_moved((rt_range){(double)*low, (double)*high}, range, (double)*rate);
  rt_scale grid = rt_scale_of(range, (rt_levels){0, (int)a->high, false});
  const float out[] = {(float)range.low, (float)range.high, (float)grid.scale, (float)grid.zero_point};
  for (int i = 0; i < 4; i++) *(float *)call->out[i].data = out[i];
  return RT_OK;
}

static rt_status prepare_observe(rt_site *site) {
  site->workspace = tiles_of(rt_type_elements(site->in[0])) * 2 * (int64_t)sizeof(float);
  return RT_OK;
}

static bool accepts_observe(const rt_site *site) { return own_dtype(site->in[0]->dtype) && site->out->dtype == RT_F32; }

/* ---- fake_quant_weight: filters ---- */

static void find_largest(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  for (int64_t o = begin; o < end; o++) j->simd->largest((const float *)j->x + o * j->n, j->n, &j->part[o]);
}

static void fake_filters(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  for (int64_t o = begin; o < end; o++) {
    rt_fake_grid grid = {j->part[o] > 0 ? (float)((double)j->part[o] / 127) : 1, 0, -128, 128};
    j->simd->fake_quant((const float *)j->x + o * j->n, (float *)j->out + o * j->n, j->n, &grid);
  }
}

static double factor_of(const job *j, int64_t o) { return j->factor ? fabs((double)j->factor[o]) : 1; }

/* The largest |w|·factor of all filters. */
static double largest_of(const job *j, int64_t filters) {
  double all = 0;
  for (int64_t o = 0; o < filters; o++) {
    double v = (double)j->part[o] * factor_of(j, o);
    if (v > all) all = v;
  }
  return all;
}

static rt_status run_fake_weight(const rt_kernel_call *call) {
  int64_t filters = call->out->dim[0];
  job j = {.simd = rt_simd_get(),
           .x = call->in[0]->data,
           .out = call->out->data,
           .n = rt_tensor_elements(call->out) / filters,
           .part = call->workspace,
           .factor = own_in(call, 1)};
  bool per_tensor = ((const rt_fake_quant_weight_attr *)call->site->attr)->per_tensor;
  rt_parallel_for(filters, OWN_GRAIN / j.n + 1, find_largest, &j);
  double all = per_tensor ? largest_of(&j, filters) : 0;
  for (int64_t o = 0; o < filters && per_tensor; o++)
    if (factor_of(&j, o) > 0) j.part[o] = (float)(all / factor_of(&j, o));
  rt_parallel_for(filters, OWN_GRAIN / j.n + 1, fake_filters, &j);
  return RT_OK;
}

static rt_status prepare_fake_weight(rt_site *site) {
  site->workspace = site->out->dim[0] * (int64_t)sizeof(float);
  return RT_OK;
}

static bool accepts_fake_weight(const rt_site *site) {
  const rt_type *y = site->out;
  return y->dtype == RT_F32 && own_alike(site->in[0], y) && (y->layout == RT_ROW_MAJOR || rt_layouts_agree(y));
}

const rt_kernel rt_kernel_requantize = {"own_requantize", RT_OP(requantize), accepts_regrid, NULL, run_regrid, NULL};
const rt_kernel rt_kernel_add_int8 = {"own_add_int8", RT_OP(add_int8), accepts_regrid, NULL, run_regrid, NULL};
const rt_kernel rt_kernel_quantize = {"own_quantize", RT_OP(quantize), accepts_quantize, NULL, run_quantize, NULL};
const rt_kernel rt_kernel_dequantize = {
    "own_dequantize", RT_OP(dequantize), alike_but_dtype, NULL, run_dequantize, NULL};
static bool accepts_quantize_by(const rt_site *site) { return accepts_quantize(site) && site->in[1]->dtype == RT_F32; }

const rt_kernel rt_kernel_quantize_by = {
    "own_quantize_by", RT_OP(quantize_by), accepts_quantize_by, NULL, run_quantize_by, NULL};
const rt_kernel rt_kernel_observe = {"own_observe",   RT_OP(observe), accepts_observe,
                                     prepare_observe, run_observe,    NULL};
const rt_kernel rt_kernel_fake_quant = {"own_fake_quant", RT_OP(fake_quant), accepts_fake, NULL, run_fake, NULL};
const rt_kernel rt_kernel_fake_quant_backward = {"own_fake_quant_backward", RT_OP(fake_quant_backward),
                                                 accepts_fake_backward,     prepare_fake_backward,
                                                 run_fake_backward,         NULL};
const rt_kernel rt_kernel_fake_quant_weight = {"own_fake_quant_weight", RT_OP(fake_quant_weight), accepts_fake_weight,
                                               prepare_fake_weight,     run_fake_weight,          NULL};
