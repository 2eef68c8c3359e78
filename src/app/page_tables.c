/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of a report: last steps, waits, operations, memory, checkpoints, the used deck. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/numbers.h"
#include "app/page.h"

enum { STEPS_SHOWN = 8 };

#define WAIT_SHOWN 0.0005 /* what is written as 0.1 % or more */

/* Headings that begin with a dot are of columns of text. */
static void begin_table(const char *title, const char *note, const char *const *headings, FILE *out)
{
    fprintf(out, "<h2>%s</h2>%s%s%s<div class=\"table\"><table><thead><tr>", title,
            note[0] ? "<p class=\"soft\">" : "", note, note[0] ? "</p>" : "");
    for (; *headings; headings++) {
        bool text = **headings == '.';
        fprintf(out, "<th%s>%s</th>", text ? " class=\"t\"" : "", *headings + text);
    }
    fprintf(out, "</tr></thead><tbody>\n");
}

static void end_table(FILE *out)
{
    fprintf(out, "</tbody></table></div>\n");
}

static void write_text_cell(const char *text, FILE *out)
{
    fprintf(out, "<td class=\"t\">");
    page_escape(text, out);
    fprintf(out, "</td>");
}

static void write_cell(struct number number, FILE *out)
{
    fprintf(out, "<td>%s</td>", number.text);
}

static void write_steps(const struct history *h, FILE *out)
{
    static const char *const headings[] = {"step",          "loss", "validation", "norm",
                                           "learning rate", "time", "tokens/s",   NULL};
    begin_table("Last steps", "", headings, out);
    for (int n = 0; n < STEPS_SHOWN; n++) {
        const struct series_row *row = history_row(h, n);
        if (!row) break;
        fprintf(out, "<tr><td>%.0f%s</td>", row->step,
                row->skipped   ? " skipped"
                : row->lowered ? " scale lowered"
                               : "");
        write_cell(number_loss(row->values[SERIES_LOSS]), out);
        write_cell(number_loss(row->values[SERIES_VALIDATION]), out);
        write_cell(number_plain(row->values[SERIES_NORM]), out);
        write_cell(number_exponent(row->values[SERIES_RATE]), out);
        write_cell(number_time(row->values[SERIES_SECONDS]), out);
        write_cell(number_si(row->values[SERIES_SPEED], ""), out);
        fprintf(out, "</tr>\n");
    }
    end_table(out);
}

static void write_waits(const struct history *h, FILE *out)
{
    static const char *const headings[] = {".lane", "waited", "of the time of steps", NULL};
    bool known = false;
    for (int lane = 0; lane < LANE_COUNT; lane++)
        known |= series_wait_share(&h->all, lane) >= WAIT_SHOWN;
    if (!known) return;
    begin_table("Waits",
                "How long the compute lane of rank 0 stood still for another lane, in all steps; "
                "lanes under 0.05 % are left out.",
                headings, out);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        double share = series_wait_share(&h->all, lane);
        if (!(share >= WAIT_SHOWN)) continue;
        fprintf(out, "<tr>");
        write_text_cell(program_lane_name((enum program_lane)lane), out);
        write_cell(number_time(h->all.parts[SERIES_WAIT + lane].sum), out);
        write_cell(number_share(share), out);
        fprintf(out, "</tr>\n");
    }
    end_table(out);
}

static int by_seconds(const void *left, const void *right)
{
    const struct history_operation *a = left, *b = right;
    return (a->all_seconds < b->all_seconds) - (a->all_seconds > b->all_seconds);
}

/* Bytes per second, where something was moved. */
static struct number rate_of(double bytes, double seconds)
{
    return number_si(bytes > 0 && seconds > 0 ? bytes / seconds : NAN, "B/s");
}

static void write_operations(const struct history *h, FILE *out)
{
    static const char *const headings[] = {
        ".lane", ".operation",      "count",           "time", "waited", "moved",
        "rate",  "time, all steps", "rate, all steps", NULL};
    struct history_operation sorted[HISTORY_OPERATIONS];
    char note[128];
    memcpy(sorted, h->operations, (size_t)h->operation_count * sizeof *sorted);
    qsort(sorted, (size_t)h->operation_count, sizeof *sorted, by_seconds);
    if (h->operation_count == 0) return;
    snprintf(note, sizeof note, "Rank 0, in the last report, at step %.0f, and in all of them.",
             h->timings_step);
    begin_table("Operations", note, headings, out);
    for (int i = 0; i < h->operation_count; i++) {
        const struct history_operation *o = &sorted[i];
        bool now = o->step == h->timings_step;
        fprintf(out, "<tr>");
        write_text_cell(o->lane, out);
        write_text_cell(o->kind, out);
        write_cell(number_si(now ? o->count : NAN, ""), out);
        write_cell(number_time(now ? o->seconds : NAN), out);
        write_cell(number_time(now ? o->wait : NAN), out);
        write_cell(number_si(now && o->bytes > 0 ? o->bytes : NAN, "B"), out);
        write_cell(now ? rate_of(o->bytes, o->seconds) : number_si(NAN, ""), out);
        write_cell(number_time(o->all_seconds), out);
        write_cell(rate_of(o->all_bytes, o->all_seconds), out);
        fprintf(out, "</tr>\n");
    }
    end_table(out);
}

static void write_memory(const struct history *h, FILE *out)
{
    static const char *const headings[] = {".tier", ".of", "at the end", "most", NULL};
    if (h->buffer_count == 0) return;
    begin_table("Memory", "Rank 0.", headings, out);
    for (int i = 0; i < h->buffer_count; i++) {
        fprintf(out, "<tr>");
        write_text_cell(h->buffers[i].tier, out);
        write_text_cell(h->buffers[i].name, out);
        write_cell(number_memory(h->buffers[i].bytes), out);
        write_cell(number_memory(h->buffers[i].peak), out);
        fprintf(out, "</tr>\n");
    }
    end_table(out);
}

/* What is known of a checkpoint's cost; all NaN where nothing is. */
static struct history_cost cost_of(const struct history *h, double step)
{
    int64_t first = h->cost_count > HISTORY_CHECKPOINTS ? h->cost_count - HISTORY_CHECKPOINTS : 0;
    for (int64_t i = h->cost_count - 1; i >= first; i--) {
        const struct history_cost *cost = &h->costs_kept[i % HISTORY_CHECKPOINTS];
        if (cost->step == step) return *cost;
    }
    return (struct history_cost){step, NAN, NAN, NAN, NAN};
}

static void write_checkpoints(const struct history *h, FILE *out)
{
    static const char *const headings[] = {
        "step", "size", "written", "took", "stood still", "step over it", "before", ".", NULL};
    char note[128] = "";
    if (h->checkpoint_count == 0) return;
    if (h->checkpoint_files > h->checkpoint_count)
        snprintf(note, sizeof note, "The newest %d of %d.", h->checkpoint_count,
                 h->checkpoint_files);
    begin_table("Checkpoints", note, headings, out);
    for (int i = 0; i < h->checkpoint_count; i++) {
        const struct history_checkpoint *c = &h->checkpoints[i];
        fprintf(out, "<tr><td>%.0f</td>", c->step);
        write_cell(number_si(c->bytes, "B"), out);
        const struct history_cost cost = cost_of(h, c->step);
        write_cell(number_date(c->time), out);
        write_cell(number_time(cost.written), out);
        write_cell(number_time(cost.still), out);
        write_cell(number_time(cost.over > 0 ? cost.over : NAN), out);
        write_cell(number_time(cost.over > 0 ? cost.before : NAN), out);
        fprintf(out, "<td class=\"t\">%s</td></tr>\n", c->latest ? "latest" : "");
    }
    end_table(out);
}

static void write_starts(const struct history *h, FILE *out)
{
    static const char *const headings[] = {".started", "after step", "ranks",
                                           ".version", ".from",      NULL};
    char note[128] = "Each job of this run; dotted lines in the charts are where one went on.";
    if (h->start_count < 2) return;
    if (h->start_count > HISTORY_STARTS)
        snprintf(note, sizeof note, "The newest %d of %.0f.", HISTORY_STARTS,
                 (double)h->start_count);
    begin_table("Starts", note, headings, out);
    for (int n = 0; n < HISTORY_STARTS && history_start(h, n); n++) {
        const struct history_start *s = history_start(h, n);
        fprintf(out, "<tr>");
        write_text_cell(s->started, out);
        fprintf(out, "<td>%.0f</td>", s->step);
        write_cell(number_plain(s->ranks), out);
        write_text_cell(s->version, out);
        write_text_cell(s->checkpoint, out);
        fprintf(out, "</tr>\n");
    }
    end_table(out);
}

static void write_jumps(const struct history *h, FILE *out)
{
    static const char *const headings[] = {"after step", "came step", NULL};
    if (h->jump_count == 0) return;
    begin_table("Gaps", "Where steps.csv does not go on with the next step.", headings, out);
    for (int i = 0; i < h->jump_count; i++)
        fprintf(out, "<tr><td>%.0f</td><td>%.0f</td></tr>\n", h->jumps[i].from, h->jumps[i].to);
    end_table(out);
}

void page_write_tables(const struct history *history, FILE *out)
{
    int64_t odd = history->steps.odd_lines + history->timings.odd_lines +
                  history->memory.odd_lines + history->starts.odd_lines;
    if (history->all.rows) {
        write_steps(history, out);
        write_waits(history, out);
    }
    write_starts(history, out);
    write_jumps(history, out);
    write_operations(history, out);
    write_memory(history, out);
    write_checkpoints(history, out);
    if (odd)
        fprintf(out,
                "<p class=\"warn\">%" PRId64 " lines of the tables are no rows and were left "
                "out.</p>\n",
                odd);
    if (!history->deck) return;
    fprintf(out,
            "<h2>Deck</h2><details><summary>used.yaml: every key, its value and where that "
            "came from%s</summary><pre>",
            history->deck_cut ? "; the beginning of it" : "");
    page_escape(history->deck, out);
    fprintf(out, "</pre></details>\n");
}
