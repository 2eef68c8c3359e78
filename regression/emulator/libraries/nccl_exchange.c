/* SPDX-License-Identifier: Apache-2.0 */
/* The emulation's NCCL: how ranks exchange what a group moves. Every collective is a message to each
 * other rank, which may be empty, so that all learn what the others call; a message begins with that,
 * and must be answered by the same call. All messages of a group move at the same time, those between
 * two ranks in the order of the calls. An operation is done when the others have taken what it sent:
 * a program that relies on buffers in between waits for ever here.
 *
 * Sums start at the rank after the one that keeps them, as a ring would: NCCL promises no order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/half.h"
#include "regression/emulator/libraries/nccl_comm.h"

/* Begins a message; what nccl_describe needs of the sender's call. */
struct letterhead {
    uint64_t number, count, bytes;
    int32_t kind, type, peer;
};

/* One message of a group, sent or received. */
struct message {
    const struct nccl_call *call;
    int peer;
    bool sends;
    char *buffer;
    /* done counts the letterhead too. */
    size_t bytes, done;
    struct letterhead head;
};

/* A group while it runs. */
struct exchange {
    const struct nccl_group *group;
    struct ncclComm *comm;
    struct message *messages;
    int count;
    /* Contributions of the others to sums, per call: ranks * bytes of the result. */
    char **contributions;
};

static struct nccl_channel *channel(const struct ncclComm *comm, int from, int to)
{
    return &comm->shared->channels[(size_t)from * (size_t)comm->ranks + (size_t)to];
}

static bool is_pair(const struct nccl_call *call)
{
    return call->kind == NCCL_SEND || call->kind == NCCL_RECV;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Moves bytes into a ring while it has room; gives how many. */
static size_t channel_write(struct nccl_channel *to, const char *bytes, size_t count)
{
    uint64_t written = atomic_load(&to->written),
             room = NCCL_CHANNEL_BYTES - (written - atomic_load(&to->read));
    size_t moved = min_size(count, room), place = written % NCCL_CHANNEL_BYTES;
    size_t first = min_size(moved, NCCL_CHANNEL_BYTES - place);
    memcpy(to->data + place, bytes, first);
    memcpy(to->data, bytes + first, moved - first);
    atomic_store(&to->written, written + moved);
    return moved;
}

static size_t channel_read(struct nccl_channel *from, char *bytes, size_t count)
{
    uint64_t read = atomic_load(&from->read), there = atomic_load(&from->written) - read;
    size_t moved = min_size(count, there), place = read % NCCL_CHANNEL_BYTES;
    size_t first = min_size(moved, NCCL_CHANNEL_BYTES - place);
    memcpy(bytes, from->data + place, first);
    memcpy(bytes + first, from->data, moved - first);
    atomic_store(&from->read, read + moved);
    return moved;
}

/* The sender's call is the counterpart of this one, or the program is wrong. */
static void check_head(const struct exchange *exchange, const struct message *message)
{
    const struct letterhead *head = &message->head;
    const struct nccl_call *call = message->call;
    struct nccl_call other = {.kind = (enum nccl_kind)head->kind,
                              .count = head->count,
                              .type = (ncclDataType_t)head->type,
                              .peer = head->peer,
                              .number = head->number};
    bool fits = call->count == other.count && call->type == other.type;
    if (is_pair(call))
        fits = fits && other.kind == NCCL_SEND;
    else
        fits = fits && other.kind == call->kind && other.peer == call->peer &&
               other.number == call->number;
    if (fits) return;
    char mine[160], theirs[160];
    nccl_describe(call, exchange->comm->rank, mine, sizeof mine);
    nccl_describe(&other, message->peer, theirs, sizeof theirs);
    emulator_fail(EMULATOR_COLLECTIVE, "%s, but %s", mine, theirs);
}

/* Moves what can be moved of a message; whether anything did. */
static bool message_move(const struct exchange *exchange, struct message *m)
{
    size_t head = sizeof m->head, before = m->done;
    int rank = exchange->comm->rank;
    struct nccl_channel *through =
        m->sends ? channel(exchange->comm, rank, m->peer) : channel(exchange->comm, m->peer, rank);
    if (m->done < head) {
        char *place = (char *)&m->head + m->done;
        size_t rest = head - m->done;
        m->done +=
            m->sends ? channel_write(through, place, rest) : channel_read(through, place, rest);
        if (m->done == head && !m->sends) check_head(exchange, m);
    }
    if (m->done >= head && m->bytes > 0) {
        char *place = m->buffer + (m->done - head);
        size_t rest = m->bytes - (m->done - head);
        m->done +=
            m->sends ? channel_write(through, place, rest) : channel_read(through, place, rest);
    }
    return m->done > before;
}

static void message_add(struct exchange *exchange, const struct nccl_call *call, int peer,
                        bool sends, const void *buffer, size_t bytes)
{
    exchange->messages[exchange->count++] = (struct message){
        .call = call,
        .peer = peer,
        .sends = sends,
        .buffer = (char *)buffer,
        .bytes = bytes,
        .head = {call->number, call->count, bytes, (int32_t)call->kind, (int32_t)call->type,
                 call->peer},
    };
}

/* The messages of one call to and from `peer`. */
static void call_messages(struct exchange *exchange, int index, int peer)
{
    const struct nccl_call *call = &exchange->group->calls[index];
    size_t bytes = call->count * nccl_bytes(call->type), theirs = (size_t)peer * bytes;
    int rank = exchange->comm->rank;
    const char *send = call->send;
    char *recv = call->recv;
    if (is_pair(call)) {
        bool sends = call->kind == NCCL_SEND;
        if (peer == call->peer)
            message_add(exchange, call, peer, sends, sends ? send : recv, bytes);
        return;
    }
    if (peer == rank) return;
    bool from_root = rank == call->peer, to_root = peer == call->peer;
    char *sums = exchange->contributions[index];
    switch (call->kind) {
    case NCCL_ALL_GATHER:
        message_add(exchange, call, peer, true, send, bytes);
        message_add(exchange, call, peer, false, recv + theirs, bytes);
        break;
    case NCCL_REDUCE_SCATTER:
        message_add(exchange, call, peer, true, send + theirs, bytes);
        message_add(exchange, call, peer, false, sums + theirs, bytes);
        break;
    case NCCL_ALL_REDUCE:
        message_add(exchange, call, peer, true, send, bytes);
        message_add(exchange, call, peer, false, sums + theirs, bytes);
        break;
    default:
        message_add(exchange, call, peer, true, send, from_root ? bytes : 0);
        message_add(exchange, call, peer, false, recv, to_root ? bytes : 0);
    }
}

static void add(ncclDataType_t type, void *to, const void *from, size_t count)
{
    float *numbers = to;
    uint16_t *halves = to;
    const uint16_t *others = from;
    for (size_t i = 0; i < count; i++)
        if (type == ncclFloat32)
            numbers[i] += ((const float *)from)[i];
        else if (type == ncclFloat16)
            halves[i] = zi_fp16_round_even(zi_fp16_to_fp32(halves[i]) + zi_fp16_to_fp32(others[i]));
        else
            halves[i] = zi_bf16_round_even(zi_bf16_to_fp32(halves[i]) + zi_bf16_to_fp32(others[i]));
}

/* What a call does in its own process: the rank's own part before, sums after the exchange. */
static void call_own_part(struct exchange *exchange, int index)
{
    const struct nccl_call *call = &exchange->group->calls[index];
    size_t bytes = call->count * nccl_bytes(call->type), own = (size_t)exchange->comm->rank * bytes;
    const char *send = call->send;
    if (call->kind == NCCL_ALL_GATHER && (char *)call->recv + own != send)
        memcpy((char *)call->recv + own, send, bytes);
    if (call->kind == NCCL_BROADCAST && exchange->comm->rank == call->peer && call->recv != send)
        memcpy(call->recv, send, bytes);
    if (call->kind == NCCL_REDUCE_SCATTER)
        memcpy(exchange->contributions[index] + own, send + own, bytes);
    if (call->kind == NCCL_ALL_REDUCE) memcpy(exchange->contributions[index] + own, send, bytes);
}

static void call_sum(struct exchange *exchange, int index)
{
    const struct nccl_call *call = &exchange->group->calls[index];
    char *from = exchange->contributions[index];
    if (!from) return;
    size_t bytes = call->count * nccl_bytes(call->type);
    int ranks = exchange->comm->ranks;
    int first = call->kind == NCCL_REDUCE_SCATTER ? exchange->comm->rank + 1 : 0;
    memcpy(call->recv, from + (size_t)(first % ranks) * bytes, bytes);
    for (int k = 1; k < ranks; k++)
        add(call->type, call->recv, from + (size_t)((first + k) % ranks) * bytes, call->count);
}

/* What the ranks before have lost is known to NCCL as an error of the communicator. */
static void look_for_lost(struct ncclComm *comm)
{
    int lost = nccl_lost_rank(comm);
    if (lost < 0 || atomic_load(&comm->state) != (int)ncclSuccess) return;
    nccl_refuse(ncclRemoteError, "connection closed by rank %d of %d", lost, comm->ranks);
    atomic_store(&comm->state, (int)ncclRemoteError);
}

/* A wait of some time: pauses, and ends the process when it has been too long. `waits` may be NULL
 * when everything was received. */
static void wait_on(struct exchange *exchange, const struct message *waits, double start, int round)
{
    struct ncclComm *comm = exchange->comm;
    nanosleep(&(struct timespec){0, round < 50 ? 20000 : 500000}, NULL);
    if (round % 100 != 99) return;
    look_for_lost(comm);
    if (nccl_now() - start < nccl_timeout()) return;
    char text[160];
    nccl_describe(waits->call, -1, text, sizeof text);
    emulator_fail(EMULATOR_COLLECTIVE, "rank %d waits in %s: rank %d has not come in %.0f s",
                  comm->rank, text, waits->peer, nccl_timeout());
}

/* Whether all that was sent to a rank has been taken. */
static bool is_taken(const struct exchange *exchange, const struct message *m)
{
    const struct nccl_channel *to = channel(exchange->comm, exchange->comm->rank, m->peer);
    return !m->sends || atomic_load(&to->written) == atomic_load(&to->read);
}

/* One pass over all messages: those of a pair of ranks in each direction go one after the other.
 * Gives a message that is not done, or NULL. */
static const struct message *exchange_pass(struct exchange *exchange, bool *moved)
{
    bool busy[2][NCCL_RANKS_MOST] = {{false}};
    const struct message *waits = NULL;
    for (int i = 0; i < exchange->count; i++) {
        struct message *m = &exchange->messages[i];
        bool done = m->done == sizeof m->head + m->bytes;
        if (!done && !busy[m->sends][m->peer]) {
            if (message_move(exchange, m)) *moved = true;
            done = m->done == sizeof m->head + m->bytes;
        }
        if (!done) busy[m->sends][m->peer] = true;
        if ((!done || !is_taken(exchange, m)) && !waits) waits = m;
    }
    return waits;
}

static void exchange_all(struct exchange *exchange)
{
    double start = nccl_now();
    int round = 0;
    while (!atomic_load(&exchange->comm->aborted)) {
        bool moved = false;
        const struct message *waits = exchange_pass(exchange, &moved);
        if (!waits) return;
        if (moved)
            round = 0;
        else
            wait_on(exchange, waits, start, round++);
    }
}

/* The group with addresses that the emulation may touch; memory beyond the ranges that an operation
 * can announce is reported here. */
static struct nccl_group *with_aliases(const struct nccl_group *group)
{
    size_t bytes = sizeof *group + (size_t)group->count * sizeof group->calls[0];
    struct nccl_group *made = malloc(bytes);
    if (!made) return NULL;
    memcpy(made, group, bytes);
    for (int i = 0; i < made->count; i++) {
        struct nccl_call *call = &made->calls[i];
        size_t size = call->count * nccl_bytes(call->type), all = size * (size_t)group->comm->ranks;
        size_t sends = call->kind == NCCL_REDUCE_SCATTER ? all : size;
        size_t receives = call->kind == NCCL_ALL_GATHER ? all : size;
        bool reads =
            call->send && (call->kind != NCCL_BROADCAST || group->comm->rank == call->peer);
        if (size == 0) continue;
        if (reads) emulator_touched(&(struct emulator_range){call->send, sends, false});
        if (call->recv) emulator_touched(&(struct emulator_range){call->recv, receives, true});
        call->send = reads ? emulator_alias(call->send, sends) : NULL;
        call->recv = call->recv ? emulator_alias(call->recv, receives) : NULL;
        if ((reads && !call->send) || (group->calls[i].recv && !call->recv))
            emulator_fail(EMULATOR_KERNEL, "NCCL: a buffer of a group is no live memory");
    }
    return made;
}

static cudaError_t run_exchange(struct exchange *exchange)
{
    const struct nccl_group *group = exchange->group;
    int ranks = exchange->comm->ranks;
    exchange->messages = calloc((size_t)(group->count * 2 * ranks + 1), sizeof(struct message));
    exchange->contributions = calloc((size_t)group->count + 1, sizeof(char *));
    if (!exchange->messages || !exchange->contributions) return cudaErrorMemoryAllocation;
    for (int i = 0; i < group->count; i++) {
        const struct nccl_call *call = &group->calls[i];
        if (call->count == 0) continue;
        if (call->kind == NCCL_REDUCE_SCATTER || call->kind == NCCL_ALL_REDUCE) {
            exchange->contributions[i] =
                malloc((size_t)ranks * call->count * nccl_bytes(call->type));
            if (!exchange->contributions[i]) return cudaErrorMemoryAllocation;
        }
        call_own_part(exchange, i);
        for (int peer = 0; peer < ranks; peer++)
            call_messages(exchange, i, peer);
    }
    exchange_all(exchange);
    for (int i = 0; i < group->count && !atomic_load(&exchange->comm->aborted); i++)
        call_sum(exchange, i);
    return cudaSuccess;
}

cudaError_t nccl_run(void *argument)
{
    const struct nccl_group *given = argument;
    struct ncclComm *comm = given->comm;
    struct nccl_group *group = with_aliases(given);
    struct exchange exchange = {.group = group, .comm = comm};
    cudaError_t error = group ? run_exchange(&exchange) : cudaErrorMemoryAllocation;
    for (int i = 0; group && exchange.contributions && i < group->count; i++)
        free(exchange.contributions[i]);
    free(exchange.contributions);
    free(exchange.messages);
    free(group);
    atomic_fetch_sub(&comm->pending, 1);
    nccl_release(comm);
    return error;
}
