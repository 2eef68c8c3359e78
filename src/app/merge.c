/* SPDX-License-Identifier: Apache-2.0 */
/* Merging adapters. Of the adapter whose matrix is read both matrices are held, which are small: rank
 * times the sides of the matrix. */
#include "app/merge.h"

#include <stdlib.h>

#include "base/log.h"

struct merge {
    struct source *source;
    struct model *full;
    /* Of each tensor without adapters, its number in `full`. */
    int *numbers;
    /* The matrix whose adapter is held, of `full`, or -1; A [rank, inputs] and B [outputs, rank]. */
    int held;
    float *a, *b;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to merge adapters");
}

static enum zi_status open_all(struct merge *merge, const struct model *written)
{
    static const struct settings_tiling whole = {1, 1, 1};
    int count = 0;
    ZI_TRY(model_create(source_model(merge->source), &whole, source_type(merge->source),
                        &merge->full));
    merge->numbers = calloc((size_t)merge->full->tensor_count + 1, sizeof *merge->numbers);
    if (!merge->numbers) return no_memory();
    for (int i = 0; i < merge->full->tensor_count; i++)
        if (!merge->full->tensors[i].adapts) merge->numbers[count++] = i;
    ZI_REQUIRE(count == written->tensor_count);
    return source_match(merge->source, merge->full, 0);
}

enum zi_status merge_open(struct source *source, const struct model *written, struct merge **merge)
{
    struct merge *made = calloc(1, sizeof *made);
    *merge = made;
    if (!made) return no_memory();
    made->source = source;
    made->held = -1;
    enum zi_status status = open_all(made, written);
    if (status >= 0) return ZI_OK;
    merge_close(made);
    *merge = NULL;
    return status;
}

void merge_close(struct merge *merge)
{
    if (!merge) return;
    model_destroy(merge->full);
    free(merge->numbers);
    free(merge->a);
    free(merge->b);
    free(merge);
}

const struct model *merge_model(const struct merge *merge)
{
    return merge->full;
}

bool merge_adapts(const struct merge *merge, int tensor)
{
    return merge->full->tensors[merge->numbers[tensor]].adapter >= 0;
}

/* All of a tensor. */
static enum zi_status read_all(struct merge *merge, int tensor, float **values)
{
    int64_t elements = merge->full->tensors[tensor].elements;
    free(*values);
    *values = malloc((size_t)elements * sizeof **values);
    if (!*values) return no_memory();
    return source_read(merge->source, tensor, 0, elements, *values);
}

static enum zi_status hold(struct merge *merge, int number)
{
    int adapter = merge->full->tensors[number].adapter;
    if (merge->held == number) return ZI_OK;
    merge->held = -1;
    ZI_TRY(read_all(merge, adapter, &merge->a));
    ZI_TRY(read_all(merge, adapter + 1, &merge->b));
    merge->held = number;
    return ZI_OK;
}

enum zi_status merge_read(struct merge *merge, int tensor, int64_t first, int64_t count,
                          float *values)
{
    int number = merge->numbers[tensor];
    int64_t columns = merge->full->tensors[number].shape[1];
    int64_t rank = merge->full->settings.adapter.rank;
    float scale = model_adapter_scale(&merge->full->settings);
    ZI_TRY(source_read(merge->source, number, first, count, values));
    if (!merge_adapts(merge, tensor)) return ZI_OK;
    ZI_TRY(hold(merge, number));
    for (int64_t i = 0; i < count; i++) {
        int64_t row = (first + i) / columns, column = (first + i) % columns;
        float sum = 0;
        for (int64_t k = 0; k < rank; k++)
            sum += merge->b[row * rank + k] * merge->a[k * columns + column];
        values[i] += scale * sum;
    }
    return ZI_OK;
}

enum zi_status merge_read_bits(struct merge *merge, int tensor, int64_t first, int64_t count,
                               void *values)
{
    return source_read_bits(merge->source, merge->numbers[tensor], first, count, values);
}
