/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of the same deck in variants that must not differ: shared by tests of the engine. */
#ifndef ZI_REGRESSION_STEP_VARIANTS_H
#define ZI_REGRESSION_STEP_VARIANTS_H

#include "regression/unit/step_fixture.h"
#include "regression/unit/test.h"

#define SETS_MAX 10

/* Changes of a deck, "section.key=value"; the last is NULL where there are fewer than SETS_MAX. */
struct variant {
    const char *sets[SETS_MAX];
};

/* Collective. Trains a deck with the changes of three variants. */
static inline struct step_fixture_run variants_train(const char *deck, const struct variant *a,
                                                     const struct variant *b,
                                                     const struct variant *c, struct comm *comm)
{
    const struct variant *parts[] = {a, b, c};
    const char *sets[3 * SETS_MAX + 1];
    int count = 0;
    for (int p = 0; p < 3; p++)
        for (int i = 0; i < SETS_MAX && parts[p]->sets[i]; i++)
            sets[count++] = parts[p]->sets[i];
    sets[count] = NULL;
    return step_fixture_train(deck, sets, comm);
}

/* Local. The first run succeeded and came to the bits of the second; else `number` is named. */
static inline void variants_check_equal(const struct step_fixture_run *a,
                                        const struct step_fixture_run *b, int number)
{
    long before = test_failures();
    CHECK_INT(a->status, ZI_OK);
    for (int s = 0; s < STEP_FIXTURE_STEPS; s++) {
        CHECK(a->checksum[s] == b->checksum[s]);
        CHECK(a->loss[s] == b->loss[s]);
    }
    CHECK(a->last == b->last);
    CHECK(a->validation == b->validation);
    if (test_failures() > before) fprintf(stderr, "  in variant %d\n", number);
}

#endif
