/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter of PTX: what threads do together, memory of all kinds, calls, what a launch has
 * touched, and approximations that are off by their bounds. */
#include "regression/emulator/tests/ptx_fixture.h"

#include <pthread.h>

/* Thread n of block m loads x = in[n] and stores d at out[n + threads * m]. */
#define KERNEL(declarations, statements)                                                           \
    PTX_HEAD declarations                                                                          \
        ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n.reg .pred %p<9>; .reg .b16 "      \
        "%h<9>;\n"                                                                                 \
        ".reg .b32 x, d, t, n, %r<20>; .reg .b64 in64, out64, o, %d<20>;\n"                        \
        "ld.param.u64 in64, [in];\nld.param.u64 out64, [out];\nmov.u32 t, %tid.x;\n"               \
        "mov.u32 n, %ctaid.x;\nmov.u32 x, %ntid.x;\nmad.lo.s32 n, n, x, t;\nmul.wide.u32 o, n, "   \
        "4;\n"                                                                                     \
        "add.s64 out64, out64, o;\nmul.wide.u32 o, t, 4;\nadd.s64 in64, in64, o;\n"                \
        "ld.global.u32 x, [in64];\n" statements "\nst.global.u32 [out64], d;\nret;\n}\n"

static uint32_t *in, *out;

static bool run(const char *text, unsigned blocks, unsigned threads, size_t shared)
{
    struct shape shape = {.blocks = blocks, .threads = threads, .shared_bytes = shared, .seed = 3};
    memset(out, 0xEE, 4096);
    bool fine = run_text(text, shape, (void *[]){&in, &out});
    if (!fine) fprintf(stderr, "%s\n", memory.error);
    CHECK(fine);
    return fine;
}

static void start(void)
{
    memory_clear();
    in = memory_new(4096);
    out = memory_new(4096);
    for (uint32_t k = 0; k < 1024; k++)
        in[k] = k * 2654435761u >> 7;
}

#define SHUFFLE(kind, b, c)                                                                        \
    "shfl.sync." kind ".b32 d|%p1, x, " b ", " c ", -1;\n@!%p1 add.s32 d, d, 7;"

/* By the manual: out of the segment a lane gets its own. */
static void shuffles(void)
{
    start();
    run(KERNEL("", SHUFFLE("bfly", "5", "31")), 1, 64, 0);
    for (uint32_t k = 0; k < 64; k++)
        CHECK_INT(out[k], in[k ^ 5]);
    run(KERNEL("", SHUFFLE("up", "3", "0")), 1, 64, 0);
    for (uint32_t k = 0; k < 64; k++)
        CHECK_INT(out[k], k % 32 >= 3 ? in[k - 3] : in[k] + 7);
    /* Segments of 8 lanes. */
    run(KERNEL("", SHUFFLE("down", "2", "0x181F")), 1, 32, 0);
    for (uint32_t k = 0; k < 32; k++)
        CHECK_INT(out[k], k % 8 < 6 ? in[k + 2] : in[k] + 7);
    run(KERNEL("", SHUFFLE("idx", "6", "0x181F")), 1, 32, 0);
    for (uint32_t k = 0; k < 32; k++)
        CHECK_INT(out[k], in[k / 8 * 8 + 6]);
    run(KERNEL("", SHUFFLE("idx", "t", "31")), 1, 32, 0);
    for (uint32_t k = 0; k < 32; k++)
        CHECK_INT(out[k], in[k]);
}

static void votes(void)
{
    uint32_t odd = 0, same[32] = {0};
    start();
    for (uint32_t k = 0; k < 32; k++)
        in[k] = k * k % 7;
    for (uint32_t k = 0; k < 32; k++) {
        odd |= (in[k] & 1) << k;
        for (uint32_t l = 0; l < 32; l++)
            if (in[k] == in[l]) same[k] |= UINT32_C(1) << l;
    }
#define ODD "and.b32 %r1, x, 1;\nsetp.ne.u32 %p1, %r1, 0;\n"
    run(KERNEL("", ODD "vote.sync.ballot.b32 d, %p1, -1;"), 1, 32, 0);
    for (int k = 0; k < 32; k++)
        CHECK_INT(out[k], odd);
    run(KERNEL("", ODD
               "vote.sync.any.pred %p2, %p1, -1;\nvote.sync.all.pred %p3, %p1, -1;\n"
               "vote.sync.uni.pred %p4, %p1, -1;\nselp.u32 d, 1, 0, %p2;\n@%p3 add.s32 d, d, 2;\n"
               "@%p4 add.s32 d, d, 4;"),
        1, 32, 0);
    CHECK_INT(out[9], 1);
    run(KERNEL("", "match.any.sync.b32 d, x, -1;"), 1, 32, 0);
    for (int k = 0; k < 32; k++)
        CHECK_INT(out[k], same[k]);
    run(KERNEL("",
               "match.all.sync.b32 %r1|%p1, x, -1;\nselp.u32 d, 1, 0, %p1;\nadd.s32 d, d, %r1;"),
        1, 32, 0);
    CHECK_INT(out[0], 0);
    run(KERNEL(
            "",
            "redux.sync.add.u32 d, x, -1;\nredux.sync.max.s32 %r1, x, -1;\nshl.b32 %r1, %r1, 16;\n"
            "add.s32 d, d, %r1;"),
        1, 32, 0);
    uint32_t sum = 0;
    for (int k = 0; k < 32; k++)
        sum += in[k];
    CHECK_INT(out[31], sum + (4u << 16));
    /* Over the block. */
    run(KERNEL(
            "", ODD
            "bar.red.popc.u32 d, 0, %p1;\nbar.red.or.pred %p2, 0, %p1;\n"
            "bar.red.and.pred %p3, 0, !%p1;\n@%p2 add.s32 d, d, 1000;\n@%p3 add.s32 d, d, 1000;"),
        1, 64, 0);
    uint32_t count = 1000;
    for (int k = 0; k < 64; k++)
        count += in[k] & 1;
    CHECK_INT(out[63], count);
    run(KERNEL("", "mov.u32 d, %lanemask_lt;\nmov.u32 %r1, %laneid;\nadd.s32 d, d, %r1;"), 1, 64,
        0);
    CHECK_INT(out[37], 31 + 5);
}

static void shared(void)
{
    start();
    /* Dynamic shared memory, which follows what is declared. */
    run(KERNEL(
            ".extern .shared .align 16 .b8 dynamic[];\n",
            ".shared .align 4 .b8 first[20];\nmov.u32 %r1, dynamic;\nshl.b32 %r2, t, 2;\n"
            "add.s32 %r1, %r1, %r2;\nst.shared.u32 [%r1], x;\nbar.sync 0;\nxor.b32 %r1, %r1, 4;\n"
            "ld.shared.u32 d, [%r1];\nmov.u32 %r3, first;\nmov.u32 %r4, dynamic;\nsub.s32 %r4, "
            "%r4, %r3;\n"
            "shl.b32 %r4, %r4, 24;\nadd.s32 d, d, %r4;"),
        2, 64, 256);
    for (uint32_t k = 0; k < 128; k++)
        CHECK_INT(out[k], in[k % 64 ^ 1] + (32u << 24));
    /* Sums by atomics, of shared memory by a generic address. */
    run(KERNEL(
            ".shared .align 4 .u32 total;\n",
            "setp.eq.u32 %p1, t, 0;\n@%p1 st.shared.u32 [total], 5;\nbar.sync 0;\n"
            "mov.u64 %d1, total;\ncvta.shared.u64 %d1, %d1;\nred.add.u32 [%d1], x;\nbar.sync 0;\n"
            "ld.u32 d, [%d1];"),
        1, 64, 0);
    uint32_t sum = 5;
    for (int k = 0; k < 64; k++)
        sum += in[k];
    CHECK_INT(out[3], sum);
}

/* One thread, so that the order is known: what was there, then what is there. */
static void atomic(const char *operation, const char *sources, uint32_t before, uint32_t after)
{
    char text[4096];
    snprintf(text, sizeof text,
             PTX_HEAD
             ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n.reg .b32 %%r<9>;\n"
             ".reg .b64 %%d<3>;\nld.param.u64 %%d1, [in];\nld.param.u64 %%d2, [out];\n"
             "mov.u32 %%r1, %%tid.x;\nmov.u32 %%r1, 9;\natom.global.%s %%r2, [%%d1+4], %s;\n"
             "st.global.u32 [%%d2], %%r2;\nret;\n}\n",
             operation, sources);
    in[1] = before;
    run(text, 1, 1, 0);
    CHECK_INT(out[0], before);
    if (in[1] != after) fprintf(stderr, "atom.%s\n", operation);
    CHECK_INT(in[1], after);
}

static void atomics(void)
{
    start();
    atomic("add.u32", "%r1", 5, 14);
    atomic("relaxed.gpu.add.u32", "-6", 5, UINT32_MAX);
    atomic("add.f32", "0f3FC00000", 0x40000000, 0x40600000);
    atomic("min.s32", "%r1", UINT32_MAX, UINT32_MAX);
    atomic("min.u32", "%r1", UINT32_MAX, 9);
    atomic("max.s32", "%r1", UINT32_MAX, 9);
    atomic("max.u32", "%r1", UINT32_MAX, UINT32_MAX);
    atomic("exch.b32", "%r1", 4, 9);
    atomic("cas.b32", "%r1, 7", 9, 7);
    atomic("cas.b32", "%r1, 7", 8, 8);
    atomic("and.b32", "%r1", 12, 8);
    atomic("or.b32", "%r1", 12, 13);
    atomic("xor.b32", "%r1", 12, 5);
    atomic("inc.u32", "%r1", 9, 0);
    atomic("inc.u32", "%r1", 3, 4);
    atomic("dec.u32", "%r1", 0, 9);
    atomic("dec.u32", "%r1", 3, 2);
    atomic("add.noftz.f16x2", "0x3C004000", 0x3C003C00, 0x40004200);
    atomic("add.noftz.bf16x2", "0x3F804000", 0x3F803F80, 0x40004040);
    uint64_t *wide = memory_new(8), *result = memory_new(8);
    *wide = UINT32_MAX;
    CHECK(run_text(PTX_HEAD
                   ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n.reg .b64 %d<5>;\n"
                   ".reg .b32 %r<3>;\nld.param.u64 %d1, [in];\nmov.u32 %r1, %tid.x;\n"
                   "cvt.u64.u32 %d2, %r1;\nred.global.add.u64 [%d1], %d2;\nret;\n}\n",
                   (struct shape){.blocks = 4, .threads = 64}, (void *[]){&wide, &result}));
    CHECK(*wide == UINT64_C(0xFFFFFFFF) + 4 * 63 * 64 / 2);
}

static void elements(void)
{
    start();
    uint8_t *bytes = (uint8_t *)in;
    for (int k = 0; k < 64; k++)
        bytes[k] = (uint8_t)(k * 37 + 100);
    /* Narrow loads extend by their sign; vectors keep their order. */
    run(KERNEL("", "ld.global.s8 d, [in64+1];"), 1, 4, 0);
    CHECK_INT((int32_t)out[2], (int8_t)bytes[9]);
    run(KERNEL("", "ld.global.nc.u8 d, [in64+1];"), 1, 4, 0);
    CHECK_INT(out[2], bytes[9]);
    run(KERNEL("", "ld.global.s16 d, [in64+2];"), 1, 4, 0);
    CHECK_INT((int32_t)out[2], (int16_t)(bytes[10] | bytes[11] << 8));
    run(KERNEL("", "ld.volatile.global.v4.u8 {%h1, %h2, %h3, %h4}, [in64];\ncvt.u32.u16 d, %h4;\n"
                   "shl.b32 d, d, 8;\ncvt.u32.u16 %r1, %h1;\nadd.s32 d, d, %r1;"),
        1, 4, 0);
    CHECK_INT(out[3], bytes[15] << 8 | bytes[12]);
    run(KERNEL(
            "",
            "ld.global.cs.v2.u64 {%d1, %d2}, [in64];\nst.global.cs.v2.u64 [in64+32], {%d2, %d1};\n"
            "cvt.u32.u64 d, %d2;"),
        1, 1, 0);
    CHECK(memcmp(bytes + 32, bytes + 8, 8) == 0 && memcmp(bytes + 40, bytes, 8) == 0);
    /* Local memory is each thread's own. */
    run(KERNEL(
            "",
            ".local .align 8 .b8 l[16];\n.reg .b64 %SP, %SPL;\nmov.u64 %SPL, l;\n"
            "cvta.local.u64 %SP, %SPL;\nst.local.v2.u32 [%SPL+8], {x, t};\nld.u32 %r1, [%SP+12];\n"
            "bar.sync 0;\nld.local.u32 d, [%SPL+8];\nadd.s32 d, d, %r1;"),
        1, 64, 0);
    CHECK_INT(out[40], in[40] + 40);
}

static void variables(void)
{
    start();
    const char *tables = ".const .align 4 .f32 two[3] = {0f3F800000, 0f40000000, -3};\n"
                         ".global .align 4 .b8 bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};\n"
                         ".const .align 2 .u16 rows[2][2] = {1, 2, 3, 4};\n"
                         ".global .align 8 .u64 places[2] = {generic(bytes)+4, two};\n"
                         ".global .align 4 .u32 counter;\n";
    char text[4096];
    snprintf(text, sizeof text, "%s", KERNEL("@TABLES@", "@BODY@"));
    static const struct {
        const char *body;
        uint32_t expected;
    } cases[] = {
        {"ld.const.u32 d, [two+4];", 0x40000000},
        {"mov.u64 %d1, two;\nld.const.u32 d, [%d1+8];", (uint32_t)-3},
        {"mov.u64 %d1, bytes;\ncvta.global.u64 %d2, %d1;\nld.u8 d, [%d2+6];", 7},
        {"ld.const.u16 d, [rows+6];", 4},
        {"ld.global.u64 %d1, [places];\nld.u8 d, [%d1];", 5},
        {"ld.global.u64 %d1, [places+8];\nld.const.u32 d, [%d1];", 0x3F800000},
        {"atom.global.add.u32 d, [counter], 1;\nld.global.u32 d, [counter];", 1},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char full[8192];
        const char *at = strstr(text, "@TABLES@"), *then = strstr(text, "@BODY@");
        snprintf(full, sizeof full, "%.*s%s%.*s%s%s", (int)(at - text), text, tables,
                 (int)(then - at - 8), at + 8, cases[k].body, then + 6);
        run(full, 1, 1, 0);
        CHECK_INT(out[0], cases[k].expected);
    }
}

/* As nvcc calls what it did not inline; the second calls the first. */
static void calls(void)
{
    start();
    const char *text = KERNEL(
        ".func (.param .b32 result) twice(.param .b32 a, .param .align 8 .b8 s[8])\n;\n"
        ".func (.param .b32 result) more(.param .b32 a)\n{\n.reg .b32 %r<4>; .reg .pred %p1;\n"
        "ld.param.u32 %r1, [a];\nsetp.gt.u32 %p1, %r1, 100;\n@%p1 bra $over;\n"
        "st.param.b32 [result+0], 1;\nret;\n$over:\n{\n.param .b32 param0;\n"
        "st.param.b32 [param0+0], %r1;\n.param .align 8 .b8 param1[8];\n"
        "st.param.v2.b32 [param1+0], {%r1, 3};\n.param .b32 retval0;\n"
        "call.uni (retval0),\ntwice,\n(\nparam0,\nparam1\n);\nld.param.b32 %r2, [retval0+0];\n}\n"
        "st.param.b32 [result+0], %r2;\nret;\n}\n"
        ".func (.param .b32 result) twice(.param .b32 a, .param .align 8 .b8 s[8])\n{\n.reg .b32 "
        "%r<4>;\n"
        "ld.param.u32 %r1, [a];\nld.param.u32 %r2, [s+4];\nmad.lo.s32 %r1, %r1, 2, %r2;\n"
        "st.param.b32 [result], %r1;\nret;\n}\n",
        "{ // callseq\n.reg .b32 temp_param_reg;\n.param .b32 param0;\nst.param.b32 [param0+0], "
        "x;\n"
        ".param .b32 retval0;\ncall.uni (retval0), more, (param0);\nld.param.b32 d, "
        "[retval0+0];\n}\n");
    for (uint32_t k = 0; k < 64; k++)
        in[k] = k * 4;
    run(text, 2, 64, 0);
    for (uint32_t k = 0; k < 128; k++)
        CHECK_INT(out[k], in[k % 64] > 100 ? 2 * in[k % 64] + 3 : 1);
}

/* Loops and divergence: each lane counts Collatz steps. */
static void loops(void)
{
    start();
    for (uint32_t k = 0; k < 128; k++)
        in[k] = k + 1;
    run(KERNEL("", "mov.u32 d, 0;\n$L1:\nsetp.eq.u32 %p1, x, 1;\n@%p1 bra $L3;\nadd.s32 d, d, 1;\n"
                   "and.b32 %r1, x, 1;\nsetp.eq.b32 %p2, %r1, 1;\n@!%p2 bra $L2;\n"
                   "mad.lo.s32 x, x, 3, 1;\nbra.uni $L1;\n$L2:\nshr.u32 x, x, 1;\nbra $L1;\n$L3:"),
        1, 128, 0);
    for (uint32_t k = 0; k < 128; k++) {
        uint32_t x = in[k], steps = 0;
        for (; x != 1; steps++)
            x = x & 1 ? 3 * x + 1 : x / 2;
        CHECK_INT(out[k], steps);
    }
    CHECK(!run_text(PTX_HEAD ".entry k() {\n$L1:\nbra $L1;\n}",
                    (struct shape){.blocks = 1, .threads = 1}, NULL));
    CHECK_SAID("without coming to an end");
}

/* Exactly the bytes: strided ones stay apart, contiguous ones are one range, whatever the order. */
static void touched(void)
{
    start();
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct shape shape = {.blocks = 4, .threads = 64, .seed = seed};
        CHECK(run_text(KERNEL("", "mov.u32 d, 1;"), shape, (void *[]){&in, &out}));
        CHECK_INT(memory.range_count, 2);
        CHECK(memory.ranges[0].first == (uint64_t)(uintptr_t)in && !memory.ranges[0].writes);
        CHECK_INT(memory.ranges[0].end - memory.ranges[0].first, 256);
        CHECK(memory.ranges[1].first == (uint64_t)(uintptr_t)out && memory.ranges[1].writes);
        CHECK_INT(memory.ranges[1].end - memory.ranges[1].first, 1024);
    }
    /* 2 bytes of each 16, and the result of one thread. */
    CHECK(run_text(KERNEL("", "mul.wide.u32 %d1, t, 12;\nadd.s64 %d1, in64, %d1;\nmov.b16 %h1, 1;\n"
                              "st.global.u16 [%d1+6], %h1;\nmov.u32 d, 1;\nsetp.ne.u32 %p1, t, 0;\n"
                              "@%p1 ret;"),
                   (struct shape){.blocks = 1, .threads = 64}, (void *[]){&in, &out}));
    CHECK_INT(memory.range_count, 1 + 64 + 1);
    long right = 0;
    for (int k = 0; k < memory.range_count; k++)
        for (uint64_t t = 0; t < 64; t++)
            right += memory.ranges[k].writes &&
                     memory.ranges[k].first == (uint64_t)(uintptr_t)in + 16 * t + 6 &&
                     memory.ranges[k].end == memory.ranges[k].first + 2;
    CHECK_INT(right, 64);
}

/* Approximate instructions are off by no more than the manual allows, and by something. */
static void approximations(void)
{
    static const struct {
        const char *text;
        double (*exact)(double);
        double relative;
    } cases[] = {{"ex2.approx.f32 d, x;", exp2, 0x1p-22},
                 {"lg2.approx.f32 d, x;", log2, 0x1p-22},
                 {"sqrt.approx.f32 d, x;", sqrt, 0x1p-23},
                 {"tanh.approx.f32 d, x;", tanh, 0x1p-11}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[4096];
        const char *kernel = KERNEL("", "@BODY@"), *at = strstr(kernel, "@BODY@");
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - kernel), kernel, cases[k].text, at + 6);
        start();
        for (int n = 0; n < 64; n++)
            in[n] = (uint32_t)bits_of(2.5f + 0.37f * (float)n);
        int up = 0, down = 0, beyond = 0;
        CHECK(run_text(text,
                       (struct shape){.blocks = 1, .threads = 64, .seed = 2, .approximate = true},
                       (void *[]){&in, &out}));
        for (int n = 0; n < 64; n++) {
            double exact = cases[k].exact((double)float_of(in[n])),
                   found = (double)float_of(out[n]);
            up += found > exact;
            down += found < exact;
            /* And half of a last digit, as the result is rounded. */
            beyond += !(fabs(found - exact) <= (cases[k].relative + 0x1p-24) * fabs(exact));
        }
        CHECK_INT(beyond, 0);
        CHECK(up > 8 && down > 8);
        uint32_t other = out[5] + out[6] + out[7];
        CHECK(run_text(text,
                       (struct shape){.blocks = 1, .threads = 64, .seed = 2, .approximate = true},
                       (void *[]){&in, &out}));
        CHECK_INT(out[5] + out[6] + out[7], other);
    }
}

/* Launches of one thread, with results of its own. */
struct launches {
    const struct ptx_kernel *kernel;
    uint32_t *out;
    long failed;
    pthread_t thread;
};

static void nothing(void *context, uint64_t first, uint64_t end, bool writes)
{
    (void)context, (void)first, (void)end, (void)writes;
}

static void *launch_often(void *argument)
{
    struct launches *launches = argument;
    char error[256];
    struct ptx_launch launch = {.grid = {2, 1, 1},
                                .block = {64, 1, 1},
                                .parameters = (void *[]){&in, &launches->out},
                                .reach = memory_reach,
                                .touched = nothing};
    for (launch.seed = 0; launch.seed < 100; launch.seed++)
        launches->failed += !ptx_run(launches->kernel, &launch, error, sizeof error);
    return NULL;
}

/* Two launches at a time do not know of each other. */
static void concurrent(void)
{
    start();
    struct ptx_module *module =
        ptx_load(KERNEL("", "shfl.sync.bfly.b32 d, x, 1, 31, -1;\nbar.sync 0;"), memory.error,
                 sizeof memory.error);
    CHECK(module);
    if (!module) return;
    struct launches both[2] = {{.kernel = ptx_find(module, "k"), .out = memory_new(4096)},
                               {.kernel = ptx_find(module, "k"), .out = memory_new(4096)}};
    uint64_t before = ptx_instructions();
    for (int k = 0; k < 2; k++)
        CHECK_INT(pthread_create(&both[k].thread, NULL, launch_often, &both[k]), 0);
    for (int k = 0; k < 2; k++) {
        pthread_join(both[k].thread, NULL);
        CHECK_INT(both[k].failed, 0);
        for (uint32_t n = 0; n < 128; n++)
            CHECK_INT(both[k].out[n], in[n % 64 ^ 1]);
    }
    /* 15 instructions of each thread: as they stand, and the return. */
    CHECK_INT(ptx_instructions() - before, 200 * 128 * 15);
}

int main(void)
{
    shuffles();
    votes();
    shared();
    atomics();
    elements();
    variables();
    calls();
    loops();
    touched();
    approximations();
    concurrent();
    memory_clear();
    return test_finish("ptx_run_test");
}
