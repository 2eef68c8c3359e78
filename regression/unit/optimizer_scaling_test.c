/* SPDX-License-Identifier: Apache-2.0 */
/* The loss scale that a run finds: when it is halved, doubled, or left alone, and what a skipped step
 * counts as. */
#include <math.h>

#include "optimizer/optimizer.h"
#include "regression/unit/test.h"

static struct settings_precision settings_of(int compute, int64_t scale)
{
    return (struct settings_precision){
        .compute = compute, .loss_scale = scale, .loss_scale_initial = 8, .loss_scale_growth = 3};
}

/* A step of a run, skipped or not, with this loss; whether the scale alone was to blame. */
static bool next(const struct settings_precision *settings, bool skip, double loss,
                 struct optimizer_scaling *scaling)
{
    struct optimizer_step step = {.skip = skip, .loss_scale = (double)scaling->scale};
    return optimizer_scaling_next(settings, &step, loss, scaling);
}

static void check_is(const struct optimizer_scaling *scaling, int64_t scale, int64_t steps)
{
    CHECK_INT(scaling->scale, scale);
    CHECK_INT(scaling->steps, steps);
}

static void test_found(void)
{
    struct settings_precision s = settings_of(ZI_FP16, ZI_AUTO);
    struct optimizer_scaling scaling = optimizer_scaling_start(&s);
    check_is(&scaling, 8, 0);
    CHECK(!next(&s, false, 1.0, &scaling) && !next(&s, false, 1.0, &scaling));
    check_is(&scaling, 8, 2);
    CHECK(!next(&s, false, 1.0, &scaling));
    check_is(&scaling, 16, 0);
    next(&s, false, 1.0, &scaling);
    CHECK(next(&s, true, 1.0, &scaling)); /* and the count begins anew */
    check_is(&scaling, 8, 0);
    for (int64_t scale = 4; scale >= 1; scale /= 2) { /* several in a row, down to 1 */
        CHECK(next(&s, true, 1.0, &scaling));
        check_is(&scaling, scale, 0);
    }
    CHECK(!next(&s, true, 1.0, &scaling)); /* what overflows with 1 is a failure */
    check_is(&scaling, 1, 0);
    for (int i = 0; i < 3; i++)
        next(&s, false, 1.0, &scaling);
    check_is(&scaling, 2, 0);
}

/* A loss that is not finite is a failure whatever the scale, which stays. */
static void test_loss(void)
{
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    struct settings_precision s = settings_of(ZI_FP16, ZI_AUTO);
    for (int i = 0; i < 3; i++) {
        struct optimizer_scaling scaling = {64, 2};
        CHECK(!next(&s, true, bad[i], &scaling));
        check_is(&scaling, 64, 0);
    }
}

/* Gradients that are all zero would double it for ever. */
static void test_most(void)
{
    struct settings_precision s = settings_of(ZI_FP16, ZI_AUTO);
    struct optimizer_scaling scaling = {1 << 23, 0};
    for (int i = 0; i < 3; i++)
        next(&s, false, 1.0, &scaling);
    check_is(&scaling, 1 << 24, 0);
    for (int i = 0; i < 7; i++)
        next(&s, false, 1.0, &scaling);
    check_is(&scaling, 1 << 24, 1);
}

static void test_given(void)
{
    struct settings_precision s = settings_of(ZI_FP16, 128);
    struct optimizer_scaling scaling = optimizer_scaling_start(&s);
    for (int i = 0; i < 20; i++)
        CHECK(!next(&s, i % 3 == 0, 1.0, &scaling));
    check_is(&scaling, 128, 0);
}

/* Other arithmetic has none, whatever its settings say. */
static void test_others(void)
{
    static const enum zi_dtype types[] = {ZI_FP32, ZI_BF16};
    for (int i = 0; i < 4; i++) {
        struct settings_precision s = settings_of(types[i % 2], i < 2 ? ZI_AUTO : 16);
        struct optimizer_scaling scaling = optimizer_scaling_start(&s);
        for (int step = 0; step < 5; step++)
            CHECK(!next(&s, step == 2, 1.0, &scaling));
        check_is(&scaling, 1, 0);
    }
}

static void test_resume(void)
{
    const struct optimizer_scaling saved = {32, 2};
    struct settings_precision found = settings_of(ZI_FP16, ZI_AUTO);
    struct settings_precision given = settings_of(ZI_FP16, 4), none = settings_of(ZI_BF16, ZI_AUTO);
    struct optimizer_scaling scaling = optimizer_scaling_resume(&found, saved);
    check_is(&scaling, 32, 2);
    scaling = optimizer_scaling_resume(&given, saved);
    check_is(&scaling, 4, 0);
    scaling = optimizer_scaling_resume(&none, saved);
    check_is(&scaling, 1, 0);
}

int main(void)
{
    test_found();
    test_loss();
    test_most();
    test_given();
    test_others();
    test_resume();
    return test_finish("optimizer_scaling_test");
}
