/* SPDX-License-Identifier: Apache-2.0 */
/* zinf: trains transformers whose training state is larger than the memory that trains them.
 *
 * The program is its commands (commands.c); this file finds the one that is asked for and turns its
 * status into the exit code of the process, which is all that a job script sees. Output that could
 * not be written (a full disk behind a redirection) makes a successful command a failed one. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "app/commands.h"
#include "app/output.h"
#include "base/file.h"
#include "base/log.h"
#include "base/probe.h"
#include "base/stop.h"
#include "base/version.h"

/* A warning of the batch system may come at any moment of the start. */
__attribute__((section(".preinit_array"),
               used)) static void (*const hold_first)(void) = zi_stop_hold;

static bool is_option(const char *word)
{
    return word[0] == '-';
}

static enum zi_status dispatch(int *argc, char ***argv)
{
    const char *word = *argc > 1 ? (*argv)[1] : NULL;
    if (!word || is_option(word)) zi_stop_release();
    if (!word) {
        commands_overview(stderr);
        return ZI_ERROR_USAGE;
    }
    if (strcmp(word, "--version") == 0) {
        printf("zinf %s (%s, %s)\n", zi_version(), zi_version_revision(), zi_version_compiler());
        return ZI_OK;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        commands_overview(stdout);
        return ZI_OK;
    }
    const struct command *command = commands_find(word);
    if (!command) return ZI_ERROR_USAGE;
    for (int i = 2; i < *argc && strcmp((*argv)[i], "--") != 0; i++) {
        if (strcmp((*argv)[i], "--help") != 0 && strcmp((*argv)[i], "-h") != 0) continue;
        zi_stop_release();
        commands_describe(command, stdout);
        return ZI_OK;
    }
    if (!command->stops) zi_stop_release();
    return commands_run(command, argc, argv);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], ZI_PROBE_WORD) == 0) {
        zi_stop_release();
        return commands_probe(argv[2]);
    }
    zi_file_keep_standard();
    zi_stop_ignore();
    zi_probe_set("/proc/self/exe");
    enum zi_status status = dispatch(&argc, &argv);
    if (status >= 0) status = output_standard_check();
    return zi_status_exit_code(status);
}
