/* SPDX-License-Identifier: Apache-2.0 */
/* What the h5 room makes and takes: a dataset of one extent has the place and the bytes that plain
 * writes give it, at a multiple of the file's alignment; equal calls make equal files; attributes
 * give back what was written, and what does not fit is refused with a reason; what leads into
 * another file is told. */
#include "base/half.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/h5.h"
#include "regression/unit/test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 4096, ROWS = 3, COLUMNS = 1000 };

/* A file of one dataset and two attributes; the dataset's offset. */
static int64_t make(const char *path)
{
    const int64_t shape[] = {ROWS, COLUMNS};
    int64_t offset = -1;
    hid_t file = h5_file_create(path, ALIGNMENT);
    hid_t dataset = h5_extent_create(file, "group/values", H5T_IEEE_F32LE, 2, shape, &offset);
    CHECK(file >= 0 && dataset >= 0);
    CHECK(h5_bits_write(dataset, "bits", 1) >= 0 && h5_text_write(file, "long", "länger") >= 0);
    CHECK(h5_bits_replace(dataset, "bits", UINT64_MAX) >= 0);
    CHECK(h5_integer_write(dataset, "number", 7) >= 0);
    CHECK(h5_integer_replace(dataset, "number", INT64_MIN) >= 0);
    CHECK(h5_fixed_text_write(file, "short", "kurz") >= 0);
    CHECK(H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0);
    return offset;
}

/* What HDF5 makes of all numbers of a type of 16 bits is what they are. */
static void test_half(enum zi_dtype half)
{
    enum { COUNT = 65536 };
    static float values[COUNT]; /* holds the 16 bits first */
    uint16_t *bits = malloc(COUNT * sizeof *bits);
    hid_t type = h5_type_create(half);
    if (!bits) exit(1);
    for (int i = 0; i < COUNT; i++)
        bits[i] = (uint16_t)i;
    memcpy(values, bits, COUNT * sizeof *bits);
    CHECK_INT(H5Tget_size(type), 2);
    CHECK(H5Tconvert(type, H5T_NATIVE_FLOAT, COUNT, values, NULL, H5P_DEFAULT) >= 0);
    int64_t wrong = 0;
    for (int i = 0; i < COUNT; i++) {
        float right = zi_half_to_fp32(half, bits[i]);
        wrong += isnan(right) ? !isnan(values[i]) : memcmp(&right, &values[i], sizeof right) != 0;
    }
    CHECK_INT(wrong, 0);
    CHECK(h5_type_is(type, half) && !h5_type_is(type, ZI_FP32));
    CHECK(!h5_type_is(type, half == ZI_FP16 ? ZI_BF16 : ZI_FP16));
    H5Tclose(type);
    free(bits);
}

static void test_extent(void)
{
    static float written[ROWS * COLUMNS], read[ROWS * COLUMNS];
    int64_t offset = make("h5_extent.h5"), shape[2], elements;
    CHECK(offset > 0 && offset % ALIGNMENT == 0);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        written[i] = (float)i;
    int plain = open("h5_extent.h5", O_WRONLY);
    CHECK(pwrite(plain, written, sizeof written, offset) == (ssize_t)sizeof written);
    close(plain);
    hid_t file = h5_file_open("h5_extent.h5", H5F_ACC_RDONLY);
    hid_t dataset = H5Dopen2(file, "group/values", H5P_DEFAULT), type = H5Dget_type(dataset);
    CHECK(h5_type_is(type, ZI_FP32) && !h5_type_is(type, ZI_BF16) && !h5_type_is(type, ZI_FP16));
    CHECK(h5_is_own(dataset) && h5_is_extent(dataset));
    CHECK_INT(h5_offset_read(dataset), offset);
    CHECK_INT(h5_shape_read(dataset, 2, shape, &elements), 2);
    CHECK(shape[0] == ROWS && shape[1] == COLUMNS && elements == ROWS * COLUMNS);
    CHECK(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, read) >= 0);
    CHECK(memcmp(read, written, sizeof read) == 0);
    CHECK(h5_shape_read(dataset, 1, shape, &elements) < 0);
    CHECK(strcmp(h5_reason(), "it has 2 dimensions, not 1 at most") == 0);
    H5Tclose(type);
    H5Dclose(dataset);
    H5Fclose(file);
}

static void test_attributes(void)
{
    char *text = NULL;
    uint64_t bits;
    int64_t number;
    hid_t file = h5_file_open("h5_extent.h5", H5F_ACC_RDONLY);
    hid_t dataset = H5Dopen2(file, "group/values", H5P_DEFAULT);
    CHECK(h5_text_read(file, "long", &text) >= 0 && strcmp(text, "länger") == 0);
    free(text);
    CHECK(h5_bits_read(dataset, "bits", &bits) >= 0 && bits == UINT64_MAX);
    CHECK(h5_integer_read(dataset, "number", &number) >= 0 && number == INT64_MIN);
    CHECK(h5_integer_read(file, "long", &number) < 0);
    CHECK(strcmp(h5_reason(), "attribute long is not one number of its kind") == 0);
    CHECK(h5_text_read(file, "short", &text) < 0);
    CHECK(strcmp(h5_reason(), "attribute short is not one text") == 0);
    CHECK(h5_text_read(file, "absent", &text) < 0);
    CHECK(strcmp(h5_reason(), "there is no attribute absent") == 0);
    H5Dclose(dataset);
    H5Fclose(file);
}

static void test_same_bytes(void)
{
    static char bytes[2][64 << 10];
    const char *const paths[] = {"h5_one.h5", "h5_two.h5"};
    ssize_t sizes[2];
    for (int i = 0; i < 2; i++) {
        int64_t offset = make(paths[i]);
        int file = open(paths[i], O_RDONLY);
        sizes[i] = read(file, bytes[i], sizeof bytes[i]);
        close(file);
        if (i == 0) sleep(1); /* HDF5 keeps times in seconds */
        memset(bytes[i] + offset, 0, sizeof(float) * ROWS * COLUMNS); /* never written */
    }
    CHECK(sizes[0] > ALIGNMENT && sizes[0] < (ssize_t)sizeof bytes[0] && sizes[0] == sizes[1]);
    CHECK(memcmp(bytes[0], bytes[1], (size_t)sizes[0]) == 0);
    unlink(paths[0]);
    unlink(paths[1]);
}

static void test_places(void)
{
    const hsize_t extent = 4;
    hid_t file = h5_file_create("h5_links.h5", 1), creation = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, &extent, NULL);
    CHECK(H5Lcreate_external("h5_extent.h5", "/group", file, "far", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Gclose(H5Gcreate2(file, "near", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    CHECK_INT(h5_link_of(file, "far"), H5_LINK_OTHER);
    CHECK_INT(h5_link_of(file, "near"), H5_LINK_OWN);
    CHECK_INT(h5_link_of(file, "absent"), H5_LINK_NONE);
    H5Pset_external(creation, "h5_extent.h5", 0, 16);
    hid_t outside =
        H5Dcreate2(file, "outside", H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    CHECK(outside >= 0 && !h5_is_own(outside) && !h5_is_extent(outside));
    H5Dclose(outside);
    H5Pclose(creation);
    creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(creation, 1, &extent);
    hid_t chunked =
        H5Dcreate2(file, "chunked", H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    CHECK(chunked >= 0 && h5_is_own(chunked) && !h5_is_extent(chunked));
    H5Dclose(chunked);
    H5Pclose(creation);
    H5Sclose(space);
    H5Fclose(file);
    unlink("h5_links.h5");
}

int main(void)
{
    h5_quiet();
    test_extent();
    test_half(ZI_BF16);
    test_half(ZI_FP16);
    test_attributes();
    test_same_bytes();
    test_places();
    unlink("h5_extent.h5");
    CHECK(h5_file_open("h5_extent.h5", H5F_ACC_RDONLY) < 0);
    CHECK(strstr(h5_reason(), "No such file"));
    return test_finish("h5_dataset_test");
}
