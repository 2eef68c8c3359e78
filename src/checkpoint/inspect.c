/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf inspect`: what an HDF5 file of zinf holds, for people.
 *
 * One walk over all links prints a line per dataset: name, type, shape, bytes, and for floats of at
 * most 64 Mi elements the mean, the deviation and the range, read in pieces so that memory stays
 * small. Attributes of the file come first; texts of several lines (the deck) come last, as they
 * are. Nothing is assumed about the file beyond its kind: a checkpoint, a run record or a token
 * file, told by the attribute `format` or the dataset /tokens. HDF5 is asked for numbers of the
 * types that zinf writes only; others are named and not read. So is what lies in other files: one
 * of them could be a fifo, where HDF5 waits for ever.
 *
 * A checkpoint is told before HDF5 opens it, by its user block or its name, and is only opened when
 * all that HDF5 goes by is what was written (user_block.h).
 *
 * The same walk is what a child does with a file before HDF5 opens it here or elsewhere
 * (base/probe.h). It is brief then: of a contiguous dataset, whose bytes lie in one extent, it
 * reads one row, of others everything, since chunks are found through numbers of the file; and it
 * also asks for what only readers of token files ask for. */
#include "checkpoint/checkpoint.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/probe.h"
#include "checkpoint/inspect.h"
#include "checkpoint/user_block.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/h5.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 20, MOST_ELEMENTS = 1 << 26, MOST_DIMENSIONS = H5S_MAX_RANK };

struct statistics {
    /* squares: sum of squared deviations */
    double mean, squares, smallest, largest;
    int64_t count, nonfinite;
};

struct walk {
    const char *path;
    /* Of what ended the walk and was said */
    enum zi_status status;
    FILE *out;
    /* PIECE numbers */
    double *piece;
    /* Which attributes to print: 0 of one line, 1 of several */
    int long_texts;
    /* Whether to read floats: not those of other programs' token files */
    int numbers;
    /* For a child that looks whether HDF5 survives the file */
    int brief;
    /* The file has a user block, which holds */
    bool covered;
};

/* Welford's running mean and deviation. */
static void statistics_add(struct statistics *statistics, const double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double value = values[i];
        if (!isfinite(value)) {
            statistics->nonfinite++;
            continue;
        }
        statistics->count++;
        double difference = value - statistics->mean;
        statistics->mean += difference / (double)statistics->count;
        statistics->squares += difference * (value - statistics->mean);
        if (statistics->count == 1 || value < statistics->smallest) statistics->smallest = value;
        if (statistics->count == 1 || value > statistics->largest) statistics->largest = value;
    }
}

/* Reads a dataset of 1 or 2 dimensions in slabs of whole rows; a row must fit in the piece. */
static herr_t statistics_read(hid_t dataset, const int64_t *shape, int dimensions, int brief,
                              double *piece, struct statistics *statistics)
{
    int64_t width = dimensions == 2 ? shape[1] : 1, end = brief && shape[0] > 0 ? 1 : shape[0];
    int64_t rows = width > 0 ? PIECE / width : 0;
    if (width == 0 || shape[0] == 0) return 0;
    hid_t space = H5Dget_space(dataset);
    herr_t result = space < 0 || rows == 0 ? -1 : 0;
    for (int64_t row = 0; row < end && result >= 0; row += rows) {
        int64_t taken = end - row < rows ? end - row : rows;
        hsize_t start[2] = {(hsize_t)row, 0}, extent[2] = {(hsize_t)taken, (hsize_t)width};
        hsize_t count = extent[0] * extent[1];
        hid_t memory = H5Screate_simple(1, &count, NULL);
        result = -1;
        if (memory >= 0 &&
            H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, extent, NULL) >= 0)
            result = H5Dread(dataset, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, piece);
        if (memory >= 0) H5Sclose(memory);
        if (result >= 0) statistics_add(statistics, piece, (int64_t)count);
    }
    if (space >= 0) H5Sclose(space);
    return result;
}

static void print_statistics(const struct statistics *statistics, FILE *out)
{
    if (statistics->count > 0)
        fprintf(out, "  mean %.4g deviation %.4g smallest %.6g largest %.6g", statistics->mean,
                sqrt(statistics->squares / (double)statistics->count), statistics->smallest,
                statistics->largest);
    if (statistics->nonfinite > 0)
        fprintf(out, "  non-finite %lld", (long long)statistics->nonfinite);
}

static void type_text(hid_t type, char *text, size_t size)
{
    H5T_class_t class = H5Tget_class(type);
    size_t bits = 8 * H5Tget_size(type);
    if (h5_type_is(type, ZI_BF16))
        snprintf(text, size, "bf16");
    else if (h5_type_is(type, ZI_FP16))
        snprintf(text, size, "fp16");
    else if (class == H5T_FLOAT)
        snprintf(text, size, "fp%zu", bits);
    else if (class == H5T_INTEGER)
        snprintf(text, size, "%s%zu", H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int", bits);
    else
        snprintf(text, size, class == H5T_STRING ? "text" : "other");
}

/* Whether HDF5 is asked for the numbers: floats of the types that zinf writes. */
static int is_float(hid_t type)
{
    return h5_type_is(type, ZI_FP32) || h5_type_is(type, ZI_BF16) || h5_type_is(type, ZI_FP16) ||
           H5Tequal(type, H5T_IEEE_F64LE) > 0;
}

static void print_shape(const int64_t *shape, int dimensions, FILE *out)
{
    char text[MOST_DIMENSIONS * 24] = "";
    size_t used = 0;
    for (int d = 0; d < dimensions; d++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", d > 0 ? " x " : "",
                                 (long long)shape[d]);
    fprintf(out, "%-16s", text);
}

/* Whether a dataset has no extents at all. */
static int is_null(hid_t dataset)
{
    hid_t space = H5Dget_space(dataset);
    int null = space >= 0 && H5Sget_simple_extent_type(space) == H5S_NULL;
    if (space >= 0) H5Sclose(space);
    return null;
}

/* Gives -1, for HDF5 to end its walk, once the reason is said. */
static herr_t fail_walk(struct walk *walk, const char *name)
{
    char what[320];
    snprintf(what, sizeof what, "read its dataset /%.256s", name);
    walk->status = h5_fail("checkpoint", walk->path, what);
    return -1;
}

/* Prints a dataset whose type is open. */
static herr_t print_typed(hid_t dataset, hid_t type, const char *name, struct walk *walk)
{
    char text[32], bytes[32];
    int64_t shape[MOST_DIMENSIONS] = {0}, elements;
    struct statistics statistics = {0};
    herr_t result = 0;
    type_text(type, text, sizeof text);
    fprintf(walk->out, "/%-48s %-6s ", name, text);
    if (!h5_is_own(dataset) || is_null(dataset)) {
        fprintf(walk->out, "%s\n", h5_is_own(dataset) ? "empty" : "in other files: not read");
        return 0;
    }
    int dimensions = h5_shape_read(dataset, MOST_DIMENSIONS, shape, &elements);
    if (dimensions < 0) return fail_walk(walk, name);
    print_shape(shape, dimensions, walk->out);
    size_t size = H5Tget_size(type), all;
    if (__builtin_mul_overflow((size_t)elements, size, &all)) all = SIZE_MAX;
    fprintf(walk->out, " %12s", zi_memory_text(all, bytes, sizeof bytes));
    int brief = walk->brief && h5_is_extent(dataset) && h5_offset_read(dataset) >= 0;
    if (walk->numbers && is_float(type) && (dimensions == 1 || dimensions == 2) &&
        elements <= MOST_ELEMENTS && (dimensions == 1 || shape[1] <= PIECE)) {
        result = statistics_read(dataset, shape, dimensions, brief, walk->piece, &statistics);
        print_statistics(&statistics, walk->out);
    }
    fputc('\n', walk->out);
    return result < 0 ? fail_walk(walk, name) : 0;
}

static herr_t print_dataset(hid_t dataset, const char *name, struct walk *walk)
{
    hid_t type = H5Dget_type(dataset);
    if (type < 0) return fail_walk(walk, name);
    herr_t result = print_typed(dataset, type, name, walk);
    H5Tclose(type);
    return result;
}

static void print_text(const char *name, const char *text, const struct walk *walk)
{
    const char *end = strchr(text, '\n');
    int several = end && end[1] != '\0';
    if (several != walk->long_texts) return;
    if (!several) {
        fprintf(walk->out, "%-12s %.*s\n", name, (int)strcspn(text, "\n"), text);
        return;
    }
    size_t length = strlen(text);
    fprintf(walk->out, "\n%s:\n%s%s", name, text, text[length - 1] == '\n' ? "" : "\n");
}

/* Prints an attribute when it is of the kind the walk is after. */
static herr_t visit_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
    (void)info;
    const struct walk *walk = context;
    char *text = NULL;
    int64_t whole;
    double real;
    if (h5_text_read(object, name, &text) >= 0) {
        print_text(name, text, walk);
        free(text);
        return 0;
    }
    if (walk->long_texts) return 0;
    if (h5_integer_read(object, name, &whole) >= 0)
        fprintf(walk->out, "%-12s %lld\n", name, (long long)whole);
    else if (h5_real_read(object, name, &real) >= 0)
        fprintf(walk->out, "%-12s %.9g\n", name, zi_nan_plain(real));
    else
        fprintf(walk->out, "%-12s (of another type)\n", name);
    return 0;
}

static herr_t visit_attributes(hid_t object, void *context)
{
    hsize_t place = 0;
    return H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, &place, visit_attribute, context);
}

static herr_t visit_link(hid_t file, const char *name, const H5L_info_t *info, void *context)
{
    struct walk *walk = context;
    if (info->type != H5L_TYPE_HARD) return 0;
    hid_t object = H5Oopen(file, name, H5P_DEFAULT);
    if (object < 0) return fail_walk(walk, name);
    herr_t result = 0;
    if (H5Iget_type(object) == H5I_DATASET) {
        result = print_dataset(object, name, walk);
        if (walk->brief && result >= 0) result = visit_attributes(object, context);
    }
    H5Oclose(object);
    return result;
}

/* "checkpoint", "run record", "token file", or NULL. */
static const char *kind_of(hid_t file)
{
    char *format = NULL;
    const char *kind = NULL;
    if (H5Aexists(file, "format") > 0 && h5_text_read(file, "format", &format) >= 0) {
        if (strncmp(format, "zinf-checkpoint", 15) == 0) kind = "checkpoint";
        if (strncmp(format, "zinf-record", 11) == 0) kind = "run record";
        free(format);
    }
    if (!kind && H5Lexists(file, "tokens", H5P_DEFAULT) > 0) kind = "token file";
    return kind;
}

static enum zi_status print_all(hid_t file, const char *path, struct walk *walk)
{
    walk->path = path;
    if (visit_attributes(file, walk) < 0) return h5_fail("checkpoint", path, "read its attributes");
    fputc('\n', walk->out);
    if (H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, visit_link, walk) < 0)
        return walk->status < 0 ? walk->status : h5_fail("checkpoint", path, "read its datasets");
    walk->long_texts = 1;
    return visit_attributes(file, walk) < 0 ? h5_fail("checkpoint", path, "read its attributes")
                                            : ZI_OK;
}

/* Opens a checkpoint as generate does, and with `verify` reads all of it and compares. */
static enum zi_status open_checkpoint(const char *path, int verify)
{
    struct comm *self;
    struct checkpoint *checkpoint;
    ZI_TRY(comm_self(&self));
    enum zi_status status = checkpoint_open(self, path, &checkpoint);
    if (status >= 0) {
        if (verify) status = checkpoint_verify(checkpoint);
        checkpoint_close(checkpoint);
    }
    comm_destroy(self);
    return status;
}

/* One line on the checksums of a checkpoint; other files have none. */
static enum zi_status print_checksums(const char *path, const char *kind, int verify,
                                      const struct walk *walk)
{
    enum zi_status status = ZI_OK;
    const char *found = "not verified; --verify reads all and compares them";
    if (strcmp(kind, "checkpoint") != 0) {
        if (verify) fprintf(walk->out, "%-12s none in a %s\n", "checksums", kind);
        return ZI_OK;
    }
    if (verify || !walk->covered) {
        status = open_checkpoint(path, verify);
        found = status >= 0 ? "verified: all of them hold" : "the file is damaged";
    }
    if (!walk->covered) found = "none that can be compared: no user block of zinf";
    fprintf(walk->out, "%-12s %s\n", "checksums", found);
    return status;
}

static enum zi_status inspect_file(hid_t file, const char *path, int verify, struct walk *walk)
{
    const char *kind = kind_of(file);
    if (!kind)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint",
                       "%s: an HDF5 file, but no checkpoint, run record or token file of zinf",
                       path);
    walk->piece = malloc(PIECE * sizeof(double));
    if (!walk->piece) return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory to read %s", path);
    fprintf(walk->out, "%s: %s\n\n", path, kind);
    walk->numbers = strcmp(kind, "token file") != 0;
    enum zi_status sound = ZI_OK;
    if (!walk->brief)
        sound = print_checksums(path, kind, verify, walk);
    else if (strcmp(kind, "checkpoint") == 0)
        sound = open_checkpoint(path, 0);
    enum zi_status status = print_all(file, path, walk);
    free(walk->piece);
    return sound < 0 ? sound : status;
}

/* Whether HDF5 may open a file: a checkpoint whose user block holds, or what is none by its name. */
static enum zi_status look_at(const char *path, struct walk *walk)
{
    const char *slash = strrchr(path, '/');
    ZI_TRY(user_block_check(path, &walk->covered));
    if (walk->covered || checkpoint_step_of(slash ? slash + 1 : path, "") < 0) return ZI_OK;
    return zi_fail(
        ZI_ERROR_IO, "checkpoint",
        "%s: does not begin with a user block of zinf, which every checkpoint has: it is "
        "damaged, or was written by an earlier version or anew by another program; use "
        "an older checkpoint (with another name it can be inspected)",
        path);
}

static enum zi_status open_and_inspect(const char *path, int verify, struct walk *walk)
{
    if (H5Fis_hdf5(path) <= 0)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint",
                       "%s: not an HDF5 file; checkpoints, run records and token files of zinf are",
                       path);
    if (!walk->brief) ZI_TRY(zi_probe_file("checkpoint", path, "use an older one"));
    hid_t file = h5_file_open(path, H5F_ACC_RDONLY);
    if (file < 0) return h5_fail("checkpoint", path, "open it (is it damaged?)");
    enum zi_status status = inspect_file(file, path, verify, walk);
    H5Fclose(file);
    return status;
}

enum zi_status checkpoint_inspect(const char *path, int verify, FILE *out)
{
    struct walk walk = {.out = out};
    h5_quiet();
    ZI_TRY(look_at(path, &walk));
    return open_and_inspect(path, verify, &walk);
}

enum zi_status checkpoint_probe(const char *path, const char **reason)
{
    struct walk walk = {.brief = 1};
    h5_quiet();
    walk.out = fopen("/dev/null", "w");
    if (!walk.out) return zi_fail(ZI_ERROR_IO, "checkpoint", "/dev/null: %s", strerror(errno));
    (void)open_and_inspect(path, 0, &walk);
    fclose(walk.out);
    *reason = h5_first_failure();
    if (h5_lacked_memory()) return ZI_ERROR_DEVICE;
    return *reason ? ZI_ERROR_IO : ZI_OK;
}
