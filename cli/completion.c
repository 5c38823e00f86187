/* A script that lets a shell complete commands, options and their values: read off the commands' tables.
 *
 * Of an option's argument, "auto|fp32" are its values; --model and --data take names of the library's tables; where there is
 * nothing to offer, the shell completes file names. */
#include "command.h"

#include <string.h>

static const flag flags[] = {{0}};

static void print_models(void) {
  for (int i = 0; i < rt_model_count(); i++) printf("%s ", rt_model_name(i));
}

static void print_data(void) {
  rt_data_kind k;
  for (int i = 0; i < rt_data_kind_count(); i++)
    if (rt_data_kind_at(i, &k) == RT_OK) printf("%s ", k.name);
}

static void print_commands(void) {
  for (int i = 0; command_at(i); i++) printf("%s ", command_at(i)->name);
}

static bool is_word(const char *text, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9') || text[i] == '_' || text[i] == '-'))
      return false;
  return n > 0;
}

/* ---- values of options ---- */

static void print_choices(const char *argument) {
  for (const char *p = argument; *p;) {
    size_t n = strcspn(p, "|");
    if (is_word(p, n)) printf("%.*s ", (int)n, p);
    p += n + (p[n] == '|');
  }
}

static void print_values(const command *c, const flag *f) {
  bool model = strcmp(f->name, "model") == 0, data = strcmp(f->name, "data") == 0;
  if (!f->argument || !(model || data || strchr(f->argument, '|'))) return;
  printf("    %s:--%s) words='", c->name, f->name);
  if (model)
    print_models();
  else if (data)
    print_data();
  else
    print_choices(f->argument);
  printf("' ;;\n");
}

/* ---- arguments ---- */

/* Word number `place` of each alternative of a command's arguments, "list | get NAME". */
static void print_place(const char *arguments, int place) {
  bool named = false;
  for (const char *p = arguments; *p;) {
    int at = 0;
    for (p += strspn(p, " |["); *p && *p != '|';) {
      size_t n = strcspn(p, " |]");
      if (at++ == place) {
        if (is_word(p, n)) printf("%.*s ", (int)n, p);
        if (n == 5 && strncmp(p, "MODEL", n) == 0) print_models();
        if (n == 7 && strncmp(p, "COMMAND", n) == 0) print_commands();
        if (n == 4 && strncmp(p, "NAME", n) == 0 && !named) {
          print_data();
          named = true;
        }
      }
      p += n;
      p += strspn(p, " ]");
    }
  }
}

static void print_arguments(const command *c) {
  for (int place = 0; place < 2 && *c->arguments; place++) {
    printf("    %s:%d) words='", c->name, place + 2);
    print_place(c->arguments, place);
    printf("' ;;\n");
  }
}

/* ---- the script ---- */

static void print_flags(const command *c) {
  printf("    %s) words='", c->name);
  for (const flag *f = c->flags; f->name; f++) printf("--%s ", f->name);
  printf("--help' ;;\n");
}

static void print_bash(void) {
  printf("# bash completion for %s\n_%s() {\n", PROGRAM, PROGRAM);
  printf("  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words=\n"
         "  if [ \"$current\" = = ]; then current=; elif [ \"$previous\" = = ]; then "
         "previous=${COMP_WORDS[COMP_CWORD - 2]}; fi\n"
         "  if [ \"$COMP_CWORD\" -eq 1 ]; then words='");
  print_commands();
  printf("--help --version'\n  elif [[ $current == -* ]]; then\n    case ${COMP_WORDS[1]} in\n");
  for (int i = 0; command_at(i); i++) print_flags(command_at(i));
  printf("    esac\n  elif [[ $previous == --* ]]; then\n    case ${COMP_WORDS[1]}:$previous in\n");
  for (int i = 0; command_at(i); i++)
    for (const flag *f = command_at(i)->flags; f->name; f++) print_values(command_at(i), f);
  printf("    esac\n  else\n    case ${COMP_WORDS[1]}:$COMP_CWORD in\n");
  for (int i = 0; command_at(i); i++) print_arguments(command_at(i));
  printf("    esac\n  fi\n  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n}\n"
         "complete -o default -F _%s %s\n",
         PROGRAM, PROGRAM);
}

static int run(const char *const *arguments, int n) {
  (void)n;
  if (strcmp(arguments[0], "bash") != 0)
    return complain_usage("completion: there is none for %s, only for bash", arguments[0]);
  print_bash();
  return EXIT_DONE;
}

const command command_completion = {
    .name = "completion",
    .arguments = "bash",
    .summary = "a script that lets a shell complete commands and options",
    .example = "source <(retort completion bash)",
    .flags = flags,
    .least = 1,
    .most = 1,
    .run = run,
};
