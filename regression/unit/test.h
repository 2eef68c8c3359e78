/* SPDX-License-Identifier: Apache-2.0 */
/* Checks for test programs. A failed check is printed with its place and the test goes on; a
 * program ends with `return test_finish("name");`: exit code 0, or 1 when a check failed. 77 means
 * skipped. */
#ifndef ZI_REGRESSION_TEST_H
#define ZI_REGRESSION_TEST_H

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static long test_checks_done, test_checks_failed;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        test_checks_done++;                                                                        \
        if (!(condition)) {                                                                        \
            test_checks_failed++;                                                                  \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                \
        }                                                                                          \
    } while (0)

#define CHECK_INT(found, expected)                                                                 \
    do {                                                                                           \
        long long found_ = (long long)(found), expected_ = (long long)(expected);                  \
        test_checks_done++;                                                                        \
        if (found_ != expected_) {                                                                 \
            test_checks_failed++;                                                                  \
            fprintf(stderr, "%s:%d: failed: %s is %lld, not %lld\n", __FILE__, __LINE__, #found,   \
                    found_, expected_);                                                            \
        }                                                                                          \
    } while (0)

/* |found - expected| <= tolerance; NaN fails. */
#define CHECK_NEAR(found, expected, tolerance)                                                     \
    do {                                                                                           \
        double found_ = (double)(found), expected_ = (double)(expected), limit_ = (tolerance);     \
        test_checks_done++;                                                                        \
        if (!(fabs(found_ - expected_) <= limit_)) {                                               \
            test_checks_failed++;                                                                  \
            fprintf(stderr, "%s:%d: failed: %s is %.9g, not %.9g within %.3g\n", __FILE__,         \
                    __LINE__, #found, found_, expected_, limit_);                                  \
        }                                                                                          \
    } while (0)

/* Checks that have failed so far. */
static inline long test_failures(void)
{
    return test_checks_failed;
}

/* Says how many checks passed or failed; gives the exit code of the program. */
static inline int test_finish(const char *name)
{
    if (test_checks_failed > 0) {
        printf("%s: %ld of %ld checks failed\n", name, test_checks_failed, test_checks_done);
        return 1;
    }
    printf("%s: %ld checks passed\n", name, test_checks_done);
    return 0;
}

#endif
