/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of a token. Candidates are a heap, from which the likeliest are taken until the random
 * number is reached: of large vocabularies few are ever put in order. */
#include "app/choose.h"

#include <math.h>
#include <stdbool.h>

#include "base/random.h"

/* Larger logit first; equal ones in the order of their ids. */
static bool is_before(const struct choice_candidate *a, const struct choice_candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

/* Lets candidate i of a heap of `count` sink to its place. */
static void sink(struct choice_candidate *heap, int64_t count, int64_t i)
{
    struct choice_candidate moved = heap[i];
    for (int64_t child = 2 * i + 1; child < count; child = 2 * i + 1) {
        if (child + 1 < count && is_before(&heap[child + 1], &heap[child])) child++;
        if (!is_before(&heap[child], &moved)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

/* Takes the first of a heap of `count`, which moves behind the others. */
static struct choice_candidate take(struct choice_candidate *heap, int64_t count)
{
    struct choice_candidate first = heap[0];
    heap[0] = heap[count - 1];
    heap[count - 1] = first;
    sink(heap, count - 1, 0);
    return first;
}

/* Candidates in the order in which they count. Those that were taken are at the end of the array, the
 * first one last. */
struct order {
    const struct choice *choice;
    float largest;
    int64_t taken;
    double sum;
};

static double weight_of(const struct order *o, float logit)
{
    return exp(((double)logit - (double)o->largest) / o->choice->temperature);
}

static struct choice_candidate candidate(struct order *o, int64_t i)
{
    struct choice_candidate *all = o->choice->candidates;
    if (i < o->taken) return all[o->choice->count - 1 - i];
    struct choice_candidate next = take(all, o->choice->count - o->taken++);
    o->sum += weight_of(o, next.logit);
    return next;
}

/* How many candidates there are to choose from; *sum is that of their odds. */
static int64_t limit(struct order *o, double *sum)
{
    const struct choice *c = o->choice;
    int64_t most = c->top_k > 0 && c->top_k < c->count ? c->top_k : c->count;
    double all = 0;
    if (most == c->count) {
        for (int64_t i = 0; i < c->count; i++)
            all += weight_of(o, c->candidates[i].logit);
    } else {
        candidate(o, 0);
        while (o->taken < most)
            candidate(o, o->taken);
        all = o->sum;
    }
    *sum = all;
    if (c->top_p >= 1) return most;
    double reached = 0;
    for (int64_t i = 0; i < most; i++) {
        reached += weight_of(o, candidate(o, i).logit);
        if (reached < c->top_p * all) continue;
        *sum = reached;
        return i + 1;
    }
    return most;
}

static int32_t likeliest(const struct choice *choice, const float *logits)
{
    int32_t best = 0;
    for (int64_t i = 1; i < choice->count; i++) {
        if (logits[i] > logits[best]) best = (int32_t)i;
    }
    return best;
}

int32_t choose_token(const struct choice *choice, const float *logits, int64_t text, int64_t place)
{
    struct order order = {.choice = choice};
    double sum;
    if (choice->temperature == 0) return likeliest(choice, logits);
    for (int64_t i = 0; i < choice->count; i++)
        choice->candidates[i] = (struct choice_candidate){logits[i], (int32_t)i};
    for (int64_t i = choice->count / 2; i >= 0; i--)
        sink(choice->candidates, choice->count, i);
    order.largest = choice->candidates[0].logit;
    int64_t count = limit(&order, &sum);
    uint64_t stream = zi_random_stream("generate") + (uint64_t)text;
    double left = sum * zi_random_uniform((uint64_t)choice->seed, stream, (uint64_t)place);
    for (int64_t i = 0; i < count - 1; i++) {
        struct choice_candidate next = candidate(&order, i);
        left -= weight_of(&order, next.logit);
        if (left < 0) return next.id;
    }
    return candidate(&order, count - 1).id;
}
