/* SPDX-License-Identifier: Apache-2.0 */
/* A program for people: the memory table, the list of operations, and a picture of its lanes.
 *
 * The picture is drawn in virtual time: operations start as soon as their lane and what they wait
 * for allow, and last as long as their FLOPs and bytes take at nominal rates. It shows the shape of
 * the overlap, not a prediction. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "zero/program.h"

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
    fprintf(
        out,
        "segments: %d, inner activations kept in %d, recomputed in %d; prefetch %d, micro-batches "
        "%" PRId64 "\n",
        program->segment_count, program->kept_segments,
        program->segment_count - program->kept_segments, program->config.prefetch,
        program->config.micro_batches);
}

static const char *subject(const struct program *program, const struct program_op *op)
{
    if (op->op >= 0) return program->model->ops[op->op].name;
    if (op->unit >= 0) return program->model->units[op->unit].name;
    return "";
}

static const char *const role_names[ROLE_COUNT] = {
    "input",     "output",    "saved",     "scratch", "dx",      "tokens",
    "results",   "carry",     "weight",    "weight1", "weight2", "gradient",
    "gradient1", "gradient2", "remainder", "moment1", "moment2",
};

void program_print(const struct program *program, enum program_name name, FILE *out)
{
    const struct program_list *list = &program->lists[name];
    fprintf(
        out,
        "# operation lane kind subject micro | waits for | slots (< read, > written, = both)\n");
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        fprintf(out, "%5d %-8s %-9s %-24s", i, program_lane_name(op->lane),
                program_kind_name(op->kind), subject(program, op));
        if (op->micro >= 0) fprintf(out, " m%d", op->micro);
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            if (op->after[lane] >= 0) fprintf(out, " @%d", op->after[lane]);
        }
        fprintf(out, " |");
        for (int role = 0; role < ROLE_COUNT; role++) {
            if (op->slots[role] < 0) continue;
            bool reads = op->reads >> role & 1u, writes = op->writes >> role & 1u;
            fprintf(out, " %s%s[%s]", role_names[role],
                    reads && writes ? "="
                    : writes        ? ">"
                                    : "<",
                    program->slots[op->slots[role]].name);
        }
        fprintf(out, "\n");
    }
}

/* Nominal rates of the picture: one core of the embedded default, a memory link and a network. */
static double nominal_seconds(const struct program_op *op)
{
    static const double bytes_per_s[LANE_COUNT] = {2e10, 5e9, 1e10, 1e10, 2e9, 2e9, 1e10};
    return op->flops / 1e11 + (double)op->bytes / bytes_per_s[op->lane] + 1e-6;
}

static void schedule(const struct program_list *list, double *starts, double *ends, double *total)
{
    double free_at[LANE_COUNT] = {0};
    *total = 1e-9;
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        starts[i] = free_at[op->lane];
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            if (op->after[lane] >= 0 && ends[op->after[lane]] > starts[i])
                starts[i] = ends[op->after[lane]];
        }
        ends[i] = free_at[op->lane] = starts[i] + nominal_seconds(op);
        if (ends[i] > *total) *total = ends[i];
    }
}

static const char *const kind_colours[OP_KIND_COUNT] = {
    [OP_PUSH] = "#8c6bb1",     [OP_GATHER] = "#3182bd", [OP_FORWARD] = "#41ab5d",
    [OP_KEEP] = "#bcbddc",     [OP_RECALL] = "#9e9ac8", [OP_RECOMPUTE] = "#a1d99b",
    [OP_BACKWARD] = "#238b45", [OP_REDUCE] = "#e6550d", [OP_PULL] = "#c994c7",
    [OP_ADD] = "#fdae6b",      [OP_NORM] = "#636363",   [OP_ADAM] = "#de2d26",
    [OP_READ] = "#08519c",     [OP_LOAD] = "#54278f",   [OP_STORE] = "#bd0026",
    [OP_PUBLISH] = "#6baed6",  [OP_FINISH] = "#636363", [OP_LOGITS] = "#41ab5d",
};

static void draw_legend(const bool used[OP_KIND_COUNT], int y, FILE *out)
{
    int x = 90;
    for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
        if (!used[kind]) continue;
        fprintf(out,
                "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/>"
                "<text x=\"%d\" y=\"%d\">%s</text>\n",
                x, y, kind_colours[kind], x + 16, y + 11,
                program_kind_name((enum program_kind)kind));
        x += 100;
    }
}

static void draw_lanes(const struct program *program, const struct program_list *list,
                       const double *times[2], double total, FILE *out)
{
    const double width = 1280, left = 90;
    bool used[LANE_COUNT] = {false}, kinds[OP_KIND_COUNT] = {false};
    int row[LANE_COUNT], rows = 0;
    for (int i = 0; i < list->count; i++) {
        used[list->ops[i].lane] = true;
        kinds[list->ops[i].kind] = true;
    }
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        if (used[lane]) row[lane] = rows++;
    }
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1400\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
            "fill=\"white\"/>\n",
            rows * 40 + 70);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        if (!used[lane]) continue;
        fprintf(out, "<text x=\"10\" y=\"%d\">%s</text>\n", row[lane] * 40 + 40,
                program_lane_name((enum program_lane)lane));
    }
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        double x = left + times[0][i] / total * width;
        double w = (times[1][i] - times[0][i]) / total * width;
        fprintf(out,
                "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"30\" fill=\"%s\" "
                "stroke=\"white\" stroke-width=\"0.4\"><title>%d %s %s",
                x, row[op->lane] * 40 + 20, w > 0.5 ? w : 0.5, kind_colours[op->kind], i,
                program_kind_name(op->kind), subject(program, op));
        if (op->micro >= 0) fprintf(out, " micro-batch %d", op->micro);
        fprintf(out, "</title></rect>\n");
    }
    draw_legend(kinds, rows * 40 + 30, out);
    fprintf(out, "</svg>\n");
}

enum zi_status program_draw(const struct program *program, enum program_name name, FILE *out)
{
    const struct program_list *list = &program->lists[name];
    double total, *starts = calloc((size_t)list->count + 1, sizeof *starts);
    double *ends = calloc((size_t)list->count + 1, sizeof *ends);
    if (starts && ends) {
        schedule(list, starts, ends, &total);
        draw_lanes(program, list, (const double *[]){starts, ends}, total, out);
    }
    bool whole = starts && ends && !ferror(out);
    free(starts);
    free(ends);
    return whole ? ZI_OK : zi_fail(ZI_ERROR_IO, "zero", "the picture could not be written");
}
