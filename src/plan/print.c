/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a plan as text, and the simulated step as a trace.
 *
 * Numbers that a run counts (bytes of pools, bytes of traffic) are printed to the last byte, so
 * that they can be compared with memory.csv and timings.csv; times, which are a model's, with four
 * digits. Bytes per parameter count what all ranks move together, taking them to be equal, over
 * the parameters of the model: the number does not depend on the number of ranks where states are
 * sharded. */
#include <inttypes.h>
#include <math.h>

#include "base/log.h"
#include "plan/plan.h"
#include "program/trace.h"

void plan_print_fit(const struct program *program, FILE *out)
{
    const struct zero_config *c = &program->config;
    char text[32], left[32];
    fprintf(out, "%-12s %20s %14s\n", "fit", "bytes", "budget");
    for (int t = 0; t < ZI_TIER_COUNT; t++) {
        enum zi_tier tier = (enum zi_tier)t;
        size_t bytes = program->pool_bytes[t], budget = c->budget[t];
        bool shared = c->shared_budget;
        if (bytes == 0) continue;
        fprintf(out, "  %-10s %20zu %14s  ", zi_tier_name(tier), bytes,
                zi_memory_text(budget, text, sizeof text));
        size_t used = bytes;
        bool memory = tier == (shared ? ZI_TIER_DEVICE : ZI_TIER_HOST);
        if (shared && tier == ZI_TIER_DEVICE) used += program->pool_bytes[ZI_TIER_HOST];
        if (memory) used += zero_disk_memory(c, program->pool_bytes[ZI_TIER_NVME]);
        if (shared && tier == ZI_TIER_HOST)
            fprintf(out, "counted with device: one memory\n");
        else if (used > budget)
            fprintf(out, "%s too much\n", zi_memory_text(used - budget, left, sizeof left));
        else
            fprintf(out, "%s left\n", zi_memory_text(budget - used, left, sizeof left));
    }
}

/* What a node has of a tier by its description; 0: not said. */
static size_t node_has(const struct plan_node *node, enum zi_tier tier)
{
    const int64_t *sizes = node->sizes;
    if (tier == ZI_TIER_NVME) return (size_t)sizes[SIZE_DISK_SPACE];
    if (tier == ZI_TIER_HOST) return (size_t)sizes[SIZE_HOST_MEMORY];
    return (size_t)(sizes[SIZE_DEVICES] * sizes[SIZE_DEVICE_MEMORY]);
}

/* What a rank takes of a tier; device memory that is host memory is the host's. */
static size_t rank_takes(const struct program *program, enum zi_tier tier)
{
    const struct zero_config *c = &program->config;
    const size_t *pools = program->pool_bytes;
    if (tier == ZI_TIER_DEVICE && c->unified) return 0;
    if (tier != ZI_TIER_HOST) return pools[tier];
    return pools[ZI_TIER_HOST] + (c->unified ? pools[ZI_TIER_DEVICE] : 0) +
           zero_disk_memory(c, pools[ZI_TIER_NVME]);
}

void plan_print_node(const struct program *program, const struct plan_node *node, FILE *out)
{
    int ranks = program->config.node.ranks;
    bool alone = ranks == 1;
    char text[32];
    for (int size = 0; size < PLAN_SIZE_COUNT; size++)
        alone = alone && node->sizes[size] == 0;
    if (alone) return;
    fprintf(out, "node of %-4d %20s %14s\n", ranks, "bytes", "has");
    for (int t = 0; t < ZI_TIER_COUNT; t++) {
        enum zi_tier tier = (enum zi_tier)t;
        size_t bytes = (size_t)ranks * rank_takes(program, tier), has = node_has(node, tier);
        if (bytes == 0) continue;
        fprintf(out, "  %-10s %20zu ", zi_tier_name(tier), bytes);
        if (has == 0)
            fprintf(out, "%14s\n", "not said");
        else
            fprintf(out, "%14s  %.0f %% taken\n", zi_memory_text(has, text, sizeof text),
                    100 * (double)bytes / (double)has);
    }
    fputc('\n', out);
}

static void print_sum(const struct program *program, const char *lane, const char *kind,
                      const struct plan_traffic *sum, FILE *out)
{
    double all = (double)sum->bytes * program->config.ranks;
    fprintf(out, "  %-10s %-10s %9" PRId64 " %20zu %15.3f %12.4g\n", lane, kind, sum->count,
            sum->bytes, all / (double)program->model->parameters, sum->flops * 1e-9);
}

void plan_print_traffic(const struct program *program, FILE *out)
{
    static struct plan_traffic sums[LANE_COUNT][OP_KIND_COUNT];
    plan_traffic_sum(&program->lists[plan_step(program)], sums);
    fprintf(out, "%-12s %-10s %9s %20s %15s %12s\n", "traffic", "", "count", "bytes",
            "per parameter", "GFLOP");
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        const char *name = program_lane_name((enum program_lane)lane);
        struct plan_traffic all = {0};
        int kinds = 0;
        for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
            const struct plan_traffic *sum = &sums[lane][kind];
            if (sum->count == 0) continue;
            print_sum(program, name, program_kind_name((enum program_kind)kind), sum, out);
            all.count += sum->count;
            all.bytes += sum->bytes;
            all.flops += sum->flops;
            kinds++;
        }
        if (kinds > 1) print_sum(program, name, "all", &all, out);
    }
}

void plan_print_time(const struct program *program, const struct plan_machine *machine,
                     const struct plan_result *result, FILE *out)
{
    const struct zero_config *c = &program->config;
    double tokens = (double)(c->global * c->tokens), seconds = result->seconds;
    double flops = tokens * model_flops_per_token(program->model, c->tokens) / c->ranks;
    fprintf(out, "%-26s %12.4g s\n", "step", seconds);
    fprintf(out, "  %-24s %12.1f\n", "tokens a second", tokens / seconds);
    fprintf(out, "  of flops_%-15s %12.1f %%\n", zi_dtype_name(c->compute),
            100 * flops / seconds / machine->flops_per_s);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        if (result->busy_s[lane] <= 0) continue;
        fprintf(out, "  %-24s %12.4g s", program_lane_name((enum program_lane)lane),
                result->busy_s[lane]);
        if (lane != LANE_COMPUTE)
            fprintf(out, ", exposed %.4g s (%.1f %% of the step)", result->wait_s[lane],
                    100 * result->wait_s[lane] / seconds);
        fprintf(out, "\n");
    }
}

void plan_print_save(const struct program *program, const struct plan_node *node,
                     const struct plan_result *result, const struct plan_result *over, FILE *out)
{
    const struct program_list *list = &program->lists[plan_save_step(program)];
    fprintf(out, "%-26s %12zu bytes of a rank\n", "checkpoint", program_traffic(list, LANE_FILE));
    fprintf(out, "  %-24s %12.4g s", "written in", over->busy_s[LANE_FILE]);
    if (node->given[RATE_FILE] && node->given[RATE_DISK_WRITE])
        fprintf(out, ", at %.0f %% of disk_write_bytes_per_s",
                100 * node->rates[RATE_FILE] / node->rates[RATE_DISK_WRITE]);
    fputc('\n', out);
    fprintf(out, "  %-24s %12.4g s, %.4g s longer (%.1f %%)\n", "the step over it", over->seconds,
            over->seconds - result->seconds, 100 * (over->seconds / result->seconds - 1));
}

void plan_print_balance(const struct program *program, const struct plan_balance *balance,
                        FILE *out)
{
    const struct zero_config *c = &program->config;
    const struct plan_load *load = &balance->load;
    double now = (double)(c->global * c->tokens);
    const char *name = load->io_lane == LANE_DISK_READ ? "disk" : program_lane_name(load->io_lane);
    if (load->io_lane == LANE_COMPUTE) name = "none";
    fprintf(out, "%-26s %12.4g s\n", "arithmetic", load->arithmetic_s);
    fprintf(out, "%-26s %12.4g s (%s)\n", "I/O", load->io_s, name);
    if (load->io_lane == LANE_COMPUTE)
        fprintf(out, "b*: none; nothing moves but in memory\n");
    else if (isinf(balance->tokens))
        fprintf(out, "b*: none; I/O grows with tokens as fast as arithmetic does\n");
    else if (balance->tokens <= 0)
        fprintf(out, "b*: 0 tokens; arithmetic is longer than I/O at any number\n");
    else
        fprintf(out, "b*: %.0f tokens a step make arithmetic as long as I/O; this deck has %.0f\n",
                ceil(balance->tokens), now);
}

enum zi_status plan_trace(const struct program *program, enum program_name name,
                          const struct plan_span *spans, FILE *out)
{
    const struct program_list *list = &program->lists[name];
    struct trace *trace;
    ZI_TRY(trace_create(program, 1, &trace));
    for (int i = 0; i < list->count; i++) {
        struct trace_event event = {.program = name,
                                    .op = i,
                                    .ready_s = spans[i].ready_s,
                                    .start_s = spans[i].start_s,
                                    .end_s = spans[i].end_s};
        trace_note(trace, list->ops[i].lane, &event);
    }
    fprintf(out, "{\"otherData\":{\"times\":\"simulated\",");
    trace_write_tables(out);
    fprintf(out, "},\n\"traceEvents\":[\n");
    enum zi_status status = trace_write(trace, 0, 0, out);
    fprintf(out, "\n]}\n");
    trace_destroy(trace);
    if (status >= 0 && ferror(out))
        status = zi_fail(ZI_ERROR_IO, "plan", "the trace could not be written");
    return status;
}
