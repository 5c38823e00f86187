/* The contrast itself, apart from where its probabilities come from. */
#ifndef RT_LOSS_CRD_H
#define RT_LOSS_CRD_H

#include "loss/parts.h"

/* From ln P, N×(1 + K), the positive first: each sample's loss, N. m negatives among n images. counts, N×K: 0 for negatives
 * that don't count; NULL: all do. */
rt_value *rt_crd_samples(const rt_loss_build *b, rt_value *log_p, rt_value *counts, double negatives, double images);

#endif
