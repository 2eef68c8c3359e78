/* SPDX-License-Identifier: Apache-2.0 */
/* The lines that tell people how a run goes.
 *
 * A line has the loss, norm and learning rate of its step, and the speed of all steps since the
 * last line, so that a short line interval does not jitter and a long one hides nothing. The share
 * of peak is that of the FLOPs that training cannot do without (model_flops_per_token) over the
 * peak that was measured at the start of this run on these ranks. The exposed wait is the time that
 * the compute lane stood still for another lane; a lane with more than 0.5% is named. The time left
 * counts validations and checkpoints too, by the clock of the whole run so far. */
#include "app/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/timing.h"

enum { OPERATIONS_SHOWN = 12 };

void progress_start(struct progress *progress, int64_t steps, int64_t report_every)
{
    memset(progress, 0, sizeof *progress);
    progress->steps = steps;
    progress->report_every = report_every;
    progress->loss = NAN;
    progress->best_validation = NAN;
    progress->begun_s = progress->start_s = zi_time_s();
}

static void take_in(struct progress *p, const struct report_row *row,
                    const struct engine_result *result)
{
    double tokens = row->tokens_per_s * row->seconds;
    p->line_steps++;
    p->line_s += row->seconds;
    p->line_tokens += tokens;
    for (int lane = 0; lane < LANE_COUNT; lane++)
        p->line_wait_s[lane] += result->wait_s[lane];
    p->line_disk_s += result->disk_busy_s;
    p->total_s += row->seconds;
    p->disk_s += result->disk_busy_s;
    p->total_steps = row->step;
    p->total_tokens = row->tokens;
    p->skipped += row->skipped != REPORT_KEPT;
    p->speculated += row->speculated != GUESS_NONE;
    p->dropped += row->speculated == GUESS_DROPPED;
    if (row->skipped != REPORT_LOWERED) p->in_a_row = row->skipped ? p->in_a_row + 1 : 0;
    p->loss = row->loss;
    if (!isnan(row->validation_loss) && !(row->validation_loss >= p->best_validation)) {
        p->best_validation = row->validation_loss;
        p->best_step = row->step;
    }
}

static void print_wait(const struct progress *p, FILE *out)
{
    double sum = 0;
    const char *separator = " (";
    for (int lane = 0; lane < LANE_COUNT; lane++)
        sum += p->line_wait_s[lane];
    fprintf(out, "  wait %4.1f%%", 100 * sum / p->line_s);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        double share = p->line_wait_s[lane] / p->line_s;
        if (share <= 0.005) continue;
        fprintf(out, "%s%s %.1f%%", separator, program_lane_name((enum program_lane)lane),
                100 * share);
        separator = ", ";
    }
    if (separator[0] == ',') fputc(')', out);
    if (p->line_disk_s > 0) fprintf(out, "  disk %.0f%%", 100 * p->line_disk_s / p->line_s);
}

static void print_time_left(const struct progress *p, FILE *out)
{
    double each = (zi_time_s() - p->start_s) / (double)(p->total_steps - p->begins);
    int64_t left = (int64_t)(each * (double)(p->steps - p->total_steps) + 0.5);
    fprintf(out, "  ETA %" PRId64 ":%02d:%02d", left / 3600, (int)(left / 60 % 60),
            (int)(left % 60));
}

static int digits(int64_t number)
{
    int count = 1;
    while (number /= 10)
        count++;
    return count;
}

void progress_step(struct progress *progress, const struct report_row *row,
                   const struct engine_result *result, FILE *out)
{
    bool validated = !isnan(row->validation_loss);
    take_in(progress, row, result);
    if (row->step % progress->report_every != 0 && row->step != progress->begins + 1 &&
        row->step != progress->steps && !row->skipped && !validated)
        return;
    double speed = progress->line_tokens / progress->line_s;
    fprintf(out, "step %*" PRId64 "/%" PRId64 "  loss %.4f  norm %7.4g  lr %.2e",
            digits(progress->steps), row->step, progress->steps, zi_nan_plain(row->loss),
            zi_nan_plain(row->gradient_norm), row->learning_rate);
    if (progress->scales) fprintf(out, "  scale %" PRId64, row->loss_scale);
    fprintf(out, "  %.4f s/step  %7.0f tokens/s", progress->line_s / (double)progress->line_steps,
            speed);
    if (progress->peak > 0)
        fprintf(out, "  %4.1f%% of peak", 100 * speed * progress->flops_per_token / progress->peak);
    print_wait(progress, out);
    print_time_left(progress, out);
    if (validated) fprintf(out, "  v %.4f", row->validation_loss);
    if (row->skipped == REPORT_LOWERED)
        fprintf(out, "  s: step skipped, a gradient overflowed: loss scale %" PRId64 " -> %" PRId64,
                row->loss_scale, row->loss_scale / 2);
    else if (row->skipped)
        fprintf(out, "  s: step skipped, %s not finite (%" PRId64 " in a row)",
                isfinite(row->loss) ? "a gradient is" : "the loss is", progress->in_a_row);
    fputc('\n', out);
    fflush(out);
    progress->line_steps = 0;
    progress->line_s = progress->line_tokens = progress->line_disk_s = 0;
    memset(progress->line_wait_s, 0, sizeof progress->line_wait_s);
}

void progress_checkpoint(const struct report_checkpoint *row, FILE *out)
{
    char size[32];
    double rate = (double)row->bytes / row->written_s;
    fprintf(out, "checkpoint of step %" PRId64 ": %s in %.2f s (%.2f GB/s", row->step,
            zi_memory_text((size_t)row->bytes, size, sizeof size), row->written_s, rate * 1e-9);
    if (row->can_key)
        fprintf(out, ", %.0f %% of %s", 100 * rate / row->can_bytes_per_s, row->can_key);
    fprintf(out, "; %s); training stood still %.3f s", row->place, row->still_s);
    if (row->over_s > 0)
        fprintf(out, ", the step over it took %.4f s after %.4f s", row->over_s, row->before_s);
    fputc('\n', out);
    fflush(out);
}

static int by_seconds(const void *left, const void *right)
{
    double a = ((const struct engine_timing *)left)->seconds;
    double b = ((const struct engine_timing *)right)->seconds;
    return (a < b) - (a > b);
}

static void print_operations(const struct progress *p, struct engine *engine, FILE *out)
{
    int count;
    double busy = p->total_s + p->validation_s;
    struct engine_timing sorted[LANE_COUNT * OP_KIND_COUNT];
    const struct engine_timing *timings = engine_timings(engine, &count);
    memcpy(sorted, timings, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_seconds);
    if (count > OPERATIONS_SHOWN) count = OPERATIONS_SHOWN;
    fprintf(out, "%-10s %-10s %10s %10s %8s %12s\n", "operation", "lane", "count", "seconds",
            "% time", "rate");
    for (int i = 0; i < count; i++) {
        const struct engine_timing *t = &sorted[i];
        fprintf(out, "%-10s %-10s %10" PRId64 " %10.3f", program_kind_name(t->kind),
                program_lane_name(t->lane), t->count, t->seconds);
        /* What makes and saves states lies outside of steps. */
        bool outside = t->kind == OP_DRAW || t->kind == OP_IMPORT || t->kind == OP_EXPORT;
        if (outside || busy <= 0)
            fprintf(out, " %8s", "-");
        else
            fprintf(out, " %8.1f", 100 * t->seconds / busy);
        if (t->seconds > 0 && t->flops > 0)
            fprintf(out, " %7.1f GF/s", t->flops / t->seconds * 1e-9);
        else if (t->seconds > 0 && t->bytes > 0)
            fprintf(out, " %7.1f GB/s", t->bytes / t->seconds * 1e-9);
        fputc('\n', out);
    }
}

/* Where the time of the whole run went, its steps and what was beside them. */
static void print_seconds(const struct progress *p, FILE *out)
{
    double all = zi_time_s() - p->begun_s, start = p->start_s - p->begun_s;
    double other = all - start - p->total_s - p->validation_s - p->checkpoint_s;
    fprintf(out,
            "%.1f s: %.1f in steps, %.1f in validation, %.1f in checkpoints, %.1f at the start "
            "(layout %.1f, initial values %.1f), %.1f other\n",
            all, p->total_s, p->validation_s, p->checkpoint_s, start, p->layout_s, p->initial_s,
            other > 0 ? other : 0);
}

void progress_summary(const struct progress *progress, struct engine *engine, FILE *out)
{
    const struct progress *p = progress;
    fprintf(out, "\n%" PRId64 " step%s, %" PRId64 " tokens; ", p->total_steps,
            p->total_steps == 1 ? "" : "s", p->total_tokens);
    if (p->total_steps > p->begins)
        fprintf(out, "final loss %.4f", zi_nan_plain(p->loss));
    else
        fputs("no step was left to make", out);
    if (!isnan(p->best_validation))
        fprintf(out, "; best validation %.4f at step %" PRId64, p->best_validation, p->best_step);
    if (p->total_s > 0) {
        double speed = (double)p->total_tokens / p->total_s;
        fprintf(out, "; %.0f tokens/s on average", speed);
        if (p->peak > 0)
            fprintf(out, ", %.1f%% of peak", 100 * speed * p->flops_per_token / p->peak);
    }
    if (p->skipped) fprintf(out, "; %" PRId64 " skipped", p->skipped);
    fprintf(out, "\n");
    if (p->speculated)
        fprintf(out,
                "speculative updates: %" PRId64 " tried, %" PRId64 " held, %" PRId64
                " dropped and deferred\n",
                p->speculated, p->speculated - p->dropped, p->dropped);
    if (p->disk_s > 0)
        fprintf(out, "NVMe store: busy %.1f%% of the time in steps\n",
                100 * p->disk_s / p->total_s);
    print_seconds(p, out);
    fprintf(out, "\n");
    print_operations(p, engine, out);
}
