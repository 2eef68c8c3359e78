/* SPDX-License-Identifier: Apache-2.0 */
/* A trace says what was noted: the program of a small model is run in virtual time, an operation a
 * millisecond, and every box of the written trace is held against the times that were noted. Boxes
 * of a row do not overlap, the compute lane's row is full of work and waits, what does not fit is
 * counted, and the text is whole. */
#include "regression/unit/test.h"
#include "regression/unit/step_fixture.h"
#include "program/trace.h"

enum { RANK = 3, MOST_BOXES = 4096 };
static const double zero_s = 100, op_s = 1e-3;

struct box {
    char kind[32], lane[32], waited_for[32];
    int row, op;
    long step;
    double start_us, length_us, waited_us;
};

struct text {
    char *start;
    size_t size;
    enum zi_status status;
};

static struct text write_text(const struct trace *trace)
{
    struct text text = {0};
    FILE *out = open_memstream(&text.start, &text.size);
    if (!out) exit(99);
    text.status = trace_write(trace, RANK, zero_s, out);
    fclose(out);
    return text;
}

static double number(const char *line, const char *name)
{
    const char *found = strstr(line, name);
    return found ? strtod(found + strlen(name), NULL) : NAN;
}

static void word(const char *line, const char *name, char out[32])
{
    const char *found = strstr(line, name);
    out[0] = 0;
    if (found) sscanf(found + strlen(name), "%31[^\"]", out);
}

/* An object per line. */
static int read_boxes(const struct text *text, struct box *boxes)
{
    int count = 0;
    for (const char *line = text->start; line; line = strchr(line, '\n')) {
        char copy[1024];
        line += *line == '\n';
        snprintf(copy, sizeof copy, "%.*s", (int)strcspn(line, "\n"), line);
        if (!strstr(copy, "\"ph\":\"X\"")) continue;
        if (count == MOST_BOXES) exit(99);
        struct box *box = &boxes[count++];
        word(copy, "\"cat\":\"", box->kind);
        word(copy, "\"lane\":\"", box->lane);
        word(copy, "\"waited_for\":\"", box->waited_for);
        box->row = (int)number(copy, "\"tid\":");
        box->op = strstr(copy, "\"op\":") ? (int)number(copy, "\"op\":") : -1;
        box->step = (long)number(copy, "\"step\":");
        box->start_us = number(copy, "\"ts\":");
        box->length_us = number(copy, "\"dur\":");
        box->waited_us = number(copy, "\"waited_us\":");
        CHECK_INT(number(copy, "\"pid\":"), RANK);
    }
    return count;
}

/* Brackets and quotes close in the order in which they open. */
static bool is_whole(const char *text)
{
    char open[64];
    int depth = 0;
    for (; *text; text++) {
        bool quoted = depth > 0 && open[depth - 1] == '"';
        if (*text == '"') {
            if (quoted)
                depth--;
            else
                open[depth++] = '"';
        } else if (!quoted && (*text == '{' || *text == '[')) {
            open[depth++] = *text == '{' ? '}' : ']';
        } else if (!quoted && (*text == '}' || *text == ']')) {
            if (depth == 0 || open[--depth] != *text) return false;
        }
        if (depth == 60) return false;
    }
    return depth == 0;
}

/* One run of the training program, an operation a millisecond: times of all operations. */
static double run_virtually(const struct program_list *list, double start, double (*times)[3])
{
    double free_at[LANE_COUNT], end = start;
    for (int l = 0; l < LANE_COUNT; l++)
        free_at[l] = start;
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        times[i][0] = times[i][1] = free_at[op->lane];
        for (int l = 0; l < LANE_COUNT; l++)
            if (op->after[l] >= 0) times[i][1] = fmax(times[i][1], times[op->after[l]][2]);
        times[i][2] = free_at[op->lane] = times[i][1] + op_s;
        end = fmax(end, times[i][2]);
    }
    return end;
}

static void note_all(struct trace *trace, const struct program_list *list, double (*times)[3],
                     int64_t step)
{
    for (int i = 0; i < list->count; i++)
        trace_note(
            trace, list->ops[i].lane,
            &(struct trace_event){PROGRAM_TRAIN, i, times[i][0], times[i][1], times[i][2], step});
}

static void check_operation(const struct program_list *list, double (*times)[3],
                            const struct box *box)
{
    const struct program_op *op = &list->ops[box->op];
    const double *at = times[box->op];
    /* times are written to the nanosecond */
    CHECK_NEAR(box->start_us, 1e6 * (at[1] - zero_s), 1e-3);
    CHECK_NEAR(box->length_us, 1e3, 1e-3);
    CHECK_NEAR(box->waited_us, 1e6 * (at[1] - at[0]), 1e-3);
    CHECK(strcmp(box->kind, program_kind_name(op->kind)) == 0);
    CHECK(strcmp(box->lane, program_lane_name(op->lane)) == 0);
    CHECK_INT(box->row, 1 + op->lane);
    bool named = false;
    for (int l = 0; l < LANE_COUNT; l++)
        if (op->after[l] >= 0 &&
            strcmp(box->waited_for, program_lane_name((enum program_lane)l)) == 0)
            named = times[op->after[l]][2] > at[0];
    CHECK(named == (at[1] > at[0]));
}

/* A step as it was noted. */
struct noted {
    double (*times)[3];
    double start, end;
    long step;
};

static void check_step(const struct program_list *list, const struct noted *noted,
                       const struct box *boxes, int count)
{
    double working = 0, waiting = 0;
    int operations = 0, steps = 0;
    for (int b = 0; b < count; b++) {
        const struct box *box = &boxes[b];
        if (box->step != noted->step) continue;
        if (box->op >= 0) {
            operations++;
            check_operation(list, noted->times, box);
            if (strcmp(box->lane, "compute") == 0) working += box->length_us;
        } else if (strcmp(box->kind, "wait") == 0) {
            CHECK_INT(box->row, 1 + LANE_COMPUTE);
            CHECK(box->waited_for[0]);
            waiting += box->length_us;
        } else {
            steps++;
            CHECK(strcmp(box->kind, "step") == 0);
            CHECK_INT(box->row, 0);
            CHECK_NEAR(box->start_us, 1e6 * (noted->start - zero_s), 1e-3);
            CHECK_NEAR(box->length_us, 1e6 * (noted->end - noted->start), 1e-3);
        }
    }
    CHECK_INT(operations, list->count);
    CHECK_INT(steps, 1);
    CHECK(waiting > 0);
    CHECK_NEAR(working + waiting, 1e6 * (noted->end - noted->start), 1e-3 * count);
}

static void test_times(const struct program *program)
{
    static struct box boxes[MOST_BOXES];
    const struct program_list *list = &program->lists[PROGRAM_TRAIN];
    double(*first)[3] = calloc((size_t)list->count, 2 * sizeof *first);
    double(*second)[3] = first + list->count;
    struct trace *trace = NULL;
    CHECK_INT(trace_create(program, 2, &trace), ZI_OK);
    if (!trace || !first) exit(99);
    CHECK(isinf(trace_start_s(trace)));
    double end = run_virtually(list, zero_s, first);
    double end2 = run_virtually(list, end + 1, second);
    /* noted in any order */
    note_all(trace, list, second, 3);
    note_all(trace, list, first, 2);
    CHECK(trace_start_s(trace) == zero_s);
    struct text text = write_text(trace);
    CHECK_INT(text.status, ZI_OK);
    CHECK(is_whole(text.start));
    CHECK(strstr(text.start, "\"name\":\"process_name\",\"args\":{\"name\":\"rank 3\"}"));
    CHECK(strstr(text.start, "\"name\":\"forward blocks.1.attention\""));
    CHECK(strstr(text.start, "\"tid\":1,\"name\":\"thread_name\",\"args\":{\"name\":\"compute\"}"));
    int count = read_boxes(&text, boxes);
    check_step(list, &(struct noted){first, zero_s, end, 3}, boxes, count);
    check_step(list, &(struct noted){second, end + 1, end2, 4}, boxes, count);
    free(text.start);
    trace_destroy(trace);
    free(first);
}

/* An operation of the program in a lane. */
static int any_op(const struct program_list *list, enum program_lane lane, int skip)
{
    for (int i = 0; i < list->count; i++)
        if (list->ops[i].lane == lane && skip-- == 0) return i;
    exit(99);
}

/* Three operations in one lane, the first two at the same time. */
static void test_rows(const struct program *program)
{
    static struct box boxes[MOST_BOXES];
    static const double times[3][2] = {{100, 103}, {101, 105}, {103, 104}};
    static const int rows[3] = {1 + LANE_COMM, 1 + LANE_COMM + LANE_COUNT, 1 + LANE_COMM};
    struct trace *trace = NULL;
    CHECK_INT(trace_create(program, 1, &trace), ZI_OK);
    int ops[3];
    for (int i = 0; i < 3; i++) {
        ops[i] = any_op(&program->lists[PROGRAM_TRAIN], LANE_COMM, i);
        trace_note(
            trace, LANE_COMM,
            &(struct trace_event){PROGRAM_TRAIN, ops[i], times[i][0], times[i][0], times[i][1], 2});
    }
    struct text text = write_text(trace);
    int count = read_boxes(&text, boxes), found = 0;
    for (int b = 0; b < count; b++)
        for (int i = 0; i < 3; i++)
            if (boxes[b].op == ops[i]) {
                found++;
                CHECK_INT(boxes[b].row, rows[i]);
            }
    CHECK_INT(found, 3);
    CHECK(strstr(text.start, "{\"name\":\"comm\"}"));
    CHECK(strstr(text.start, "{\"name\":\"comm 2\"}"));
    CHECK(!strstr(text.start, "{\"name\":\"comm 3\"}"));
    free(text.start);
    trace_destroy(trace);
}

/* A compute operation that waits for two lanes, and was woken late: 100 asked for, lane `first`
 * done at 102, lane `second` at 103, started at 104; another lane ends the step at 106. */
static void test_split(const struct program *program)
{
    static struct box boxes[MOST_BOXES];
    const struct program_list *list = &program->lists[PROGRAM_TRAIN];
    struct trace *trace = NULL;
    int op = -1, first = 0, second = 0;
    for (int i = 0; i < list->count && op < 0; i++) {
        int lanes[LANE_COUNT], count = 0;
        for (int l = 0; l < LANE_COUNT; l++)
            if (list->ops[i].after[l] >= 0) lanes[count++] = l;
        if (list->ops[i].lane != LANE_COMPUTE || count < 2) continue;
        op = i;
        first = lanes[0];
        second = lanes[1];
    }
    if (op < 0) exit(99);
    const struct {
        int lane, op;
        double ready, start, end;
    } events[3] = {{first, list->ops[op].after[first], 99, 99, 102},
                   {second, list->ops[op].after[second], 99, 101, 103},
                   {LANE_COMPUTE, op, 100, 104, 105}};
    CHECK_INT(trace_create(program, 1, &trace), ZI_OK);
    for (int i = 0; i < 3; i++)
        trace_note(trace, (enum program_lane)events[i].lane,
                   &(struct trace_event){PROGRAM_TRAIN, events[i].op, events[i].ready,
                                         events[i].start, events[i].end, 2});
    int last = any_op(list, LANE_HOST, 0);
    trace_note(trace, LANE_HOST, &(struct trace_event){PROGRAM_TRAIN, last, 104, 104, 106, 2});
    struct text text = write_text(trace);
    int count = read_boxes(&text, boxes), found = 0;
    const int lanes[3] = {first, second, LANE_HOST};
    const double starts_us[3] = {0, 2e6, 5e6}, lengths_us[3] = {2e6, 2e6, 1e6};
    for (int b = 0; b < count; b++) {
        if (boxes[b].op == op)
            CHECK(strcmp(boxes[b].waited_for, program_lane_name((enum program_lane)first)) == 0);
        if (strcmp(boxes[b].kind, "wait") != 0) continue;
        for (int i = 0; i < 3; i++)
            if (strcmp(boxes[b].waited_for, program_lane_name((enum program_lane)lanes[i])) == 0) {
                found++;
                CHECK_NEAR(boxes[b].start_us, starts_us[i], 1e-3);
                CHECK_NEAR(boxes[b].length_us, lengths_us[i], 1e-3);
            }
    }
    CHECK_INT(found, 3);
    free(text.start);
    trace_destroy(trace);
}

static void test_bounds(const struct program *program)
{
    static struct box boxes[MOST_BOXES];
    const struct program_list *list = &program->lists[PROGRAM_TRAIN];
    double(*times)[3] = calloc((size_t)list->count, sizeof *times);
    struct trace *trace = NULL, *empty = NULL;
    if (!times) exit(99);
    CHECK(!trace_covers(NULL, 2));
    CHECK_INT(trace_create(program, 2, &trace), ZI_OK);
    CHECK(!trace_covers(trace, 1));
    CHECK(trace_covers(trace, 2));
    CHECK(trace_covers(trace, 3));
    CHECK(!trace_covers(trace, 4));
    run_virtually(list, zero_s, times);
    for (int step = 2; step < 9; step++)
        note_all(trace, list, times, step);
    zi_log_set_level(ZI_LOG_ERROR);
    long warnings = zi_log_warnings();
    struct text text = write_text(trace);
    CHECK_INT(text.status, ZI_OK);
    CHECK_INT(zi_log_warnings(), warnings + 1);
    int count = read_boxes(&text, boxes), operations = 0;
    for (int b = 0; b < count; b++)
        operations += boxes[b].op >= 0;
    CHECK(operations >= 2 * list->count && operations < 7 * list->count);
    free(text.start);
    trace_destroy(trace);
    CHECK_INT(trace_create(program, 0, &empty), ZI_OK);
    CHECK(!trace_covers(empty, 2));
    text = write_text(empty);
    CHECK(is_whole(text.start) && text.start[0] == '{');
    CHECK_INT(read_boxes(&text, boxes), 0);
    free(text.start);
    trace_destroy(empty);
    free(times);
}

int main(void)
{
    struct step_fixture f;
    const char *const sets[] = {"zero.stage=3",
                                "device.type=cuda",
                                "placement.parameters=host",
                                "placement.optimizer=host",
                                "placement.gradients=host",
                                "placement.activations=host",
                                NULL};
    zi_log_set_level(ZI_LOG_WARN);
    CHECK(step_fixture_open(&f, step_fixture_gpt2, sets, 2, 0) == ZI_OK);
    test_times(f.program);
    test_rows(f.program);
    test_split(f.program);
    test_bounds(f.program);
    step_fixture_close(&f);
    return test_finish("program_trace_test");
}
