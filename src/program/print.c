/* SPDX-License-Identifier: Apache-2.0 */
/* A program for people: the memory table and the list of operations. */
#include <inttypes.h>

#include "base/log.h"
#include "program/program.h"

static void print_inner(const struct program *program, FILE *out)
{
    const int *kept = program->kept_layers;
    const bool *offloaded = program->config.offloaded;
    int all = (int)program->model->settings.layers;
    fprintf(out,
            "inner activations: attention kept in %d%s, recomputed in %d; mlp kept in %d%s, "
            "recomputed in %d\n",
            kept[LAYER_ATTENTION], offloaded[LAYER_ATTENTION] ? " (on the host)" : "",
            all - kept[LAYER_ATTENTION], kept[LAYER_MLP],
            offloaded[LAYER_MLP] ? " (on the host)" : "", all - kept[LAYER_MLP]);
}

void program_print_memory(const struct program *program, FILE *out)
{
    char text[32], limit[32];
    fprintf(out, "%-12s %14s %14s %14s\n", "memory", "device", "host", "nvme");
    for (int purpose = 0; purpose < PURPOSE_COUNT; purpose++) {
        fprintf(out, "%-12s", program_purpose_name((enum program_purpose)purpose));
        for (int tier = 0; tier < ZI_TIER_COUNT; tier++) {
            size_t bytes =
                program_bytes(program, (enum zi_tier)tier, (enum program_purpose)purpose);
            fprintf(out, " %14s", bytes ? zi_memory_text(bytes, text, sizeof text) : "-");
        }
        fprintf(out, "\n");
    }
    fprintf(out, "%-12s", "padding");
    for (int tier = 0; tier < ZI_TIER_COUNT; tier++) {
        size_t bytes = program->pool_bytes[tier];
        for (int purpose = 0; purpose < PURPOSE_COUNT; purpose++) {
            bytes -= program_bytes(program, (enum zi_tier)tier, (enum program_purpose)purpose);
        }
        fprintf(out, " %14s", bytes ? zi_memory_text(bytes, text, sizeof text) : "-");
    }
    fprintf(out, "\n%-12s", "pool");
    for (int tier = 0; tier < ZI_TIER_COUNT; tier++) {
        size_t bytes = program->pool_bytes[tier];
        fprintf(out, " %14s", bytes ? zi_memory_text(bytes, text, sizeof text) : "-");
    }
    fprintf(out, "\n%-12s %14s %14s%s\n", "budget",
            zi_memory_text(program->config.budget[ZI_TIER_DEVICE], text, sizeof text),
            zi_memory_text(program->config.budget[ZI_TIER_HOST], limit, sizeof limit),
            program->config.shared_budget ? "   (one memory: the sum counts)" : "");
    size_t memory = zero_disk_memory(&program->config, program->pool_bytes[ZI_TIER_NVME]);
    if (memory > 0)
        fprintf(out, "nvme.paths are memory: %s of nvme's pool count as host memory\n",
                zi_memory_text(memory, text, sizeof text));
    const int *segments = program->segment_count;
    fprintf(out, "segments: %d, prefetch %d, micro-batches %" PRId64 "\n",
            segments[LAYER_ATTENTION] + segments[LAYER_MLP], program->config.prefetch,
            program->config.micro_batches);
    if (program->config.training) print_inner(program, out);
}

void program_print(const struct program *program, enum program_name name, FILE *out)
{
    const struct program_list *list = &program->lists[name];
    fprintf(
        out,
        "# operation lane kind subject micro | waits for | slots (< read, > written, = both)\n");
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        fprintf(out, "%5d %-8s %-9s %-24s", i, program_lane_name(op->lane),
                program_kind_name(op->kind), program_op_subject(program, op));
        if (op->micro >= 0) fprintf(out, " m%d", op->micro);
        if (op->speculative) fprintf(out, " speculative");
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            if (op->after[lane] >= 0) fprintf(out, " @%d", op->after[lane]);
        }
        fprintf(out, " |");
        for (int operand = 0; operand < OPERAND_COUNT; operand++) {
            if (op->slots[operand] < 0) continue;
            bool reads = op->reads >> operand & 1u, writes = op->writes >> operand & 1u;
            fprintf(out, " %s%s[%s]", program_operand_name((enum program_operand)operand),
                    reads && writes ? "="
                    : writes        ? ">"
                                    : "<",
                    program->slots[op->slots[operand]].name);
        }
        fprintf(out, "\n");
    }
}
