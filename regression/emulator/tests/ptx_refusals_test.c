/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter of PTX refuses what it does not know, names it, and says on which line it stands. */
#include "regression/emulator/tests/ptx_fixture.h"

/* A kernel around statements, the first of which is on line 8. */
static void refused(const char *statements, const char *words)
{
    char text[2048], line[32];
    snprintf(text, sizeof text,
             PTX_HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .pred %%p<4>; .reg .b16 %%h<4>;\n"
                      ".reg .b32 %%r<9>; .reg .f32 %%f<9>; .reg .b64 %%d<9>;\n%s\nret;\n}\n",
             statements);
    CHECK(!ptx_load(text, memory.error, sizeof memory.error));
    CHECK_SAID(words);
    snprintf(line, sizeof line, "line %d", strchr(statements, '\n') ? 9 : 8);
    CHECK_SAID(line);
}

static void opcodes(void)
{
    refused("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 %f1, %r1, %r2, %f3;", "mma.sync");
    refused("cp.async.ca.shared.global [%r1], [%d1], 16;", "cp.async");
    refused("tex.1d.v4.f32.s32 {%f1,%f2,%f3,%f4}, [%d1, {%r1}];", "tex.1d");
    refused("brx.idx %r1, table;", "brx.idx");
    refused("mov.u32 %r1, 1;\nadd.u128 %r1, %r2, %r3;", "add.u128");
    refused("setp.foo.s32 %p1, %r1, %r2;", "setp.foo.s32");
    refused("cvt.rn.e4m3x2.f32 %h1, %f1, %f2;", "cvt.rn.e4m3x2.f32");
    refused("atom.global.add.f128 %r1, [%d1], %r2;", "atom.global.add.f128");
    refused("red.global.cas.b32 [%d1], %r1, %r2;", "red.global.cas.b32");
    refused("ld.global.b128 %d1, [%d1];", "ld.global.b128");
    refused("ld.global.v8.f32 %f1, [%d1];", "ld.global.v8.f32");
    refused("st.const.u32 [%d1], %r1;", "constant memory");
}

static void modifiers(void)
{
    refused("add.rm.s32 %r1, %r2, %r3;", "add.rm.s32");
    refused("add.rn.rz.f32 %f1, %f2, %f3;", "add.rn.rz.f32");
    refused("add.ftz.f64 %d1, %d2, %d3;", "add.ftz.f64");
    refused("fma.rn.relu.f32 %f1, %f2, %f3, %f4;", "fma.rn.relu.f32");
    refused("mul.rna.f32 %f1, %f2, %f3;", "mul.rna.f32");
    refused("ex2.full.f32 %f1, %f2;", "ex2.full.f32");
    refused("cvt.rn.satfinite.f16.f32 %h1, %f1;", "satfinite");
    refused("ld.global.nc.L2::cache_hint.f32 %f1, [%d1], %d2;", "L2::cache_hint");
    refused("ld.mmio.global.u32 %r1, [%d1];", "mmio");
    refused("bra.foo end;", "bra.foo");
    refused("shfl.bfly.b32 %r1, %r2, 1, 31;", "shfl.bfly.b32");
    refused("atom.global.sometimes.add.u32 %r1, [%d1], %r2;", "sometimes");
    refused("add.f32.f32 %f1, %f2, %f3;", "add.f32.f32");
}

static void operands(void)
{
    refused("add.s32 %r1, %r2;", "add.s32 has 3 operands, not 2");
    refused("add.s32 %r1, %r2, %r9;", "%r9");
    refused("add.s32 %r1, %r2, %nosuch.x;", "%nosuch.x");
    refused("mov.u32 %r1, %clock;", "%clock");
    refused("mov.u32 %r1, 12x;", "12x");
    refused("mov.f32 %f1, 0f3F8;", "0f3F8");
    refused("add.f64 %d1, %d2, 0f3F800000;", "0f3F800000");
    refused("ld.global.v2.f32 {%f1}, [%d1];", "too few");
    refused("ld.global.f32 %f1, %d1;", "no address");
    refused("ld.global.f32 %f1, [%d1+x];", "no offset");
    refused("mov.b64 {%r1, %r2, %r3}, %d1;", "3 pieces");
    refused("mov.u32 %r1, 1;\nbra nowhere;", "nowhere");
    refused("bar.sync 0, 64;", "bar.sync has 1 operands, not 2");
    refused("call (%r1), %d1, (%r2);", "call");
    refused("call.uni nosuch;", "nosuch");
}

static void directives(void)
{
    refused(".reg .q32 %x;", ".q32");
    refused(".tex .u32 %x;", ".tex");
    refused(".pragma \"unheard of\";", "unheard of");
    refused(".shared .align 3 .b8 x[4];", "power of two");
    refused(".local .b8 x[];", "array without a number");
    static const struct {
        const char *text, *words;
    } modules[] = {
        {".version 9.0\n.target r600\n", "r600"},
        {".version 9.0\n.target sm_80, debug\n", "option"},
        {".version 9.0\n.target sm_80\n.address_size 32\n", "64"},
        {PTX_HEAD ".alias a, b;\n", ".alias"},
        {PTX_HEAD ".global .align 4 .b8 t[2] = {1, 2, 3};\n", "more values"},
        {PTX_HEAD ".global .u64 t = other;\n", "other"},
        {PTX_HEAD ".entry k() .maxclusterrank 4 { ret; }\n", ".maxclusterrank"},
        {PTX_HEAD ".entry k() { ret; \n", "no \"}\""},
        {PTX_HEAD ".entry k(.param .texref t) { ret; }\n", ".texref"},
    };
    for (size_t k = 0; k < sizeof modules / sizeof *modules; k++) {
        CHECK(!ptx_load(modules[k].text, memory.error, sizeof memory.error));
        CHECK_SAID(modules[k].words);
        CHECK_SAID("line ");
    }
}

/* What nvcc writes around kernels is taken. */
static void accepted(void)
{
    struct ptx_module *module = ptx_load(
        "// comment\n.version 8.7\n.target sm_90a\n.address_size 64\n/* more\n */\n"
        ".file 1 \"a.cu\"\n.extern .shared .align 16 .b8 dynamic[];\n"
        ".visible .entry k(\n.param .u64 .ptr .global .align 16 p,\n"
        ".param .align 8 .b8 s[24],\n.param .u8 c\n)\n.maxntid 128, 2, 1\n{\n"
        ".shared .align 4 .b8 x[40];\n.pragma \"nounroll\";\n.loc 1 2 3\n"
        ".reg .b32 r; .reg .b64 d;\nld.global.L1::no_allocate.L2::128B.u32 r, [d];\nret;\n}\n"
        ".section .debug { .b8 1 }\n",
        memory.error, sizeof memory.error);
    CHECK(module);
    if (!module) return;
    const struct ptx_kernel *kernel = ptx_find(module, "k");
    CHECK(kernel && !ptx_find(module, "other"));
    CHECK_INT(ptx_parameter_count(kernel), 3);
    CHECK_INT(ptx_parameter_bytes(kernel, 0), 8);
    CHECK_INT(ptx_parameter_bytes(kernel, 1), 24);
    CHECK_INT(ptx_parameter_bytes(kernel, 2), 1);
    CHECK(ptx_shared_bytes(kernel) >= 40);
}

int main(void)
{
    opcodes();
    modifiers();
    operands();
    directives();
    accepted();
    return test_finish("ptx_refusals_test");
}
