/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter of PTX: each fault of a kernel is found, and the right program next to it passes. */
#include "regression/emulator/tests/ptx_fixture.h"

/* A kernel with a pointer p in %d0 and the thread's number in %r0; shared memory s has 512 bytes. */
static bool body(const char *statements, unsigned blocks, unsigned threads, void *room)
{
    void *parameters[] = {&room};
    static char text[4096];
    snprintf(text, sizeof text,
             PTX_HEAD
             ".global .align 4 .u32 counter;\n.const .align 4 .b8 table[8] = {1,2,3,4,5,6,7,8};\n"
             ".visible .entry k(.param .u64 p)\n{\n.reg .pred %%p<9>; .reg .b16 %%h<9>;\n"
             ".reg .b32 %%r<20>; .reg .b64 %%d<20>;\n.shared .align 16 .b8 s[512];\n"
             ".local .align 16 .b8 l[32];\n"
             "ld.param.u64 %%d0, [p];\nmov.u32 %%r0, %%tid.x;\n%s\nret;\n}\n",
             statements);
    bool first =
        run_text(text, (struct shape){.blocks = blocks, .threads = threads, .seed = 1}, parameters);
    /* Whatever the order of threads. */
    char error[sizeof memory.error];
    memcpy(error, memory.error, sizeof error);
    for (uint64_t seed = 2; seed < 6; seed++)
        CHECK_INT(run_text(text, (struct shape){.blocks = blocks, .threads = threads, .seed = seed},
                           parameters),
                  first);
    if (!first) memcpy(memory.error, error, sizeof error);
    return first;
}

#define PASSES(statements, blocks, threads)                                                        \
    do {                                                                                           \
        bool fine_ = body(statements, blocks, threads, room);                                      \
        if (!fine_) fprintf(stderr, "%s\n", memory.error);                                         \
        CHECK(fine_);                                                                              \
    } while (0)
#define FAILS(statements, blocks, threads, words)                                                  \
    do {                                                                                           \
        CHECK(!body(statements, blocks, threads, room));                                           \
        CHECK_SAID(words);                                                                         \
        CHECK_SAID("kernel k, line ");                                                             \
    } while (0)

/* %d1 = p + 4 * thread, %r1 = s + 4 * thread. */
#define PLACE  "mul.wide.u32 %d1, %r0, 4;\nadd.s64 %d1, %d0, %d1;\n"
#define SHARED "shl.b32 %r1, %r0, 2;\nmov.u32 %r2, s;\nadd.s32 %r1, %r1, %r2;\n"

static void global_memory(void)
{
    memory_clear();
    uint8_t *room = memory_new(256);
    PASSES(PLACE "st.global.u32 [%d1], %r0;", 1, 64);
    FAILS(PLACE "st.global.u32 [%d1+4], %r0;", 1, 64, "write of 4 bytes");
    CHECK_SAID("thread (63,0,0)");
    FAILS(PLACE "ld.global.u32 %r1, [%d1+-4];", 1, 64, "no live memory");
    FAILS(PLACE "ld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%d1];", 1, 64, "misaligned");
    FAILS("add.s64 %d1, %d0, 2;\nld.global.u32 %r1, [%d1];", 1, 1, "misaligned");
    FAILS("mov.u64 %d1, 0;\nld.global.u32 %r1, [%d1];", 1, 1, "at 0, which are no live memory");
    FAILS("mov.u64 %d1, -16;\nld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%d1];", 1, 1, "no live memory");
    /* Past the end of one allocation into the next. */
    memory_clear();
    room = memory_new(60);
    PASSES(PLACE "st.global.u32 [%d1], %r0;", 1, 15);
    FAILS(PLACE "st.global.u32 [%d1], %r0;", 1, 16, "no live memory");
    FAILS("mov.u64 %d1, table;\nst.global.u32 [%d1], %r0;", 1, 1, "are constant");
    FAILS("mov.u64 %d1, table;\nld.const.u32 %r0, [%d1+8];", 1, 1, "not constant memory");
    PASSES("mov.u64 %d1, counter;\nst.global.u32 [%d1], %r0;", 1, 1);
}

static void other_memory(void)
{
    memory_clear();
    uint8_t *room = memory_new(256);
    PASSES(SHARED "st.shared.u32 [%r1], %r0;", 1, 128);
    FAILS(SHARED "st.shared.u32 [%r1], %r0;", 1, 129, "offset 512 of shared memory, which has 512");
    FAILS(SHARED "ld.shared.u32 %r2, [%r1+-4];", 1, 1, "of shared memory");
    FAILS(SHARED "ld.shared.u32 %r2, [%r1+2];", 1, 1, "misaligned");
    PASSES("mov.u64 %d1, l;\nst.local.u32 [%d1+28], %r0;", 1, 1);
    FAILS("mov.u64 %d1, l;\nst.local.u32 [%d1+32], %r0;", 1, 1, "local memory");
    FAILS("mov.u64 %d1, l;\nst.local.u64 [%d1+4], %d0;", 1, 1, "local memory");
    FAILS("mov.u64 %d1, 8;\nld.param.u64 %d1, [%d1];", 1, 1, "parameters");
    /* By generic addresses too. */
    PASSES("mov.u64 %d1, s;\ncvta.shared.u64 %d1, %d1;\nst.u32 [%d1+508], %r0;", 1, 1);
    FAILS("mov.u64 %d1, s;\ncvta.shared.u64 %d1, %d1;\nst.u32 [%d1+512], %r0;", 1, 1,
          "shared memory");
}

/* Fresh shared memory is NaN, in each block, whatever the one before has written. */
static void uninitialised(void)
{
    memory_clear();
    uint32_t *room = memory_new(256);
    PASSES("mov.u32 %r3, %ctaid.x;\nmul.wide.u32 %d1, %r3, 4;\nadd.s64 %d1, %d0, %d1;\n"
           "ld.shared.u32 %r1, [s];\nst.global.u32 [%d1], %r1;\nst.shared.u32 [s], %r3;",
           4, 1);
    for (int k = 0; k < 4; k++)
        CHECK_INT(room[k], UINT32_MAX);
}

static void shared_races(void)
{
    memory_clear();
    uint8_t *room = memory_new(1024);
    const char *right = SHARED "st.shared.u32 [%r1], %r0;\nbar.sync 0;\nxor.b32 %r1, %r1, 4;\n"
                               "ld.shared.u32 %r3, [%r1];\n";
    const char *missing = SHARED "st.shared.u32 [%r1], %r0;\nxor.b32 %r1, %r1, 4;\n"
                                 "ld.shared.u32 %r3, [%r1];\n";
    PASSES(right, 2, 64);
    FAILS(missing, 2, 64, "race for shared memory");
    /* A barrier before a second write, which readers of the first may not have left. */
    PASSES(SHARED "st.shared.u32 [%r1], %r0;\nbar.sync 0;\nld.shared.u32 %r3, [s];\nbar.sync 0;\n"
                  "st.shared.u32 [%r1], %r3;",
           1, 64);
    FAILS(SHARED "st.shared.u32 [%r1], %r0;\nbar.sync 0;\nld.shared.u32 %r3, [s];\n"
                 "st.shared.u32 [%r1], %r3;",
          1, 64, "race for shared memory");
    /* Two threads write one word; and bytes of one word, which is no race. */
    FAILS("mov.u32 %r1, s;\nst.shared.u32 [%r1], %r0;", 1, 2, "race for shared memory");
    PASSES("mov.u32 %r1, s;\nadd.s32 %r1, %r1, %r0;\nst.shared.u8 [%r1], %r0;", 1, 4);
    /* All read, then the one thread that has read nothing of it twice writes: readers of two warps. */
    FAILS("ld.shared.u32 %r1, [s];\nsetp.eq.u32 %p1, %r0, 40;\n@%p1 st.shared.u32 [s], %r0;", 1, 64,
          "race for shared memory");
    /* Across warps only the block's barrier helps, in a warp bar.warp.sync does, shuffles do not. */
#define EXCHANGE(sync)                                                                             \
    SHARED "st.shared.u32 [%r1], %r0;\n" sync "\nxor.b32 %r1, %r1, 4;\nld.shared.u32 %r3, "        \
           "[%r1];\n"
    PASSES(EXCHANGE("bar.warp.sync -1;"), 1, 64);
    FAILS(EXCHANGE("shfl.sync.bfly.b32 %r4, %r0, 1, 31, -1;"), 1, 32, "race for shared memory");
    FAILS(SHARED "st.shared.u32 [%r1], %r0;\nbar.warp.sync -1;\nxor.b32 %r1, %r1, 128;\n"
                 "ld.shared.u32 %r3, [%r1];",
          1, 64, "race for shared memory");
    /* Pairs that synchronise with each other, while lane 0 and lane 2 meet nowhere. */
#define PAIRS                                                                                      \
    "and.b32 %r4, %r0, 30;\nmov.u32 %r5, 3;\nshl.b32 %r5, %r5, %r4;\nbar.warp.sync %r5;\n"         \
    "bar.warp.sync %r5;\n"
    PASSES(EXCHANGE(PAIRS), 1, 32);
    FAILS(SHARED "st.shared.u32 [%r1], %r0;\n" PAIRS
                 "xor.b32 %r1, %r1, 8;\nld.shared.u32 %r3, [%r1];\n",
          1, 32, "race for shared memory");
    /* Atomics are no race with each other, but with others. */
    PASSES("setp.ne.u32 %p1, %r0, 0;\n@!%p1 st.shared.u32 [s], 0;\nbar.sync 0;\n"
           "red.shared.add.u32 [s], 1;\nbar.sync 0;\nld.shared.u32 %r1, [s];",
           1, 64);
    FAILS("red.shared.add.u32 [s], 1;\nld.shared.u32 %r1, [s];", 1, 64, "race for shared memory");
    FAILS("setp.ne.u32 %p1, %r0, 0;\n@!%p1 st.shared.u32 [s], 0;\nred.shared.add.u32 [s], 1;", 1,
          64, "race for shared memory");
}

static void barriers(void)
{
    memory_clear();
    uint8_t *room = memory_new(256);
    PASSES("bar.sync 0;\nbar.sync 0;", 1, 96);
    FAILS("setp.lt.u32 %p1, %r0, 8;\n@%p1 ret;\nbar.sync 0;", 1, 64,
          "never reaches: it has exited");
    FAILS("setp.lt.u32 %p1, %r0, 32;\n@%p1 bra other;\nbar.sync 0;\nret;\nother:\nbar.sync 0;", 1,
          64, "waits at another one");
    FAILS("setp.lt.u32 %p1, %r0, 32;\n@%p1 bar.sync 0;", 1, 64, "never reaches");
    /* The whole block leaves. */
    PASSES("mov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p1, %r1, 1;\n@%p1 ret;\nbar.sync 0;", 2, 64);
}

static void lanes(void)
{
    memory_clear();
    uint8_t *room = memory_new(256);
    PASSES("shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;", 1, 64);
    PASSES("setp.lt.u32 %p1, %r0, 16;\n@%p1 shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xFFFF;", 1, 32);
    FAILS("setp.lt.u32 %p1, %r0, 16;\n@%p1 shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;", 1, 32,
          "which has exited or does not exist");
    FAILS("shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;", 1, 24, "which has exited or does not exist");
    FAILS("shfl.sync.idx.b32 %r1, %r0, 0, 31, 1;", 1, 32, "is not in its own mask");
    FAILS("setp.lt.u32 %p1, %r0, 16;\n@%p1 shfl.sync.bfly.b32 %r1, %r0, 16, 31, 0xFFFF;", 1, 32,
          "reads from lane");
    FAILS("setp.lt.u32 %p1, %r0, 16;\n@%p1 bra a;\nshfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;\nret;\n"
          "a:\nshfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;",
          1, 32, "stands at another instruction");
    FAILS("setp.lt.u32 %p1, %r0, 16;\n@%p1 bra a;\nbar.sync 0;\nret;\na:\n"
          "vote.sync.any.pred %p2, %p1, -1;\nbar.sync 0;",
          1, 32, "waits at a barrier of the block");
    /* The lane alone is what can be counted on. */
    FAILS("activemask.b32 %r2;\nshfl.sync.bfly.b32 %r1, %r0, 1, 31, %r2;", 1, 32,
          "not in the mask");
}

static void blocks(void)
{
    memory_clear();
    uint8_t *room = memory_new(8192);
    const char *own =
        "mov.u32 %r1, %ctaid.x;\nmad.lo.s32 %r1, %r1, 64, %r0;\nmul.wide.u32 %d1, %r1, 4;\n"
        "add.s64 %d1, %d0, %d1;\nst.global.u32 [%d1], %r0;\nst.global.u32 [%d1], %r1;";
    PASSES(own, 4, 64);
    FAILS("st.global.u32 [%d0+4], %r0;", 2, 1, "write the same bytes");
    PASSES("st.global.u32 [%d0+4], %r0;", 1, 64);
    PASSES("red.global.add.u32 [%d0+4], 1;", 3, 64);
    /* Neighbouring bytes, and one byte of the word of another. */
    PASSES("cvt.u64.u32 %d1, %ctaid.x;\nadd.s64 %d1, %d0, %d1;\nst.global.u8 [%d1], %r0;", 8, 1);
    FAILS("mov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 st.global.u8 [%d0+3], %r1;\n"
          "@!%p1 st.global.u32 [%d0], %r1;",
          2, 1, "write the same bytes");
    /* A launch knows nothing of the one before. */
    PASSES("st.global.u32 [%d0+4], %r0;", 1, 1);
}

static void others(void)
{
    memory_clear();
    uint8_t *room = memory_new(256);
    FAILS("mov.u32 %r1, 0;\ndiv.u32 %r2, %r0, %r1;", 1, 1, "by zero");
    FAILS("mov.u64 %d1, 0;\nrem.s64 %d2, %d0, %d1;", 1, 1, "by zero");
    FAILS("trap;", 1, 1, "trap");
    FAILS("mov.u32 %r1, 5;\ntrap;", 1, 1, "line 15 ");
    CHECK(!body("ret;", 1, 1025, room));
    CHECK_SAID("more threads");
    CHECK(!body("ret;", 0, 1, room));
    CHECK_SAID("no threads or no blocks");
    CHECK(!run_text(PTX_HEAD ".entry k() .maxntid 64 { ret; }",
                    (struct shape){.blocks = 1, .threads = 65}, NULL));
    CHECK_SAID("launch bounds");
    CHECK(!run_text(PTX_HEAD ".entry k() { ret; }",
                    (struct shape){.blocks = 1, .threads = 1, .shared_bytes = 300000}, NULL));
    CHECK_SAID("more shared memory");
    CHECK(!run_text(PTX_HEAD ".func f() { call.uni f; ret; }\n.entry k() { call.uni f; ret; }",
                    (struct shape){.blocks = 1, .threads = 1}, NULL));
    CHECK_SAID("calls itself");
    /* Not even the bytes that would fill 16. */
    CHECK(!run_text(PTX_HEAD ".entry k() {\n.reg .b32 r; .shared .align 4 .b8 s[20];\n"
                             "mov.u32 r, 1;\nst.shared.u32 [s+20], r;\nret;\n}",
                    (struct shape){.blocks = 1, .threads = 1}, NULL));
    CHECK_SAID("which has 20");
}

int main(void)
{
    global_memory();
    other_memory();
    uninitialised();
    shared_races();
    barriers();
    lanes();
    blocks();
    others();
    memory_clear();
    return test_finish("ptx_faults_test");
}
