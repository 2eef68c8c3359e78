/* SPDX-License-Identifier: Apache-2.0 */
/* Reading token files of every format that others write. The flat and the indexed files are made
 * here byte by byte from the description of the format, the HDF5 ones with the library's own calls,
 * so none relies on zinf's writer. Every way in which a file can be wrong must end in a usage error
 * that names the file and says what is wrong. */
#include "data/tokens.h"

#include "regression/unit/data_fixture.h"

#include <hdf5.h>

enum { COUNT = 70001 }; /* beyond the 32 KiB that are read at once, for every element size */

static int32_t expected_token(int64_t i, int32_t limit)
{
    return (int32_t)((uint64_t)i * 2654435761u % 1000003u % (uint64_t)limit);
}

/* Opens the file as `format`, and checks number, values and a read in the middle. */
static void check_tokens(const char *name, int64_t format, int64_t count, int32_t limit)
{
    struct tokens *tokens = NULL;
    int32_t *ids = malloc((size_t)(count + 1) * sizeof *ids);
    CHECK(ids != NULL);
    CHECK_INT(tokens_open(fixture_path(name), format, limit, &tokens), ZI_OK);
    if (tokens == NULL) return;
    CHECK_INT(tokens_count(tokens), count);
    ids[count] = -77;
    CHECK_INT(tokens_read(tokens, 0, count, ids), ZI_OK);
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; i++)
        wrong += ids[i] != expected_token(i, limit);
    CHECK_INT(wrong, 0);
    CHECK_INT(ids[count], -77);
    int64_t first = count / 3, part = count - first > 20000 ? 20000 : count - first;
    CHECK_INT(tokens_read(tokens, first, part, ids), ZI_OK);
    for (int64_t i = 0; i < part; i++)
        wrong += ids[i] != expected_token(first + i, limit);
    CHECK_INT(wrong, 0);
    CHECK_INT(tokens_read(tokens, count, 0, ids), ZI_OK);
    tokens_close(tokens);
    free(ids);
}

/* Opening must fail with a usage error that names the file and says `text`. */
static void check_refused(const char *name, int64_t format, const char *text)
{
    struct tokens *tokens = NULL;
    fixture_listen();
    CHECK_INT(tokens_open(fixture_path(name), format, 50257, &tokens), ZI_ERROR_USAGE);
    CHECK(tokens == NULL);
    CHECK(fixture_said(name));
    CHECK(fixture_said(text));
}

static void put(unsigned char *bytes, uint64_t value, int size)
{
    for (int i = 0; i < size; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
}

/* count tokens of `size` bytes each, after `offset` bytes of zeros that the caller fills in. */
static unsigned char *make_bytes(size_t offset, int64_t count, int size, int32_t limit)
{
    unsigned char *bytes = calloc(1, offset + (size_t)count * (size_t)size);
    if (bytes == NULL) exit(1);
    for (int64_t i = 0; i < count; i++)
        put(bytes + offset + (size_t)i * (size_t)size, (uint64_t)expected_token(i, limit), size);
    return bytes;
}

static void write_llmc(const char *name, const int32_t header[3], int64_t count, int size,
                       int32_t limit)
{
    unsigned char *bytes = make_bytes(1024, count, size, limit);
    for (int i = 0; i < 3; i++)
        put(bytes + 4 * i, (uint32_t)header[i], 4);
    fixture_write(name, bytes, 1024 + (size_t)count * (size_t)size);
    free(bytes);
}

static void test_llmc(void)
{
    write_llmc("gpt2.bin", (const int32_t[]){20240520, 1, COUNT}, COUNT, 2, 50257);
    check_tokens("gpt2.bin", ZI_AUTO, COUNT, 50257);
    check_tokens("gpt2.bin", DATA_LLMC, COUNT, 50257);
    write_llmc("llama.bin", (const int32_t[]){20240801, 7, COUNT}, COUNT, 4, 128256);
    check_tokens("llama.bin", ZI_AUTO, COUNT, 128256);
    write_llmc("other.bin", (const int32_t[]){20240521, 1, 10}, 10, 2, 100);
    check_refused("other.bin", DATA_LLMC, "20240521");
    write_llmc("version.bin", (const int32_t[]){20240520, 2, 10}, 10, 2, 100);
    check_refused("version.bin", ZI_AUTO, "version 2");
    write_llmc("version7.bin", (const int32_t[]){20240801, 1, 10}, 10, 4, 100);
    check_refused("version7.bin", ZI_AUTO, "version 1");
    write_llmc("none.bin", (const int32_t[]){20240520, 1, 0}, 0, 2, 100);
    check_refused("none.bin", ZI_AUTO, "0 tokens");
    write_llmc("short.bin", (const int32_t[]){20240520, 1, 11}, 10, 2, 100);
    check_refused("short.bin", ZI_AUTO, "truncated");
    write_llmc("long.bin", (const int32_t[]){20240520, 1, 9}, 10, 2, 100);
    check_refused("long.bin", ZI_AUTO, "too long");
    fixture_cut("short.bin", 1000);
    check_refused("short.bin", ZI_AUTO, "header");
}

static void test_nanogpt(void)
{
    unsigned char *bytes = make_bytes(0, COUNT, 2, 50257);
    fixture_write("nano.bin", bytes, 2 * COUNT);
    check_tokens("nano.bin", ZI_AUTO, COUNT, 50257);
    fixture_write("nano.dat", bytes, 2 * COUNT);
    check_tokens("nano.dat", DATA_NANOGPT, COUNT, 50257);
    check_refused("nano.dat", ZI_AUTO, "data.format");
    fixture_write("odd.bin", bytes, 2 * COUNT - 1);
    check_refused("odd.bin", ZI_AUTO, "odd number");
    fixture_write("empty.bin", bytes, 0);
    check_refused("empty.bin", ZI_AUTO, "empty");
    free(bytes);
}

static void test_missing(void)
{
    check_refused("nowhere.bin", ZI_AUTO, "No such file");
    check_refused("nowhere.bin", DATA_HDF5, "No such file");
    check_refused("nowhere.bin", DATA_LLMC, "No such file");
    check_refused("nowhere.bin", DATA_NANOGPT, "No such file");
    check_refused("nowhere.idx", DATA_MEGATRON, "No such file");
    if (mkdir(fixture_path("folder.bin"), 0700) != 0) exit(1);
    check_refused("folder.bin", ZI_AUTO, "regular file");
}

/* The token limit is also tried at the last position of a piece and of the file. */
static void test_out_of_vocabulary(void)
{
    enum { N = 40000 };
    static const int64_t positions[] = {0, 16383, 16384, N - 1};
    struct tokens *tokens = NULL;
    int32_t *ids = malloc(N * sizeof *ids);
    if (ids == NULL) exit(1);
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        char text[96];
        unsigned char *bytes = make_bytes(0, N, 2, 100);
        put(bytes + 2 * positions[i], 100, 2);
        fixture_write("vocabulary.bin", bytes, 2 * N);
        fixture_listen();
        CHECK_INT(tokens_open(fixture_path("vocabulary.bin"), ZI_AUTO, 100, &tokens), ZI_OK);
        CHECK_INT(tokens_read(tokens, 0, N, ids), ZI_ERROR_USAGE);
        snprintf(text, sizeof text, "token 100 at position %lld ", (long long)positions[i]);
        CHECK(fixture_said(text));
        CHECK(fixture_said("vocabulary.bin"));
        CHECK(fixture_said("model.vocabulary"));
        if (positions[i] > 0) CHECK_INT(tokens_read(tokens, 0, positions[i], ids), ZI_OK);
        tokens_close(tokens);
        CHECK_INT(tokens_open(fixture_path("vocabulary.bin"), ZI_AUTO, 101, &tokens), ZI_OK);
        CHECK_INT(tokens_read(tokens, 0, N, ids), ZI_OK);
        tokens_close(tokens);
        free(bytes);
    }
    free(ids);
}

static void test_cut_while_open(void)
{
    struct tokens *tokens = NULL;
    int32_t ids[100];
    unsigned char *bytes = make_bytes(0, 100, 2, 100);
    fixture_write("cut.bin", bytes, 200);
    CHECK_INT(tokens_open(fixture_path("cut.bin"), ZI_AUTO, 100, &tokens), ZI_OK);
    fixture_cut("cut.bin", 100);
    fixture_listen();
    CHECK_INT(tokens_read(tokens, 0, 50, ids), ZI_OK);
    CHECK_INT(tokens_read(tokens, 0, 100, ids), ZI_ERROR_IO);
    CHECK(fixture_said("cut.bin"));
    CHECK(fixture_said("byte 100"));
    tokens_close(tokens);
    free(bytes);
}

/* An index under construction: sequences of 1, 2, 3, 1, 2, 3, ... tokens, one of no tokens among
 * them, documents of two sequences. */
struct index {
    unsigned char bytes[4096];
    size_t size, lengths, pointers, documents;
    int64_t sequences, tokens;
};

static void make_index(struct index *index, int code, int size, int64_t sequences)
{
    memset(index, 0, sizeof *index);
    index->sequences = sequences;
    int64_t documents = (sequences + 1) / 2;
    memcpy(index->bytes, "MMIDIDX\0\0", 9);
    put(index->bytes + 9, 1, 8);
    put(index->bytes + 17, (uint64_t)code, 1);
    put(index->bytes + 18, (uint64_t)sequences, 8);
    put(index->bytes + 26, (uint64_t)documents + 1, 8);
    index->lengths = 34;
    index->pointers = index->lengths + 4 * (size_t)sequences;
    index->documents = index->pointers + 8 * (size_t)sequences;
    index->size = index->documents + 8 * (size_t)(documents + 1);
    for (int64_t i = 0; i < sequences; i++) {
        int64_t length = i == 5 ? 0 : i % 3 + 1;
        put(index->bytes + index->lengths + 4 * (size_t)i, (uint64_t)length, 4);
        put(index->bytes + index->pointers + 8 * (size_t)i, (uint64_t)(index->tokens * size), 8);
        index->tokens += length;
    }
    for (int64_t i = 0; i <= documents; i++)
        put(index->bytes + index->documents + 8 * (size_t)i,
            (uint64_t)(2 * i < sequences ? 2 * i : sequences), 8);
}

static void write_pair(const char *prefix, const struct index *index, int size)
{
    char name[64];
    snprintf(name, sizeof name, "%s.idx", prefix);
    fixture_write(name, index->bytes, index->size);
    snprintf(name, sizeof name, "%s.bin", prefix);
    unsigned char *bytes = make_bytes(0, index->tokens, size, 100);
    fixture_write(name, bytes, (size_t)(index->tokens * size));
    free(bytes);
}

static void test_megatron(void)
{
    static const int codes[][2] = {{1, 1}, {2, 1}, {3, 2}, {4, 4}, {5, 8}, {8, 2}};
    struct index index;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        make_index(&index, codes[i][0], codes[i][1], 21);
        write_pair("documents", &index, codes[i][1]);
        check_tokens("documents", ZI_AUTO, index.tokens, 100);
        check_tokens("documents.idx", ZI_AUTO, index.tokens, 100);
        check_tokens("documents.bin", ZI_AUTO, index.tokens, 100);
        check_tokens("documents.bin", DATA_MEGATRON, index.tokens, 100);
    }
    index.size += 21; /* modes of a multimodal dataset follow */
    write_pair("documents", &index, 2);
    check_tokens("documents", DATA_MEGATRON, index.tokens, 100);
    /* A bare file beside an unrelated .idx stays a bare file. */
    unsigned char *bytes = make_bytes(0, 50, 2, 100);
    fixture_write("beside.bin", bytes, 100);
    fixture_write("beside.idx", "something else", 14);
    check_tokens("beside.bin", ZI_AUTO, 50, 100);
    free(bytes);
}

/* Changes `size` bytes at `place` of a good index of 21 sequences, and expects the refusal. */
static void check_bad_index(size_t place, uint64_t value, int size, const char *text)
{
    struct index index;
    make_index(&index, 8, 2, 21);
    put(index.bytes + place, value, size);
    write_pair("bad", &index, 2);
    check_refused("bad.idx", DATA_MEGATRON, text);
}

static void test_megatron_refused(void)
{
    struct index index;
    make_index(&index, 8, 2, 21);
    check_bad_index(3, 'x', 1, "MMIDIDX");
    check_bad_index(9, 2, 8, "version 2");
    check_bad_index(17, 6, 1, "element type 6");
    check_bad_index(17, 200, 1, "element type 200");
    check_bad_index(18, 22, 8, "truncated");
    check_bad_index(18, UINT64_MAX, 8, "truncated");
    check_bad_index(18, UINT64_C(1) << 62, 8, "truncated");
    check_bad_index(26, 13, 8, "truncated");
    check_bad_index(index.lengths + 4 * 7, UINT32_MAX, 4, "length -1");
    check_bad_index(index.lengths + 4 * 7, 1, 4, "sequence 8 starts");
    check_bad_index(index.pointers, 2, 8, "sequence 0 starts");
    check_bad_index(index.pointers + 8 * 20, 2, 8, "sequence 20 starts");
    check_bad_index(index.documents, 1, 8, "document 0");
    check_bad_index(index.documents + 8 * 4, 3, 8, "document 4");
    check_bad_index(index.documents + 8 * 11, 20, 8, "document 11");
    index.size -= 1;
    write_pair("bad", &index, 2);
    check_refused("bad.idx", ZI_AUTO, "truncated");
    fixture_write("bad.idx", "", 0);
    check_refused("bad.idx", DATA_MEGATRON, "MMIDIDX");
    make_index(&index, 8, 2, 21);
    write_pair("bad", &index, 2);
    fixture_cut("bad.bin", (long)(2 * index.tokens - 2));
    check_refused("bad.bin", ZI_AUTO, "truncated");
    fixture_cut("bad.bin", (long)(2 * index.tokens + 2));
    check_refused("bad.bin", ZI_AUTO, "too long");
    if (unlink(fixture_path("bad.bin")) != 0) exit(1);
    check_refused("bad.bin", ZI_AUTO, "No such file");
    make_index(&index, 8, 2, 0);
    write_pair("bad", &index, 2);
    check_refused("bad.idx", ZI_AUTO, "no tokens");
}

struct dataset {
    const char *name;
    hid_t type;
    int dimensions;
    int is_chunked;
    int64_t largest; /* attribute; -1: none */
};

static void write_hdf5(const char *name, const struct dataset *dataset, int32_t limit)
{
    hsize_t extent[2] = {COUNT, 1}, chunk[2] = {1000, 1};
    int32_t *ids = malloc(COUNT * sizeof *ids);
    if (ids == NULL) exit(1);
    for (int64_t i = 0; i < COUNT; i++)
        ids[i] = expected_token(i, limit);
    hid_t file = H5Fcreate(fixture_path(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(dataset->dimensions, extent, NULL);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    if (dataset->is_chunked) H5Pset_chunk(creation, dataset->dimensions, chunk);
    hid_t made =
        H5Dcreate2(file, dataset->name, dataset->type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    CHECK(H5Dwrite(made, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids) >= 0);
    if (dataset->largest >= 0) {
        hid_t scalar = H5Screate(H5S_SCALAR);
        hid_t attribute =
            H5Acreate2(made, "largest_token", H5T_STD_I64LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(H5Awrite(attribute, H5T_NATIVE_INT64, &dataset->largest) >= 0);
        H5Aclose(attribute);
        H5Sclose(scalar);
    }
    H5Dclose(made);
    H5Pclose(creation);
    H5Sclose(space);
    CHECK(H5Fclose(file) >= 0);
    free(ids);
}

static void test_hdf5(void)
{
    const hid_t types[] = {H5T_STD_U8LE,  H5T_STD_I8LE,  H5T_STD_U16LE, H5T_STD_I16LE,
                           H5T_STD_U32LE, H5T_STD_I32LE, H5T_STD_U64LE, H5T_STD_I64LE};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct dataset plain = {"/tokens", types[i], 1, 0, -1};
        write_hdf5("tokens.h5", &plain, 128);
        check_tokens("tokens.h5", ZI_AUTO, COUNT, 128);
    }
    struct dataset recorded = {"/tokens", H5T_STD_U16LE, 1, 0, 50256};
    write_hdf5("tokens.h5", &recorded, 50257);
    check_tokens("tokens.h5", DATA_HDF5, COUNT, 50257);
    recorded.largest = 50257; /* caught when the file is opened, before anything is read */
    write_hdf5("largest.h5", &recorded, 50257);
    check_refused("largest.h5", ZI_AUTO, "at least 50258");
}

static void test_hdf5_refused(void)
{
    struct dataset chunked = {"/tokens", H5T_STD_U16LE, 1, 1, -1};
    write_hdf5("chunked.h5", &chunked, 100);
    check_refused("chunked.h5", ZI_AUTO, "h5repack");
    struct dataset flat = {"/tokens", H5T_STD_U16LE, 2, 0, -1};
    write_hdf5("flat.h5", &flat, 100);
    check_refused("flat.h5", ZI_AUTO, "2 dimensions");
    struct dataset real = {"/tokens", H5T_IEEE_F32LE, 1, 0, -1};
    write_hdf5("real.h5", &real, 100);
    check_refused("real.h5", ZI_AUTO, "integers");
    struct dataset big_endian = {"/tokens", H5T_STD_U16BE, 1, 0, -1};
    write_hdf5("endian.h5", &big_endian, 100);
    check_refused("endian.h5", ZI_AUTO, "little-endian");
    struct dataset other = {"/words", H5T_STD_U16LE, 1, 0, -1};
    write_hdf5("words.h5", &other, 100);
    check_refused("words.h5", ZI_AUTO, "/tokens");
    struct dataset plain = {"/tokens", H5T_STD_U16LE, 1, 0, -1};
    write_hdf5("cut.h5", &plain, 100);
    fixture_cut("cut.h5", 20000);
    check_refused("cut.h5", ZI_AUTO, "truncated");
    fixture_write("text.h5", "This is no HDF5 file at all.", 28);
    check_refused("text.h5", DATA_HDF5, "no HDF5 file");
    check_refused("text.h5", ZI_AUTO, "data.format");
}

int main(void)
{
    fixture_begin("data_formats");
    test_llmc();
    test_nanogpt();
    test_missing();
    test_out_of_vocabulary();
    test_cut_while_open();
    test_megatron();
    test_megatron_refused();
    test_hdf5();
    test_hdf5_refused();
    fixture_end();
    return test_finish("data_formats_test");
}
