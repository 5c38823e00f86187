#include "cases.h"

#include "base/alloc.h"
#include "base/rng.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

typedef struct spec {
  char kind[8], modifier[16];
  double value;
} spec;

static rt_dtype dtype_of(const char *kind, rt_dtype tested) {
  static const rt_dtype ints[] = {RT_S64, RT_S32, RT_S8, RT_U8, RT_BOOL};
  if (strcmp(kind, "x") == 0) return tested;
  if (strcmp(kind, "f") == 0) return tested == RT_F64 ? RT_F64 : RT_F32;
  for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
    if (strcmp(kind, rt_dtype_name(ints[i])) == 0) return ints[i];
  fail_msg("a case names the kind %s", kind);
  return RT_F32;
}

/* Distinct values in shuffled order, none near the kinks at 0, ±3 and 6, also when rounded to bf16. */
static double spread(int64_t i, int64_t n) {
  int64_t k = (i * 7919 + 3) % n;
  if (n % 7919 == 0) k = i;
  return (double)(k - n / 2) * 0.05 + 0.0233;
}

static double draw(const spec *s, bool is_float, rt_rng rng, int64_t i, int64_t n) {
  if (strchr(s->modifier, '=')) return s->value;
  if (strchr(s->modifier, '<')) {
    double u = (double)rt_uniform(rng, 1, (uint64_t)i) * s->value;
    return is_float ? u : (double)(int64_t)u;
  }
  if (!is_float) return (double)(int64_t)((double)rt_uniform(rng, 1, (uint64_t)i) * 2);
  if (strchr(s->modifier, '+')) return 0.5 + (double)rt_uniform(rng, 1, (uint64_t)i);
  if (strchr(s->modifier, '~')) return spread(i, n);
  return (double)rt_normal(rng, 1, (uint64_t)i);
}

static const char *parse_input(const char *p, rt_dtype dtype, uint64_t seed, test_input *in) {
  spec s = {0};
  rt_dim dim[RT_MAX_RANK];
  int rank = 0, n = 0;
  if (*p == '-') return p + 1;
  size_t m = strcspn(p, "[");
  assert_true(m > 0 && m < sizeof s.kind);
  memcpy(s.kind, p, m);
  for (p += m + 1; *p != ']'; p += *p == ',') {
    assert_true(rank < RT_MAX_RANK);
    dim[rank++] = strtoll(p, (char **)&p, 10);
  }
  for (p++; *p && *p != ' ';) {
    s.modifier[n++] = *p++;
    if (strchr("<=", s.modifier[n - 1])) s.value = strtod(p, (char **)&p);
    assert_true(n < (int)sizeof s.modifier);
  }
  in->type = rt_type_of(dtype_of(s.kind, dtype), rank, dim);
  bool is_float = rt_dtype_is_float(in->type.dtype);
  in->given = true;
  in->variable = strchr(s.modifier, 'v') != NULL;
  in->differentiated = is_float && !strchr(s.modifier, '!');
  int64_t count = rt_type_elements(&in->type);
  if (count <= 0) return p; /* an error case */
  in->data = rt_alloc((size_t)rt_type_bytes(&in->type));
  assert_non_null(in->data);
  rt_tensor t = rt_tensor_view(&in->type, in->data);
  for (int64_t i = 0; i < count; i++) {
    double v = draw(&s, is_float, (rt_rng){7, seed}, i, count);
    rt_store_at(&t, i, is_float ? (double)rt_bf16_to_f32(rt_f32_to_bf16((float)v)) : v); /* the same in every dtype */
  }
  return p;
}

void test_case_parse(const char *text, rt_dtype dtype, test_case *c) {
  *c = (test_case){0};
  const char *p = text;
  while (*p && *p != ';') {
    if (*p == ' ') {
      p++;
      continue;
    }
    assert_true(c->n < 32);
    p = parse_input(p, dtype, rt_hash_text(text) + (uint64_t)c->n, &c->input[c->n]);
    c->n++;
  }
  if (*p == ';') p++;
  const char *arrow = strstr(p, "=>");
  size_t length = arrow ? (size_t)(arrow - p) : strlen(p);
  assert_true(length < sizeof c->options);
  memcpy(c->options, p, length);
  if (arrow) c->fragment = arrow + 2 + strspn(arrow + 2, " ");
}

void test_case_release(test_case *c) {
  for (int i = 0; i < c->n; i++) rt_free(c->input[i].data);
}

static const char *const names[] = {"i0",  "i1",  "i2",  "i3",  "i4",  "i5",  "i6",  "i7",  "i8",  "i9",  "i10",
                                    "i11", "i12", "i13", "i14", "i15", "i16", "i17", "i18", "i19", "i20", "i21",
                                    "i22", "i23", "i24", "i25", "i26", "i27", "i28", "i29", "i30", "i31"};

rt_value *test_case_build(const test_case *c, const rt_op *op, rt_graph *g) {
  rt_value *in[32] = {0};
  for (int i = 0; i < c->n; i++) {
    const test_input *t = &c->input[i];
    if (!t->given) continue;
    if (t->variable)
      in[i] = rt_statistic(g, names[i], t->type.dtype, t->type.rank, t->type.dim, (rt_init){0});
    else
      in[i] = rt_input(g, names[i], t->type.dtype, t->type.rank, t->type.dim);
  }
  return rt_apply(g, op->name, NULL, in, c->n, c->options);
}

int test_case_feeds(const test_case *c, rt_feed *feeds) {
  int n = 0;
  for (int i = 0; i < c->n; i++)
    if (c->input[i].given && !c->input[i].variable)
      feeds[n++] = (rt_feed){names[i], c->input[i].type.rank, c->input[i].type.dim, c->input[i].data};
  return n;
}

void test_case_load(const test_case *c, rt_store *store) {
  for (int i = 0; i < c->n; i++)
    if (c->input[i].variable)
      assert_int_equal(rt_store_set(store, names[i], c->input[i].data, (size_t)rt_type_bytes(&c->input[i].type)),
                       RT_OK);
}

double *test_values(const rt_result *r, int64_t *n) {
  rt_type type = rt_type_of(r->dtype, r->rank, r->dim);
  rt_tensor t = rt_tensor_view(&type, (void *)(uintptr_t)r->data);
  *n = rt_tensor_elements(&t);
  double *v = rt_alloc_array((size_t)*n, sizeof *v);
  assert_non_null(v);
  for (int64_t i = 0; i < *n; i++) v[i] = rt_load(&t, i);
  return v;
}
