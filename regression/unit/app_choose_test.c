/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of tokens: by how often each is chosen over many places, against the odds; which may be
 * chosen with top-k and top-p; and that a choice is a function of seed, text and place. */
#include "app/choose.h"

#include <math.h>

#include "regression/unit/test.h"

enum { IDS = 5, DRAWS = 20000 };

/* Odds of 1/2, 1/4, 1/8, 1/16 and 1/16, in an order that is not theirs. */
static const double odds[IDS] = {0.125, 0.5, 0.0625, 0.25, 0.0625};

static struct choice_candidate room[IDS];

static void draw(const struct choice *choice, const float *logits, double shares[IDS])
{
    for (int i = 0; i < IDS; i++)
        shares[i] = 0;
    for (int64_t place = 0; place < DRAWS; place++) {
        int32_t id = choose_token(choice, logits, 0, place);
        CHECK(id >= 0 && id < choice->count);
        shares[id] += 1.0 / DRAWS;
    }
}

/* The shares are those of `ids` of the odds, in proportion, and of no others: four standard
 * deviations of a share are below 0.015. */
static void check_shares(struct choice choice, const float *logits, unsigned ids)
{
    double shares[IDS], sum = 0;
    for (int i = 0; i < IDS; i++)
        sum += ids >> i & 1 ? odds[i] : 0;
    draw(&choice, logits, shares);
    for (int i = 0; i < IDS; i++)
        CHECK(fabs(shares[i] - (ids >> i & 1 ? odds[i] / sum : 0)) < (ids >> i & 1 ? 0.015 : 1e-9));
}

int main(void)
{
    float logits[IDS], warm[IDS];
    for (int i = 0; i < IDS; i++) {
        logits[i] = (float)log(odds[i]);
        warm[i] = 2 * logits[i];
    }
    struct choice choice = {
        .temperature = 1, .top_p = 1, .seed = 3, .count = IDS, .candidates = room};
    check_shares(choice, logits, 0x1f);
    choice.temperature = 2;
    check_shares(choice, warm, 0x1f);
    choice.temperature = 1;
    choice.top_k = 2;
    check_shares(choice, logits, 1u << 1 | 1u << 3);
    choice.top_k = 9;
    check_shares(choice, logits, 0x1f);
    choice.top_k = 0;
    choice.top_p = 0.5; /* the first alone */
    check_shares(choice, logits, 1u << 1);
    choice.top_p = 0.8;
    check_shares(choice, logits, 1u << 1 | 1u << 3 | 1u << 0);
    choice.top_k = 3; /* of these the first is 4/7 */
    choice.top_p = 0.6;
    check_shares(choice, logits, 1u << 1 | 1u << 3);
    choice.top_p = 0;
    check_shares(choice, logits, 1u << 1);
    choice = (struct choice){.temperature = 0, .top_p = 1, .count = IDS};
    CHECK_INT(choose_token(&choice, logits, 0, 7), 1);
    /* ids behind count are not chosen; equal logits are in the order of their ids */
    choice =
        (struct choice){.temperature = 1, .top_p = 1, .top_k = 1, .count = 1, .candidates = room};
    CHECK_INT(choose_token(&choice, logits, 0, 7), 0);
    const float equal[IDS] = {1, 1, 1, 1, 1};
    choice.count = IDS;
    CHECK_INT(choose_token(&choice, equal, 0, 7), 0);
    choice =
        (struct choice){.temperature = 1, .top_p = 1, .seed = 3, .count = IDS, .candidates = room};
    int same_text = 0, same_seed = 0;
    for (int64_t place = 0; place < 100; place++) {
        int32_t id = choose_token(&choice, equal, 0, place);
        CHECK_INT(choose_token(&choice, equal, 0, place), id);
        same_text += choose_token(&choice, equal, 1, place) == id;
        choice.seed = 4;
        same_seed += choose_token(&choice, equal, 0, place) == id;
        choice.seed = 3;
    }
    CHECK(same_text < 50 && same_seed < 50);
    return test_finish("app_choose_test");
}
