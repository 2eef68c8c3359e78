/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf program`: what a run would do, without doing it.
 *
 * The deck is compiled as `zinf run` compiles it, for any number of ranks, in this one process: no
 * MPI job, no data, and none of the memory that the program would use. */
#include <stdlib.h>
#include <string.h>

#include "app/commands.h"
#include "app/output.h"
#include "app/setup.h"
#include "base/log.h"
#include "compiler/placement.h"
#include "plan/plan.h"

enum { RANKS_MAX = 1 << 20 };

#define NAME(constant, name) " " name
#define EXPECTED             "one of" PROGRAMS(NAME)

struct request {
    enum program_name name;
    int64_t ranks, node_ranks;
    /* NULL: none. */
    const char *picture;
};

static enum zi_status read_request(const struct options *options, struct request *request)
{
    const char *name = options_text(options, "--name", "train");
    const char *names[PROGRAM_COUNT];
    *request = (struct request){.name = PROGRAM_COUNT, .ranks = 1};
    for (int i = 0; i < PROGRAM_COUNT; i++) {
        names[i] = program_name_text((enum program_name)i);
        if (strcmp(name, names[i]) == 0) request->name = (enum program_name)i;
    }
    if (request->name == PROGRAM_COUNT) {
        const char *nearest = deck_nearest(name, names, PROGRAM_COUNT);
        return zi_fail(ZI_ERROR_USAGE, "app", "--name %s: expected " EXPECTED "%s%s%s", name,
                       nearest ? " (nearest: " : "", nearest ? nearest : "", nearest ? ")" : "");
    }
    ZI_TRY(options_integer(options, "--ranks", 1, RANKS_MAX, &request->ranks));
    request->node_ranks = request->ranks;
    ZI_TRY(options_integer(options, "--ranks-per-node", 1, request->ranks, &request->node_ranks));
    request->picture = options_text(options, "--picture", NULL);
    return request->picture ? zi_output_check("app", request->picture) : ZI_OK;
}

static enum zi_status draw(const struct program *program, const struct request *request)
{
    struct output_stream stream;
    ZI_TRY(output_stream_begin(request->picture, &stream));
    return output_stream_end(&stream, plan_draw(program, request->name, stream.out));
}

static enum zi_status compile_and_show(struct setup *setup, const struct request *request)
{
    int node_ranks = (int)request->node_ranks;
    const struct program_row *row = program_row(request->name);
    setup->config.training = !row->logits && !row->each;
    if (row->caches) setup->config.cache = setup->settings->model.context;
    ZI_TRY(setup_describe(setup, (struct device_share){node_ranks, 0}));
    const struct zero_node node = {.ranks = node_ranks};
    ZI_TRY(zero_resolve(setup->settings, &setup->description, (int)request->ranks, &node,
                        &setup->config));
    ZI_TRY(setup_compile(setup));
    program_print_memory(setup->program, stdout);
    zero_explain(setup->settings, &setup->config, stdout);
    printf("\n");
    program_print(setup->program, request->name, stdout);
    return request->picture ? draw(setup->program, request) : ZI_OK;
}

enum zi_status program_command(struct comm *world, const struct options *options)
{
    (void)world;
    struct setup setup = {0};
    struct request request;
    int set_count;
    int64_t bytes;
    char *text;
    const char *deck = options->words[0];
    const char *const *sets = options_all(options, "--set", &set_count);
    ZI_TRY(read_request(options, &request));
    ZI_TRY(setup_read_file(deck, &text, &bytes));
    enum zi_status status =
        setup_parse(&setup, text, bytes, deck, sets, set_count, (int)request.ranks);
    if (status >= 0) status = compile_and_show(&setup, &request);
    setup_cleanup(&setup);
    free(text);
    return status;
}
