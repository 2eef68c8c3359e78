/* SPDX-License-Identifier: Apache-2.0 */
/* One PTX instruction on many operands, against a function of C. */
#ifndef ZI_REGRESSION_PTX_CALCULATION_H
#define ZI_REGRESSION_PTX_CALCULATION_H

#include "regression/emulator/tests/ptx_fixture.h"

/* An instruction: a, b and c are its operands, of 16, 32 or 64 bits by name (a16, b32); d16, d32 or d64
 * its result, or the predicate pd; pa is the lowest bit of a, pc of c. */
struct calculation {
    const char *text;
    uint64_t (*expected)(uint64_t a, uint64_t b, uint64_t c);
};

/* The values that an operand can have. */
struct operands {
    const uint64_t *values;
    int count;
};

enum { CASES_MOST = 1 << 17 };

/* The kernel: thread n calculates with in[3 n ..] and writes out[n]. */
static inline void calculation_text(const char *instruction, char *text, size_t size)
{
    const char *store = strstr(instruction, "pd")    ? "selp.u64 d64, 1, 0, pd;\n"
                        : strstr(instruction, "d64") ? ""
                        : strstr(instruction, "d32") ? "cvt.u64.u32 d64, d32;\n"
                                                     : "cvt.u64.u16 d64, d16;\n";
    snprintf(
        text, size,
        PTX_HEAD
        ".visible .entry k(.param .u64 in, .param .u64 out, .param .u32 n)\n{\n"
        ".reg .pred pa, pc, pd, pq, px;\n.reg .b16 a16, b16, c16, d16, l16, h16;\n"
        ".reg .b32 a32, b32, c32, d32, e32, i, n32, bl;\n.reg .b64 a64, b64, c64, d64, in64, "
        "out64, o;\n"
        "ld.param.u64 in64, [in];\nld.param.u64 out64, [out];\nld.param.u32 n32, [n];\n"
        "mov.u32 i, %%tid.x;\nmov.u32 bl, %%ctaid.x;\nmad.lo.s32 i, bl, 256, i;\n"
        "setp.ge.u32 px, i, n32;\n@px ret;\n"
        "mul.wide.u32 o, i, 24;\nadd.s64 in64, in64, o;\nmul.wide.u32 o, i, 8;\n"
        "add.s64 out64, out64, o;\n"
        "ld.global.u64 a64, [in64];\nld.global.u64 b64, [in64+8];\nld.global.u64 c64, [in64+16];\n"
        "cvt.u32.u64 a32, a64;\ncvt.u32.u64 b32, b64;\ncvt.u32.u64 c32, c64;\n"
        "cvt.u16.u64 a16, a64;\ncvt.u16.u64 b16, b64;\ncvt.u16.u64 c16, c64;\n"
        "and.b64 d64, a64, 1;\nsetp.ne.s64 pa, d64, 0;\nand.b64 d64, c64, 1;\n"
        "setp.ne.s64 pc, d64, 0;\nmov.b32 e32, 0x96;\n%s\n%sst.global.u64 [out64], d64;\nret;\n}\n",
        instruction, store);
}

/* Whether the instruction gives what C gives, in all bits, for all combinations. */
static inline void calculate(const struct calculation *calculation,
                             const struct operands operands[3])
{
    static char text[8192];
    const char *name = calculation->text;
    bool has_b = strstr(name, " b16") || strstr(name, " b32") || strstr(name, " b64");
    bool has_c =
        strstr(name, " c16") || strstr(name, " c32") || strstr(name, " c64") || strstr(name, "pc");
    memory_clear();
    uint64_t *in = memory_new(CASES_MOST * 24), *out = memory_new(CASES_MOST * 8);
    uint32_t n = 0;
    for (int a = 0; a < operands[0].count; a++)
        for (int b = 0; b < (has_b ? operands[1].count : 1); b++)
            for (int c = 0; c < (has_c ? operands[2].count : 1) && n < CASES_MOST; c++, n++) {
                in[3 * n] = operands[0].values[a];
                in[3 * n + 1] = operands[1].values[b];
                in[3 * n + 2] = operands[2].values[c];
            }
    calculation_text(name, text, sizeof text);
    if (!run_text(text, (struct shape){.blocks = (n + 255) / 256, .threads = 256, .seed = n},
                  (void *[]){&in, &out, &n})) {
        fprintf(stderr, "%s: %s\n", name, memory.error);
        CHECK(false);
        return;
    }
    long wrong = 0;
    for (uint32_t k = 0; k < n; k++) {
        uint64_t expected = calculation->expected(in[3 * k], in[3 * k + 1], in[3 * k + 2]);
        if (out[k] == expected) continue;
        if (wrong++ < 3)
            fprintf(stderr,
                    "%s of %#" PRIx64 " %#" PRIx64 " %#" PRIx64 ": %#" PRIx64 ", not %#" PRIx64
                    "\n",
                    name, in[3 * k], in[3 * k + 1], in[3 * k + 2], out[k], expected);
    }
    CHECK_INT(wrong, 0);
}

#endif
