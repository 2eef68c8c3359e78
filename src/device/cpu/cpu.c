/* SPDX-License-Identifier: Apache-2.0 */
/* The cpu device: memory of the host, and streams that run their work at once.
 *
 * An operation on a cpu stream runs in the calling thread, with the stream's number of OpenMP
 * threads, and is done when the call returns. So events are always complete, and the overlap of
 * lanes comes from the threads that feed them. It is the host too: where another device computes,
 * operations on host memory are its. */
#include "device/cpu/cpu.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timing.h"

enum { THREADS_MOST = 1024 }; /* as of device.threads; OpenMP has some words of stack for each */

static int cores_of_process(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

/* Cores that a rank has while all ranks of its node compute: its own where ranks are bound to
 * cores, otherwise its part of the node's. */
static double cores_at_once(int node_ranks)
{
    double own = cores_of_process();
    double part = (double)sysconf(_SC_NPROCESSORS_ONLN) / (node_ranks > 0 ? node_ranks : 1);
    return part > 0 && part < own ? part : own;
}

/* What OMP_NUM_THREADS asks for: its first number, that of the outermost level; 0 for none. */
static int threads_of_environment(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    char *end;
    if (!text) return 0;
    long count = strtol(text, &end, 10);
    while (*end == ' ')
        end++;
    return end != text && (*end == 0 || *end == ',') && count > 0 && count <= THREADS_MOST
               ? (int)count
               : 0;
}

/* More threads than cores wait for each other, and so many more that it cannot be meant are
 * refused: their stacks alone would fill the machine. */
static enum zi_status choose_threads(const struct settings_device *settings, int node_ranks,
                                     int *threads)
{
    enum { PER_CORE_MOST = 8 };
    int cores = cores_of_process(), wanted = threads_of_environment();
    const char *who = wanted ? "OMP_NUM_THREADS" : "device.threads";
    if (wanted == 0) wanted = cores / (node_ranks > 0 ? node_ranks : 1);
    if (settings->threads != ZI_AUTO) {
        wanted = (int)settings->threads;
        who = "device.threads";
    }
    *threads = wanted > 0 ? wanted : 1;
    if (*threads > PER_CORE_MOST * cores)
        return zi_fail(ZI_ERROR_USAGE, "device",
                       "%s: %d threads on %d core%s; use at most %d, or device.threads: auto", who,
                       *threads, cores, cores == 1 ? "" : "s", cores);
    if (*threads > cores)
        zi_log(ZI_LOG_WARN, "device", "%s: %d threads on %d core%s wait for each other", who,
               *threads, cores, cores == 1 ? "" : "s");
    return ZI_OK;
}

static void processor_name(char *name, size_t size)
{
    char line[512];
    snprintf(name, size, "cpu");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) return;
    while (fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(name, size, "%s", colon + 2);
        break;
    }
    fclose(file);
}

static enum zi_status cpu_fill(struct device_stream *stream, struct device_ptr to, size_t bytes,
                               int byte)
{
    (void)stream;
    memset((void *)to.address, byte, bytes);
    return ZI_OK;
}

static void cpu_close(struct device *device)
{
    cpu_matmul_destroy(cpu_device_of(device));
    free(device);
}

static enum zi_status cpu_allocate(struct device *device, enum zi_tier tier, size_t bytes,
                                   const char *name, struct device_ptr *memory)
{
    void *place;
    (void)device;
    ZI_TRY(zi_memory_allocate(bytes, tier, name, &place));
    memory->address = (uintptr_t)place;
    return ZI_OK;
}

static void cpu_free(struct device *device, enum zi_tier tier, struct device_ptr memory)
{
    (void)device;
    (void)tier;
    zi_memory_free((void *)memory.address);
}

static enum zi_status cpu_map(struct device_stream *stream, struct device_ptr memory, size_t bytes,
                              void **host)
{
    (void)stream;
    (void)bytes;
    *host = (void *)memory.address;
    return ZI_OK;
}

static void cpu_unmap(struct device_stream *stream, struct device_ptr memory)
{
    (void)stream;
    (void)memory;
}

static enum zi_status cpu_stream_create(struct device *device, int threads,
                                        struct device_stream **stream)
{
    struct device_stream *s = calloc(1, sizeof *s);
    if (!s) return zi_fail(ZI_ERROR_DEVICE, "device", "no memory for a stream");
    s->device = device;
    s->threads = threads > 0 ? threads : 1;
    *stream = s;
    return ZI_OK;
}

static void cpu_stream_destroy(struct device_stream *stream)
{
    free(stream);
}

static enum zi_status cpu_stream_synchronize(struct device_stream *stream)
{
    (void)stream;
    return ZI_OK;
}

static enum zi_status cpu_event_create(struct device *device, struct device_event **event)
{
    struct cpu_event *e = calloc(1, sizeof *e);
    if (!e) return zi_fail(ZI_ERROR_DEVICE, "device", "no memory for an event");
    e->base.device = device;
    *event = &e->base;
    return ZI_OK;
}

static void cpu_event_destroy(struct device_event *event)
{
    free(event);
}

static enum zi_status cpu_event_record(struct device_event *event, struct device_stream *stream)
{
    (void)stream;
    ((struct cpu_event *)event)->time_s = zi_time_s();
    return ZI_OK;
}

static enum zi_status cpu_event_wait(struct device_stream *stream, struct device_event *event)
{
    (void)event;
    (void)stream;
    return ZI_OK;
}

static enum zi_status cpu_event_query(struct device_event *event, bool *done)
{
    (void)event;
    *done = true;
    return ZI_OK;
}

static enum zi_status cpu_event_synchronize(struct device_event *event, double *time_s)
{
    if (time_s) *time_s = ((const struct cpu_event *)event)->time_s;
    return ZI_OK;
}

static enum zi_status cpu_copy(struct device_stream *stream, struct device_ptr to,
                               struct device_ptr from, size_t bytes)
{
    enum { PIECE = 1 << 20, LARGE = 8 << 20 };
    const struct cpu_passes *passes = cpu_device_of(stream->device)->passes;
    int64_t pieces = (int64_t)((bytes + PIECE - 1) / PIECE);
#pragma omp parallel for num_threads(stream->threads) if (pieces > 1 && stream->threads > 1)
    for (int64_t i = 0; i < pieces; i++) {
        size_t first = (size_t)i * PIECE;
        size_t some = bytes - first < PIECE ? bytes - first : PIECE;
        char *piece = (char *)to.address + first;
        const char *source = (const char *)from.address + first;
        if (bytes >= LARGE)
            passes->copy(piece, source, some);
        else
            memcpy(piece, source, some);
    }
    return ZI_OK;
}

static const struct device_table table = {
    .close = cpu_close,
    .allocate = cpu_allocate,
    .free = cpu_free,
    .map = cpu_map,
    .unmap = cpu_unmap,
    .stream_create = cpu_stream_create,
    .stream_destroy = cpu_stream_destroy,
    .stream_synchronize = cpu_stream_synchronize,
    .event_create = cpu_event_create,
    .event_destroy = cpu_event_destroy,
    .event_record = cpu_event_record,
    .event_wait = cpu_event_wait,
    .event_query = cpu_event_query,
    .event_synchronize = cpu_event_synchronize,
    .copy = cpu_copy,
    .measure_peak = cpu_measure_peak,
};

/* What makes the products of bf16: a rule, so that all ranks and runs do the same. */
static enum zi_status choose_products(const struct settings_device *settings, enum cpu_isa isa,
                                      bool *by_tiles)
{
    *by_tiles = isa == CPU_AMX && settings->products != PRODUCTS_ONEDNN;
    if (settings->products != PRODUCTS_TILES || *by_tiles) return ZI_OK;
    return zi_fail(
        ZI_ERROR_DEVICE, "device",
        "device.products: tiles need the instruction set amx, and kernels are for %s; use "
        "auto, or device.isa: auto where the processor has AMX",
        cpu_isa_name(isa));
}

static enum zi_status cpu_describe(const struct settings_device *settings,
                                   struct device_share share, struct device_properties *properties)
{
    enum cpu_isa isa = CPU_GENERIC;
    char name[64];
    bool by_tiles;
    struct device_properties p = {.is_host = true, .unified = true, .mappable = true};
    ZI_TRY(choose_threads(settings, share.ranks, &p.threads));
    ZI_TRY(cpu_isa_choose(settings->isa, cpu_isa_best(), &isa));
    ZI_TRY(choose_products(settings, isa, &by_tiles));
    processor_name(name, sizeof name);
    snprintf(p.name, sizeof p.name, "%s, %s%s", name, cpu_isa_name(isa),
             isa == CPU_AMX && !by_tiles ? ", products by oneDNN" : "");
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    p.memory_bytes = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : 0;
    p.bf16_native = isa >= CPU_AVX512BF16;
    double cores = cores_at_once(share.ranks);
    p.fills_cores = cores >= 1 && p.threads >= cores;
    *properties = p;
    return ZI_OK;
}

static enum zi_status cpu_open(const struct settings_device *settings, struct device_share share,
                               struct device **device)
{
    enum cpu_isa isa = CPU_GENERIC;
    struct device_properties properties;
    ZI_TRY(cpu_describe(settings, share, &properties));
    ZI_TRY(cpu_isa_choose(settings->isa, cpu_isa_best(), &isa));
    struct cpu_device *d = calloc(1, sizeof *d);
    if (!d) return zi_fail(ZI_ERROR_DEVICE, "device", "no memory for the cpu device");
    d->base.table = &table;
    d->base.properties = properties;
    d->isa = isa;
    d->cores = cores_at_once(share.ranks);
    cpu_isa_register(isa, &d->base.operations);
    d->passes = cpu_isa_passes(isa);
    d->base.operations.fill = cpu_fill;
    d->base.operations.matmul = cpu_matmul;
    enum zi_status status = choose_products(settings, isa, &d->by_tiles);
    if (status >= 0) status = cpu_matmul_create(d);
    if (status < 0) {
        free(d);
        return status;
    }
    *device = &d->base;
    return ZI_OK;
}

const struct device_backend cpu_device_backend = {.describe = cpu_describe, .open = cpu_open};
