/* SPDX-License-Identifier: Apache-2.0 */
/* HDF5 has no call for the place of an attribute's value in the file, so its value is chosen such
 * that it can be found: the low half of a mark is bytes that no text here has (they are not UTF-8),
 * the high half a number: of a dataset, or, behind those, of a value of the header. A date's mark
 * has a text in its place, as long as any date. Every mark has to be found once, or no file is
 * written. (In HDF5's oldest format, which these files have, no checksum of HDF5's covers an
 * attribute.) */
#include "checkpoint/header.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/version.h"
#include "checkpoint/layout.h"

#define MARK       UINT64_C(0xfa5bf0f8)
#define MARK_BYTES "\xf8\xf0\x5b\xfa"
#define DATE       "YYYY-MM-DDTHH:MM:SSZ"

/* Of MARK, little-endian, and so long as a date. */
static const char date_mark[] = MARK_BYTES "is when written!";
_Static_assert(sizeof date_mark == sizeof DATE, "a date's mark is as long as a date");

bool header_has_state(const struct checkpoint_header *header, enum tier_kind state)
{
    if (tier_kind_row(state)->optimizer >= TIER_MOMENTS - header->lacks) return false;
    return checkpoint_state_name(state) && (!header->weights_only || state == TIER_PARAMETER);
}

bool header_writes_state(const struct checkpoint_header *header, enum tier_kind state)
{
    return header_has_state(header, state) && checkpoint_state_is_written(state, header->type);
}

uint64_t header_mark(int index)
{
    return (uint64_t)index << 32 | MARK;
}

static herr_t write_mark(hid_t file, const char *name, int index)
{
    return h5_integer_write(file, name, (int64_t)header_mark(index));
}

static herr_t write_scaling(hid_t file, const struct checkpoint_header *header, int first)
{
    if (header->type != ZI_FP16) return 0;
    if (write_mark(file, "loss_scale", first + HEADER_LOSS_SCALE) < 0) return -1;
    return write_mark(file, "loss_scale_steps", first + HEADER_LOSS_SCALE_STEPS);
}

herr_t header_write(hid_t file, const struct checkpoint_header *header, int dataset_count)
{
    if (h5_text_write(file, "format", CHECKPOINT_FORMAT) < 0 ||
        write_mark(file, "step", dataset_count + HEADER_STEP) < 0 ||
        write_mark(file, "updates", dataset_count + HEADER_UPDATES) < 0 ||
        write_mark(file, "tokens", dataset_count + HEADER_TOKENS) < 0 ||
        h5_integer_write(file, "seed", header->seed) < 0 ||
        write_scaling(file, header, dataset_count) < 0 ||
        h5_text_write(file, "type", zi_dtype_name(header->type)) < 0 ||
        (header->weights_only && h5_text_write(file, "states", CHECKPOINT_WEIGHTS) < 0) ||
        (header->lacks > 0 &&
         h5_integer_write(file, "moments", TIER_MOMENTS - header->lacks) < 0) ||
        h5_text_write(file, "model", header->model_text) < 0 ||
        h5_text_write(file, "deck", header->deck) < 0 ||
        h5_text_write(file, "version", zi_version()) < 0 ||
        h5_text_write(file, "revision", zi_version_revision()) < 0 ||
        h5_text_write(file, "written", date_mark) < 0)
        return -1;
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct user_extent *one = a, *other = b;
    return (one->offset > other->offset) - (one->offset < other->offset);
}

enum zi_status header_list_extents(const struct checkpoint_dataset *datasets, int count,
                                   struct user_extent **extents)
{
    *extents = calloc((size_t)count + 1, sizeof **extents);
    if (!*extents)
        return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory for the places of %d datasets",
                       count);
    for (int d = 0; d < count; d++) {
        (*extents)[d].offset = datasets[d].offset;
        (*extents)[d].bytes = datasets[d].elements * (int64_t)zi_dtype_bytes(datasets[d].type);
    }
    qsort(*extents, (size_t)count, sizeof **extents, by_offset);
    return ZI_OK;
}

static enum zi_status fail_mark(const struct checkpoint_form *form, const char *of)
{
    return zi_fail(ZI_ERROR_BUG, "checkpoint", "%s: the place of %s in a checkpoint is not clear",
                   form->directory, of);
}

/* The place of the mark that begins at `at`, of which `rest` bytes are there; NULL: it is none. */
static int64_t *place_of(struct checkpoint_form *form, const char *at, ptrdiff_t rest)
{
    uint32_t index;
    if (rest >= (ptrdiff_t)sizeof date_mark - 1 && memcmp(at, date_mark, sizeof date_mark - 1) == 0)
        return &form->values[HEADER_WRITTEN];
    if (rest < (ptrdiff_t)sizeof(uint64_t)) return NULL;
    memcpy(&index, at + sizeof index, sizeof index);
    uint32_t datasets = (uint32_t)form->dataset_count;
    if (index < datasets) return &form->checksums[index];
    return index - datasets < HEADER_WRITTEN ? &form->values[index - datasets] : NULL;
}

enum zi_status header_note_marks(struct checkpoint_form *form, const struct form_piece *piece)
{
    const uint32_t low = (uint32_t)MARK;
    const char *next = piece->data, *end = next + piece->bytes;
    while ((next = memmem(next, (size_t)(end - next), &low, sizeof low))) {
        int64_t *place = place_of(form, next, end - next);
        if (place && *place != 0) return fail_mark(form, "a value that is there twice");
        if (place) *place = piece->offset + (next - piece->data);
        next += sizeof low;
    }
    return ZI_OK;
}

enum zi_status header_check_marks(const struct checkpoint_form *form)
{
    static const char *const names[] = {"step",       "updates",          "tokens",
                                        "loss_scale", "loss_scale_steps", "written"};
    for (int d = 0; d < form->dataset_count; d++) {
        if (form->checksums[d] == 0) return fail_mark(form, form->datasets[d].name);
    }
    for (int v = 0; v < HEADER_VALUES; v++) {
        bool scaling = v == HEADER_LOSS_SCALE || v == HEADER_LOSS_SCALE_STEPS;
        if (form->values[v] == 0 && (!scaling || form->header.type == ZI_FP16))
            return fail_mark(form, names[v]);
    }
    return ZI_OK;
}

/* 0 or an errno. */
static int store_values(const struct checkpoint *checkpoint, int descriptor)
{
    const struct checkpoint_header *header = &checkpoint->header;
    const struct checkpoint_form *form = checkpoint->form;
    const int64_t values[] = {header->step, header->updates, header->tokens, header->loss_scale,
                              header->loss_scale_steps};
    char now[sizeof DATE] = "";
    int error = 0;
    for (int v = 0; v < HEADER_WRITTEN && error == 0; v++)
        if (form->values[v] != 0)
            error = checkpoint_write_at(descriptor, &values[v], sizeof values[v], form->values[v]);
    zi_time_stamp(now, sizeof now);
    if (error == 0)
        error = checkpoint_write_at(descriptor, now, sizeof now - 1, form->values[HEADER_WRITTEN]);
    return error;
}

enum zi_status header_store(const struct checkpoint *checkpoint, int descriptor)
{
    struct user_extent *extents;
    int error = store_values(checkpoint, descriptor);
    for (int d = 0; d < checkpoint->dataset_count && error == 0; d++) {
        const uint64_t *checksum = &checkpoint->datasets[d].checksum;
        error = checkpoint_write_at(descriptor, checksum, sizeof *checksum,
                                    checkpoint->form->checksums[d]);
    }
    if (error != 0)
        return zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: cannot write its header: %s%s",
                               checkpoint->temporary, strerror(error), checkpoint_remedy(error));
    ZI_TRY(header_list_extents(checkpoint->datasets, checkpoint->dataset_count, &extents));
    enum zi_status status = user_block_store(checkpoint->temporary, descriptor, extents,
                                             (int64_t)checkpoint->dataset_count);
    free(extents);
    return status;
}
