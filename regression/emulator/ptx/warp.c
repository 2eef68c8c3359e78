/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions of a warp: all lanes of a mask come to one before any goes on. */
#include "regression/emulator/ptx/steps.h"

/* Waits for the lanes of the mask in an operand. */
#define WAIT(name, operand)                                                                        \
    PTX_STEP(name)                                                                                 \
    {                                                                                              \
        t->at = i;                                                                                 \
        t->mask = r[i->o[operand]].u32;                                                            \
        t->state = PTX_WAITS_WARP;                                                                 \
        return NULL;                                                                               \
    }
WAIT(wait_0, 0)
WAIT(wait_2, 2)
WAIT(wait_3, 3)
WAIT(wait_5, 5)

#define TOGETHER(name)                                                                             \
    static bool name(const struct ptx_instruction *i, struct ptx_thread *lanes, uint32_t mask)

#define EACH_LANE(k, mask)                                                                         \
    for (uint32_t rest_##k = (mask), k = 0;                                                        \
         rest_##k != 0 && (k = (uint32_t)__builtin_ctz(rest_##k), true); rest_##k &= rest_##k - 1)

enum shuffle { UP, DOWN, BUTTERFLY, INDEX };

/* The lane that `lane` reads from; itself, and *inside false, when that is out of its segment. */
static uint32_t source_lane(enum shuffle kind, uint32_t lane, uint32_t b, uint32_t c, bool *inside)
{
    uint32_t segment = c >> 8 & 31, last = (lane & segment) | (c & 31 & ~segment), from = lane;
    b &= 31;
    switch (kind) {
    case UP:
        *inside = (int)lane - (int)b >= (int)last;
        from = lane - b;
        break;
    case DOWN:
        from = lane + b;
        *inside = from <= last;
        break;
    case BUTTERFLY:
        from = lane ^ b;
        *inside = from <= last;
        break;
    case INDEX:
        from = (lane & segment) | (b & ~segment);
        *inside = from <= last;
        break;
    }
    return *inside ? from : lane;
}

static bool shuffle(enum shuffle kind, const struct ptx_instruction *i, struct ptx_thread *lanes,
                    uint32_t mask)
{
    uint32_t values[PTX_WARP];
    EACH_LANE(k, mask)
    values[k] = lanes[k].frame[i->o[2]].u32;
    EACH_LANE(k, mask)
    {
        union ptx_value *r = lanes[k].frame;
        bool inside = false;
        uint32_t from = source_lane(kind, k, r[i->o[3]].u32, r[i->o[4]].u32, &inside);
        if (!(mask >> from & 1))
            return ptx_fault(&lanes[k], i,
                             "lane %u reads from lane %u, which is not in the mask %#x", k, from,
                             mask);
        r[i->o[0]].u64 = values[from];
        r[i->o[1]].u64 = inside;
    }
    return true;
}

TOGETHER(shuffle_up)
{
    return shuffle(UP, i, lanes, mask);
}

TOGETHER(shuffle_down)
{
    return shuffle(DOWN, i, lanes, mask);
}

TOGETHER(shuffle_butterfly)
{
    return shuffle(BUTTERFLY, i, lanes, mask);
}

TOGETHER(shuffle_index)
{
    return shuffle(INDEX, i, lanes, mask);
}

static uint32_t ballot_of(const struct ptx_instruction *i, struct ptx_thread *lanes, uint32_t mask)
{
    uint32_t yes = 0;
    EACH_LANE(k, mask)
    yes |= (uint32_t)(lanes[k].frame[i->o[1]].u8 & 1) << k;
    return yes;
}

static bool give(const struct ptx_instruction *i, struct ptx_thread *lanes, uint32_t mask,
                 uint64_t result)
{
    EACH_LANE(k, mask)
    lanes[k].frame[i->o[0]].u64 = result;
    return true;
}

TOGETHER(ballot)
{
    return give(i, lanes, mask, ballot_of(i, lanes, mask));
}

TOGETHER(vote_any)
{
    return give(i, lanes, mask, ballot_of(i, lanes, mask) != 0);
}

TOGETHER(vote_all)
{
    return give(i, lanes, mask, ballot_of(i, lanes, mask) == mask);
}

TOGETHER(vote_uniform)
{
    uint32_t yes = ballot_of(i, lanes, mask);
    return give(i, lanes, mask, yes == mask || yes == 0);
}

static bool match_any(const struct ptx_instruction *i, struct ptx_thread *lanes, uint32_t mask,
                      uint64_t bits)
{
    uint32_t result[PTX_WARP] = {0};
    EACH_LANE(k, mask)
    EACH_LANE(l, mask)
    if (((lanes[k].frame[i->o[1]].u64 ^ lanes[l].frame[i->o[1]].u64) & bits) == 0)
        result[k] |= UINT32_C(1) << l;
    EACH_LANE(k, mask)
    lanes[k].frame[i->o[0]].u64 = result[k];
    return true;
}

TOGETHER(match_any_b32)
{
    return match_any(i, lanes, mask, UINT32_MAX);
}

TOGETHER(match_any_b64)
{
    return match_any(i, lanes, mask, UINT64_MAX);
}

static bool match_all(const struct ptx_instruction *i, struct ptx_thread *lanes, uint32_t mask,
                      uint64_t bits)
{
    uint64_t first = lanes[__builtin_ctz(mask)].frame[i->o[2]].u64;
    bool same = true;
    EACH_LANE(k, mask)
    same = same && ((lanes[k].frame[i->o[2]].u64 ^ first) & bits) == 0;
    EACH_LANE(k, mask)
    {
        lanes[k].frame[i->o[0]].u64 = same ? mask : 0;
        lanes[k].frame[i->o[1]].u64 = same;
    }
    return true;
}

TOGETHER(match_all_b32)
{
    return match_all(i, lanes, mask, UINT32_MAX);
}

TOGETHER(match_all_b64)
{
    return match_all(i, lanes, mask, UINT64_MAX);
}

/* X(name, field, value of x so far and y). */
#define REDUCTIONS(X)                                                                              \
    X(add_u32, u32, x + y)                                                                         \
    X(min_u32, u32, x < y ? x : y)                                                                 \
    X(max_u32, u32, x > y ? x : y)                                                                 \
    X(min_s32, s32, (int32_t)x < (int32_t)y ? x : y)                                               \
    X(max_s32, s32, (int32_t)x > (int32_t)y ? x : y)                                               \
    X(and_b32, u32, x &y)                                                                          \
    X(or_b32, u32, x | y)                                                                          \
    X(xor_b32, u32, x ^ y)
#define REDUCTION(name, field, value)                                                              \
    TOGETHER(name)                                                                                 \
    {                                                                                              \
        uint32_t x = lanes[__builtin_ctz(mask)].frame[i->o[1]].u32;                                \
        EACH_LANE(k, mask &(mask - 1))                                                             \
        {                                                                                          \
            uint32_t y = lanes[k].frame[i->o[1]].u32;                                              \
            x = value;                                                                             \
        }                                                                                          \
        return give(i, lanes, mask, x);                                                            \
    }
REDUCTIONS(REDUCTION)

TOGETHER(sync_lanes)
{
    (void)i;
    ptx_shared_sync(lanes, mask);
    return true;
}

/* Which lanes run together is the hardware's affair: only the lane itself can be counted on. */
PTX_SIMPLE(active, D.u64 = UINT32_C(1) << t->lane)

#define ROW(text, wait, function, count, two)                                                      \
    {                                                                                              \
        .name = text, .run = wait, .together = function, .operands = count, .pair = two            \
    }

const struct ptx_form ptx_warp_forms[] = {
    ROW("shfl.sync.up.b32", wait_5, shuffle_up, 5, true),
    ROW("shfl.sync.down.b32", wait_5, shuffle_down, 5, true),
    ROW("shfl.sync.bfly.b32", wait_5, shuffle_butterfly, 5, true),
    ROW("shfl.sync.idx.b32", wait_5, shuffle_index, 5, true),
    ROW("vote.sync.ballot.b32", wait_2, ballot, 3, false),
    ROW("vote.sync.any.pred", wait_2, vote_any, 3, false),
    ROW("vote.sync.all.pred", wait_2, vote_all, 3, false),
    /* .uni has been taken off as a modifier. */
    {.name = "vote.sync.pred",
     .run = wait_2,
     .together = vote_uniform,
     .flags = PTX_UNI,
     .operands = 3},
    ROW("match.any.sync.b32", wait_2, match_any_b32, 3, false),
    ROW("match.any.sync.b64", wait_2, match_any_b64, 3, false),
    ROW("match.all.sync.b32", wait_3, match_all_b32, 3, true),
    ROW("match.all.sync.b64", wait_3, match_all_b64, 3, true),
    ROW("redux.sync.add.u32", wait_2, add_u32, 3, false),
    ROW("redux.sync.add.s32", wait_2, add_u32, 3, false),
    ROW("redux.sync.min.u32", wait_2, min_u32, 3, false),
    ROW("redux.sync.max.u32", wait_2, max_u32, 3, false),
    ROW("redux.sync.min.s32", wait_2, min_s32, 3, false),
    ROW("redux.sync.max.s32", wait_2, max_s32, 3, false),
    ROW("redux.sync.and.b32", wait_2, and_b32, 3, false),
    ROW("redux.sync.or.b32", wait_2, or_b32, 3, false),
    ROW("redux.sync.xor.b32", wait_2, xor_b32, 3, false),
    ROW("bar.warp.sync", wait_0, sync_lanes, 1, false),
    {.name = "activemask.b32", .run = active, .operands = 1},
    {0},
};
