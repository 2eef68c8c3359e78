/* SPDX-License-Identifier: Apache-2.0 */
/* Token files of HDF5 that are sound to the library and say what cannot be: attributes of more than
 * one element, of another type or beyond any token, extents beyond the file, tokens that lie in
 * another file. Each is refused when it is opened. And a file on which HDF5 fails is refused too:
 * this program is the child that looks at it, and ends by a fault when the file's name says so. */
#include "base/probe.h"
#include "data/tokens.h"
#include "regression/unit/data_fixture.h"

#include <hdf5.h>

#include <signal.h>

enum { MANY = 4096, COUNT = 100 };

static void attach(hid_t dataset, const char *name, hid_t type, hsize_t count, int64_t value)
{
    static int64_t values[MANY];
    hid_t space = H5Screate_simple(1, &count, NULL);
    for (hsize_t i = 0; i < count; i++)
        values[i] = value;
    hid_t made = H5Acreate2(dataset, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(made >= 0 && H5Awrite(made, type, values) >= 0);
    H5Aclose(made);
    H5Sclose(space);
}

/* A file of COUNT tokens as zinf writes it, left open with its dataset. */
static hid_t begin(const char *name, hid_t *dataset)
{
    const hsize_t count = COUNT;
    const uint8_t ids[COUNT] = {1, 2, 3};
    hid_t file = H5Fcreate(fixture_path(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &count, NULL);
    *dataset =
        H5Dcreate2(file, "tokens", H5T_STD_U8LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dwrite(*dataset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids) >= 0);
    H5Sclose(space);
    return file;
}

static void check_opens(const char *name, enum zi_status expected, const char *said)
{
    struct tokens *tokens = NULL;
    fixture_listen();
    CHECK_INT(tokens_open(fixture_path(name), ZI_AUTO, ZI_AUTO, 256, &tokens), expected);
    if (said) CHECK(fixture_said(said));
    if (!said) fixture_stop_listening();
    tokens_close(tokens);
}

/* An attribute of `count` elements of a type, all `value`, and what is said of it. */
static void check_attribute(const char *attribute, hid_t type, hsize_t count, int64_t value,
                            const char *said)
{
    hid_t dataset, file = begin("attribute.h5", &dataset);
    attach(dataset, attribute, type, count, value);
    H5Dclose(dataset);
    H5Fclose(file);
    check_opens("attribute.h5", said ? ZI_ERROR_USAGE : ZI_OK, said);
}

static void test_attributes(void)
{
    hid_t wide = H5Tcopy(H5T_STD_I64LE);
    H5Tset_size(wide, 16);
    check_attribute("largest_token", H5T_STD_I64LE, 1, 3, NULL);
    check_attribute("largest_token", H5T_STD_I64LE, MANY, 3, "largest_token of /tokens is not one");
    check_attribute("largest_token", H5T_STD_I64LE, 0, 3, "largest_token of /tokens is not one");
    check_attribute("largest_token", H5T_IEEE_F64LE, 1, 3, "largest_token of /tokens is not one");
    check_attribute("largest_token", wide, 1, 3, "largest_token of /tokens is not one");
    check_attribute("largest_token", H5T_STD_I64LE, 1, -2, "largest_token of /tokens is -2");
    check_attribute("largest_token", H5T_STD_I64LE, 1, INT64_MAX, "which no token is");
    check_attribute("format_version", H5T_STD_I64LE, MANY, 1, "format_version of /tokens is not");
    check_attribute("format_version", H5T_STD_I64LE, 1, 2, "of format 2");
    H5Tclose(wide);
}

static void test_extents(void)
{
    const hsize_t huge = (hsize_t)1 << 62, chunk = 1024;
    hid_t dataset, file = begin("huge.h5", &dataset);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &huge, NULL);
    H5Dclose(dataset);
    H5Ldelete(file, "tokens", H5P_DEFAULT);
    H5Pset_chunk(creation, 1, &chunk);
    dataset = H5Dcreate2(file, "tokens", H5T_STD_U8LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    CHECK(dataset >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(creation);
    H5Fclose(file);
    check_opens("huge.h5", ZI_ERROR_USAGE, "/tokens is chunked");
}

/* The place of tokens of another file means nothing in this one. */
static void test_links(void)
{
    hid_t dataset, file = begin("target.h5", &dataset);
    H5Dclose(dataset);
    H5Fclose(file);
    file = H5Fcreate(fixture_path("link.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Lcreate_external(fixture_path("target.h5"), "/tokens", file, "tokens", H5P_DEFAULT,
                             H5P_DEFAULT) >= 0);
    H5Fclose(file);
    check_opens("target.h5", ZI_OK, NULL);
    check_opens("link.h5", ZI_ERROR_USAGE, "/tokens is a link");
    file = H5Fcreate(fixture_path("group.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "tokens", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(file);
    check_opens("group.h5", ZI_ERROR_USAGE, "it is no dataset");
}

static void test_probe(void)
{
    hid_t dataset, file = begin("fault.h5", &dataset);
    H5Dclose(dataset);
    H5Fclose(file);
    check_opens("fault.h5", ZI_OK, NULL);
    zi_probe_set("/proc/self/exe");
    check_opens("target.h5", ZI_OK, NULL);
    check_opens("fault.h5", ZI_ERROR_USAGE,
                "its reader ended by SIGSEGV: the file is damaged; copy or make it again");
    zi_probe_set(NULL);
}

static int child(const char *path)
{
    zi_probe_child();
    if (strstr(path, "fault")) raise(SIGSEGV);
    return ZI_PROBE_DONE;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], ZI_PROBE_WORD) == 0) return child(argv[2]);
    fixture_begin("data_hdf5_test");
    test_attributes();
    test_extents();
    test_links();
    test_probe();
    fixture_end();
    return test_finish("data_hdf5_test");
}
