/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf inspect`: what an HDF5 file of zinf holds, for people.
 *
 * One walk over all links prints a line per dataset: name, type, shape, bytes, and for floats of at
 * most 64 Mi elements the mean, the deviation and the range, read in pieces so that memory stays
 * small. Attributes of the file come first; texts of several lines (the deck) come last, as they
 * are. Nothing is assumed about the file beyond its kind: a checkpoint, a run record or a token
 * file, told by the attribute `format` or the dataset /tokens. */
#include "checkpoint/checkpoint.h"

#include "base/log.h"
#include "base/memory.h"
#include "checkpoint/h5.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 20, MOST_ELEMENTS = 1 << 26, MOST_DIMENSIONS = 8 };

struct statistics {
    double mean, squares, smallest, largest; /* squares: sum of squared deviations */
    int64_t count, nonfinite;
};

struct walk {
    FILE *out;
    double *piece;  /* PIECE numbers */
    int long_texts; /* which attributes to print: 0 of one line, 1 of several */
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
static herr_t statistics_read(hid_t dataset, hid_t space, const hsize_t *shape, int dimensions,
                              const struct walk *walk, struct statistics *statistics)
{
    hsize_t width = dimensions == 2 ? shape[1] : 1;
    hsize_t rows = width > 0 ? PIECE / width : 0;
    if (rows == 0) return -1;
    for (hsize_t row = 0; row < shape[0]; row += rows) {
        hsize_t start[2] = {row, 0};
        hsize_t extent[2] = {shape[0] - row < rows ? shape[0] - row : rows, width};
        hsize_t count = extent[0] * width;
        hid_t memory = H5Screate_simple(1, &count, NULL);
        herr_t result = -1;
        if (memory >= 0 &&
            H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, extent, NULL) >= 0)
            result = H5Dread(dataset, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, walk->piece);
        if (memory >= 0) H5Sclose(memory);
        if (result < 0) return -1;
        statistics_add(statistics, walk->piece, (int64_t)count);
    }
    return 0;
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
    else if (class == H5T_FLOAT)
        snprintf(text, size, "fp%zu", bits);
    else if (class == H5T_INTEGER)
        snprintf(text, size, "%s%zu", H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int", bits);
    else
        snprintf(text, size, class == H5T_STRING ? "text" : "other");
}

static herr_t print_dataset(hid_t dataset, const char *name, const struct walk *walk)
{
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    herr_t result = -1;
    hsize_t shape[MOST_DIMENSIONS] = {0};
    int dimensions = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    if (type >= 0 && dimensions >= 0 && dimensions <= MOST_DIMENSIONS &&
        H5Sget_simple_extent_dims(space, shape, NULL) == dimensions) {
        char text[32], bytes[32], shape_text[MOST_DIMENSIONS * 24] = "";
        int64_t elements = 1;
        size_t used = 0;
        for (int d = 0; d < dimensions; d++) {
            elements *= (int64_t)shape[d];
            used += (size_t)snprintf(shape_text + used, sizeof shape_text - used, "%s%llu",
                                     d > 0 ? " x " : "", (unsigned long long)shape[d]);
        }
        type_text(type, text, sizeof text);
        zi_memory_text((size_t)elements * H5Tget_size(type), bytes, sizeof bytes);
        fprintf(walk->out, "/%-48s %-6s %-16s %12s", name, text, shape_text, bytes);
        struct statistics statistics = {0};
        result = 0;
        if (H5Tget_class(type) == H5T_FLOAT && (dimensions == 1 || dimensions == 2) &&
            elements <= MOST_ELEMENTS && (dimensions == 1 || shape[1] <= PIECE)) {
            result = statistics_read(dataset, space, shape, dimensions, walk, &statistics);
            print_statistics(&statistics, walk->out);
        }
        fputc('\n', walk->out);
    }
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    return result;
}

static herr_t visit_link(hid_t file, const char *name, const H5L_info_t *info, void *context)
{
    if (info->type != H5L_TYPE_HARD) return 0;
    hid_t object = H5Oopen(file, name, H5P_DEFAULT);
    if (object < 0) return -1;
    herr_t result = 0;
    if (H5Iget_type(object) == H5I_DATASET) result = print_dataset(object, name, context);
    H5Oclose(object);
    return result;
}

/* Prints a scalar attribute when it is of the kind the walk is after. */
static herr_t print_value(hid_t attribute, hid_t type, const char *name, const struct walk *walk)
{
    int64_t whole;
    double real;
    switch (H5Tget_class(type)) {
    case H5T_INTEGER:
        if (walk->long_texts) return 0;
        if (H5Aread(attribute, H5T_NATIVE_INT64, &whole) < 0) return -1;
        fprintf(walk->out, "%-12s %lld\n", name, (long long)whole);
        return 0;
    case H5T_FLOAT:
        if (walk->long_texts) return 0;
        if (H5Aread(attribute, H5T_NATIVE_DOUBLE, &real) < 0) return -1;
        fprintf(walk->out, "%-12s %.9g\n", name, zi_nan_plain(real));
        return 0;
    default:
        if (!walk->long_texts) fprintf(walk->out, "%-12s (of another type)\n", name);
        return 0;
    }
}

static void print_text(const char *name, const char *text, const struct walk *walk)
{
    const char *end = strchr(text, '\n');
    int several = end != NULL && end[1] != '\0';
    if (several != walk->long_texts) return;
    if (!several) {
        fprintf(walk->out, "%-12s %.*s\n", name, (int)strcspn(text, "\n"), text);
        return;
    }
    size_t length = strlen(text);
    fprintf(walk->out, "\n%s:\n%s%s", name, text, text[length - 1] == '\n' ? "" : "\n");
}

static herr_t visit_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
    (void)info;
    char *text = NULL;
    if (h5_text_read(object, name, &text) >= 0) {
        print_text(name, text, context);
        free(text);
        return 0;
    }
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return -1;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    herr_t result = -1;
    if (type >= 0 && space >= 0)
        result = H5Sget_simple_extent_npoints(space) == 1
                     ? print_value(attribute, type, name, context)
                     : 0;
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    H5Aclose(attribute);
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
    if (kind == NULL && H5Lexists(file, "tokens", H5P_DEFAULT) > 0) kind = "token file";
    return kind;
}

static enum zi_status inspect_file(hid_t file, const char *path, FILE *out)
{
    const char *kind = kind_of(file);
    if (kind == NULL)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint",
                       "%s: an HDF5 file, but no checkpoint, run record or token file of zinf",
                       path);
    struct walk walk = {.out = out, .piece = malloc(PIECE * sizeof(double))};
    if (walk.piece == NULL)
        return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "no memory to read %s", path);
    enum zi_status status = ZI_OK;
    hsize_t place = 0;
    fprintf(out, "%s: %s\n\n", path, kind);
    if (H5Aiterate2(file, H5_INDEX_NAME, H5_ITER_INC, &place, visit_attribute, &walk) < 0)
        status = h5_fail(path, "read its attributes");
    fputc('\n', out);
    if (status == ZI_OK && H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, visit_link, &walk) < 0)
        status = h5_fail(path, "read its datasets");
    walk.long_texts = 1;
    place = 0;
    if (status == ZI_OK &&
        H5Aiterate2(file, H5_INDEX_NAME, H5_ITER_INC, &place, visit_attribute, &walk) < 0)
        status = h5_fail(path, "read its attributes");
    free(walk.piece);
    return status;
}

enum zi_status checkpoint_inspect(const char *path, FILE *out)
{
    h5_quiet();
    if (access(path, R_OK) != 0)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint", "%s: cannot be read: %s", path,
                       strerror(errno));
    if (H5Fis_hdf5(path) <= 0)
        return zi_fail(ZI_ERROR_USAGE, "checkpoint",
                       "%s: not an HDF5 file; checkpoints, run records and token files of zinf are",
                       path);
    hid_t access_list = h5_access_create();
    hid_t file = access_list < 0 ? -1 : H5Fopen(path, H5F_ACC_RDONLY, access_list);
    if (access_list >= 0) H5Pclose(access_list);
    if (file < 0) return h5_fail(path, "open it (is it damaged?)");
    enum zi_status status = inspect_file(file, path, out);
    H5Fclose(file);
    return status;
}
