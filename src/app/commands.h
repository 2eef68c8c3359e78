/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the commands of zinf. Each takes its parsed command line and gives the status
 * that the process ends with; what went wrong has been logged. */
#ifndef ZI_APP_COMMANDS_H
#define ZI_APP_COMMANDS_H

#include <stdio.h>

#include "app/options.h"
#include "comm/comm.h"

struct command {
    const char *name;
    const char *words;    /* positional arguments, for the help */
    int minimum, maximum; /* of them; -1 = any number */
    const char *summary;  /* one line, no full stop */
    const char *details;  /* paragraphs of the help, ending in a newline */
    bool collective;      /* runs on all ranks of an MPI job */
    bool stops;           /* takes requests to stop (base/stop.h); signals end the others */
    bool computes;        /* with the threads of a device */
    enum zi_status (*run)(struct comm *world, const struct options *options);
    struct option_row options[OPTIONS_MAX]; /* ends with a NULL name */
};

/* Local. All commands, in the order of the help; *count is their number. */
const struct command *commands_all(int *count);

/* Local. The command of a name; when there is none, logs the nearest and gives NULL. */
const struct command *commands_find(const char *name);

/* Local. The overview, and the help of one command. */
void commands_overview(FILE *out);
void commands_describe(const struct command *command, FILE *out);

/* Collective for collective commands. Takes apart the words after the command's name and runs it;
 * of several processes of a launcher the first runs one that is not collective, and all give its
 * status. Started once for the process. */
enum zi_status commands_run(const struct command *command, int *argc, char ***argv);

/* Local. What a child that was started by zi_probe_file does; gives its exit code. */
int commands_probe(const char *path);

/* `world` is NULL unless the command is collective. */
enum zi_status run_command(struct comm *world, const struct options *options);
enum zi_status check_command(struct comm *world, const struct options *options);
enum zi_status plan_command(struct comm *world, const struct options *options);
enum zi_status program_command(struct comm *world, const struct options *options);
enum zi_status tokenize_command(struct comm *world, const struct options *options);
enum zi_status generate_command(struct comm *world, const struct options *options);
enum zi_status inspect_command(struct comm *world, const struct options *options);
enum zi_status bench_command(struct comm *world, const struct options *options);

/* Local. Writes what a run has reported as one HTML page. */
enum zi_status report_command(struct comm *world, const struct options *options);

/* Local. Shows a run that is in progress on the terminal. */
enum zi_status watch_command(struct comm *world, const struct options *options);

enum zi_status help_command(struct comm *world, const struct options *options);

#endif
