/* SPDX-License-Identifier: Apache-2.0 */
/* Learning-rate schedules at their corner points, the decision to clip or skip, and what is refused
 * in a deck. Rates are
 * compared with values worked out by hand; 1e-15 of the peak allows for the last bit of a product
 * and of cos. */
#include "optimizer/optimizer.h"

#include "regression/unit/deck_fixture.h"
#include "regression/unit/test.h"

#include <math.h>

static struct settings_optimizer settings_of(enum optimizer_schedule schedule, int64_t warmup,
                                             int64_t decay)
{
    return (struct settings_optimizer){.learning_rate = 2.0,
                                       .minimum_ratio = 0.1,
                                       .schedule = (int)schedule,
                                       .warmup = warmup,
                                       .decay = decay};
}

static int rate_is(const struct settings_optimizer *settings, int64_t step, int64_t steps,
                   double expected)
{
    double rate = optimizer_learning_rate(settings, step, steps);
    if (fabs(rate - expected) <= 2.0e-15) return 1;
    fprintf(stderr, "step %lld of %lld: rate %.17g, expected %.17g\n", (long long)step,
            (long long)steps, rate, expected);
    return 0;
}

static void test_warmup(void)
{
    static const enum optimizer_schedule all[] = {SCHEDULE_CONSTANT, SCHEDULE_LINEAR,
                                                  SCHEDULE_COSINE, SCHEDULE_WSD};
    for (int i = 0; i < 4; i++) {
        struct settings_optimizer settings = settings_of(all[i], 4, 2);
        CHECK(rate_is(&settings, 0, 20, 0.5));
        CHECK(rate_is(&settings, 1, 20, 1.0));
        CHECK(rate_is(&settings, 3, 20, 2.0));
        /* a run shorter than its warm-up goes on rising */
        CHECK(rate_is(&settings, 2, 3, 1.5));
        /* without warm-up the first step has the peak */
        settings.warmup = 0;
        CHECK(rate_is(&settings, 0, 20, 2.0));
        /* a warm-up of one step is none */
        settings.warmup = 1;
        CHECK(rate_is(&settings, 0, 20, 2.0));
        /* one step, no room for a fall */
        settings.warmup = 0;
        settings.decay = 0;
        CHECK(rate_is(&settings, 0, 1, 2.0));
        settings.warmup = 1;
        CHECK(rate_is(&settings, 0, 1, 2.0));
        /* warm-up as long as the run ends at the peak */
        settings.warmup = 20;
        CHECK(rate_is(&settings, 19, 20, 2.0));
    }
}

static void test_falls(void)
{
    struct settings_optimizer constant = settings_of(SCHEDULE_CONSTANT, 2, 0);
    CHECK(rate_is(&constant, 2, 11, 2.0));
    CHECK(rate_is(&constant, 10, 11, 2.0));

    struct settings_optimizer linear = settings_of(SCHEDULE_LINEAR, 0, 0);
    CHECK(rate_is(&linear, 5, 11, 1.1));
    CHECK(rate_is(&linear, 10, 11, 0.2));
    CHECK(rate_is(&linear, 11, 11, 0.2)); /* after the end: as the last step */
    CHECK(rate_is(&linear, 1000, 11, 0.2));
    linear.warmup = 3; /* peak at step 2; halfway between 2 and 10 is 6 */
    CHECK(rate_is(&linear, 2, 11, 2.0));
    CHECK(rate_is(&linear, 6, 11, 1.1));
    CHECK(rate_is(&linear, 10, 11, 0.2));

    struct settings_optimizer cosine = settings_of(SCHEDULE_COSINE, 0, 0);
    CHECK(rate_is(&cosine, 0, 7, 2.0));
    CHECK(rate_is(&cosine, 2, 7, 0.2 + 1.8 * 0.75)); /* a third of the way: cos 60 degrees = 1/2 */
    CHECK(rate_is(&cosine, 3, 7, 1.1));
    CHECK(rate_is(&cosine, 4, 7, 0.2 + 1.8 * 0.25));
    CHECK(rate_is(&cosine, 6, 7, 0.2));
    cosine.minimum_ratio = 0.0;
    CHECK(rate_is(&cosine, 6, 7, 0.0));
    cosine.minimum_ratio = 1.0;
    CHECK(rate_is(&cosine, 5, 7, 2.0));
}

static void test_wsd(void)
{
    struct settings_optimizer wsd = settings_of(SCHEDULE_WSD, 2, 4);
    CHECK(rate_is(&wsd, 1, 10, 2.0));
    CHECK(rate_is(&wsd, 5, 10, 2.0));  /* the last step before the fall of 4 */
    CHECK(rate_is(&wsd, 6, 10, 1.55)); /* 1/4 of the fall from 2 to 0.2 */
    CHECK(rate_is(&wsd, 8, 10, 0.65));
    CHECK(rate_is(&wsd, 9, 10, 0.2));
    wsd.decay = 0; /* no fall */
    CHECK(rate_is(&wsd, 9, 10, 2.0));
    wsd.decay = 8; /* the fall starts right after warm-up */
    CHECK(rate_is(&wsd, 1, 10, 2.0));
    CHECK(rate_is(&wsd, 2, 10, 1.775));
    CHECK(rate_is(&wsd, 9, 10, 0.2));
}

static void test_decide(void)
{
    struct settings_optimizer settings = {.clip = 1.0};
    struct optimizer_step step = {.number = 7, .learning_rate = 0.5, .loss_scale = 1.0};
    optimizer_decide(&settings, 16.0, 0, 3.5, &step);
    CHECK(!step.skip && step.norm == 4.0 && step.scale == 0.25);
    optimizer_decide(&settings, 0.25, 0, 3.5, &step);
    CHECK(!step.skip && step.norm == 0.5 && step.scale == 1.0);
    optimizer_decide(&settings, 1.0, 0, 3.5, &step); /* at the limit: unchanged */
    CHECK(!step.skip && step.scale == 1.0);
    optimizer_decide(&settings, 0.0, 0, 3.5, &step);
    CHECK(!step.skip && step.norm == 0.0 && step.scale == 1.0);
    settings.clip = 0.0; /* no clipping */
    optimizer_decide(&settings, 1e60, 0, 3.5, &step);
    CHECK(!step.skip && step.norm == 1e30 && step.scale == 1.0);

    /* gradients of a loss times 1024 */
    settings.clip = 1.0;
    step.loss_scale = 1024.0;
    optimizer_decide(&settings, 16.0 * 0x1p20, 0, 3.5, &step);
    CHECK(!step.skip && step.norm == 4.0 && step.scale == 0.25 / 1024.0);
    optimizer_decide(&settings, 0.25 * 0x1p20, 0, 3.5, &step);
    CHECK(!step.skip && step.norm == 0.5 && step.scale == 1.0 / 1024.0);
    step.loss_scale = 1.0;

    static const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        optimizer_decide(&settings, 1.0, 0, bad[i], &step);
        CHECK(step.skip && isnan(step.norm) && step.scale == 0.0);
    }
    optimizer_decide(&settings, 1.0, 1, 3.5, &step);
    CHECK(step.skip && isnan(step.norm));
    optimizer_decide(&settings, NAN, 0, 3.5, &step);
    CHECK(step.skip && isnan(step.norm));
    optimizer_decide(&settings, 1.0, 0, 3.5, &step); /* the next good step is not skipped */
    CHECK(!step.skip && step.norm == 1.0);
    CHECK(step.number == 7 && step.learning_rate == 0.5);
}

/* Reads the small deck of 20 steps with overrides and gives the resolved decay, or -1 when the
 * optimizer complains. */
static int64_t decay_of(const char *const *sets)
{
    struct deck *deck = NULL;
    CHECK(deck_try(DECK_SMALL, sets, &deck) == ZI_OK);
    if (!deck) return -2;
    optimizer_check(deck);
    capture_begin(&deck_messages, stderr);
    int64_t decay = deck_check(deck) == ZI_OK ? deck_settings(deck)->optimizer.decay : -1;
    capture_end(&deck_messages);
    deck_destroy(deck);
    return decay;
}

#define SETS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_check(void)
{
    CHECK_INT(decay_of(NULL), 4); /* a fifth of 20 */
    CHECK_INT(decay_of(SETS("run.steps=21")), 5);
    CHECK_INT(decay_of(SETS("run.steps=1")), 0);
    CHECK_INT(decay_of(SETS("optimizer.warmup=18")), 2);
    CHECK_INT(decay_of(SETS("optimizer.warmup=20")), 0);
    CHECK_INT(decay_of(SETS("optimizer.schedule=wsd", "optimizer.warmup=10", "optimizer.decay=10")),
              10);
    CHECK_INT(decay_of(SETS("optimizer.schedule=wsd", "optimizer.warmup=10", "optimizer.decay=11")),
              -1);
    CHECK(deck_said("at most 10"));
    /* other schedules have no decay that could be too long */
    CHECK_INT(decay_of(SETS("optimizer.warmup=10", "optimizer.decay=11")), 11);
    CHECK_INT(decay_of(SETS("optimizer.beta1=1")), -1);
    CHECK(deck_said("beta1"));
    CHECK_INT(decay_of(SETS("optimizer.beta2=1")), -1);
    CHECK_INT(decay_of(SETS("optimizer.epsilon=0")), -1);
    CHECK(deck_said("epsilon"));
    /* what the fp32 of the update rounds to such an end */
    CHECK_INT(decay_of(SETS("optimizer.beta1=0.99999999999")), -1);
    CHECK_INT(decay_of(SETS("optimizer.beta2=0.99999999999")), -1);
    CHECK_INT(decay_of(SETS("optimizer.epsilon=1e-50")), -1);
    CHECK_INT(decay_of(SETS("optimizer.beta2=0.999999", "optimizer.epsilon=1e-30")), 4);
}

int main(void)
{
    test_check();
    test_warmup();
    test_falls();
    test_wsd();
    test_decide();
    return test_finish("optimizer_schedule_test");
}
