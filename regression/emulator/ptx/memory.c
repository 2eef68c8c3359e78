/* SPDX-License-Identifier: Apache-2.0 */
/* Loads, stores and atomics. */
#include "regression/emulator/ptx/memory.h"
#include "regression/emulator/ptx/number.h"
#include "regression/emulator/ptx/steps.h"

/* A thread's own memory. */
static uint8_t *reach_local(struct ptx_thread *t, const struct ptx_instruction *i, uint64_t address,
                            unsigned bytes)
{
    uint32_t most = t->machine->kernel->local_bytes;
    if (address + bytes - 1 < most && !(address & (bytes - 1))) return t->local + address;
    ptx_fault(t, i, "%u bytes at offset %lld of local memory, which has %u, or misaligned", bytes,
              (long long)address, most);
    return NULL;
}

static uint8_t *reach_param(struct ptx_thread *t, const struct ptx_instruction *i, uint64_t address,
                            unsigned bytes, enum ptx_access access)
{
    uint32_t most = t->machine->kernel->parameter_bytes;
    if (address + bytes - 1 < most && !(address & (bytes - 1)) && access == PTX_READ)
        return t->machine->parameters + address;
    ptx_fault(t, i,
              "%u bytes at offset %lld of parameters, which have %u, or misaligned, or a write",
              bytes, (long long)address, most);
    return NULL;
}

static uint8_t *reach_const(struct ptx_thread *t, const struct ptx_instruction *i, uint64_t address,
                            unsigned bytes)
{
    const struct ptx_module *module = t->machine->kernel->module;
    uint64_t offset = address - (uint64_t)(uintptr_t)module->variables;
    if (offset + bytes - 1 < module->variable_bytes && offset >= module->global_bytes &&
        !(address & (bytes - 1)))
        return module->variables + offset;
    ptx_fault(t, i, "%u bytes at %#llx, which are not constant memory, or misaligned", bytes,
              (unsigned long long)address);
    return NULL;
}

static uint8_t *reach_generic(struct ptx_thread *t, const struct ptx_instruction *i,
                              uint64_t address, unsigned bytes, enum ptx_access access)
{
    switch (address >> PTX_WINDOW_BITS) {
    case PTX_WINDOW_SHARED >> PTX_WINDOW_BITS:
        return ptx_shared(t, i, address - PTX_WINDOW_SHARED, bytes, access);
    case PTX_WINDOW_LOCAL >> PTX_WINDOW_BITS:
        return reach_local(t, i, address - PTX_WINDOW_LOCAL, bytes);
    case PTX_WINDOW_PARAM >> PTX_WINDOW_BITS:
        return reach_param(t, i, address - PTX_WINDOW_PARAM, bytes, access);
    default:
        return ptx_global(t, i, address, bytes, access);
    }
}

#define REACH_generic reach_generic(t, i, address, bytes, access)
#define REACH_global  ptx_global(t, i, address, bytes, access)
#define REACH_shared  ptx_shared(t, i, address, bytes, access)
#define REACH_local   reach_local(t, i, address, bytes)
#define REACH_param   reach_param(t, i, address, bytes, access)
#define REACH_const   reach_const(t, i, address, bytes)

/* `type` is that of an element. Stores to constant memory do not exist. */
#define LOAD(space, name, type)                                                                    \
    PTX_STEP(load_##space##_##name)                                                                \
    {                                                                                              \
        uint64_t address = r[i->o[PTX_ADDRESS]].u64 + (uint64_t)i->offset;                         \
        unsigned bytes = (unsigned)sizeof(type) * i->count;                                        \
        enum ptx_access access = PTX_READ;                                                         \
        (void)access;                                                                              \
        const uint8_t *from = REACH_##space;                                                       \
        if (!from) return NULL;                                                                    \
        for (unsigned k = 0; k < i->count; k++) {                                                  \
            type x;                                                                                \
            memcpy(&x, from + k * sizeof x, sizeof x);                                             \
            r[i->o[k]].u64 = (uint64_t)(int64_t)x;                                                 \
        }                                                                                          \
        return i + 1;                                                                              \
    }
#define STORE(space, name, type)                                                                   \
    PTX_STEP(store_##space##_##name)                                                               \
    {                                                                                              \
        uint64_t address = r[i->o[PTX_ADDRESS]].u64 + (uint64_t)i->offset;                         \
        unsigned bytes = (unsigned)sizeof(type) * i->count;                                        \
        enum ptx_access access = PTX_WRITE;                                                        \
        (void)access;                                                                              \
        uint8_t *to = REACH_##space;                                                               \
        if (!to) return NULL;                                                                      \
        for (unsigned k = 0; k < i->count; k++)                                                    \
            memcpy(to + k * sizeof(type), &r[i->o[k]].u64, sizeof(type));                          \
        return i + 1;                                                                              \
    }
#define LOADS(space)                                                                               \
    LOAD(space, u8, uint8_t)                                                                       \
    LOAD(space, u16, uint16_t)                                                                     \
    LOAD(space, u32, uint32_t)                                                                     \
    LOAD(space, u64, uint64_t)                                                                     \
    LOAD(space, s8, int8_t)                                                                        \
    LOAD(space, s16, int16_t)                                                                      \
    LOAD(space, s32, int32_t)
#define STORES(space)                                                                              \
    STORE(space, u8, uint8_t)                                                                      \
    STORE(space, u16, uint16_t)                                                                    \
    STORE(space, u32, uint32_t)                                                                    \
    STORE(space, u64, uint64_t)
LOADS(generic)
LOADS(global)
LOADS(shared)
LOADS(local)
LOADS(param)
LOADS(const)
STORES(generic)
STORES(global)
STORES(shared)
STORES(local)

/* By the logarithm of the bytes, signed ones after the others. */
#define LOAD_ROW(space)                                                                            \
    {                                                                                              \
        load_##space##_u8, load_##space##_u16, load_##space##_u32, load_##space##_u64,             \
            load_##space##_s8, load_##space##_s16, load_##space##_s32, load_##space##_u64          \
    }
#define STORE_ROW(space)                                                                           \
    {                                                                                              \
        store_##space##_u8, store_##space##_u16, store_##space##_u32, store_##space##_u64          \
    }

ptx_step *ptx_load_step(enum ptx_space space, unsigned bytes, bool sign)
{
    static ptx_step *const steps[PTX_SPACES][8] = {
        [PTX_GENERIC] = LOAD_ROW(generic), [PTX_GLOBAL] = LOAD_ROW(global),
        [PTX_SHARED] = LOAD_ROW(shared),   [PTX_LOCAL] = LOAD_ROW(local),
        [PTX_PARAM] = LOAD_ROW(param),     [PTX_CONST] = LOAD_ROW(const)};
    return steps[space][__builtin_ctz(bytes) + (sign ? 4 : 0)];
}

ptx_step *ptx_store_step(enum ptx_space space, unsigned bytes)
{
    static ptx_step *const steps[PTX_SPACES][4] = {[PTX_GENERIC] = STORE_ROW(generic),
                                                   [PTX_GLOBAL] = STORE_ROW(global),
                                                   [PTX_SHARED] = STORE_ROW(shared),
                                                   [PTX_LOCAL] = STORE_ROW(local)};
    return steps[space][__builtin_ctz(bytes)];
}

static uint8_t *reach_atomic(struct ptx_thread *t, const struct ptx_instruction *i,
                             uint64_t address)
{
    if (i->space == PTX_GLOBAL) return ptx_global(t, i, address, i->bytes, PTX_ATOMIC);
    if (i->space == PTX_SHARED) return ptx_shared(t, i, address, i->bytes, PTX_ATOMIC);
    return reach_generic(t, i, address, i->bytes, PTX_ATOMIC);
}

static uint32_t half_sums(uint32_t a, uint32_t b, int mantissa, int count)
{
    uint32_t sums = 0;
    for (int shift = 0; shift < 16 * count; shift += 16) {
        double x = (double)ptx_widen((uint16_t)(a >> shift), mantissa);
        double y = (double)ptx_widen((uint16_t)(b >> shift), mantissa);
        float sum = (float)x + (float)y;
        sums |= (uint32_t)ptx_narrow((double)sum, mantissa, 0) << shift;
    }
    return sums;
}

static uint32_t float_sum(uint32_t a, uint32_t b)
{
    return ptx_result(ptx_float(a) + ptx_float(b));
}

/* fp32 atomics in global memory flush nothing on NVIDIA's hardware since sm_20. */
static uint64_t double_sum(uint64_t a, uint64_t b)
{
    union ptx_value x = {.u64 = a}, y = {.u64 = b};
    x.f64 += y.f64;
    return x.u64;
}

/* X(function, name, C type, sources, what is stored): of x, which is there, y and z. */
#define ATOMICS(X)                                                                                 \
    X(add_u32, "add.u32", uint32_t, 1, x + y)                                                      \
    X(add_s32, "add.s32", uint32_t, 1, x + y)                                                      \
    X(add_u64, "add.u64", uint64_t, 1, x + y)                                                      \
    X(add_f32, "add.f32", uint32_t, 1, float_sum(x, y))                                            \
    X(add_ftz_f32, "add.ftz.f32", uint32_t, 1, float_sum(x, y))                                    \
    X(add_f64, "add.f64", uint64_t, 1, double_sum(x, y))                                           \
    X(add_f16, "add.noftz.f16", uint16_t, 1, (uint16_t)half_sums(x, y, PTX_FP16_MANTISSA, 1))      \
    X(add_bf16, "add.noftz.bf16", uint16_t, 1, (uint16_t)half_sums(x, y, PTX_BF16_MANTISSA, 1))    \
    X(add_f16x2, "add.noftz.f16x2", uint32_t, 1, half_sums(x, y, PTX_FP16_MANTISSA, 2))            \
    X(add_bf16x2, "add.noftz.bf16x2", uint32_t, 1, half_sums(x, y, PTX_BF16_MANTISSA, 2))          \
    X(min_u32, "min.u32", uint32_t, 1, x < y ? x : y)                                              \
    X(max_u32, "max.u32", uint32_t, 1, x > y ? x : y)                                              \
    X(min_s32, "min.s32", int32_t, 1, x < y ? x : y)                                               \
    X(max_s32, "max.s32", int32_t, 1, x > y ? x : y)                                               \
    X(min_u64, "min.u64", uint64_t, 1, x < y ? x : y)                                              \
    X(max_u64, "max.u64", uint64_t, 1, x > y ? x : y)                                              \
    X(min_s64, "min.s64", int64_t, 1, x < y ? x : y)                                               \
    X(max_s64, "max.s64", int64_t, 1, x > y ? x : y)                                               \
    X(and_b32, "and.b32", uint32_t, 1, x &y)                                                       \
    X(or_b32, "or.b32", uint32_t, 1, x | y)                                                        \
    X(xor_b32, "xor.b32", uint32_t, 1, x ^ y)                                                      \
    X(and_b64, "and.b64", uint64_t, 1, x &y)                                                       \
    X(or_b64, "or.b64", uint64_t, 1, x | y)                                                        \
    X(xor_b64, "xor.b64", uint64_t, 1, x ^ y)                                                      \
    X(exch_b32, "exch.b32", uint32_t, 1, y)                                                        \
    X(exch_b64, "exch.b64", uint64_t, 1, y)                                                        \
    X(inc_u32, "inc.u32", uint32_t, 1, x >= y ? 0 : x + 1)                                         \
    X(dec_u32, "dec.u32", uint32_t, 1, x == 0 || x > y ? y : x - 1)                                \
    X(cas_b16, "cas.b16", uint16_t, 2, x == y ? z : x)                                             \
    X(cas_b32, "cas.b32", uint32_t, 2, x == y ? z : x)                                             \
    X(cas_b64, "cas.b64", uint64_t, 2, x == y ? z : x)

/* What was there goes to the first operand. */
#define ATOMIC(function, name, type, sources, value)                                               \
    PTX_STEP(atomic_##function)                                                                    \
    {                                                                                              \
        uint8_t *at = reach_atomic(t, i, r[i->o[PTX_ADDRESS]].u64 + (uint64_t)i->offset);          \
        type x, y = (type)A.u64, z = (type)B.u64, stored;                                          \
        if (!at) return NULL;                                                                      \
        (void)z;                                                                                   \
        memcpy(&x, at, sizeof x);                                                                  \
        stored = (type)(value);                                                                    \
        memcpy(at, &stored, sizeof stored);                                                        \
        D.u64 = (uint64_t)x;                                                                       \
        return i + 1;                                                                              \
    }
ATOMICS(ATOMIC)

const struct ptx_atomic *ptx_atomic_find(const char *name)
{
#define ATOMIC_ROW(function, name, type, sources, value)                                           \
    {name, atomic_##function, sizeof(type), sources},
    static const struct ptx_atomic atomics[] = {ATOMICS(ATOMIC_ROW)};
    for (size_t k = 0; k < sizeof atomics / sizeof *atomics; k++)
        if (strcmp(atomics[k].name, name) == 0) return &atomics[k];
    return NULL;
}
