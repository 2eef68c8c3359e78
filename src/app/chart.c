/* SPDX-License-Identifier: Apache-2.0 */
/* Charts of a report: SVG without scripts, whose colours are those of the page's style (classes, so
 * that light and dark are the page's business).
 *
 * A chart is 360 units wide: as wide as a phone, where its letters are as large as those of the
 * text, and wide screens show several beside each other. Of each bucket of steps the mean is a
 * point of a line, and the smallest and largest are the borders of a band behind it. */
#include "app/chart.h"

#include <math.h>
#include <string.h>

#include "app/numbers.h"

/* Where things lie in the picture. */
enum {
    WIDTH = 360,
    HEIGHT = 206,
    LEFT = 46,
    RIGHT = 350,
    TOP = 8,
    BOTTOM = 166,
    TICKS = 5,
    STACK_COLUMNS = 128,
    MARKS_MOST = 100
};

#define LOGARITHMIC_FROM 30.0 /* largest over smallest */
#define WAIT_SHARE_SHOWN 0.005

struct axis {
    double low, high, step;
    bool logarithmic;
};

/* What is drawn on. */
struct plot {
    const struct history *history;
    struct axis x, y;
    FILE *out;
};

/* 1, 2 or 5 times a power of ten, the smallest that is not below `value`. */
static double round_up(double value)
{
    double power = pow(10, floor(log10(value)));
    double digit = value / power;
    return power * (digit <= 1.0000001 ? 1 : digit <= 2.0000001 ? 2 : digit <= 5.0000001 ? 5 : 10);
}

/* An axis whose ends are ticks, where `ends` says so. */
static struct axis make_axis(double low, double high, bool ends)
{
    struct axis axis = {.low = low, .high = high};
    double least = 1e-9 * fmax(fabs(low), fabs(high));
    if (!(high - low > least)) {
        double margin = high == 0 ? 0.5 : 0.05 * fabs(high);
        if (ends) axis.low -= margin;
        axis.high += margin;
    }
    axis.step = round_up((axis.high - axis.low) / TICKS);
    if (!ends) return axis;
    axis.low = axis.step * floor(axis.low / axis.step + 1e-9);
    axis.high = axis.step * ceil(axis.high / axis.step - 1e-9);
    return axis;
}

/* The part of the way from the low to the high end. */
static double along(const struct axis *axis, double value)
{
    if (axis->logarithmic) return log(value / axis->low) / log(axis->high / axis->low);
    return (value - axis->low) / (axis->high - axis->low);
}

static double x_of(const struct plot *p, double step)
{
    return LEFT + along(&p->x, step) * (RIGHT - LEFT);
}

static double y_of(const struct plot *p, double value)
{
    return BOTTOM - along(&p->y, value) * (BOTTOM - TOP);
}

static struct axis steps_axis(const struct history *h)
{
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < h->series.count; i++) {
        const struct series_bucket *b = &h->series.buckets[i];
        low = fmin(low, fmin(b->first_step, b->last_step));
        high = fmax(high, fmax(b->first_step, b->last_step));
    }
    struct axis axis = make_axis(low, high, false);
    if (axis.step < 1) axis.step = 1;
    return axis;
}

/* The axis of the values of all lines; false where there is none. */
static bool values_axis(const struct chart *chart, const struct history *h, struct axis *axis)
{
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < CHART_LINES && chart->lines[i].name; i++) {
        const struct series_part *part = &h->all.parts[chart->lines[i].column];
        if (part->count == 0) continue;
        low = fmin(low, part->low);
        high = fmax(high, part->high);
    }
    if (!(low <= high)) return false;
    if (chart->may_be_logarithmic && low > 0 && high > LOGARITHMIC_FROM * low) {
        *axis = (struct axis){pow(10, floor(log10(low))), pow(10, ceil(log10(high))), 10, true};
        return true;
    }
    *axis = make_axis(chart->from_zero ? fmin(low, 0) : low, high, true);
    return true;
}

static void draw_value_tick(const struct plot *p, double value, const char *text)
{
    double y = y_of(p, value);
    fprintf(p->out,
            "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text class=\"end\" x=\"%d\" y=\"%.1f\">%s"
            "</text>\n",
            LEFT, y, RIGHT, LEFT - 5, y + 3.5, text);
}

static void draw_value_ticks(const struct plot *p, bool percent)
{
    const struct axis *a = &p->y;
    if (a->logarithmic) {
        double decades = log10(a->high / a->low), each = ceil(decades / TICKS - 1e-9);
        for (double e = 0; e <= decades + 1e-9; e += each) {
            double value = a->low * pow(10, e);
            draw_value_tick(p, value, number_tick(value, value, value).text);
        }
        return;
    }
    double most = fmax(fabs(a->low), fabs(a->high));
    int count = (int)floor((a->high - a->low) / a->step + 0.5);
    for (int i = 0; i <= count; i++) {
        double value = a->step * (floor(a->low / a->step + 0.5) + i);
        char text[16];
        snprintf(text, sizeof text, "%.4g %%", 100 * value);
        draw_value_tick(p, value, percent ? text : number_tick(value, a->step, most).text);
    }
}

static void draw_step_ticks(const struct plot *p)
{
    const struct axis *a = &p->x;
    double first = ceil(a->low / a->step - 1e-9);
    for (int i = 0; i <= TICKS + 1; i++) {
        double step = a->step * (first + i);
        if (step > a->high) break;
        double x = x_of(p, step);
        fprintf(p->out,
                "<path class=\"tick\" d=\"M%.1f %dv4\"/><text x=\"%.1f\" y=\"%d\">%s</text>\n", x,
                BOTTOM, x, BOTTOM + 16, number_tick(step, a->step, a->high).text);
    }
    fprintf(p->out, "<path class=\"tick\" d=\"M%d %dH%d\"/><text x=\"%d\" y=\"%d\">step</text>\n",
            LEFT, BOTTOM, RIGHT, (LEFT + RIGHT) / 2, HEIGHT - 8);
}

/* Where the number of the step does not go up by one. */
static void draw_jumps(const struct plot *p)
{
    for (int i = 0; i < p->history->jump_count; i++) {
        const struct history_jump *jump = &p->history->jumps[i];
        if (jump->from == 0) continue;
        fprintf(p->out,
                "<path class=\"jump\" d=\"M%.1f %dV%d\"><title>step %.0f came after step %.0f"
                "</title></path>\n",
                x_of(p, jump->to), TOP, BOTTOM, jump->to, jump->from);
    }
}

/* Where a job went on from a checkpoint, once each. */
static void draw_starts(const struct plot *p)
{
    double last = 0;
    for (int n = 0; n < HISTORY_STARTS && history_start(p->history, n); n++) {
        double step = history_start(p->history, n)->step;
        if (step == 0 || step == last || step < p->x.low || step > p->x.high) continue;
        last = step;
        fprintf(p->out,
                "<path class=\"start\" d=\"M%.1f %dV%d\"><title>a job went on after step %.0f"
                "</title></path>\n",
                x_of(p, step), TOP, BOTTOM, step);
    }
}

static void begin(const struct plot *p, const char *title, const char *unit, bool percent)
{
    fprintf(p->out,
            "<figure><figcaption><b>%s</b>%s%s</figcaption>\n<svg viewBox=\"0 0 %d %d\" "
            "role=\"img\" aria-label=\"%s over steps\">\n",
            title, unit[0] ? ", " : "", unit, WIDTH, HEIGHT, title);
    draw_value_ticks(p, percent);
    draw_step_ticks(p);
    draw_jumps(p);
    draw_starts(p);
}

static double middle_of(const struct series_bucket *bucket)
{
    return 0.5 * (bucket->first_step + bucket->last_step);
}

/* Whether a point is not joined to the one before it: the steps went back. */
static bool breaks(const struct plot *p, int i)
{
    const struct series_bucket *b = p->history->series.buckets;
    return i > 0 && b[i].first_step <= b[i - 1].last_step;
}

/* The band of buckets [first, last), all of which have values. */
static void draw_band(const struct plot *p, const struct chart_line *line, int first, int last)
{
    const struct series_bucket *b = p->history->series.buckets;
    fprintf(p->out, "<path class=\"band c%d\" d=\"", line->colour);
    for (int i = first; i < last; i++)
        fprintf(p->out, "%c%.1f %.1f", i == first ? 'M' : 'L', x_of(p, middle_of(&b[i])),
                y_of(p, b[i].parts[line->column].high));
    for (int i = last; i-- > first;)
        fprintf(p->out, "L%.1f %.1f", x_of(p, middle_of(&b[i])),
                y_of(p, b[i].parts[line->column].low));
    fprintf(p->out, "Z\"/>\n");
}

static void draw_bands(const struct plot *p, const struct chart_line *line)
{
    const struct series *s = &p->history->series;
    int first = 0;
    for (int i = 0; i <= s->count; i++) {
        bool none = i == s->count || s->buckets[i].parts[line->column].count == 0;
        if (!none && !breaks(p, i)) continue;
        if (i - first > 1) draw_band(p, line, first, i);
        first = none ? i + 1 : i;
    }
}

static void draw_means(const struct plot *p, const struct chart_line *line)
{
    const struct series *s = &p->history->series;
    char letter = 'M';
    fprintf(p->out, "<path class=\"line c%d\" d=\"", line->colour);
    for (int i = 0; i < s->count; i++) {
        const struct series_part *part = &s->buckets[i].parts[line->column];
        if (breaks(p, i)) letter = 'M';
        if (part->count > 0)
            fprintf(p->out, "%c%.1f %.1f%s", letter, x_of(p, middle_of(&s->buckets[i])),
                    y_of(p, series_mean(part)), letter == 'M' ? "h0" : "");
        letter = part->count > 0 ? 'L' : 'M';
    }
    fprintf(p->out, "\"/>\n");
}

static void draw_mark(const struct plot *p, const struct chart_line *line, double step,
                      double value)
{
    fprintf(p->out,
            "<circle class=\"mark c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>step %.0f: %s"
            "</title></circle>\n",
            line->colour, x_of(p, step), y_of(p, value), step, number_plain(value).text);
}

/* Single values, joined; a mark on each where they are few. */
static void draw_values(const struct plot *p, const struct chart_line *line)
{
    const struct series *s = &p->history->series;
    char letter = 'M';
    fprintf(p->out, "<path class=\"line c%d\" d=\"", line->colour);
    for (int i = 0; i < s->count; i++) {
        const struct series_part *part = &s->buckets[i].parts[line->column];
        if (breaks(p, i)) letter = 'M';
        if (part->count == 0) continue;
        bool rises = part->low_step < part->high_step;
        double steps[2] = {rises ? part->low_step : part->high_step,
                           rises ? part->high_step : part->low_step};
        double values[2] = {rises ? part->low : part->high, rises ? part->high : part->low};
        for (int k = 0; k < (part->count > 1 ? 2 : 1); k++, letter = 'L')
            fprintf(p->out, "%c%.1f %.1f", letter, x_of(p, steps[k]), y_of(p, values[k]));
    }
    fprintf(p->out, "\"/>\n");
    if (p->history->all.parts[line->column].count > MARKS_MOST) return;
    for (int i = 0; i < s->count; i++) {
        const struct series_part *part = &s->buckets[i].parts[line->column];
        if (part->count > 0) draw_mark(p, line, part->low_step, part->low);
        if (part->count > 1) draw_mark(p, line, part->high_step, part->high);
    }
}

static void draw_skipped(const struct plot *p)
{
    const struct series *s = &p->history->series;
    for (int i = 0; i < s->count; i++) {
        const struct series_bucket *b = &s->buckets[i];
        if (b->skipped == 0) continue;
        fprintf(p->out,
                "<path class=\"skipped\" d=\"M%.1f %dl-4 8h8Z\"><title>step %.0f skipped"
                "</title></path>\n",
                x_of(p, b->skipped_step), BOTTOM - 9, b->skipped_step);
    }
}

/* The newest value of a column; NaN where the newest rows have none. */
static double newest(const struct history *h, const struct chart_line *line)
{
    double value = NAN;
    const struct series *s = &h->series;
    for (int i = s->count; i-- > 0 && isnan(value);)
        value = series_mean(&s->buckets[i].parts[line->column]);
    const struct series_row *row = history_row(h, 0);
    return row && !line->marks ? row->values[line->column] : value;
}

/* A value as the legend of a chart has it. */
static struct number number_of(const struct chart *chart, double value)
{
    if (chart->numbers == CHART_LOSSES) return number_loss(value);
    return chart->numbers == CHART_AMOUNTS ? number_si(value, "") : number_plain(value);
}

static void draw_legend(const struct plot *p, const struct chart *chart)
{
    fprintf(p->out, "</svg>\n<p class=\"legend\">");
    for (int i = 0; i < CHART_LINES && chart->lines[i].name; i++) {
        const struct chart_line *line = &chart->lines[i];
        if (p->history->all.parts[line->column].count == 0) continue;
        struct number last = number_of(chart, newest(p->history, line));
        fprintf(p->out, "<span><i class=\"c%d\"></i>%s %s</span> ", line->colour, line->name,
                last.text);
    }
    if (chart->skipped && p->history->all.skipped)
        fprintf(p->out, "<span><i class=\"bad\"></i>skipped %lld</span>",
                (long long)p->history->all.skipped);
    fprintf(p->out, "</p></figure>\n");
}

void chart_draw(const struct chart *chart, const struct history *history, FILE *out)
{
    struct plot p = {.history = history, .x = steps_axis(history), .out = out};
    if (!values_axis(chart, history, &p.y)) return;
    begin(&p, chart->title, chart->unit, false);
    for (int i = 0; i < CHART_LINES && chart->lines[i].name; i++) {
        const struct chart_line *line = &chart->lines[i];
        if (history->all.parts[line->column].count == 0) continue;
        if (line->marks) {
            draw_values(&p, line);
            continue;
        }
        if (history->series.width > 1) draw_bands(&p, line);
        draw_means(&p, line);
    }
    if (chart->skipped) draw_skipped(&p);
    draw_legend(&p, chart);
}

bool chart_has_amount(const struct history *history, enum series_column column)
{
    const struct series_part *part = &history->all.parts[column];
    return part->count > 0 && (part->low != 0 || part->high != 0);
}

static int lane_colour(int lane)
{
    static const int colours[LANE_COUNT] = {
        [LANE_COMPUTE] = 8,   [LANE_COMM] = 1,       [LANE_LINK_IN] = 5, [LANE_LINK_OUT] = 3,
        [LANE_DISK_READ] = 2, [LANE_DISK_WRITE] = 4, [LANE_HOST] = 6,    [LANE_FILE] = 7};
    return colours[lane];
}

static double share_of(const struct series_bucket *bucket, int lane)
{
    double share = series_wait_share(bucket, lane);
    return share >= 0 ? share : 0;
}

/* One lane's waits, on the sums of those below, to which they are added. */
static void draw_stack(const struct plot *p, const struct series_bucket *buckets, int count,
                       int lane, double *sums)
{
    fprintf(p->out, "<path class=\"stack c%d\" d=\"", lane_colour(lane));
    for (int i = 0; i < count; i++) {
        double share = share_of(&buckets[i], lane);
        double left = x_of(p, fmax(p->x.low, buckets[i].first_step - 1));
        if (share > 0)
            fprintf(p->out, "M%.1f %.2fH%.1fV%.2fH%.1fZ", left, y_of(p, sums[i]),
                    x_of(p, buckets[i].last_step), y_of(p, sums[i] + share), left);
        sums[i] += share;
    }
    fprintf(p->out, "\"><title>%s</title></path>\n", program_lane_name((enum program_lane)lane));
}

void chart_draw_waits(const struct history *history, FILE *out)
{
    struct series_bucket buckets[STACK_COLUMNS];
    double sums[STACK_COLUMNS] = {0}, most = 0;
    bool shown[LANE_COUNT] = {false};
    int count = series_coarsen(&history->series, STACK_COLUMNS, buckets);
    for (int i = 0; i < count; i++) {
        double sum = 0;
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            sum += share_of(&buckets[i], lane);
            shown[lane] |= share_of(&buckets[i], lane) >= WAIT_SHARE_SHOWN;
        }
        most = fmax(most, sum);
    }
    if (most < WAIT_SHARE_SHOWN) return;
    struct plot p = {.history = history, .x = steps_axis(history), .out = out};
    p.y = make_axis(0, most, true);
    begin(&p, "Waits", "share of the time of steps", true);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        if (shown[lane]) draw_stack(&p, buckets, count, lane, sums);
    fprintf(out, "</svg>\n<p class=\"legend\">");
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        if (!shown[lane]) continue;
        fprintf(out, "<span><i class=\"c%d\"></i>%s %s</span> ", lane_colour(lane),
                program_lane_name((enum program_lane)lane),
                number_share(series_wait_share(&history->all, lane)).text);
    }
    fprintf(out, "</p></figure>\n");
}
