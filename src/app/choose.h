/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the choice of a token from logits. */
#ifndef ZI_APP_CHOOSE_H
#define ZI_APP_CHOOSE_H

#include <stdint.h>

struct choice_candidate {
    float logit;
    int32_t id;
};

/* How tokens are chosen. */
struct choice {
    /* 0: the likeliest. */
    double temperature;
    /* Among so many of the likeliest; 0: all. */
    int64_t top_k;
    /* Of these, among the fewest whose odds add up to it; 1: all. */
    double top_p;
    int64_t seed;
    /* Ids 0 .. count - 1 may be chosen. */
    int64_t count;
    /* Room for `count`. */
    struct choice_candidate *candidates;
};

/* Local. The id at place `place` of text number `text`, a function of the logits, the seed and both
 * numbers: the inverse of the cumulated odds, likeliest first, at a random number by counter. */
int32_t choose_token(const struct choice *choice, const float *logits, int64_t text, int64_t place);

#endif
