/* SPDX-License-Identifier: Apache-2.0 */
/* Private to hf: what each block does, which a config.json may have as lists and the settings have as
 * numbers. All are Local. */
#ifndef ZI_HF_LAYERS_H
#define ZI_HF_LAYERS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "deck/settings.h"

struct hf_lists {
    /* Of HF_WINDOWS and HF_ROTATED, borrowed; NULL where the file has none. */
    const json_t *windows, *rotated;
    /* Whether there is a window at all. */
    bool windowed;
    /* Where there is no list, blocks that do not rotate have the window. */
    bool unrotated_have;
};

/* Makes window, window_from, full_every and unrotated_every of lists; before, these are what the other
 * keys say, and sizes are within their ranges. ZI_ERROR_USAGE for a list that is none, or that the
 * numbers cannot say. `path` is for messages. */
enum zi_status hf_lists_read(const char *path, const struct hf_lists *lists,
                             struct settings_model *model);

/* Whether a block has the window of the model. */
bool hf_has_window(const struct settings_model *model, int64_t block);

/* The list of blocks with windows for a file; NULL without memory. */
json_t *hf_lists_windows(const struct settings_model *model);

/* The list of blocks that rotate for a file; NULL without memory. */
json_t *hf_lists_rotated(const struct settings_model *model);

#endif
