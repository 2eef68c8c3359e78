/* SPDX-License-Identifier: Apache-2.0 */
/* The page of a report.
 *
 * It is read on a phone beside a cluster's login window, sent by mail, kept for years: so it is one
 * file that needs no network and no script, its colours follow the reader's choice of light or
 * dark, and its size is bounded whatever the length of the run. It is well-formed XML too, so that
 * tools can read it. Every text of the run is escaped: names come from decks of others. */
#include "app/page.h"

#include <math.h>
#include <string.h>

#include "app/chart.h"
#include "app/numbers.h"
#include "base/timing.h"
#include "base/version.h"

static const char style[] =
    ":root{color-scheme:light dark;--page:#f6f6f3;--card:#fff;--ink:#1d1d1b;--soft:#66655f;"
    "--line:#e2e1db;--c1:#2468c8;--c2:#d4601a;--c3:#1b8457;--c4:#7950c8;--c5:#c02f48;--c6:#0b8592;"
    "--c7:#94700b;--c8:#74736e}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#141413;--card:#1e1e1c;--ink:#ecebe6;"
    "--soft:#a3a29b;--line:#363632;--c1:#6ca6ff;--c2:#ff9757;--c3:#4cc790;--c4:#b497ff;"
    "--c5:#ff7488;--c6:#4ccbd9;--c7:#dcb241;--c8:#a9a8a1}}\n"
    "*{box-sizing:border-box}body{margin:0 "
    "auto;max-width:1180px;padding:16px;background:var(--page);"
    "color:var(--ink);font:15px/1.45 system-ui,sans-serif}\n"
    "h1{font-size:22px;margin:0 0 6px;overflow-wrap:anywhere}h2{font-size:16px;margin:26px 0 8px}"
    "p{margin:4px 0}small,.soft{color:var(--soft)}\n"
    ".state{display:inline-block;padding:1px 10px;border-radius:10px;font-weight:600;"
    "border:1.5px solid currentColor}.good{color:var(--c3)}.busy{color:var(--c1)}"
    ".warn{color:var(--c2)}.wrong{color:var(--c5)}\n"
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:8px;"
    "margin:14px 0}dl div,figure,.table,details{background:var(--card);border:1px solid "
    "var(--line);"
    "border-radius:8px}dl div{padding:8px 12px}dt{color:var(--soft);font-size:13px}dd{margin:0}"
    "dd b{font-size:19px;font-weight:600;display:block}dd small{font-size:13px}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));"
    "gap:10px}figure{margin:0;padding:10px 8px}figcaption{padding:0 6px;font-size:14px}"
    "svg{display:block;width:100%;height:auto}\n"
    "svg text{font-size:11px;fill:var(--soft);text-anchor:middle}svg .end{text-anchor:end}"
    ".grid,.tick{stroke:var(--line);fill:none}.tick{stroke:var(--soft)}"
    ".line{fill:none;stroke:var(--c);stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}"
    ".band{fill:var(--c);stroke:var(--c);stroke-width:.7;opacity:.3}.stack{fill:var(--c)}"
    ".mark{fill:var(--c);stroke:var(--card);stroke-width:1}.skipped{fill:var(--c5)}"
    ".jump,.start{stroke:var(--soft);stroke-dasharray:3 3;fill:none}.start{stroke-dasharray:1 "
    "3;stroke-width:1.5}\n"
    ".legend{margin:2px 6px 0;font-size:13px;color:var(--soft)}.legend span{margin-right:10px;"
    "white-space:nowrap}.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;"
    "margin-right:5px;background:var(--c)}.legend "
    ".bad{background:var(--c5)}\n"
    ".table{overflow-x:auto;padding:4px 0}table{border-collapse:collapse;width:100%;font-size:14px;"
    "font-variant-numeric:tabular-nums}th,td{padding:3px 12px;text-align:right;white-space:nowrap}"
    "th{color:var(--soft);font-weight:500}td.t,th.t{text-align:left}"
    "tbody tr+tr td{border-top:1px solid var(--line)}\n"
    ".c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}"
    ".c6{--c:var(--c6)}.c7{--c:var(--c7)}.c8{--c:var(--c8)}\n"
    "details{padding:8px 12px}summary{cursor:pointer}pre{overflow-x:auto;font-size:12.5px;"
    "margin:8px 0 0}\n"
    "@media(max-width:480px){th,td{padding:3px 7px}table{font-size:13px}}";

/* The number of bytes of a character of UTF-8 that XML allows; 0 where there is none. */
static int character_bytes(const unsigned char *at)
{
    if (at[0] < 0x80) return at[0] >= ' ' || at[0] == '\n' || at[0] == '\t';
    int count = at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : 4;
    if (at[0] < 0xc2 || at[0] > 0xf4) return 0;
    for (int i = 1; i < count; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    /* Longer than needed, halves of UTF-16, beyond Unicode, U+FFFE and U+FFFF. */
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0)) return 0;
    if ((at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] >= 0x90)) return 0;
    return at[0] == 0xef && at[1] == 0xbf && at[2] >= 0xbe ? 0 : count;
}

void page_escape(const char *text, FILE *out)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        int count = character_bytes(at);
        const char *entity = count == 0   ? "&#xfffd;"
                             : *at == '<' ? "&lt;"
                             : *at == '>' ? "&gt;"
                             : *at == '&' ? "&amp;"
                             : *at == '"' ? "&quot;"
                                          : NULL;
        if (entity)
            fputs(entity, out);
        else
            fwrite(at, 1, (size_t)count, out);
        at += count ? count : 1;
    }
}

const char *page_state(const struct history *history)
{
    if (history->state == HISTORY_RUNNING) return "running";
    if (history->state == HISTORY_DIED) return "died";
    if (history->state == HISTORY_UNSURE) return "running, or killed";
    return history->end.end[0] ? history->end.end : "ended";
}

static const char *state_class(const struct history *h)
{
    if (h->state == HISTORY_RUNNING) return "busy";
    if (h->state == HISTORY_DIED) return "wrong";
    if (h->state == HISTORY_UNSURE || h->end.code == 4) return "warn";
    return h->end.code == 0 ? "good" : "wrong";
}

static void write_state(const struct history *h, FILE *out)
{
    fprintf(out, "<p><span class=\"state %s\">", state_class(h));
    page_escape(page_state(h), out);
    fprintf(out, "</span> ");
    if (h->state == HISTORY_ENDED) {
        page_escape(h->end.reason, out);
        if (h->end.code > 0) fprintf(out, " (exit code %.0f)", h->end.code);
    } else if (h->state == HISTORY_DIED) {
        fprintf(out, "there is no end.yaml, and no process holds run.lock: the run was killed, or "
                     "this is a copy of a run in progress");
    } else if (h->state == HISTORY_UNSURE) {
        fprintf(out, "there is no end.yaml, and the lock of the run cannot be asked here");
    }
    if (h->holder[0] && h->state != HISTORY_ENDED) {
        fprintf(out, "%s", h->state == HISTORY_RUNNING ? "" : "; last started: ");
        page_escape(h->holder, out);
    }
    fprintf(out, "</p>\n");
}

static void write_head(const struct history *h, FILE *out)
{
    char now[64];
    const char *name = h->name[0] ? h->name : h->directory;
    fprintf(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
                 "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n"
                 "<title>");
    page_escape(name, out);
    fprintf(out, ", a run of zinf</title>\n<style>%s</style></head>\n<body><h1>", style);
    page_escape(name, out);
    fprintf(out, "</h1>\n");
    write_state(h, out);
    fprintf(out, "<p><small>");
    page_escape(h->directory, out);
    fprintf(out, "; ");
    if (h->row_time) fprintf(out, "last row of %s; ", number_date(h->row_time).text);
    fprintf(out, "page of %s by zinf %s</small></p>\n", zi_time_stamp(now, sizeof now),
            zi_version());
}

static void write_card(const char *label, const char *value, const char *note, FILE *out)
{
    fprintf(out, "<div><dt>%s</dt><dd><b>%s</b><small>%s</small></dd></div>\n", label, value, note);
}

static void write_progress_cards(const struct history *h, FILE *out)
{
    char value[64], note[96] = "";
    const struct series_row *last = history_row(h, 0);
    double step = history_step(h), asked = h->steps_asked;
    snprintf(value, sizeof value, "%.0f", step);
    if (asked > 0)
        snprintf(note, sizeof note, "of %.0f, %s", asked, number_share(step / asked).text);
    write_card("Steps", value, note, out);
    if (isfinite(last->tokens)) {
        snprintf(note, sizeof note, "%.0f", last->tokens);
        write_card("Tokens", number_si(last->tokens, "").text, note, out);
    }
    double seconds = h->all.parts[SERIES_SECONDS].sum;
    if (!(seconds > 0)) return;
    snprintf(note, sizeof note, "%s per step", number_time(seconds / (double)h->all.rows).text);
    write_card("Time in steps", number_time(seconds).text, note, out);
    double each = history_recent_mean(h, SERIES_SECONDS);
    if (history_goes_on(h) && asked > step)
        write_card("Time left", number_time(each * (asked - step)).text, "of steps alone", out);
}

static void write_loss_cards(const struct history *h, FILE *out)
{
    char note[96], value[32];
    const struct series_row *last = history_row(h, 0);
    const struct series_part *loss = &h->all.parts[SERIES_LOSS];
    if (loss->count) {
        snprintf(note, sizeof note, "lowest %s at step %.0f", number_loss(loss->low).text,
                 loss->low_step);
        bool finite = isfinite(last->values[SERIES_LOSS]);
        write_card("Loss", finite ? number_loss(last->values[SERIES_LOSS]).text : "not finite",
                   note, out);
    }
    if (isfinite(h->last_validation.value)) {
        snprintf(note, sizeof note, "at step %.0f; lowest %s at step %.0f", h->last_validation.step,
                 number_loss(h->best_validation.value).text, h->best_validation.step);
        write_card("Validation loss", number_loss(h->last_validation.value).text, note, out);
    }
    if (h->all.skipped) {
        snprintf(note, sizeof note, "not finite; first step %.0f", h->all.skipped_step);
        write_card("Skipped steps", number_si((double)h->all.skipped, "").text, note, out);
    }
    const struct series_part *scale = &h->all.parts[SERIES_SCALE];
    if (scale->high > 1) {
        snprintf(note, sizeof note, "lowest %.0f at step %.0f", scale->low, scale->low_step);
        snprintf(value, sizeof value, "%.0f", last->values[SERIES_SCALE]);
        write_card("Loss scale", value, note, out);
    }
}

/* Tokens per second of all steps: each step's tokens over the sum of the times. */
static double mean_speed(const struct history *h)
{
    const struct series_part *seconds = &h->all.parts[SERIES_SECONDS];
    const struct series_row *last = history_row(h, 0);
    bool whole = h->jump_count == 0 && seconds->count == h->all.rows && seconds->sum > 0;
    return whole && last ? last->tokens / seconds->sum : NAN;
}

static void write_speed_cards(const struct history *h, FILE *out)
{
    char note[96];
    double mean = mean_speed(h), recent = history_recent_mean(h, SERIES_SPEED), waits = 0;
    if (isfinite(mean) || isfinite(recent)) {
        snprintf(note, sizeof note, "%s in the last steps", number_si(recent, "").text);
        write_card("Tokens/s", number_si(isfinite(mean) ? mean : recent, "").text,
                   isfinite(mean) ? note : "in the last steps", out);
    }
    int lanes = 0;
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        double share = series_wait_share(&h->all, lane);
        if (isnan(share)) continue;
        waits += share;
        lanes++;
    }
    if (lanes) write_card("Waits", number_share(waits).text, "of the time of steps", out);
    for (int i = 0; i < h->buffer_count; i++)
        if (strcmp(h->buffers[i].name, "resident") == 0)
            write_card("Peak memory", number_memory(h->buffers[i].peak).text, "resident, rank 0",
                       out);
}

static void write_start_cards(const struct history *h, FILE *out)
{
    char note[96];
    const struct history_start *last = history_start(h, 0);
    if (h->start_count > 1) {
        snprintf(note, sizeof note, "last after step %.0f", last->step);
        write_card("Restarts", number_si((double)h->start_count - 1, "").text, note, out);
    }
    if (h->checkpoint_count) {
        snprintf(note, sizeof note, "the newest; %d in all", h->checkpoint_files);
        char step[32];
        snprintf(step, sizeof step, "step %.0f", h->checkpoints[0].step);
        write_card("Checkpoint", step, note, out);
    }
}

static void write_charts(const struct history *h, FILE *out)
{
    static const struct chart charts[] = {
        {"Loss",
         "nats per token",
         CHART_LOSSES,
         {{"training", SERIES_LOSS, 1, false}, {"validation", SERIES_VALIDATION, 2, true}},
         false,
         true,
         true},
        {"Gradient norm",
         "before clipping",
         CHART_PLAIN,
         {{"norm", SERIES_NORM, 4, false}},
         false,
         true,
         true},
        {"Learning rate", "", CHART_PLAIN, {{"rate", SERIES_RATE, 3, false}}, true, false, false},
        {"Speed",
         "tokens/s of all ranks",
         CHART_AMOUNTS,
         {{"tokens/s", SERIES_SPEED, 6, false}},
         true,
         false,
         false},
    };
    static const struct chart disk = {
        "Traffic of states",
        "bytes per step on disk",
        CHART_AMOUNTS,
        {{"read", SERIES_DISK_READ, 1, false}, {"written", SERIES_DISK_WRITTEN, 2, false}},
        true,
        false,
        false};
    static const struct chart process = {
        "Traffic of rank 0",
        "bytes per step, by the kernel",
        CHART_AMOUNTS,
        {{"read", SERIES_IO_READ, 1, false}, {"written", SERIES_IO_WRITTEN, 2, false}},
        true,
        false,
        false};
    if (h->series.width > 1)
        fprintf(out,
                "<p class=\"soft\">Lines are means of %lld steps; the bands behind them go from "
                "the smallest to the largest value.</p>\n",
                (long long)h->series.width);
    fprintf(out, "<div class=\"charts\">\n");
    for (size_t i = 0; i < sizeof charts / sizeof *charts; i++)
        chart_draw(&charts[i], h, out);
    chart_draw_waits(h, out);
    if (chart_has_amount(h, SERIES_DISK_READ) || chart_has_amount(h, SERIES_DISK_WRITTEN))
        chart_draw(&disk, h, out);
    if (chart_has_amount(h, SERIES_IO_READ) || chart_has_amount(h, SERIES_IO_WRITTEN))
        chart_draw(&process, h, out);
    fprintf(out, "</div>\n");
}

void page_write(const struct history *history, FILE *out)
{
    write_head(history, out);
    if (history->all.rows) {
        fprintf(out, "<dl>\n");
        write_progress_cards(history, out);
        write_loss_cards(history, out);
        write_speed_cards(history, out);
        write_start_cards(history, out);
        fprintf(out, "</dl>\n");
        write_charts(history, out);
    } else {
        fprintf(out, "<p>No step has been reported.</p>\n");
    }
    page_write_tables(history, out);
    fprintf(out, "</body></html>\n");
}
