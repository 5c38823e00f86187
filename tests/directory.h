/* A directory of a test's, removed with everything in it: 0, also where there is none, or -1. */
#ifndef RT_TESTS_DIRECTORY_H
#define RT_TESTS_DIRECTORY_H

int directory_remove(const char *path);

#endif
