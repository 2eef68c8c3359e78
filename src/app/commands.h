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
    /* Positional arguments, for the help. */
    const char *words;
    /* Number of positional arguments; maximum -1: any. */
    int minimum, maximum;
    /* One line, no full stop. */
    const char *summary;
    /* Paragraphs of the help, ending in a newline. */
    const char *details;
    /* Runs on all ranks of an MPI job. */
    bool collective;
    /* Takes requests to stop (base/stop.h); signals end the others. */
    bool stops;
    /* Computes with the threads of a device. */
    bool computes;
    enum zi_status (*run)(struct comm *world, const struct options *options);
    /* Ends with a NULL name. */
    struct option_row options[OPTIONS_MAX];
};

/* Local. All commands, in the order of the help; *count is their number. */
const struct command *commands_all(int *count);

/* Local. The command of a name; when there is none, logs the nearest and gives NULL. */
const struct command *commands_find(const char *name);

/* Local. Prints the overview of all commands. */
void commands_overview(FILE *out);

/* Local. Prints the help of one command. */
void commands_describe(const struct command *command, FILE *out);

/* Collective for collective commands. Takes apart the words after the command's name and runs it;
 * of several processes of a launcher the first runs one that is not collective, and all give its
 * status. Started once for the process. */
enum zi_status commands_run(const struct command *command, int *argc, char ***argv);

/* Local. What a child that was started by zi_probe_file does; gives its exit code. */
int commands_probe(const char *path);

/* The commands; `world` is NULL unless the command is collective. */

/* Collective. Trains what a deck describes. */
enum zi_status run_command(struct comm *world, const struct options *options);

/* Local. Reads a deck and reports every error in it. */
enum zi_status check_command(struct comm *world, const struct options *options);

/* Local. Says what a deck needs, how long a step takes, and what would still fit. */
enum zi_status plan_command(struct comm *world, const struct options *options);

/* Local. Prints the memory table and the step program of a deck. */
enum zi_status program_command(struct comm *world, const struct options *options);

/* Local. Makes token files from texts, of bytes or by a tokenizer. */
enum zi_status tokenize_command(struct comm *world, const struct options *options);

/* Local. Makes a checkpoint of a model folder of Hugging Face. */
enum zi_status import_command(struct comm *world, const struct options *options);

/* Local. Makes such a folder of a checkpoint. */
enum zi_status export_command(struct comm *world, const struct options *options);

/* Local. Continues a text with a trained model. */
enum zi_status generate_command(struct comm *world, const struct options *options);

/* Local. Says how well a trained model predicts a text, or answers questions. */
enum zi_status evaluate_command(struct comm *world, const struct options *options);

/* Local. Prints what a checkpoint, run record or token file holds. */
enum zi_status inspect_command(struct comm *world, const struct options *options);

/* Local. Measures the operations of a device, or the disks. */
enum zi_status bench_command(struct comm *world, const struct options *options);

/* Local. Writes what a run has reported as one HTML page. */
enum zi_status report_command(struct comm *world, const struct options *options);

/* Local. Shows a run that is in progress on the terminal. */
enum zi_status watch_command(struct comm *world, const struct options *options);

/* Local. Explains a command, the keys of a deck, operations, or states. */
enum zi_status help_command(struct comm *world, const struct options *options);

#endif
