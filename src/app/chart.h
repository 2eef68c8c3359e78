/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: charts over the steps of a run, as SVG inside of a page. Local. */
#ifndef ZI_APP_CHART_H
#define ZI_APP_CHART_H

#include <stdbool.h>
#include <stdio.h>

#include "app/history.h"

/* One column of the table of steps. */
struct chart_line {
    const char *name;
    enum series_column column;
    /* The number of its colour in the style of the page. */
    int colour;
    /* Single values with a mark each, instead of means. */
    bool marks;
};

enum { CHART_LINES = 4 };

/* How the legend writes values. */
enum chart_numbers { CHART_PLAIN, CHART_LOSSES, CHART_AMOUNTS };

struct chart {
    const char *title, *unit;
    enum chart_numbers numbers;
    /* Up to the first without a name. */
    struct chart_line lines[CHART_LINES];
    bool from_zero;
    /* A logarithmic axis where largest and smallest are far apart. */
    bool may_be_logarithmic;
    /* Marks below for steps that were skipped. */
    bool skipped;
};

/* Local. Draws the lines that have a value; nothing where none has. */
void chart_draw(const struct chart *chart, const struct history *history, FILE *out);

/* Local. Whether a column has a value other than 0. */
bool chart_has_amount(const struct history *history, enum series_column column);

/* Local. Draws the part of each step in which the compute lane waited, by lane, one on the other;
 * nothing where that was never worth a line. */
void chart_draw_waits(const struct history *history, FILE *out);

#endif
