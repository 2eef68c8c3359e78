/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf check`: everything that can be said about a deck without data, device or memory.
 *
 * It makes the same checks as `zinf run` does first, with all errors at once, so that a deck can be
 * looked at on a login node before a job waits in a queue for it. */
#include <inttypes.h>
#include <stdlib.h>

#include "app/commands.h"
#include "app/setup.h"

enum { RANKS_MAX = 1 << 20 };

enum zi_status check_command(struct comm *world, const struct options *options)
{
    (void)world;
    struct setup setup = {0};
    int64_t ranks = 1, bytes;
    int set_count;
    char *text;
    const char *const *sets = options_all(options, "--set", &set_count);
    ZI_TRY(options_integer(options, "--ranks", 1, RANKS_MAX, &ranks));
    ZI_TRY(setup_read_file(options->words[0], &text, &bytes));
    enum zi_status status =
        setup_parse(&setup, text, bytes, options->words[0], sets, set_count, (int)ranks);
    if (status >= 0) status = device_check(&setup.settings->device);
    if (status >= 0) {
        deck_warn(setup.deck);
        printf("%s: no errors, for %" PRId64 " rank%s\n", options->words[0], ranks,
               ranks == 1 ? "" : "s");
    }
    setup_cleanup(&setup);
    free(text);
    return status;
}
