/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf plan`: what a run would need, how long a step would take, and what would still fit.
 *
 * The deck is compiled as `zinf run` compiles it, in this one process. Memory and traffic are those
 * of the compiled program, to the byte; times come from playing it through on a described machine.
 * A deck that does not fit is told what is short (by the zero room, on stderr), then the largest
 * model of its shape that would fit, and the exit code is that of a run: 3. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "app/commands.h"
#include "app/output.h"
#include "app/setup.h"
#include "base/log.h"
#include "compiler/placement.h"
#include "plan/plan.h"

enum { RANKS_MAX = 1 << 20 };

struct request {
    int64_t ranks;
    /* 0: not given */
    int64_t node_ranks;
    /* Files, or NULL. */
    const char *machine, *trace;
};

static enum zi_status read_request(const struct options *options, struct request *request)
{
    *request = (struct request){.ranks = 1};
    ZI_TRY(options_integer(options, "--ranks", 1, RANKS_MAX, &request->ranks));
    ZI_TRY(options_integer(options, "--ranks-per-node", 1, request->ranks, &request->node_ranks));
    request->machine = options_text(options, "--machine", NULL);
    request->trace = options_text(options, "--trace", NULL);
    return request->trace ? zi_output_check("app", request->trace) : ZI_OK;
}

/* How many ranks a node has: one per device where it is known how many there are. */
static enum zi_status place_ranks(const struct setup *setup, const struct plan_node *node,
                                  struct request *request)
{
    int64_t devices = node->sizes[SIZE_DEVICES], ranks = request->ranks;
    bool given = request->node_ranks > 0;
    if (devices > 0 && setup->settings->device.type == DEVICE_CPU)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s describes nodes by their devices (%" PRId64 "), and device.type of the "
                       "deck is cpu; plan for them by --set device.type=cuda",
                       request->machine, devices);
    if (!given) request->node_ranks = devices > 0 && devices < ranks ? devices : ranks;
    if (devices > 0 && request->node_ranks > devices)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--ranks-per-node %" PRId64 ", but nodes of %s have %" PRId64
                       " devices and each rank needs one; give at most that many",
                       request->node_ranks, request->machine, devices);
    return ZI_OK;
}

static void print_heading(const struct setup *setup, const struct request *request)
{
    const struct model *model = setup->model;
    const struct zero_config *c = &setup->config;
    printf("model: %" PRId64 " parameters, %" PRId64 " layers of %" PRId64 ", %s\n",
           model->parameters, model->settings.layers, model->settings.hidden,
           zi_dtype_name(model->type));
    printf("step: %" PRId64 " tokens, %" PRId64 " sequences of %" PRId64 "\n",
           c->global * c->tokens, c->global, c->tokens);
    printf("ranks: %d, %" PRId64 " on a node, micro-batches %" PRId64 " of %" PRId64
           " sequence%s\n\n",
           c->ranks, request->node_ranks, c->micro_batches, c->micro, c->micro == 1 ? "" : "s");
}

static enum zi_status write_trace(const struct program *program, const struct plan_span *spans,
                                  const char *path)
{
    struct output_stream stream;
    ZI_TRY(output_stream_begin(path, &stream));
    return output_stream_end(&stream, plan_trace(program, plan_step(program), spans, stream.out));
}

/* A list in virtual time; *spans is the caller's to free, also after an error. */
static enum zi_status simulate(const struct program_list *list, const struct plan_machine *machine,
                               struct plan_span **spans, struct plan_result *result)
{
    *spans = malloc(((size_t)list->count + 1) * sizeof **spans);
    if (!*spans)
        return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the times of %d operations",
                       list->count);
    return plan_simulate(list, machine, *spans, result);
}

static enum zi_status show_save(const struct program *program, const struct plan_node *node,
                                const struct plan_machine *machine,
                                const struct plan_result *result)
{
    struct plan_span *spans;
    struct plan_result over;
    enum zi_status status =
        simulate(&program->lists[plan_save_step(program)], machine, &spans, &over);
    if (status >= 0) plan_print_save(program, node, result, &over, stdout);
    free(spans);
    return status;
}

static enum zi_status show_time(const struct setup *setup, const struct request *request,
                                const struct plan_node *node, const struct plan_machine *machine)
{
    const struct program *program = setup->program;
    struct plan_result result;
    struct plan_balance balance;
    struct plan_span *spans;
    enum zi_status status = simulate(&program->lists[plan_step(program)], machine, &spans, &result);
    if (status >= 0) {
        plan_print_time(program, machine, &result, stdout);
        status = show_save(program, node, machine, &result);
    }
    if (status >= 0) status = plan_balance_of(program, machine, &balance);
    if (status >= 0) plan_print_balance(program, &balance, stdout);
    if (status >= 0 && request->trace) status = write_trace(program, spans, request->trace);
    free(spans);
    return status;
}

static enum zi_status show_largest(const struct setup *setup, const struct plan_deck *deck)
{
    static const struct {
        enum plan_growth growth;
        const char *name;
    } lines[] = {{PLAN_DEEPER, "more layers"}, {PLAN_WIDER, "wider layers"}};
    printf("\nlargest model that fits\n");
    if (!deck_list_is_auto(
            &setup->settings->model.trainable)) { /* names mean nothing for other sizes */
        printf("  not told, since model.trainable names tensors of this one\n");
        return ZI_OK;
    }
    for (int i = 0; i < 2; i++) {
        struct plan_largest largest;
        ZI_TRY(plan_largest(deck, lines[i].growth, &largest));
        printf("  %-13s %s%" PRId64 " layers of %" PRId64, lines[i].name,
               largest.parameters == 0 ? "none: not even "
               : largest.bounded       ? ""
                                       : "more than ",
               largest.layers, largest.hidden);
        if (largest.parameters > 0)
            printf(", %" PRId64 " heads: %" PRId64 " parameters", largest.heads,
                   largest.parameters);
        printf("\n");
    }
    return ZI_OK;
}

/* What is assumed is a processor's: a device that is none is far from it. */
static void ask_rates(const struct setup *setup, const struct plan_node *node)
{
    char keys[256];
    const struct program_list *list = &setup->program->lists[plan_step(setup->program)];
    if (setup->description.is_host ||
        plan_node_lacks(node, list, &setup->config, keys, sizeof keys) == 0)
        return;
    zi_log(
        ZI_LOG_WARN, "app",
        "the times are those of an assumed node without such a device (%s): give %s of the nodes "
        "in --machine FILE, as machine: {flops_bf16: 2 PFLOP/s, link_bytes_per_s: 200 GB/s}",
        setup->description.name, keys);
}

static enum zi_status show_plan(struct setup *setup, const struct request *request,
                                const struct plan_node *node)
{
    struct plan_machine machine;
    ZI_TRY(setup_compile(setup));
    plan_machine_of(node, &setup->config, (enum sum_order)setup->settings->precision.order,
                    &machine);
    print_heading(setup, request);
    program_print_memory(setup->program, stdout);
    zero_explain(setup->settings, &setup->config, stdout);
    printf("\n");
    plan_print_fit(setup->program, stdout);
    printf("\n");
    plan_print_node(setup->program, node, stdout);
    plan_print_traffic(setup->program, stdout);
    printf("\nmachine, one node: %s\n", request->machine ? request->machine : "no file given");
    plan_node_print(node, setup->config.unified, stdout);
    ask_rates(setup, node);
    printf("\n");
    return show_time(setup, request, node, &machine);
}

/* What auto may choose by: rates of the machine file, and none that are assumed. */
static struct zero_rates known_rates(const struct plan_node *node, int64_t compute)
{
    enum plan_rate flops = compute == ZI_BF16   ? RATE_FLOPS_BF16
                           : compute == ZI_FP16 ? RATE_FLOPS_FP16
                                                : RATE_FLOPS_FP32;
    return (struct zero_rates){
        .flops = node->given[flops] ? node->rates[flops] : 0,
        .memory = node->given[RATE_MEMORY] ? node->rates[RATE_MEMORY] : 0,
        .link = node->given[RATE_LINK] ? node->rates[RATE_LINK] : 0,
    };
}

static enum zi_status compile_and_show(struct setup *setup, const struct request *request,
                                       const struct plan_node *node, struct plan_deck *deck)
{
    const int64_t *sizes = node->sizes;
    const struct zero_node has = {.ranks = (int)request->node_ranks,
                                  .memory_bytes = (size_t)sizes[SIZE_HOST_MEMORY],
                                  .disk_bytes = (size_t)sizes[SIZE_DISK_SPACE]};
    setup->config.training = true;
    setup->config.rates = known_rates(node, setup->settings->precision.compute);
    ZI_TRY(setup_describe(setup, (struct device_share){has.ranks, 0}));
    if (sizes[SIZE_DEVICE_MEMORY] > 0 && !setup->description.unified)
        setup->description.memory_bytes = (size_t)sizes[SIZE_DEVICE_MEMORY];
    enum zi_status fit = zero_resolve(setup->settings, &setup->description, (int)request->ranks,
                                      &has, &setup->config);
    if (fit < 0 && fit != ZI_ERROR_FIT) return fit;
    if (fit >= 0)
        ZI_TRY(show_plan(setup, request, node));
    else if (request->trace)
        zi_log(ZI_LOG_WARN, "app", "--trace %s is not written: there is no step to simulate",
               request->trace);
    deck->device = &setup->description;
    deck->config = &setup->config;
    deck->fits = fit >= 0;
    ZI_TRY(show_largest(setup, deck));
    return fit;
}

/* Other sizes of a model that comes from elsewhere are those of a deck that says all of it. */
static enum zi_status use_echo(const struct setup *setup, struct plan_deck *deck, char **used)
{
    ZI_TRY(deck_echo(setup->deck, used));
    deck->text = *used;
    deck->bytes = strlen(*used);
    deck->set_count = 0;
    return ZI_OK;
}

enum zi_status plan_command(struct comm *world, const struct options *options)
{
    (void)world;
    struct setup setup = {0};
    struct request request;
    struct plan_node node;
    int set_count;
    int64_t bytes;
    char *text, *used = NULL;
    const char *name = options->words[0];
    const char *const *sets = options_all(options, "--set", &set_count);
    ZI_TRY(read_request(options, &request));
    ZI_TRY(setup_read_machine(request.machine, &node));
    ZI_TRY(setup_read_file(name, &text, &bytes));
    struct plan_deck deck = {
        .text = text, .name = name, .bytes = (size_t)bytes, .sets = sets, .set_count = set_count};
    enum zi_status status =
        setup_parse(&setup, text, bytes, name, sets, set_count, (int)request.ranks);
    if (status >= 0 && *setup.settings->model.from) status = use_echo(&setup, &deck, &used);
    if (status >= 0) status = place_ranks(&setup, &node, &request);
    if (status >= 0) status = compile_and_show(&setup, &request, &node, &deck);
    setup_cleanup(&setup);
    free(text);
    free(used);
    return status;
}
