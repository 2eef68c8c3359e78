/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf bench device` and `zinf bench disk`: what a machine gives, measured with the words of a
 * deck's device and nvme sections, so that what is measured is what a run with these words uses.
 *
 * `bench device` shows the operations of a device beside its ceilings. `bench disk` measures the
 * disks, and the few rates of processor and memory that belong to them, and writes all of it to a
 * machine file, from which `zinf plan` tells the time of a step. The rates there are of the whole
 * node: sums over its paths, all cores at work. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/bench.h"
#include "app/commands.h"
#include "app/output.h"
#include "app/setup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/timing.h"
#include "device/bench.h"
#include "device/operations.h"

enum { ROWS = 1024, WIDTH = 1024, INNER = 4096, COPY_BYTES = 256 << 20 };
static const double SECONDS = 0.5;       /* of each rate of the device */
static const double PEAK_SECONDS = 0.15; /* of each peak */

struct product_rate {
    double flops;
    struct device_peak peak;
};

struct machine {
    /* Of matrix products per second, and their peak; 0 where the device has none. */
    struct product_rate fp32, bf16, fp16;
    /* Bytes read and written per second. */
    double memory;
};

/* Repeats a piece of work for a while; gives how often per second, of the fastest. */
static enum zi_status repeat(enum zi_status (*work)(struct device_stream *, const void *),
                             struct device_stream *stream, const void *argument, double *per_s)
{
    double start = zi_time_s(), best = INFINITY;
    for (int count = 0; count < 3 || zi_time_s() - start < SECONDS; count++) {
        ZI_TRY(zi_stop_check());
        double from = zi_time_s();
        ZI_TRY(work(stream, argument));
        ZI_TRY(device_stream_synchronize(stream));
        double took = zi_time_s() - from;
        if (took < best) best = took;
    }
    *per_s = best > 0 ? 1 / best : 0;
    return ZI_OK;
}

struct product {
    const struct device_operations *operations;
    struct device_matmul matmul;
};

static enum zi_status multiply(struct device_stream *stream, const void *argument)
{
    const struct product *product = argument;
    return product->operations->matmul(stream, &product->matmul);
}

static enum zi_status copy(struct device_stream *stream, const void *argument)
{
    struct device_ptr from = *(const struct device_ptr *)argument;
    return device_copy(stream, device_at(from, COPY_BYTES / 2), from, COPY_BYTES / 2);
}

/* FLOP per second of matrix products of a type, all in `memory`, and the peak. */
static enum zi_status measure_product(const struct device_operations *operations,
                                      struct device_stream *stream, struct device_ptr memory,
                                      enum zi_dtype type, struct product_rate *rate)
{
    const size_t step = (size_t)ROWS * INNER * 4;
    const struct product product = {.operations = operations,
                                    .matmul = {.type = type,
                                               .type_c = type,
                                               .m = ROWS,
                                               .n = INNER,
                                               .k = WIDTH,
                                               .lda = WIDTH,
                                               .ldb = WIDTH,
                                               .ldc = INNER,
                                               .transpose_b = true,
                                               .a = memory,
                                               .b = device_at(memory, step),
                                               .c = device_at(memory, 2 * step)}};
    double per_s;
    ZI_TRY(device_measure_peak(stream, type, PEAK_SECONDS, &rate->peak));
    ZI_TRY(repeat(multiply, stream, &product, &per_s));
    rate->flops = 2.0 * ROWS * WIDTH * INNER * per_s;
    return ZI_OK;
}

static enum zi_status measure_on(struct device *device, struct device_stream *stream,
                                 struct device_ptr memory, struct machine *machine)
{
    const struct device_operations *operations = device_get_operations(device);
    double per_s;
    if (operations->matmul) {
        ZI_TRY(measure_product(operations, stream, memory, ZI_FP32, &machine->fp32));
        ZI_TRY(measure_product(operations, stream, memory, ZI_BF16, &machine->bf16));
        ZI_TRY(measure_product(operations, stream, memory, ZI_FP16, &machine->fp16));
    }
    ZI_TRY(repeat(copy, stream, &memory, &per_s));
    machine->memory = COPY_BYTES * per_s; /* half of the bytes are read, the other half written */
    return ZI_OK;
}

static enum zi_status measure_device(const struct settings_device *settings,
                                     struct machine *machine)
{
    struct device *device = NULL;
    struct device_stream *stream = NULL;
    struct device_ptr memory = {0};
    ZI_TRY(device_open(settings, DEVICE_ALONE, &device));
    int threads = device_get_properties(device)->threads;
    enum zi_status status = device_allocate(device, ZI_TIER_DEVICE, COPY_BYTES, "bench", &memory);
    if (status >= 0) status = device_stream_create(device, threads, &stream);
    if (status >= 0) status = measure_on(device, stream, memory, machine);
    if (stream) device_stream_destroy(stream);
    device_free(device, ZI_TIER_DEVICE, memory);
    device_close(device);
    return status;
}

static void print_products(const struct product_rate *rate, enum zi_dtype type, FILE *out)
{
    if (rate->flops <= 0) return;
    fprintf(out, "# Products of %s are made of %s and reach %.1f %% of its peak.\n",
            zi_dtype_name(type), rate->peak.instructions,
            100 * rate->flops / rate->peak.flops_per_s);
}

static void print_machine(const struct machine *machine, const struct bench_disk *disk, FILE *out)
{
    double read = 0, write = 0, both = 0;
    char stamp[64];
    const struct deck_list *paths = &disk->nvme->paths;
    fprintf(out, "# Rates of this node, measured by `zinf bench disk` at %s.\n",
            zi_time_stamp(stamp, sizeof stamp));
    fprintf(out, "# Blocks of %lld bytes, depth %lld. Numbers are FLOP/s or bytes/s.\n",
            (long long)disk->nvme->block, (long long)disk->nvme->depth);
    for (int i = 0; i < paths->count; i++) {
        const struct bench_rates *rates = &disk->rates[i];
        fprintf(out, "# %s: read %.4g, write %.4g; at once read %.4g, write %.4g\n",
                paths->items[i], rates->read, rates->write, rates->mixed_read, rates->mixed_write);
        read += rates->read;
        write += rates->write;
        both += rates->mixed_read + rates->mixed_write;
    }
    print_products(&machine->fp32, ZI_FP32, out);
    print_products(&machine->bf16, ZI_BF16, out);
    print_products(&machine->fp16, ZI_FP16, out);
    fprintf(out, "machine:\n");
    if (machine->fp32.flops > 0) fprintf(out, "  flops_fp32: %.4g\n", machine->fp32.flops);
    if (machine->bf16.flops > 0) fprintf(out, "  flops_bf16: %.4g\n", machine->bf16.flops);
    if (machine->fp16.flops > 0) fprintf(out, "  flops_fp16: %.4g\n", machine->fp16.flops);
    fprintf(out, "  memory_bytes_per_s: %.4g\n", machine->memory);
    fprintf(out, "  disk_read_bytes_per_s: %.4g\n", read);
    fprintf(out, "  disk_write_bytes_per_s: %.4g\n", write);
    fprintf(out, "  disk_mixed_bytes_per_s: %.4g\n", both);
}

static enum zi_status save_machine(const struct machine *machine, const struct bench_disk *disk,
                                   const char *path)
{
    struct output_stream stream;
    ZI_TRY(output_stream_begin(path, &stream));
    print_machine(machine, disk, stream.out);
    return output_stream_end(&stream, ZI_OK);
}

static enum zi_status bench_disk(const struct settings *settings, const struct options *options)
{
    struct bench_disk disk = {.nvme = &settings->nvme, .sweep = options_given(options, "--sweep")};
    struct machine machine = {.memory = 0};
    const char *name = options_text(options, "--output", "machine.yaml");
    int64_t mebibytes = 1024, turns = 3;
    ZI_TRY(options_integer(options, "--size", 1, 1 << 30, &mebibytes));
    ZI_TRY(options_integer(options, "--turns", 1, 99, &turns));
    disk.bytes = mebibytes << 20;
    disk.turns = (int)turns;
    ZI_TRY(zi_output_check("app", name)); /* an hour is lost when it is found out at the end */
    enum zi_status status = bench_disk_measure(&disk, stdout);
    if (status >= 0) status = measure_device(&settings->device, &machine);
    if (status >= 0) status = zi_stop_check();
    if (status >= 0) status = save_machine(&machine, &disk, name);
    if (status >= 0) printf("\nwritten to %s, for `zinf plan DECK --machine %s`\n", name, name);
    if (status == ZI_STOPPED)
        printf("\nstopped by %s; %s is not written\n", zi_stop_name(zi_stop_signal()), name);
    return status;
}

/* Options that the one benchmark has and the other has not, and keys that it does not look at. */
static enum zi_status check_words(const struct options *options, bool disk)
{
    static const char *const of_disk[] = {"--size", "--turns", "--sweep", "--output"};
    int set_count;
    const char *const *sets = options_all(options, "--set", &set_count);
    for (int i = 0; i < 4 && !disk; i++) {
        if (options_given(options, of_disk[i]))
            return zi_fail(ZI_ERROR_USAGE, "app", "%s is an option of `zinf bench disk`",
                           of_disk[i]);
    }
    for (int i = 0; i < set_count; i++) {
        if (strncmp(sets[i], "nvme.reclaim=", 13) == 0)
            return zi_fail(ZI_ERROR_USAGE, "app", "--set %s has no effect on a measurement",
                           sets[i]);
        if (strncmp(sets[i], "device.", 7) == 0) continue;
        if (disk && strncmp(sets[i], "nvme.", 5) == 0) continue;
        return zi_fail(ZI_ERROR_USAGE, "app", "--set %s: `zinf bench %s` has keys of section %s",
                       sets[i], disk ? "disk" : "device", disk ? "nvme and device" : "device");
    }
    return ZI_OK;
}

enum zi_status bench_command(struct comm *world, const struct options *options)
{
    (void)world;
    struct setup setup = {0};
    int set_count;
    const char *const *sets = options_all(options, "--set", &set_count);
    const char *what = options->words[0];
    bool disk = strcmp(what, "disk") == 0;
    if (!disk && strcmp(what, "device") != 0)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "zinf bench cannot measure %s; it measures: device, disk", what);
    ZI_TRY(check_words(options, disk));
    const char *const sections[] = {"device", disk ? "nvme" : NULL, NULL};
    enum zi_status status =
        setup_parse_part(&setup, NULL, "the command line", sections, sets, set_count);
    if (status >= 0 && disk) status = bench_disk(setup.settings, options);
    if (status >= 0 && !disk)
        status = device_open(&setup.settings->device, DEVICE_ALONE, &setup.device);
    if (status >= 0 && !disk) status = device_bench(setup.device, stdout);
    setup_cleanup(&setup);
    return status;
}
