/* Between a pickled tree and the tensors of a state dict. */
#ifndef RT_FORMAT_PTH_H
#define RT_FORMAT_PTH_H

#include "format/format.h"
#include "format/pickle.h"

/* Add every tensor (and array) of the state dict in the tree as an entry, whose `from` is the pickled value; numbers and texts beside
 * it become metadata. */
rt_status rt_pth_add(rt_file *file, const rt_pickle *root);
/* The zip form, a plain state dict: rt_format's write. */
rt_status rt_pth_write(const char *path, const rt_array *arrays, int n, const rt_pair *metadata, int n_metadata);

#endif
