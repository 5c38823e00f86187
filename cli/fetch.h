/* Files from elsewhere. Each function says on standard error what went wrong and returns an exit status. */
#ifndef CLI_FETCH_H
#define CLI_FETCH_H

#include "command.h"

/* Download to `path`, over path.part: what is there already is not asked for again. Nothing longer than `most` bytes is
 * taken; a connection on which nothing comes for `stall` seconds is given up. Retries, then leaves the part in place. */
int fetch(const char *url, const char *path, int64_t most, int64_t stall);

/* Unpack those members of a tar archive that are `files` of a data set into `directory`, each checked before it gets its
 * name; says which is missing. */
int fetch_unpack(const char *archive, const rt_data_file *files, int n, const char *directory);

/* Do the contents of a file (unpacked, if it is gzip) have the size and SHA-256 that `expected` says? DONE or FAILED;
 * `why` gets what is wrong with them. */
int fetch_verify(const char *path, const rt_data_file *expected, char *why, size_t size);

#endif
