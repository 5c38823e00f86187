#include "directory.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *walk) {
  (void)s, (void)type, (void)walk;
  return remove(path);
}

int directory_remove(const char *path) {
  int failed = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  return failed && errno != ENOENT ? -1 : 0;
}
