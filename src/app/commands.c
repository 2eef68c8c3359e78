/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands, and the help that comes from it.
 *
 * A command is a row: its words, its options, what it does, its function. The parser, the overview,
 * `zinf help COMMAND` and `zinf COMMAND --help` read the row, so they cannot disagree.
 *
 * A collective command runs on all ranks of a job. The words are the same on all of them, so a
 * mistake in them is rank 0's to report: it looks first, the ranks agree, and the others look only
 * when it found nothing.
 *
 * The other commands are work for one process. Where a launcher has started several, all of them
 * would write the same files and interleave their lines; so MPI is started for these commands too
 * then, rank 0 works, and the others wait for its end, asleep, and leave with its exit code. A
 * process that no launcher started never starts MPI for them. */
#include "app/commands.h"

#include <string.h>

#include "app/clean.h"
#include "base/log.h"
#include "base/random.h"
#include "base/probe.h"
#include "base/stop.h"
#include "base/version.h"
#include "deck/deck.h"
#include "device/team.h"

#define SET_OPTION                                                                                 \
    {                                                                                              \
        "--set", "SECTION.KEY=VALUE", "override a value of the deck; may be given again"           \
    }

static const struct command commands[] = {
    {"run",
     "DECK",
     1,
     1,
     "train what a deck describes",
     "Started by an MPI launcher it runs on all ranks: mpiexec -n 4 zinf run deck.yaml.\n"
     "Outputs go to run.directory: used.yaml, steps.csv, timings.csv, checkpoints.csv,\n"
     "memory.csv, starts.csv, run.h5 and checkpoints/. SIGTERM, SIGINT (Ctrl-C), SIGUSR1, SIGHUP\n"
     "and SIGQUIT end the run after the present step with a checkpoint (exit code 4); a second\n"
     "SIGINT ends it at once. A file `stop` in run.directory does the same, a file `checkpoint`\n"
     "there has one written of the present step. Where SLURM_JOB_END_TIME is set, the run ends so\n"
     "before that time.\n",
     true,
     true,
     true,
     run_command,
     {SET_OPTION,
      {"--resume", "auto",
       "go on from the newest whole checkpoint of run.directory or checkpoint.local, or begin"},
      {"--overwrite", NULL, "remove the outputs of an earlier run in the run directory first"},
      {"--reclaim", NULL,
       "remove what runs that died left in nvme.paths, as --set nvme.reclaim=yes"},
      {"--machine", "FILE", "rates of a node: lines of checkpoints say their share of them"}}},
    {"check",
     "DECK",
     1,
     1,
     "read a deck and report every error in it",
     "Looks at the deck, and the model that model.from names, not at data files or memory.\n",
     false,
     false,
     false,
     check_command,
     {SET_OPTION, {"--ranks", "N", "check for a run on N ranks (default 1)"}}},
    {"plan",
     "DECK",
     1,
     1,
     "say what a deck needs, how long a step takes, and what would still fit",
     "Nothing is run, and none of the model's memory is allocated. Bytes per tier and purpose and\n"
     "bytes moved per step are those of the compiled program; the time of a step is that of the\n"
     "program on a described machine. Rates that the machine file leaves out are assumed, and "
     "said\n"
     "to be. Exit code 3 when the deck does not fit.\n",
     false,
     false,
     false,
     plan_command,
     {SET_OPTION,
      {"--ranks", "N", "plan for N ranks (default 1)"},
      {"--ranks-per-node", "K",
       "ranks that share a node (default: one per device of FILE, or all)"},
      {"--machine", "FILE", "rates of a node, as `zinf bench disk` writes them, and what it has"},
      {"--trace", "FILE", "also write the simulated step as Chrome trace events"}}},
    {"program",
     "DECK",
     1,
     1,
     "print the memory table and the step program of a deck",
     "Nothing is run and no data is read. One operation a line: lane, kind, what it works on, "
     "what\n"
     "it waits for, its buffers. The picture shows the lanes in virtual time.\n",
     false,
     false,
     false,
     program_command,
     {SET_OPTION,
      {"--ranks", "N", "compile for N ranks (default 1)"},
      {"--ranks-per-node", "K", "ranks that share a node's memory and cores (default: all)"},
      {"--name", "PROGRAM", "which program to show, as train, save or load (default train)"},
      {"--picture", "FILE", "also draw the lanes into an SVG file"}}},
    {"tokenize",
     "INPUT...",
     1,
     -1,
     "make token files from texts, one token a byte or those of a tokenizer",
     "An INPUT is a file or a folder, whose files are taken in the order of their names. Token "
     "files\n"
     "in a folder, outputs of this command and links to nothing are left out, which is said.\n"
     "A tokenizer takes each file whole, without its bos or eos; --separator puts a token behind\n"
     "each file, as GPT-2 was trained with. Files are encoded by all cores (OMP_NUM_THREADS).\n"
     "A file named *.jsonl has a document a line, {\"text\": ...}, {\"prompt\": ..., "
     "\"completion\": "
     "...}\nor {\"messages\": ...}; what is learned is the text, the completion or what the "
     "assistant\n"
     "wrote, up to the eos token (doc/data.md).\n",
     false,
     true,
     false,
     tokenize_command,
     {{"--output", "FILE", "token file to write (required)"},
      {"--tokenizer", "FOLDER",
       "tokenizer.json or tokenizer.model of this folder, or a file that is one"},
      {"--separator", "TOKEN",
       "put this token behind each file or document; eos: that of tokenizer_config.json"},
      {"--validation", "FILE", "write the last part of the tokens to this file instead"},
      {"--share", "X", "the part that goes to the validation file (default 0.1)"},
      {"--suffix", "TEXT", "from folders take only files whose names end in TEXT"}}},
    {"import",
     "FOLDER",
     1,
     1,
     "make a checkpoint of a model folder of Hugging Face",
     "FOLDER has config.json and safetensors, as transformers' save_pretrained writes them. "
     "Written\n"
     "are MODEL.h5, a checkpoint of the weights in their own type, MODEL.yaml, the model section "
     "of\n"
     "a deck, and the folder MODEL.files, with the tokenizer and what else an export puts back. A\n"
     "deck may name MODEL.h5, or FOLDER itself, in model.from. What config.json asks for and zinf\n"
     "does not do is refused. Memory is some ten MiB, whatever the model.\n",
     false,
     true,
     false,
     import_command,
     {{"--output", "MODEL.h5", "checkpoint to write (required)"}}},
    {"export",
     "CHECKPOINT",
     1,
     1,
     "make a model folder of Hugging Face of a checkpoint",
     "CHECKPOINT is a checkpoint file, a folder of checkpoints, or a run directory. FOLDER is new "
     "or\n"
     "empty, and gets config.json, safetensors, the files of the tokenizer and a model card to be\n"
     "filled in; transformers loads it. Config and tokenizer are those that were imported, or of\n"
     "--files. In the checkpoint's own type weights keep their bits. Adapters are merged into the\n"
     "matrices beside them, or with --adapter written alone, as PEFT has them.\n",
     false,
     true,
     false,
     export_command,
     {{"--output", "FOLDER", "folder to write (required)"},
      {"--adapter", NULL, "write the adapters alone, for the package PEFT, in fp32"},
      {"--type", "TYPE", "fp32, bf16 or fp16 (default: that of the checkpoint)"},
      {"--shard-size", "SIZE", "most bytes of a file of weights (default 5GB)"},
      {"--files", "FOLDER", "folder with the config.json and the tokenizer to take"}}},
    {"generate",
     "MODEL",
     1,
     1,
     "continue texts with a trained model",
     "MODEL is a checkpoint file, a folder of checkpoints, or a run directory, of which the latest "
     "is\n"
     "taken, or, where no link says which that is, the newest whole one; or a model folder of\n"
     "Hugging Face. A text and its continuation are written as they come; several are written as\n"
     "lines of JSON, each when its batch is done. With a tokenizer, as a model folder or an "
     "import\n"
     "has, a prompt gets bos where that adds one, and a text ends where the model draws an end of\n"
     "a text. With --chat a prompt is a message, put into the model's chat template, and only the\n"
     "answer is written. Without a tokenizer a vocabulary of up to 1024 is taken for the 256 "
     "bytes\n"
     "and padding that has no text; larger models take and give token ids (--ids). The same seed\n"
     "gives the same texts. A model that memory does not hold stays on disks\n"
     "(--set placement.parameters=nvme): each pass reads it once, for all texts of a batch.\n",
     false,
     false,
     true,
     generate_command,
     {{"--prompt", "TEXT", "text to continue; may be given again"},
      {"--prompts", "FILE",
       "texts to continue, one a line: as it is, or as JSON, a string or {\"prompt\": string}"},
      {"--chat", NULL,
       "answer: a prompt is a user's message, a line {\"messages\": [..]} a conversation"},
      {"--tokenizer", "FOLDER",
       "for prompts: with tokenizer.json or tokenizer.model (default: the model's own, if any)"},
      {"--ids", "LIST", "token ids to continue, as 1,2,3; ids are written; may be given again"},
      {"--tokens", "N", "tokens to add (default 200)"},
      {"--batch", "N", "texts that go through the model side by side (default 8)"},
      {"--temperature", "X", "0 takes the likeliest token; 1 the model's odds (default 0.8)"},
      {"--top-k", "K", "choose among the K likeliest tokens only (default 0: all)"},
      {"--top-p", "P", "of these among the fewest whose odds add up to P (default 1: all of them)"},
      {"--stop", "TEXT", "end a text before this; may be given again"},
      {"--seed", "S", "of the choices (default 1)"},
      {"--timings", NULL, "say on stderr how long prompts and tokens took"},
      {"--threads", "N", "threads to use (default: all cores)"},
      {"--set", "SECTION.KEY=VALUE",
       "where the model is kept and computed: keys of placement, memory, nvme, device, "
       "precision, batch, tiling, zero"}}},
    {"evaluate",
     "MODEL",
     1,
     1,
     "say how well a trained model predicts a text or answers questions",
     "MODEL is as for `zinf generate`. Of a token file or a text: the mean loss (-log p) of all "
     "tokens\n"
     "but the first, each given those before it in its sequence of --length tokens, the "
     "perplexity,\n"
     "and of a text the bits per byte. Of questions as lm-evaluation-harness 0.4 logs them\n"
     "(--log_samples, tasks of multiple choice): acc and acc_norm as the harness defines them.\n",
     false,
     false,
     true,
     evaluate_command,
     {{"--data", "FILE", "a token file, in any of the formats that decks name"},
      {"--text", "FILE", "a text, of bytes or by --tokenizer"},
      {"--samples", "FILE", "questions, lines of JSON, of bytes or by --tokenizer"},
      {"--tokenizer", "FOLDER", "with tokenizer.json or .model (default: the model's own, if any)"},
      {"--length", "T", "tokens of a sequence (default: the model's context)"},
      {"--batch", "N", "sequences that go through the model side by side (default 8)"},
      {"--limit", "N", "take the first N tokens or questions only"},
      {"--output", "FILE", "also write the result as JSON"},
      {"--threads", "N", "threads to use (default: all cores)"},
      {"--set", "SECTION.KEY=VALUE",
       "where the model is kept and computed: keys of placement, memory, nvme, device, "
       "precision, batch, tiling, zero"}}},
    {"inspect",
     "FILE",
     1,
     1,
     "print what a checkpoint, run record or token file holds",
     "FILE is an HDF5 file that zinf wrote; h5dump and h5py open it as well. A checkpoint has a\n"
     "checksum for each of its datasets; they are compared with --verify only, which reads all of\n"
     "the file. Exit code 5 when it is damaged. Of a token file the first tokens are shown with\n"
     "their texts where a tokenizer is given.\n",
     false,
     false,
     false,
     inspect_command,
     {{"--verify", NULL, "also read all of a checkpoint and compare its checksums"},
      {"--tokenizer", "FOLDER", "of a token file: with which it was made"},
      {"--tokens", "N", "of a token file: how many tokens to show (default 32)"}}},
    {"bench",
     "device|disk",
     1,
     1,
     "measure the operations of a device, or the disks",
     "device: prints each operation with its rate beside the device's measured ceiling.\n"
     "disk: prints what the folders of nvme.paths give for reading, writing and both at once, and\n"
     "writes a machine file for `zinf plan`.\n",
     false,
     true,
     true,
     bench_command,
     {{"--set", "SECTION.KEY=VALUE", "a key of device, or of nvme; may be given again"},
      {"--size", "MIB", "disk: size of the file on each path (default 1024 MiB)"},
      {"--turns", "N", "disk: measure N times and take the medians (default 3)"},
      {"--sweep", NULL, "disk: also measure other block sizes and depths"},
      {"--output", "FILE", "disk: machine file to write (default machine.yaml)"}}},
    {"report",
     "RUN",
     1,
     1,
     "write what a run has reported as one HTML page",
     "RUN is a run directory, of a run that is in progress, has ended or was killed. The page has\n"
     "charts of loss, gradient norm, learning rate, speed, waits and traffic, tables of "
     "operations,\n"
     "memory and checkpoints, and the used deck. It is one file that needs no network.\n",
     false,
     false,
     false,
     report_command,
     {{"--output", "FILE", "page to write (default RUN/report.html)"}}},
    {"watch",
     "RUN",
     1,
     1,
     "show a run that is in progress on the terminal",
     "RUN is a run directory. Loss, progress, speed, waits, the last checkpoint and what is wrong\n"
     "are drawn again and again in the same place until the run ends; Ctrl-C ends the command, "
     "not\n"
     "the run. Where standard output is no terminal they are printed once.\n",
     false,
     false,
     false,
     watch_command,
     {{"--every", "SECONDS", "time between two pictures (default 1)"},
      {"--once", NULL, "print them once and end"}}},
    {"clean",
     "PATH...",
     1,
     -1,
     "show, or remove, what runs that were killed left behind",
     "Looks through the folders and all below them on the same file system, not through links,\n"
     "for stores of nvme.paths, half written checkpoints and run.lock whose run is dead, and "
     "local\n"
     "checkpoints with which no run can go on. What lives, was kept by nvme.keep, or zinf has not\n"
     "made is left alone. Over a network it may be known on one machine only whether a run lives;\n"
     "what it left stays, and is said. Exit code 5 when something cannot be looked at or "
     "removed.\n",
     false,
     true,
     false,
     clean_command,
     {{"--remove", NULL, "remove what is found"}}},
    {"help",
     "[COMMAND | deck [SECTION[.KEY]] | operations | states]",
     0,
     2,
     "explain a command, the keys of a deck, operations, or states",
     "`zinf help deck` lists the sections of a deck, `zinf help deck batch.micro` explains a key,\n"
     "`zinf help operations` the kinds of operations that `zinf program` and traces show,\n"
     "`zinf help states` what a run keeps of each unit.\n"
     "The options write the generated documents.\n",
     false,
     false,
     false,
     help_command,
     {{"--markdown", NULL, "deck, operations, states: all as a Markdown table"},
      {"--reference", NULL, "deck: a reference deck with every key and its default"},
      {"--schema", NULL, "deck: a JSON schema, for editors"}}},
};
enum { COMMAND_COUNT = (int)(sizeof commands / sizeof *commands) };

const struct command *commands_all(int *count)
{
    *count = COMMAND_COUNT;
    return commands;
}

const struct command *commands_find(const char *name)
{
    const char *names[COMMAND_COUNT];
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
        names[i] = commands[i].name;
    }
    const char *nearest = deck_nearest(name, names, COMMAND_COUNT);
    zi_log(ZI_LOG_ERROR, "app", "zinf has no command %s%s%s%s; `zinf help` lists them", name,
           nearest ? " (nearest: " : "", nearest ? nearest : "", nearest ? ")" : "");
    return NULL;
}

void commands_overview(FILE *out)
{
    fprintf(out,
            "zinf %s: trains transformers whose training state is larger than the memory that\n"
            "trains them.\n\nusage: zinf COMMAND [ARGUMENT]... [OPTION]...\n\n",
            zi_version());
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out,
            "\n`zinf help COMMAND` explains a command, `zinf help deck` the keys of a deck,\n"
            "`zinf help operations` what programs are made of; `zinf --version` says which zinf\n"
            "this is.\n\n"
            "exit codes: 0 done, 2 deck or usage, 3 does not fit, 4 stopped early with a\n"
            "good checkpoint, 5 input/output, 6 device or communication, 7 numerics, 70 bug\n");
}

static int option_count(const struct command *command)
{
    int count = 0;
    while (count < OPTIONS_MAX && command->options[count].name)
        count++;
    return count;
}

void commands_describe(const struct command *command, FILE *out)
{
    int count = option_count(command);
    fprintf(out, "usage: zinf %s %s%s\n\n", command->name, command->words,
            count ? " [OPTION]..." : "");
    fprintf(out, "%c%s.\n\n%s", command->summary[0] - 'a' + 'A', command->summary + 1,
            command->details);
    if (count) fprintf(out, "\noptions:\n");
    for (int i = 0; i < count; i++) {
        const struct option_row *row = &command->options[i];
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", row->name, row->value ? " " : "",
                 row->value ? row->value : "");
        fprintf(out, "  %-26s %s\n", left, row->help);
    }
}

static enum zi_status parse(const struct command *command, int argc, char **argv,
                            struct options *options)
{
    ZI_TRY(options_parse(command->name, command->options, option_count(command), argc - 2, argv + 2,
                         options));
    int words = options->word_count;
    if (words >= command->minimum && (command->maximum < 0 || words <= command->maximum))
        return ZI_OK;
    const char *surplus = words > command->minimum ? options->words[words - 1] : NULL;
    enum zi_status status =
        surplus ? zi_fail(ZI_ERROR_USAGE, "app", "%s is one word too many; usage: zinf %s %s",
                          surplus, command->name, command->words)
                : zi_fail(ZI_ERROR_USAGE, "app", "something is missing; usage: zinf %s %s",
                          command->name, command->words);
    options_cleanup(options);
    return status;
}

static enum zi_status run_collective(const struct command *command, struct comm *world, int argc,
                                     char **argv)
{
    struct options options;
    enum zi_status status = ZI_OK;
    bool first = comm_rank(world) == 0, parsed = false;
    if (!first) zi_probe_set(NULL); /* rank 0 looks at files for all */
    if (first) status = parse(command, argc, argv, &options), parsed = status >= 0;
    status = comm_agree(world, status);
    if (status >= 0 && !first) status = parse(command, argc, argv, &options), parsed = status >= 0;
    if (status >= 0) status = command->run(world, &options);
    if (parsed) options_cleanup(&options);
    return status;
}

static enum zi_status run_alone(const struct command *command, int argc, char **argv)
{
    struct options options;
    ZI_TRY(parse(command, argc, argv, &options));
    enum zi_status status = command->run(NULL, &options);
    options_cleanup(&options);
    return status;
}

static enum zi_status run_first(const struct command *command, struct comm *world, int argc,
                                char **argv)
{
    enum zi_status status = ZI_OK;
    if (comm_rank(world) == 0) {
        zi_log(ZI_LOG_WARN, "app",
               "%d processes were started; zinf %s works in one of them, the others wait for it",
               comm_size(world), command->name);
        status = run_alone(command, argc, argv);
    }
    return comm_agree(world, status);
}

/* Collective. Ranks that were given other words than rank 0 would wait for what never comes. */
static enum zi_status agree_on_words(struct comm *world, int argc, char **argv)
{
    uint64_t own = (uint64_t)argc, first;
    for (int i = 1; i < argc; i++)
        own = own * 0x9e3779b97f4a7c15u + zi_random_stream(argv[i]);
    first = own;
    ZI_TRY(comm_broadcast(world, &first, (int64_t)sizeof first, 0));
    enum zi_status status = ZI_OK;
    if (own != first)
        status = zi_fail(ZI_ERROR_USAGE, "app",
                         "this rank was started with other arguments than rank 0: zinf %s ...; "
                         "start all ranks with the same",
                         argv[1]);
    return comm_agree(world, status);
}

enum zi_status commands_run(const struct command *command, int *argc, char ***argv)
{
    if (command->computes) device_team_prepare(*argv);
    if (command->stops) ZI_TRY(zi_stop_start());
    if (!command->collective && comm_launched() == 1) return run_alone(command, *argc, *argv);
    struct comm *world;
    ZI_TRY(comm_start(argc, argv, &world));
    enum zi_status status = agree_on_words(world, *argc, *argv);
    if (status >= 0)
        status = command->collective ? run_collective(command, world, *argc, *argv)
                                     : run_first(command, world, *argc, *argv);
    comm_finish(world);
    return status;
}
