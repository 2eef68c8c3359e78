/* SPDX-License-Identifier: Apache-2.0 */
/* How much scratch the operations of any device are given, without a device. */
#include "device/operations.h"

static int64_t round_up(int64_t count, int64_t multiple)
{
    return (count + multiple - 1) / multiple * multiple;
}

/* Two lines of `columns` per block of rows: dweight, dbias. */
size_t device_norm_backward_scratch(int64_t rows, int64_t columns)
{
    int64_t blocks = round_up(rows, DEVICE_NORM_ROWS) / DEVICE_NORM_ROWS;
    return (size_t)(2 * blocks * columns) * sizeof(float);
}

/* Per query head and token: a row of dq, and two numbers that belong to it. */
size_t device_attention_backward_scratch(const struct device_attention *desc)
{
    int64_t tokens = round_up(desc->tokens, DEVICE_ATTENTION_QUERIES);
    int64_t row = round_up(desc->width, DEVICE_ATTENTION_LANES) + 2;
    int64_t group = desc->heads / desc->key_heads;
    int64_t task = round_up(group * tokens * row, DEVICE_ATTENTION_LANES);
    return (size_t)(desc->sequences * desc->key_heads * task) * sizeof(float);
}
