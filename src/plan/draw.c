/* SPDX-License-Identifier: Apache-2.0 */
/* A picture of a program: the lanes of a simulated step, a box per operation, in the colours of the
 * table of kinds. On the assumed machine it shows the shape of the overlap, not a prediction. */
#include <stdlib.h>

#include "base/log.h"
#include "plan/plan.h"

/* Where things lie, in pixels. */
enum { WIDTH = 1400, LEFT = 90, SPAN = 1280, ROW = 40, BOX = 30, TOP = 20, NARROW_PIXELS = 2 };

struct picture {
    const struct program *program;
    const struct program_list *list;
    const struct plan_span *spans;
    double seconds;
    /* By lane: its row, or -1. */
    int row[LANE_COUNT];
    int rows;
    FILE *out;
};

static void choose_rows(struct picture *p)
{
    bool used[LANE_COUNT] = {false};
    for (int i = 0; i < p->list->count; i++)
        used[p->list->ops[i].lane] = true;
    for (int lane = 0; lane < LANE_COUNT; lane++)
        p->row[lane] = used[lane] ? p->rows++ : -1;
}

static void draw_operations(const struct picture *p)
{
    for (int i = 0; i < p->list->count; i++) {
        const struct program_op *op = &p->list->ops[i];
        double x = LEFT + p->spans[i].start_s / p->seconds * SPAN;
        double width = (p->spans[i].end_s - p->spans[i].start_s) / p->seconds * SPAN;
        fprintf(p->out,
                "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill=\"%s\" "
                "stroke=\"white\" stroke-width=\"%s\"><title>%d %s %s",
                x, p->row[op->lane] * ROW + TOP, width > 0.5 ? width : 0.5, BOX,
                program_kind_colour(op->kind), width > NARROW_PIXELS ? "0.4" : "0", i,
                program_kind_name(op->kind), program_op_subject(p->program, op));
        if (op->micro >= 0) fprintf(p->out, " micro-batch %d", op->micro);
        fprintf(p->out, "</title></rect>\n");
    }
}

static void draw_legend(const struct picture *p)
{
    bool used[OP_KIND_COUNT] = {false};
    int x = LEFT, y = p->rows * ROW + 30;
    for (int i = 0; i < p->list->count; i++)
        used[p->list->ops[i].kind] = true;
    for (int k = 0; k < OP_KIND_COUNT; k++) {
        enum program_kind kind = (enum program_kind)k;
        if (!used[k]) continue;
        fprintf(p->out,
                "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/>"
                "<text x=\"%d\" y=\"%d\">%s</text>\n",
                x, y, program_kind_colour(kind), x + 16, y + 11, program_kind_name(kind));
        x += 100;
    }
}

static void draw(const struct picture *p)
{
    fprintf(p->out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
            "fill=\"white\"/>\n",
            WIDTH, p->rows * ROW + 70);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        if (p->row[lane] < 0) continue;
        fprintf(p->out, "<text x=\"10\" y=\"%d\">%s</text>\n", p->row[lane] * ROW + 40,
                program_lane_name((enum program_lane)lane));
    }
    draw_operations(p);
    draw_legend(p);
    fprintf(p->out, "</svg>\n");
}

enum zi_status plan_draw(const struct program *program, enum program_name name, FILE *out)
{
    const struct zero_config *c = &program->config;
    struct picture picture = {.program = program, .list = &program->lists[name], .out = out};
    struct plan_node node;
    struct plan_machine machine;
    struct plan_result result;
    struct plan_span *spans = calloc((size_t)picture.list->count + 1, sizeof *spans);
    if (!spans)
        return zi_fail(ZI_ERROR_DEVICE, "plan", "no memory to draw %d operations",
                       picture.list->count);
    plan_node_assume(&node);
    plan_machine_of(&node, c, SUM_ORDERED, &machine);
    enum zi_status status = plan_simulate(picture.list, &machine, spans, &result);
    picture.spans = spans;
    picture.seconds = result.seconds > 0 ? result.seconds : 1;
    choose_rows(&picture);
    if (status >= 0) draw(&picture);
    free(spans);
    if (status >= 0 && ferror(out))
        status = zi_fail(ZI_ERROR_IO, "plan", "the picture could not be written");
    return status;
}
