/* SPDX-License-Identifier: Apache-2.0 */
/* Stripes give every byte of an array one place, without gaps, in proportion to the paths' speeds.
 */
#include "tier/private.h"

#include "regression/unit/test.h"

#define BLOCK ((size_t)TIER_STORE_BLOCK)

/* Walks through an array: on each path the places met must follow one another from 0 to the end. */
static void check_walk(const struct stripes *stripes, size_t total)
{
    size_t next[DECK_LIST_MAX] = {0};
    for (size_t at = 0; at < total;) {
        int path = -1;
        size_t within = 0, bytes = 0;
        stripes_find(stripes, at, &path, &within, &bytes);
        CHECK(path >= 0 && path < stripes->paths);
        CHECK(within == next[path]);
        CHECK(bytes > 0 && bytes % BLOCK == 0);
        /* from the middle of the stripe one finds the same place */
        if (bytes > BLOCK) {
            int path2 = -1;
            size_t within2 = 0, bytes2 = 0;
            stripes_find(stripes, at + BLOCK, &path2, &within2, &bytes2);
            CHECK(path2 == path && within2 == within + BLOCK && bytes2 == bytes - BLOCK);
        }
        if (bytes > total - at) bytes = total - at;
        next[path] += bytes;
        at += bytes;
    }
    for (int p = 0; p < stripes->paths; p++)
        CHECK(next[p] == stripes_bytes(stripes, p, total));
}

static void test_one_path(void)
{
    struct stripes stripes;
    int path;
    size_t within, bytes;
    stripes_cut(1, NULL, 1 << 20, &stripes);
    stripes_find(&stripes, (size_t)1 << 45, &path, &within, &bytes);
    CHECK(path == 0 && within == (size_t)1 << 45 && bytes > (size_t)1 << 45);
    check_walk(&stripes, 77 * BLOCK);
}

static void test_walks(void)
{
    static const double speeds[][4] = {
        {1, 1, 1, 1}, {3e9, 1e9, 2e9, 1e9}, {1e9, 6.1e9, 3e9, 2e9}, {1e9, 1e6, 2e9, 1e9}};
    for (size_t s = 0; s < sizeof speeds / sizeof speeds[0]; s++) {
        for (int paths = 2; paths <= 4; paths++) {
            struct stripes stripes;
            stripes_cut(paths, speeds[s], 256 * 1024, &stripes);
            for (size_t blocks = 0; blocks < 700; blocks += 1 + blocks / 3)
                check_walk(&stripes, blocks * BLOCK);
            check_walk(&stripes, 3 * stripes.period);
        }
    }
}

static void test_proportion(void)
{
    static const double speeds[] = {1e9, 3e9, 1e7};
    struct stripes stripes;
    stripes_cut(3, speeds, 1 << 20, &stripes);
    const size_t total = 1000 * stripes.period;
    CHECK(stripes.bytes[1] == 1 << 20);
    CHECK_NEAR((double)stripes_bytes(&stripes, 0, total) / (double)total, 0.25, 0.002);
    CHECK_NEAR((double)stripes_bytes(&stripes, 1, total) / (double)total, 0.75, 0.002);
    CHECK(stripes_bytes(&stripes, 2, total) == 0); /* a hundredth of the others: left out */
    /* large and tiny blocks of I/O do not make large and tiny stripes */
    stripes_cut(2, speeds, (size_t)1 << 30, &stripes);
    CHECK(stripes.bytes[1] == 1 << 20);
    stripes_cut(2, speeds, BLOCK, &stripes);
    CHECK(stripes.bytes[1] == 64 * 1024);
}

int main(void)
{
    test_one_path();
    test_walks();
    test_proportion();
    return test_finish("tier_stripes_test");
}
