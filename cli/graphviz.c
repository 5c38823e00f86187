#include "graphviz.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_FOUND = 127 };

/* dot -Tsvg -o path, with `in` as its standard input; its exit status, or -1. */
static int run_dot(FILE *in, const char *path) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    if (dup2(fileno(in), STDIN_FILENO) >= 0) execlp("dot", "dot", "-Tsvg", "-o", path, (char *)NULL);
    _exit(NOT_FOUND);
  }
  if (child < 0) return -1;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int graphviz_svg(const char *dot, const char *path) {
  char part[4096];
  FILE *in = tmpfile();
  int length = snprintf(part, sizeof part, "%s.part-%ld", path, (long)getpid());
  if (!in || length >= (int)sizeof part || fputs(dot, in) < 0 || fflush(in) != 0 || fseek(in, 0, SEEK_SET) != 0) {
    fprintf(stderr, "%s: %s: no temporary file for the graph: %s\n", PROGRAM, path, strerror(errno));
    if (in) fclose(in);
    return EXIT_FAILED;
  }
  int status = run_dot(in, part);
  fclose(in);
  if (status == 0 && rename(part, path) == 0) return EXIT_DONE;
  if (status == NOT_FOUND)
    fprintf(
        stderr,
        "%s: pictures are drawn by Graphviz's program dot, which isn't installed: install graphviz, or take --dot\n",
        PROGRAM);
  else
    fprintf(stderr, "%s: %s: dot couldn't write it\n", PROGRAM, path);
  unlink(part);
  return EXIT_FAILED;
}
