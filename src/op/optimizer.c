#include "op/optimizer.h"

#include "base/thread.h"

rt_status rt_optimizer_infer(rt_infer *c, rt_optimizer_form form) {
  int size = 2 + form.states, tensors = c->n_in - form.scalars;
  rt_status s = RT_OK;
  for (int i = 0; i < form.scalars && s == RT_OK; i++) s = rt_infer_scalar(c, i);
  if (s != RT_OK) return s;
  if (tensors < size || tensors % size != 0)
    return rt_infer_fail(c, "%d tensors were given; each parameter needs %d: itself, its gradient, its state", tensors,
                         size);
  for (int i = 0; i < tensors; i++) {
    const rt_type *w = c->in[form.scalars + i / size * size], *t = c->in[form.scalars + i];
    bool fits = (w->dtype == RT_F32 || w->dtype == RT_F64) && t->dtype == w->dtype && t->rank == w->rank;
    for (int d = 0; fits && d < t->rank; d++) fits = !rt_dims_conflict(t->dim[d], w->dim[d]);
    if (fits) continue;
    char w_text[RT_TYPE_TEXT], t_text[RT_TYPE_TEXT];
    return rt_infer_fail(c, "parameter %d is %s and number %d of its tensors %s: all must be f32 and of one shape",
                         i / size, rt_type_text(c->graph, w, w_text, sizeof w_text), i % size,
                         rt_type_text(c->graph, t, t_text, sizeof t_text));
  }
  for (int o = 0; o < c->n_out; o++) c->out[o] = *c->in[rt_optimizer_input(form, o)];
  return RT_OK;
}

enum { MOST_SCALARS = 8, MOST_STATES = 4 };

typedef struct group {
  const rt_tensor *const *in; /* w g states… */
  const rt_tensor *out;       /* w states… */
  rt_optimizer_step *step;
  const double *scalars;
  const void *attr;
  int states;
} group;

static void elements(void *context, int64_t begin, int64_t end) {
  const group *p = context;
  for (int64_t i = begin; i < end; i++) {
    double v[1 + MOST_STATES];
    v[0] = rt_get(p->in[0], i);
    for (int k = 0; k < p->states; k++) v[1 + k] = rt_get(p->in[2 + k], i);
    p->step(v, rt_get(p->in[1], i), p->scalars, p->attr);
    for (int k = 0; k <= p->states; k++) rt_put(&p->out[k], i, v[k]);
  }
}

rt_status rt_optimizer_reference(const rt_call *c, rt_optimizer_form form, rt_optimizer_step *step) {
  double scalars[MOST_SCALARS];
  for (int i = 0; i < form.scalars; i++) scalars[i] = rt_load(c->in[i], 0);
  for (int o = 0; o < c->n_out; o += 1 + form.states) {
    group p = {c->in + rt_optimizer_input(form, o), c->out + o, step, scalars, c->attr, form.states};
    rt_parallel_for(rt_tensor_elements(p.out), 4096, elements, &p);
  }
  return RT_OK;
}
