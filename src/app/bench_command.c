/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf bench device`: the operations of a device beside its ceilings. The device room measures;
 * here the device is chosen with the words of a deck's device section, so that what is measured is
 * what a run with these words would use. */
#include <string.h>

#include "app/commands.h"
#include "app/setup.h"
#include "base/log.h"
#include "device/bench.h"

enum zi_status bench_command(struct comm *world, const struct options *options)
{
    (void)world;
    struct setup setup = {0};
    int set_count;
    const char *const *sets = options_all(options, "--set", &set_count);
    if (strcmp(options->words[0], "device") != 0)
        return zi_fail(ZI_ERROR_USAGE, "app", "zinf bench cannot measure %s; it measures: device",
                       options->words[0]);
    for (int i = 0; i < set_count; i++) {
        if (strncmp(sets[i], "device.", 7) != 0)
            return zi_fail(ZI_ERROR_USAGE, "app", "--set %s: a bench has keys of section device",
                           sets[i]);
    }
    enum zi_status status =
        setup_parse_part(&setup, "run: {name: bench}", "the command line", NULL, sets, set_count);
    if (status >= 0) status = device_open(&setup.settings->device, 1, &setup.device);
    if (status >= 0) status = device_bench(setup.device, stdout);
    setup_cleanup(&setup);
    return status;
}
