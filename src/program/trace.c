/* SPDX-License-Identifier: Apache-2.0 */
/* The trace of some steps, from events in memory to rows of a Chrome trace.
 *
 * Noting an event must cost nothing that shows in what is measured: each lane has an array of its
 * own, as large as the traced steps can fill, and a note is a copy into it, without a lock. All
 * else is done when the trace is written. A file has, for each rank,
 *
 * - a row "step": from the first operation asked for to the last one done;
 * - a row per lane with a box per operation. A disk lane has several operations in flight, and
 *   boxes of a row may not overlap; each goes to the first of the rows "disk_read", "disk_read 2",
 *   ... that is free when it starts;
 * - in the row of the compute lane, boxes "wait LANE" where it stood still, before an operation and
 *   at the end of the step. A wait for several lanes is for the first of them until that one is
 *   done, then for the next, as the executor waits and counts (engine_result.wait_s).
 *
 * Invariants: events of a step are those of one run of a program, so an operation has at most one
 * of them; steps do not overlap in time, because a run of a program ends when all lanes have. */
#include "program/trace.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"

enum { MOST_ROWS = 64, STEP_ROW = 0, STEP_NAME = 32 };

/* Aligned, so that lanes that note at once do not share a cache line. */
struct trace_lane {
    _Alignas(64) struct trace_event *events;
    int64_t count, capacity, dropped;
};

struct trace {
    const struct program *program;
    int64_t steps;
    bool taken[PROGRAM_COUNT];
    void *memory;
    struct trace_lane lanes[LANE_COUNT];
};

/* An event on its way into the file. */
struct row_event {
    struct trace_event event;
    enum program_lane lane;
};

/* A part of a wait, for one lane. */
struct wait {
    enum program_lane lane;
    double start_s, end_s;
};

/* On the clock of the events. */
struct period {
    double start_s, end_s;
};

/* What is known while one step is written. */
struct writer {
    const struct trace *trace;
    /* Of one step, by lane and start. */
    const struct row_event *events;
    int64_t count;
    /* By operation: when it was done, or minus infinity. */
    double *ends;
    int rank;
    double zero_s;
    FILE *out;
};

/* Whether a program makes or saves states, and is no step. */
static bool is_states(enum program_name name)
{
    return program_row(name)->states || program_row(name)->exports;
}

static int64_t count_operations(const struct program_list *list, int lane)
{
    int64_t count = 0;
    for (int i = 0; i < list->count; i++)
        count += (int)list->ops[i].lane == lane;
    return count;
}

/* The most operations of a lane in `steps` steps, and those of one run of each program that moves
 * states. */
static int64_t most_operations(const struct program *program, int lane, int64_t steps)
{
    int64_t most = 0, states = 0;
    for (int name = 0; name < PROGRAM_COUNT && steps > 0; name++) {
        int64_t count = count_operations(&program->lists[name], lane);
        if (is_states((enum program_name)name))
            states += count;
        else if (count > most)
            most = count;
    }
    return steps * most + states;
}

enum zi_status trace_create(const struct program *program, int64_t steps, struct trace **trace)
{
    struct trace *made = aligned_alloc(_Alignof(struct trace), sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "program", "no memory for a trace");
    memset(made, 0, sizeof *made);
    made->program = program;
    made->steps = steps;
    int64_t total = 0;
    for (int l = 0; l < LANE_COUNT; l++) {
        made->lanes[l].capacity = most_operations(program, l, steps);
        total += made->lanes[l].capacity;
    }
    if (total > 0) {
        enum zi_status status = zi_memory_allocate((size_t)total * sizeof(struct trace_event),
                                                   ZI_TIER_HOST, "trace", &made->memory);
        if (status < 0) {
            free(made);
            return status;
        }
    }
    struct trace_event *next = made->memory;
    for (int l = 0; l < LANE_COUNT; l++) {
        made->lanes[l].events = next;
        if (next) next += made->lanes[l].capacity;
    }
    *trace = made;
    return ZI_OK;
}

void trace_destroy(struct trace *trace)
{
    if (!trace) return;
    zi_memory_free(trace->memory);
    free(trace);
}

bool trace_covers(const struct trace *trace, int64_t step)
{
    return trace && step >= TRACE_FIRST_STEP && step - TRACE_FIRST_STEP < trace->steps;
}

bool trace_takes(struct trace *trace, enum program_name name)
{
    if (trace->steps == 0 || trace->taken[name]) return false;
    trace->taken[name] = true;
    return true;
}

void trace_note(struct trace *trace, enum program_lane lane, const struct trace_event *event)
{
    struct trace_lane *to = &trace->lanes[lane];
    if (to->count < to->capacity)
        to->events[to->count++] = *event;
    else
        to->dropped++;
}

double trace_start_s(const struct trace *trace)
{
    double start = INFINITY;
    for (int l = 0; l < LANE_COUNT; l++) {
        const struct trace_lane *lane = &trace->lanes[l];
        for (int64_t i = 0; i < lane->count; i++)
            if (lane->events[i].ready_s < start) start = lane->events[i].ready_s;
    }
    return start;
}

static const struct program_op *op_of(const struct writer *w, const struct trace_event *event)
{
    return &w->trace->program->lists[event->program].ops[event->op];
}

static int row_number(int lane, int row)
{
    return 1 + lane + LANE_COUNT * row;
}

/* The number of the step, or the name of the program. */
static void step_name(const struct writer *w, char name[STEP_NAME])
{
    const struct trace_event *event = &w->events[0].event;
    if (is_states(event->program))
        snprintf(name, STEP_NAME, "%s", program_name_text(event->program));
    else
        snprintf(name, STEP_NAME, "%" PRId64, event->step + 1);
}

/* One box up to its arguments: the caller adds those and closes both braces. */
static void begin_box(const struct writer *w, const char *kind, int row, struct period period)
{
    double start = 1e6 * (period.start_s - w->zero_s);
    double length = 1e6 * (period.end_s - period.start_s);
    fprintf(w->out, ",\n{\"cat\":\"%s\",\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,", kind,
            w->rank, row, start);
    char name[STEP_NAME];
    const char *quote = is_states(w->events[0].event.program) ? "\"" : "";
    step_name(w, name);
    fprintf(w->out, "\"dur\":%.3f,\"args\":{\"step\":%s%s%s", length > 0 ? length : 0, quote, name,
            quote);
}

/* A wait from one time to another for lanes that were done at some time: which lane is waited for
 * until when. Gives the number of parts; 0 when all were done before. */
static int split_wait(const double done[LANE_COUNT], struct period period, struct wait *parts)
{
    int count = 0;
    double now = period.start_s;
    for (int l = 0; l < LANE_COUNT; l++) {
        if (!(done[l] > now)) continue;
        parts[count++] = (struct wait){(enum program_lane)l, now, done[l]};
        now = done[l];
    }
    if (count > 0) parts[count - 1].end_s = period.end_s; /* with waking up */
    return count;
}

static void write_waits(const struct writer *w, const struct wait *parts, int count)
{
    for (int i = 0; i < count; i++) {
        const char *name = program_lane_name(parts[i].lane);
        begin_box(w, "wait", row_number(LANE_COMPUTE, 0),
                  (struct period){parts[i].start_s, parts[i].end_s});
        fprintf(w->out, ",\"lane\":\"compute\",\"waited_for\":\"%s\"},\"name\":\"wait %s\"}", name,
                name);
    }
}

/* The wait before an operation. */
static int find_waits(const struct writer *w, const struct trace_event *event, struct wait *parts)
{
    double done[LANE_COUNT];
    const struct program_op *op = op_of(w, event);
    for (int l = 0; l < LANE_COUNT; l++)
        done[l] = op->after[l] >= 0 ? w->ends[op->after[l]] : -INFINITY;
    return split_wait(done, (struct period){event->ready_s, event->start_s}, parts);
}

static void write_operation(const struct writer *w, const struct row_event *found, int row)
{
    const struct trace_event *event = &found->event;
    const struct program_op *op = op_of(w, event);
    const char *lane = program_lane_name(found->lane), *kind = program_kind_name(op->kind);
    const char *subject = program_op_subject(w->trace->program, op);
    double waited = event->start_s - event->ready_s;
    struct wait parts[LANE_COUNT];
    int longest = 0, count = find_waits(w, event, parts);
    for (int i = 1; i < count; i++)
        if (parts[i].end_s - parts[i].start_s > parts[longest].end_s - parts[longest].start_s)
            longest = i;
    begin_box(w, kind, row_number((int)found->lane, row),
              (struct period){event->start_s, event->end_s});
    fprintf(w->out, ",\"lane\":\"%s\",\"op\":%d,\"subject\":\"%s\",\"micro\":%d", lane, event->op,
            subject, op->micro);
    if (op->speculative) fprintf(w->out, ",\"speculative\":true");
    fprintf(w->out, ",\"bytes\":%zu,\"flops\":%.0f,\"waited_us\":%.3f", op->bytes, op->flops,
            waited > 0 ? 1e6 * waited : 0);
    if (count > 0)
        fprintf(w->out, ",\"waited_for\":\"%s\"", program_lane_name(parts[longest].lane));
    fprintf(w->out, "},\"name\":\"%s%s%s\"}", kind, subject[0] ? " " : "", subject);
    if (found->lane == LANE_COMPUTE) write_waits(w, parts, count);
}

/* The box of the step, and the wait of the compute lane at its end. */
static void write_step(const struct writer *w)
{
    double start = INFINITY, end = -INFINITY, done[LANE_COUNT];
    struct wait parts[LANE_COUNT];
    char name[STEP_NAME];
    step_name(w, name);
    for (int l = 0; l < LANE_COUNT; l++)
        done[l] = -INFINITY;
    for (int64_t i = 0; i < w->count; i++) {
        const struct row_event *found = &w->events[i];
        if (found->event.ready_s < start) start = found->event.ready_s;
        if (found->event.end_s > done[found->lane]) done[found->lane] = found->event.end_s;
        if (found->event.end_s > end) end = found->event.end_s;
    }
    begin_box(w, "step", STEP_ROW, (struct period){start, end});
    fprintf(w->out, "},\"name\":\"%s%s\"}", is_states(w->events[0].event.program) ? "" : "step ",
            name);
    if (isinf(done[LANE_COMPUTE])) return;
    write_waits(w, parts, split_wait(done, (struct period){done[LANE_COMPUTE], end}, parts));
}

/* Writes a step; rows[lane] becomes the most rows that a lane took. */
static void write_events(const struct writer *w, int rows[LANE_COUNT])
{
    double free_at[MOST_ROWS];
    int lane = -1, used = 0;
    for (int64_t i = 0; i < w->count; i++)
        w->ends[w->events[i].event.op] = w->events[i].event.end_s;
    write_step(w);
    for (int64_t i = 0; i < w->count; i++) {
        const struct row_event *found = &w->events[i];
        if ((int)found->lane != lane) used = 0;
        lane = (int)found->lane;
        int row = 0;
        while (row < used && free_at[row] > found->event.start_s)
            row++;
        if (row == MOST_ROWS) row--; /* drawn over another one */
        if (row == used) used++;
        if (used > rows[lane]) rows[lane] = used;
        free_at[row] = found->event.end_s;
        write_operation(w, found, row);
    }
}

static void write_row_name(FILE *out, int rank, int number, int order, const char *name)
{
    fprintf(out,
            ",\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"thread_name\",\"args\":{\"name\":"
            "\"%s\"}}",
            rank, number, name);
    fprintf(out,
            ",\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"thread_sort_index\",\"args\":{"
            "\"sort_index\":%d}}",
            rank, number, order);
}

static void write_row_names(FILE *out, int rank, const int rows[LANE_COUNT])
{
    char name[32];
    write_row_name(out, rank, STEP_ROW, 0, "step");
    for (int l = 0; l < LANE_COUNT; l++) {
        const char *lane = program_lane_name((enum program_lane)l);
        for (int row = 0; row < rows[l]; row++) {
            snprintf(name, sizeof name, row ? "%s %d" : "%s", lane, row + 1);
            write_row_name(out, rank, row_number(l, row), 1 + l * MOST_ROWS + row, name);
        }
    }
}

static int by_step(const void *left, const void *right)
{
    const struct row_event *a = left, *b = right;
    if (a->event.step != b->event.step) return a->event.step < b->event.step ? -1 : 1;
    if (a->event.program != b->event.program) return a->event.program < b->event.program ? -1 : 1;
    if (a->lane != b->lane) return a->lane < b->lane ? -1 : 1;
    if (a->event.start_s != b->event.start_s) return a->event.start_s < b->event.start_s ? -1 : 1;
    return (a->event.op > b->event.op) - (a->event.op < b->event.op);
}

static int64_t collect(const struct trace *trace, struct row_event *events)
{
    int64_t count = 0;
    for (int l = 0; l < LANE_COUNT; l++)
        for (int64_t i = 0; i < trace->lanes[l].count; i++)
            events[count++] = (struct row_event){trace->lanes[l].events[i], (enum program_lane)l};
    qsort(events, (size_t)count, sizeof *events, by_step);
    return count;
}

/* The steps one after the other; `events` and w->ends are scratch. */
static void write_steps(struct writer *w, struct row_event *events, int rows[LANE_COUNT])
{
    int64_t count = collect(w->trace, events), next;
    for (int64_t first = 0; first < count; first = next) {
        const struct trace_event *event = &events[first].event;
        for (next = first + 1; next < count; next++) {
            if (events[next].event.step != event->step) break;
            if (events[next].event.program != event->program) break;
        }
        for (int i = 0; i < w->trace->program->lists[event->program].count; i++)
            w->ends[i] = -INFINITY;
        w->events = events + first;
        w->count = next - first;
        write_events(w, rows);
    }
}

void trace_write_tables(FILE *out)
{
    fprintf(out, "\"lanes\":{");
    for (int l = 0; l < LANE_COUNT; l++) {
        enum program_lane lane = (enum program_lane)l;
        fprintf(out, "%s\"%s\":\"%s\"", l ? "," : "", program_lane_name(lane),
                program_lane_row(lane)->colour);
    }
    fprintf(out, "},\n\"kinds\":{");
    for (int k = 0; k < OP_KIND_COUNT; k++) {
        enum program_kind kind = (enum program_kind)k;
        fprintf(out, "%s\"%s\":\"%s\"", k ? "," : "", program_kind_name(kind),
                program_kind_colour(kind));
    }
    fprintf(out, "}");
}

enum zi_status trace_write(const struct trace *trace, int rank, double zero_s, FILE *out)
{
    int64_t count = 0, dropped = 0;
    int rows[LANE_COUNT] = {0}, operations = 0;
    for (int l = 0; l < LANE_COUNT; l++) {
        count += trace->lanes[l].count;
        dropped += trace->lanes[l].dropped;
    }
    for (int name = 0; name < PROGRAM_COUNT; name++)
        if (trace->program->lists[name].count > operations)
            operations = trace->program->lists[name].count;
    if (dropped > 0)
        zi_log(ZI_LOG_WARN, "program",
               "the trace of rank %d lacks %" PRId64 " operations for which it had no room", rank,
               dropped);
    struct writer writer = {.trace = trace, .rank = rank, .zero_s = zero_s, .out = out};
    struct row_event *events = malloc((size_t)(count + 1) * sizeof *events);
    writer.ends = malloc((size_t)(operations + 1) * sizeof *writer.ends);
    if (!events || !writer.ends) {
        free(events);
        free(writer.ends);
        return zi_fail(ZI_ERROR_DEVICE, "program", "no memory to write %" PRId64 " events", count);
    }
    fprintf(out,
            "{\"ph\":\"M\",\"pid\":%d,\"name\":\"process_name\",\"args\":{\"name\":\"rank %d\"}}",
            rank, rank);
    write_steps(&writer, events, rows);
    write_row_names(out, rank, rows);
    free(events);
    free(writer.ends);
    return ferror(out) ? zi_fail(ZI_ERROR_IO, "program", "the trace could not be written") : ZI_OK;
}
