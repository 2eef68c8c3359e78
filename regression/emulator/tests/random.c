/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of random operations, against a model of their order that keeps clocks for every byte.
 *
 * The right program gives only what the model calls ordered; the faulty one ends with an operation
 * that is not. Which programs: EMULATOR_SEED. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "regression/emulator/emulator.h"
#include "regression/emulator/tests/board.h"
#include "regression/emulator/tests/faults.h"

enum { STREAMS = 4, EVENTS = 6, ROOM = 150000, LONGEST = 300, STEPS = 6000, HOST = STREAMS };

/* Per stream, the number of its operations that are known to be done. */
struct known {
    uint32_t of[STREAMS];
};

static struct {
    cudaStream_t streams[STREAMS];
    cudaEvent_t events[EVENTS];
    uint8_t *memory;
    uint64_t random;
    /* Of the streams, and of the host. */
    struct known known[STREAMS + 1], recorded[EVENTS];
    /* Per byte: who wrote it last and, per stream, the last that read it. 0: nobody. */
    uint8_t writer[ROOM];
    uint32_t wrote[ROOM], read[ROOM][STREAMS];
} model;

static uint32_t draw(uint32_t below)
{
    model.random = model.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((model.random >> 33) % below);
}

static void learn(struct known *who, const struct known *what)
{
    for (int i = 0; i < STREAMS; i++)
        if (what->of[i] > who->of[i]) who->of[i] = what->of[i];
}

/* Whether an operation on a stream may touch the bytes. */
static bool is_ordered(uint32_t stream, uint32_t first, uint32_t bytes, bool writes)
{
    struct known known = model.known[stream];
    learn(&known, &model.known[HOST]);
    for (uint32_t i = first; i < first + bytes; i++) {
        if (model.wrote[i] > known.of[model.writer[i]]) return false;
        for (int s = 0; s < STREAMS && writes; s++)
            if (model.read[i][s] > known.of[s]) return false;
    }
    return true;
}

static void touch(uint32_t stream, uint32_t first, uint32_t bytes, bool writes)
{
    uint32_t number = model.known[stream].of[stream];
    for (uint32_t i = first; i < first + bytes; i++) {
        if (!writes) {
            model.read[i][stream] = number;
            continue;
        }
        model.writer[i] = (uint8_t)stream;
        model.wrote[i] = number;
        memset(model.read[i], 0, sizeof model.read[i]);
    }
}

/* Gives a fill or a copy when it is ordered, or when it is not and `faulty`; says whether it was
 * out of order. */
static bool work(bool faulty)
{
    uint32_t stream = draw(STREAMS), bytes = 1 + draw(LONGEST), from = 0;
    uint32_t to = draw(ROOM - bytes);
    bool copies = draw(2) == 0;
    if (copies) {
        from = draw(ROOM - bytes);
        if (from < to + bytes && to < from + bytes) return false;
    }
    bool ordered =
        is_ordered(stream, to, bytes, true) && (!copies || is_ordered(stream, from, bytes, false));
    if (!ordered && !faulty) return false;
    learn(&model.known[stream], &model.known[HOST]);
    model.known[stream].of[stream]++;
    if (copies) {
        touch(stream, from, bytes, false);
        CHECK_CUDA(cudaMemcpyAsync(model.memory + to, model.memory + from, bytes, cudaMemcpyDefault,
                                   model.streams[stream]));
    } else {
        CHECK_CUDA(cudaMemsetAsync(model.memory + to, 1, bytes, model.streams[stream]));
    }
    touch(stream, to, bytes, true);
    return !ordered;
}

/* A step that brings order. */
static void order(void)
{
    uint32_t stream = draw(STREAMS), event = draw(EVENTS), kind = draw(16);
    if (kind < 7) {
        learn(&model.known[stream], &model.known[HOST]);
        model.recorded[event] = model.known[stream];
        CHECK_CUDA(cudaEventRecord(model.events[event], model.streams[stream]));
    } else if (kind < 14) {
        learn(&model.known[stream], &model.known[HOST]);
        learn(&model.known[stream], &model.recorded[event]);
        CHECK_CUDA(cudaStreamWaitEvent(model.streams[stream], model.events[event], 0));
    } else if (kind == 14) {
        learn(&model.known[HOST], &model.recorded[event]);
        CHECK_CUDA(cudaEventSynchronize(model.events[event]));
    } else {
        learn(&model.known[HOST], &model.known[stream]);
        CHECK_CUDA(cudaStreamSynchronize(model.streams[stream]));
    }
}

static void random_order(bool faulty)
{
    const char *seed = getenv("EMULATOR_SEED");
    int given = 0;
    memset(&model, 0, sizeof model);
    model.random = seed ? strtoull(seed, NULL, 10) : 0;
    model.memory = device_memory(ROOM);
    for (int i = 0; i < STREAMS; i++)
        model.streams[i] = stream_make();
    for (int i = 0; i < EVENTS; i++)
        CHECK_CUDA(cudaEventCreateWithFlags(&model.events[i], cudaEventDisableTiming));
    for (int i = 0; i < STEPS; i++) {
        if (draw(3) == 0)
            order();
        else
            given += !work(false);
    }
    CHECK(given > STEPS / 4);
    while (faulty && !work(true))
        continue;
    for (int i = 0; i < STREAMS; i++) {
        CHECK_CUDA(cudaStreamSynchronize(model.streams[i]));
        CHECK_CUDA(cudaStreamDestroy(model.streams[i]));
    }
    for (int i = 0; i < EVENTS; i++)
        CHECK_CUDA(cudaEventDestroy(model.events[i]));
    CHECK_CUDA(cudaFree(model.memory));
}

const struct fault faults_random[] = {
    {"random_order", EMULATOR_RACE, "no event or wait", random_order, NULL},
    {0},
};
