/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf report`: what a run has written, as one page. */
#include "app/commands.h"
#include "app/history.h"
#include "app/output.h"
#include "app/page.h"
#include "app/report.h"

static enum zi_status write_page(const struct history *history, const char *path)
{
    struct output_stream stream;
    ZI_TRY(output_stream_begin(path, &stream));
    page_write(history, stream.out);
    return output_stream_end(&stream, ZI_OK);
}

enum zi_status report_command(struct comm *world, const struct options *options)
{
    (void)world;
    char beside[PATH_MAX];
    struct history *history;
    ZI_TRY(history_open(options->words[0], &history));
    enum zi_status status = report_path(options->words[0], "report.html", beside);
    const char *path = options_text(options, "--output", beside);
    if (status >= 0) status = write_page(history, path);
    if (status >= 0)
        printf("%s: %s, %lld steps\n", path, page_state(history), (long long)history->all.rows);
    history_close(history);
    return status;
}
