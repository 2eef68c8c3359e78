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

/* Opens the file as `format`, its ids of `type`; checks number, values and a read in the middle. */
static void check_typed(const char *name, const int64_t as[2], int64_t count, int32_t limit)
{
    struct tokens *tokens = NULL;
    int32_t *ids = malloc((size_t)(count + 1) * sizeof *ids);
    CHECK(ids);
    CHECK_INT(tokens_open(fixture_path(name), as[0], as[1], limit, &tokens), ZI_OK);
    if (!tokens) return;
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

static void check_tokens(const char *name, int64_t format, int64_t count, int32_t limit)
{
    check_typed(name, (const int64_t[]){format, ZI_AUTO}, count, limit);
}

/* Opening must fail with a usage error that names the file and says `text`. */
static void check_type_refused(const char *name, const int64_t as[2], int64_t vocabulary,
                               const char *text)
{
    struct tokens *tokens = NULL;
    fixture_listen();
    CHECK_INT(tokens_open(fixture_path(name), as[0], as[1], vocabulary, &tokens), ZI_ERROR_USAGE);
    CHECK(!tokens);
    CHECK(fixture_said(name));
    CHECK(fixture_said(text));
}

static void check_refused(const char *name, int64_t format, const char *text)
{
    check_type_refused(name, (const int64_t[]){format, ZI_AUTO}, 50257, text);
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
    if (!bytes) exit(1);
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
    check_refused("odd.bin", ZI_AUTO, "no multiple of 2");
    fixture_write("empty.bin", bytes, 0);
    check_refused("empty.bin", ZI_AUTO, "empty");
    free(bytes);
}

/* Bare ids of every type are read as what data.type says. Without it, uint16 is taken only where
 * nothing in the file or the vocabulary speaks against it. */
static void test_bare_types(void)
{
    static const struct {
        int64_t type;
        int size;
    } types[] = {
        {DATA_UINT8, 1}, {DATA_UINT16, 2}, {DATA_UINT32, 4}, {DATA_INT32, 4}, {DATA_INT64, 8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const int32_t limits[] = {100, types[i].size == 1 ? 256 : 50257,
                                  types[i].size > 2 ? 151936 : 200};
        for (int j = 0; j < 3; j++) {
            unsigned char *bytes = make_bytes(0, COUNT, types[i].size, limits[j]);
            fixture_write("bare.bin", bytes, (size_t)(COUNT * types[i].size));
            check_typed("bare.bin", (const int64_t[]){ZI_AUTO, types[i].type}, COUNT, limits[j]);
            const char *said =
                types[i].size == 8 ? "what they are (int64" : "what they are (uint32";
            if (types[i].size > 2)
                check_type_refused("bare.bin", (const int64_t[]){ZI_AUTO, ZI_AUTO}, limits[j],
                                   said);
            if (types[i].size == 2) check_tokens("bare.bin", ZI_AUTO, COUNT, limits[j]);
            free(bytes);
        }
    }
}

static const int64_t as_auto[] = {ZI_AUTO, ZI_AUTO};
static const int64_t as_uint8[] = {ZI_AUTO, DATA_UINT8};
static const int64_t as_uint16[] = {ZI_AUTO, DATA_UINT16};
static const int64_t as_uint32[] = {ZI_AUTO, DATA_UINT32};

static void check_opens(const char *name, const int64_t as[2], int64_t vocabulary, int64_t count)
{
    struct tokens *tokens = NULL;
    CHECK_INT(tokens_open(fixture_path(name), as[0], as[1], vocabulary, &tokens), ZI_OK);
    if (tokens) CHECK_INT(tokens_count(tokens), count);
    tokens_close(tokens);
}

static void test_guesses(void)
{
    /* upper halves of 0 and 1, as of Llama 3 under a vocabulary that is too small */
    unsigned char *bytes = make_bytes(0, COUNT, 4, 128256);
    fixture_write("wide.bin", bytes, 4 * COUNT);
    check_type_refused("wide.bin", as_auto, 65536, "below 4");
    check_type_refused("wide.bin", as_auto, 128256, "below 4");
    check_opens("wide.bin", as_uint16, 65536, 2 * COUNT);
    fixture_write("wide.bin", bytes, 4 * COUNT - 2);
    check_type_refused("wide.bin", as_uint32, 128256, "no multiple of 4");
    free(bytes);
    /* so few that chance may do it, and one more */
    bytes = make_bytes(0, 8, 4, 50257);
    fixture_write("few.bin", bytes, 4 * 7);
    check_opens("few.bin", as_auto, 50257, 14);
    fixture_write("few.bin", bytes, 4 * 8);
    check_type_refused("few.bin", as_auto, 50257, "every other");
    check_opens("few.bin", as_uint32, 50257, 8);
    free(bytes);
    /* zeros at the beginning only */
    bytes = make_bytes(0, COUNT, 2, 50257);
    memset(bytes, 0, 100000);
    fixture_write("zeros.bin", bytes, 2 * COUNT);
    check_opens("zeros.bin", as_auto, 65536, COUNT);
    check_type_refused("zeros.bin", as_auto, 65537, "model.vocabulary is 65537");
    check_opens("zeros.bin", as_uint16, 65537, COUNT);
    free(bytes);
}

static void test_foreign(void)
{
    static const struct {
        const char *head;
        int bytes;
        const char *said;
    } files[] = {{"\x93NUMPY\1\0v\0", 10, "numpy"},
                 {"\x1f\x8b\x08\0", 4, "gzip"},
                 {"PK\3\4\0\0", 6, "zip"},
                 {"\x28\xb5\x2f\xfd", 4, "zstd"},
                 {"\x89HDF\r\n\x1a\n", 8, "an HDF5 file"},
                 {"MMIDIDX\0\0\1", 10, "Megatron-LM"}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        fixture_write("foreign.bin", files[i].head, (size_t)files[i].bytes);
        for (int64_t type = ZI_AUTO; type <= DATA_UINT16; type++)
            check_type_refused("foreign.bin", (const int64_t[]){DATA_NANOGPT, type}, 50257,
                               files[i].said);
    }
    char text[64];
    memset(text, 'a', sizeof text);
    fixture_write("text.bin", text, 64);
    check_type_refused("text.bin", as_auto, 50257, "looks like a text");
    check_opens("text.bin", as_uint8, 256, 64);
    check_opens("text.bin", as_uint16, 50257, 32);
    fixture_write("text.bin", text, 62);
    check_opens("text.bin", as_auto, 50257, 31);
}

static void check_half_refused(void)
{
    struct tokens *tokens = NULL;
    fixture_listen();
    CHECK_INT(tokens_open(fixture_path("half.bin"), ZI_AUTO, ZI_AUTO, 100, &tokens),
              ZI_ERROR_USAGE);
    CHECK(fixture_said("half.idx is no index"));
}

/* An index that is no longer, or not yet, one of Megatron-LM is not passed over; a fifo is not
 * waited for. */
static void test_beside(void)
{
    unsigned char *bytes = make_bytes(0, 50, 2, 100);
    fixture_write("half.bin", bytes, 100);
    fixture_write("half.idx", "TNTIDX\0\0\1\0\0\0\0\0\0\0", 16);
    check_half_refused();
    check_opens("half.bin", (const int64_t[]){DATA_NANOGPT, ZI_AUTO}, 100, 50);
    fixture_write("half.idx", "", 0);
    check_half_refused();
    if (unlink(fixture_path("half.idx")) != 0 || mkfifo(fixture_path("half.idx"), 0600) != 0)
        exit(1);
    check_opens("half.bin", as_auto, 100, 50);
    check_refused("half.idx", DATA_MEGATRON, "a fifo");
    if (mkfifo(fixture_path("fifo.bin"), 0600) != 0) exit(1);
    check_refused("fifo.bin", ZI_AUTO, "a fifo");
    check_refused("fifo.bin", DATA_LLMC, "a fifo");
    check_refused("fifo.bin", DATA_NANOGPT, "a fifo");
    check_refused("fifo.bin", DATA_HDF5, "a fifo");
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
    if (!ids) exit(1);
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        char text[96];
        unsigned char *bytes = make_bytes(0, N, 2, 100);
        put(bytes + 2 * positions[i], 100, 2);
        fixture_write("vocabulary.bin", bytes, 2 * N);
        fixture_listen();
        CHECK_INT(tokens_open(fixture_path("vocabulary.bin"), ZI_AUTO, ZI_AUTO, 100, &tokens),
                  ZI_OK);
        CHECK_INT(tokens_read(tokens, 0, N, ids), ZI_ERROR_USAGE);
        snprintf(text, sizeof text, "token 100 at position %lld ", (long long)positions[i]);
        CHECK(fixture_said(text));
        CHECK(fixture_said("vocabulary.bin"));
        CHECK(fixture_said("model.vocabulary"));
        if (positions[i] > 0) CHECK_INT(tokens_read(tokens, 0, positions[i], ids), ZI_OK);
        tokens_close(tokens);
        CHECK_INT(tokens_open(fixture_path("vocabulary.bin"), ZI_AUTO, ZI_AUTO, 101, &tokens),
                  ZI_OK);
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
    CHECK_INT(tokens_open(fixture_path("cut.bin"), ZI_AUTO, ZI_AUTO, 100, &tokens), ZI_OK);
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
    /* Attribute; -1: none. */
    int64_t largest;
};

static void write_hdf5(const char *name, const struct dataset *dataset, int32_t limit)
{
    hsize_t extent[2] = {COUNT, 1}, chunk[2] = {1000, 1};
    int32_t *ids = malloc(COUNT * sizeof *ids);
    if (!ids) exit(1);
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
    struct dataset partial = {"/tokens", H5Tcopy(H5T_STD_U16LE), 1, 0, -1};
    H5Tset_precision(partial.type, 8); /* the value is in bits 4 to 11 */
    H5Tset_offset(partial.type, 4);
    write_hdf5("partial.h5", &partial, 100);
    check_refused("partial.h5", ZI_AUTO, "plain little-endian");
    H5Tclose(partial.type);
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

/* What a header says must be what data.type says. */
static void test_headers(void)
{
    struct dataset signed_ids = {"/tokens", H5T_STD_I16LE, 1, 0, -1};
    struct dataset bytes = {"/tokens", H5T_STD_U8LE, 1, 0, -1};
    write_llmc("typed.bin", (const int32_t[]){20240520, 1, 10}, 10, 2, 100);
    check_opens("typed.bin", as_uint16, 100, 10);
    check_type_refused("typed.bin", as_uint32, 100, "data.type is uint32");
    write_hdf5("typed.h5", &bytes, 128);
    check_opens("typed.h5", as_uint8, 128, COUNT);
    check_type_refused("typed.h5", as_uint16, 128, "holds uint8");
    write_hdf5("typed.h5", &signed_ids, 128);
    check_type_refused("typed.h5", as_uint16, 128, "holds int16");
}

int main(void)
{
    fixture_begin("data_formats");
    test_llmc();
    test_nanogpt();
    test_bare_types();
    test_guesses();
    test_foreign();
    test_beside();
    test_missing();
    test_out_of_vocabulary();
    test_cut_while_open();
    test_megatron();
    test_megatron_refused();
    test_hdf5();
    test_hdf5_refused();
    test_headers();
    fixture_end();
    return test_finish("data_formats_test");
}
