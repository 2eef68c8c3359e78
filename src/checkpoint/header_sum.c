/* SPDX-License-Identifier: Apache-2.0 */
/* The checksum of a checkpoint's header.
 *
 * The checksums of datasets hold the numbers; a changed byte of the step, of the deck's text or of
 * a shape would go unseen. So all that a reader takes from the file besides the numbers has a
 * checksum of its own, the attribute `header_checksum` of the file: every other attribute of it, by
 * name and value, whatever they are (a field that is added to the header is in it by being
 * written), and of each dataset its name, type, shape and recorded checksum. Offsets are not in it:
 * a wrong one leads to other numbers, which the dataset's checksum tells.
 *
 * It is made of what HDF5 gives for the open file, by the writer as by readers, so bytes of the
 * file that mean nothing are not in it: they may change. Each piece is hashed with what came before
 * it; datasets, whose order is not that of the file for a writer, are added up. */
#include "checkpoint/file.h"

#include "base/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUM_NAME "header_checksum"

/* 16 digits and the final 0 */
enum { SUM_TEXT = 17 };

/* The hash of bytes that follow others. */
static uint64_t follow(uint64_t before, const void *bytes, size_t count)
{
    const uint64_t both[2] = {before, zi_random_hash(bytes, count)};
    return zi_random_hash(both, sizeof both);
}

/* An attribute that is one text or one number, as everything in a header is; `context` is the sum so
 * far. */
static herr_t add_attribute(hid_t file, const char *name, const H5A_info_t *info, void *context)
{
    uint64_t *sum = context;
    char *text;
    int64_t whole;
    double real;
    (void)info;
    if (strcmp(name, SUM_NAME) == 0) return 0;
    *sum = follow(*sum, name, strlen(name));
    if (h5_text_read(file, name, &text) >= 0) {
        *sum = follow(*sum, text, strlen(text));
        free(text);
        return 0;
    }
    if (h5_integer_read(file, name, &whole) >= 0) {
        *sum = follow(*sum, &whole, sizeof whole);
        return 0;
    }
    if (h5_real_read(file, name, &real) < 0) return -1;
    *sum = follow(*sum, &real, sizeof real);
    return 0;
}

static uint64_t dataset_hash(const struct checkpoint_dataset *dataset)
{
    const int64_t numbers[] = {dataset->type, dataset->dimensions, dataset->shape[0],
                               dataset->dimensions > 1 ? dataset->shape[1] : 0,
                               (int64_t)dataset->checksum};
    return follow(zi_random_stream(dataset->name), numbers, sizeof numbers);
}

static herr_t sum_compute(const struct checkpoint *checkpoint, hid_t file, char text[SUM_TEXT])
{
    hsize_t place = 0;
    uint64_t sum = 0, datasets = 0;
    if (H5Aiterate2(file, H5_INDEX_NAME, H5_ITER_INC, &place, add_attribute, &sum) < 0) return -1;
    for (int d = 0; d < checkpoint->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        if (checkpoint_state_is_written(dataset->state, checkpoint->header.type))
            datasets += dataset_hash(dataset);
    }
    snprintf(text, SUM_TEXT, "%016" PRIx64, follow(sum, &datasets, sizeof datasets));
    return 0;
}

herr_t checkpoint_header_sum_store(const struct checkpoint *checkpoint, hid_t file)
{
    char text[SUM_TEXT];
    return sum_compute(checkpoint, file, text) < 0 ? -1 : h5_text_write(file, SUM_NAME, text);
}

herr_t checkpoint_header_sum_check(const struct checkpoint *checkpoint, hid_t file)
{
    char text[SUM_TEXT], *recorded = NULL;
    if (h5_text_read(file, SUM_NAME, &recorded) < 0) return -1;
    herr_t result = sum_compute(checkpoint, file, text);
    if (result >= 0) result = strcmp(text, recorded) != 0;
    free(recorded);
    return result;
}
