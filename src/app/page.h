/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: a run as one page of HTML. Local. */
#ifndef ZI_APP_PAGE_H
#define ZI_APP_PAGE_H

#include <stdio.h>

#include "app/history.h"

/* Local. Writes the page: one file, without scripts, that takes nothing from anywhere. What the run
 * does not tell is left out. */
void page_write(const struct history *history, FILE *out);

/* Local. The tables below the charts, and the used deck. Part of page_write. */
void page_write_tables(const struct history *history, FILE *out);

/* Local. Writes text of any bytes as text of HTML, and of XML. */
void page_escape(const char *text, FILE *out);

/* Local. "running", "done", and so on, of a run. */
const char *page_state(const struct history *history);

#endif
