/* The contrast itself, apart from where its probabilities come from. */
#ifndef RT_LOSS_CRD_H
#define RT_LOSS_CRD_H

#include "loss/parts.h"

/* From ln P, N×(1 + K), the positive first: each sample's loss, N. m negatives among n images. */
rt_value *rt_crd_samples(const rt_loss_build *b, rt_value *log_p, double negatives, double images);

#endif
