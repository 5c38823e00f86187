/* Help on the terminal, and the man page: both are read off the commands' tables. */
#include "command.h"

#include <string.h>

enum { COLUMNS = 100, TEXT_AT = 34 };

static const char *const PURPOSE = "makes neural networks small and fast on CPUs";

static const struct {
  const char *name, *what;
} environment[] = {
    {"RETORT_DATA", "where data sets that were fetched are, a directory each"},
    {"RETORT_MIRROR", "where they are fetched from instead of their homes"},
    {"OMP_NUM_THREADS", "how many threads there are unless --threads says it"},
    {"ONEDNN_MAX_CPU_ISA", "a limit to the instructions used, as in AVX2; see doctor"},
};

/* ---- on the terminal ---- */

/* Words from column `at` to the right margin; the line ends. */
static void print_wrapped(const char *text, int at) {
  int column = at;
  for (const char *p = text; *p;) {
    int n = (int)strcspn(p, " "), wide = 0;
    for (int i = 0; i < n; i++) wide += (p[i] & 0xC0) != 0x80; /* characters of UTF-8 */
    if (column > at && column + 1 + wide > COLUMNS) {
      printf("\n%*s", at, "");
      column = at;
    }
    printf("%s%.*s", column > at ? " " : "", n, p);
    column += wide + (column > at);
    p += n + strspn(p + n, " ");
  }
  printf("\n");
}

static void print_flag(const char *name, const char *argument, const char *help) {
  int n = printf("  --%s%s%s", name, argument ? " " : "", argument ? argument : "");
  if (n > TEXT_AT - 2)
    printf("\n%*s", TEXT_AT, "");
  else
    printf("%*s", TEXT_AT - n, "");
  print_wrapped(help, TEXT_AT);
}

void help_command(const command *c) {
  printf("usage: %s %s %s%s[options]\n\n", PROGRAM, c->name, c->arguments, *c->arguments ? " " : "");
  print_wrapped(c->summary, 0);
  printf("\noptions:\n");
  for (const flag *f = c->flags; f->name; f++) print_flag(f->name, f->argument, f->help);
  print_flag("help", NULL, "this text");
  printf("\nexample:\n  %s\n", c->example);
}

void help_all(FILE *out) {
  fprintf(out, "%s %s: %s\n\nusage: %s COMMAND [arguments] [options]\n\n", PROGRAM, rt_version(), PURPOSE, PROGRAM);
  for (int i = 0; command_at(i); i++) fprintf(out, "  %-12s %s\n", command_at(i)->name, command_at(i)->summary);
  fprintf(out, "\n%s COMMAND --help tells more. Exit status: 0 done, 1 failed, 2 wrong usage or input.\n", PROGRAM);
}

/* ---- the man page ---- */

static unsigned code_of(const unsigned char **p) {
  unsigned c = *(*p)++;
  int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
  if (more) c &= 0x3Fu >> more;
  while (more-- && **p) c = c << 6 | (*(*p)++ & 0x3Fu);
  return c;
}

/* Text that troff takes for nothing else, in ASCII. */
static void print_troff(const char *text) {
  for (const unsigned char *p = (const unsigned char *)text; *p;) {
    unsigned c = code_of(&p);
    if (c == '\\')
      printf("\\e");
    else if (c == '-')
      printf("\\-");
    else if (c == '.' || c == '\'' || c == '"')
      printf(c == '"' ? "\\(dq" : "\\&%c", (char)c);
    else
      printf(c < 0x80 ? "%c" : "\\[u%04X]", c);
  }
}

static void print_tagged(const char *tag, const char *argument, const char *text) {
  printf(".TP\n\\fB");
  print_troff(tag);
  printf("\\fR");
  if (argument) {
    printf(" \\fI");
    print_troff(argument);
    printf("\\fR");
  }
  printf("\n");
  print_troff(text);
  printf("\n");
}

static void man_command(const command *c) {
  char name[64];
  printf(".SS ");
  print_troff(c->name);
  printf(" ");
  print_troff(c->arguments);
  printf("\n");
  print_troff(c->summary);
  printf("\n");
  for (const flag *f = c->flags; f->name; f++) {
    snprintf(name, sizeof name, "--%s", f->name);
    print_tagged(name, f->argument, f->help);
  }
  printf(".PP\nExample:\n.PP\n.RS 4\n.EX\n");
  print_troff(c->example);
  printf("\n.EE\n.RE\n");
}

void help_man(void) {
  printf(".\\\" Made of the command's own tables: %s help --man\n", PROGRAM);
  printf(".TH RETORT 1 \"\" \"retort %s\" \"User commands\"\n", rt_version());
  printf(".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n\\fB%s\\fR \\fICOMMAND\\fR [arguments] [options]\n", PROGRAM, PURPOSE,
         PROGRAM);
  printf(".SH DESCRIPTION\nTrains, compresses, evaluates and runs neural networks. Files are those of PyTorch, "
         "safetensors "
         "and NumPy; see the option \\fB\\-\\-help\\fR of every command.\n");
  printf(".SH COMMANDS\n");
  for (int i = 0; command_at(i); i++) man_command(command_at(i));
  printf(".SH ENVIRONMENT\n");
  for (size_t i = 0; i < sizeof environment / sizeof *environment; i++)
    print_tagged(environment[i].name, NULL, environment[i].what);
  printf(".SH \"EXIT STATUS\"\n");
  print_tagged("0", NULL, "done");
  print_tagged("1", NULL, "failed");
  print_tagged("2", NULL, "wrong usage or input");
  print_tagged("130", NULL, "interrupted, after a checkpoint");
}

/* ---- the command ---- */

static bool as_man;

static const flag flags[] = {{"man", FLAG_BOOL, &as_man, NULL, "the man page, for man -l"}, {0}};

static int run(const char *const *arguments, int n) {
  const command *c = n ? command_find(arguments[0]) : NULL;
  if (n && !c) return complain_usage("there is no command %s (see %s help)", arguments[0], PROGRAM);
  if (as_man)
    help_man();
  else if (c)
    help_command(c);
  else
    help_all(stdout);
  return EXIT_DONE;
}

const command command_help = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "this list, or what a command does",
    .example = "retort help eval",
    .flags = flags,
    .most = 1,
    .run = run,
};
