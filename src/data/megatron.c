/* SPDX-License-Identifier: Apache-2.0 */
/* Megatron-LM indexed datasets: PREFIX.bin holds the tokens of all sequences, PREFIX.idx says where
 * each one is. The index, little-endian and packed:
 *
 *     9 bytes   "MMIDIDX\0\0"
 *     uint64    version, 1
 *     uint8     type of the tokens (1 uint8, 2 int8, 3 int16, 4 int32, 5 int64, 8 uint16)
 *     uint64    S, number of sequences
 *     uint64    D, length of the document list (documents + 1)
 *     int32[S]  tokens of each sequence
 *     int64[S]  byte where each sequence starts in PREFIX.bin
 *     int64[D]  sequence where each document starts; the last is S
 *     int8[S]   modes, in some multimodal datasets
 *
 * zinf reads the documents as one stream, so it needs of the index only that the sequences follow
 * each other without gaps; that is checked in full here, once, and the index is not kept. It is
 * read in pieces, not mapped: of a mapped file that is cut meanwhile the process dies. */
#include "data/format.h"

#include "base/log.h"
#include "base/stop.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char MAGIC[9] = "MMIDIDX\0"; /* and the literal's own zero */

#define HEADER_BYTES (9 + 8 + 1 + 8 + 8)

#define PIECE 1024 /* entries that are read at once */

struct index {
    const char *path;
    int file;
    int64_t size;
    /* documents: the length of the list, D */
    int64_t sequences, documents;
    enum token_element element;
};

static int64_t int64_at(const unsigned char *bytes)
{
    int64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

/* The path without its ending .idx or .bin. */
static enum zi_status prefix_of(const char *path, char *prefix, size_t size)
{
    ZI_TRY(token_path_join(prefix, size, path, ""));
    size_t length = strlen(prefix);
    if (length > 4 &&
        (strcmp(prefix + length - 4, ".idx") == 0 || strcmp(prefix + length - 4, ".bin") == 0))
        prefix[length - 4] = '\0';
    return ZI_OK;
}

/* Whether an index, by its first bytes, is or was one of Megatron-LM: of today, of an older version
 * that cannot be read, or of a writer that did not finish. */
static int is_index(const char *head, int64_t bytes)
{
    return bytes == 0 || (bytes >= 8 && memcmp(head, "TNTIDX\0\0", 8) == 0) ||
           (bytes >= (int64_t)sizeof MAGIC && memcmp(head, MAGIC, sizeof MAGIC) == 0);
}

int token_is_megatron(const char *path)
{
    char prefix[4096], index[4096], head[sizeof MAGIC];
    size_t length = strlen(path);
    if (length + 5 > sizeof prefix || prefix_of(path, prefix, sizeof prefix) < 0) return 0;
    memcpy(index, prefix, strlen(prefix) + 1);
    strcat(index, ".idx");
    if (!is_index(head, token_file_head(index, head, sizeof head))) return 0;
    /* A file of the prefix's own name, without an ending, is not part of the dataset. */
    struct stat information;
    return strcmp(path, prefix) != 0 || stat(path, &information) != 0 ||
           !S_ISREG(information.st_mode);
}

static enum zi_status element_of(const struct index *index, int code, enum token_element *element)
{
    static const int elements[] = {-1,          TOKEN_UINT8, TOKEN_INT8, TOKEN_INT16, TOKEN_INT32,
                                   TOKEN_INT64, -1,          -1,         TOKEN_UINT16};
    if (code < 0 || code >= (int)(sizeof elements / sizeof elements[0]) || elements[code] < 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s: element type %d is no integer type of Megatron-LM (1 to 5, 8); is the "
                       "file damaged?",
                       index->path, code);
    *element = (enum token_element)elements[code];
    return ZI_OK;
}

static enum zi_status check_header(struct index *index)
{
    unsigned char header[HEADER_BYTES] = {0};
    int64_t head = index->size < HEADER_BYTES ? index->size : HEADER_BYTES;
    ZI_TRY(token_file_read(index->file, index->path, 0, head, header));
    if (head < HEADER_BYTES || memcmp(header, MAGIC, sizeof MAGIC) != 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is no index of a Megatron-LM dataset (it does not begin with MMIDIDX): "
                       "set data.format to auto or to what the file is",
                       index->path);
    int64_t version = int64_at(header + 9);
    if (version != 1)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is of version %" PRId64 ", and only version 1 can be read", index->path,
                       version);
    ZI_TRY(element_of(index, header[17], &index->element));
    index->sequences = int64_at(header + 18);
    index->documents = int64_at(header + 26);
    int64_t most = index->size / 8;
    if (index->sequences < 0 || index->documents < 0 || index->sequences > most ||
        index->documents > most ||
        HEADER_BYTES + 12 * index->sequences + 8 * index->documents > index->size)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is truncated: %" PRId64 " bytes are too few for %" PRId64
                       " sequences and %" PRId64 " documents; copy or make it again",
                       index->path, index->size, index->sequences, index->documents);
    return ZI_OK;
}

static enum zi_status check_sequence(const struct index *index, int64_t i, int32_t length,
                                     int64_t pointer, int64_t tokens)
{
    int64_t element_bytes = token_element_bytes(index->element);
    if (length < 0 || tokens > INT64_MAX / 8 - length)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s: sequence %" PRId64 " has length %" PRId32 "; the index is damaged",
                       index->path, i, length);
    if (pointer != tokens * element_bytes)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s: sequence %" PRId64 " starts at byte %" PRId64
                       " of the .bin file, but the one before it ends at %" PRId64
                       "; zinf reads datasets without gaps: write it again with Megatron-LM's "
                       "preprocess_data.py",
                       index->path, i, pointer, tokens * element_bytes);
    return ZI_OK;
}

/* Adds up the sequences and checks that each starts where the one before it ends. */
static enum zi_status check_sequences(const struct index *index, int64_t *tokens)
{
    int64_t lengths_at = HEADER_BYTES, pointers_at = lengths_at + 4 * index->sequences;
    int32_t lengths[PIECE];
    int64_t pointers[PIECE];
    *tokens = 0;
    for (int64_t first = 0; first < index->sequences; first += PIECE) {
        int64_t count = index->sequences - first < PIECE ? index->sequences - first : PIECE;
        ZI_TRY(
            token_file_read(index->file, index->path, lengths_at + 4 * first, 4 * count, lengths));
        ZI_TRY(token_file_read(index->file, index->path, pointers_at + 8 * first, 8 * count,
                               pointers));
        for (int64_t i = 0; i < count; i++) {
            ZI_TRY(check_sequence(index, first + i, lengths[i], pointers[i], *tokens));
            *tokens += lengths[i];
        }
        ZI_TRY(zi_stop_check());
    }
    return ZI_OK;
}

static enum zi_status check_documents(const struct index *index)
{
    int64_t starts_at = HEADER_BYTES + 12 * index->sequences, before = 0;
    int64_t starts[PIECE];
    for (int64_t i = 0; i < index->documents; i++) {
        int64_t left = index->documents - i;
        if (i % PIECE == 0)
            ZI_TRY(token_file_read(index->file, index->path, starts_at + 8 * i,
                                   8 * (left < PIECE ? left : PIECE), starts));
        int64_t start = starts[i % PIECE];
        int is_last = i + 1 == index->documents;
        if (start < before || start > index->sequences || (i == 0 && start != 0) ||
            (is_last && start != index->sequences))
            return zi_fail(ZI_ERROR_USAGE, "data",
                           "%s: document %" PRId64 " starts at sequence %" PRId64 " of %" PRId64
                           ", after one that starts at %" PRId64 "; the index is damaged",
                           index->path, i, start, index->sequences, before);
        before = start;
    }
    return ZI_OK;
}

static enum zi_status check_index(struct index *index, struct token_layout *layout)
{
    ZI_TRY(check_header(index));
    ZI_TRY(check_sequences(index, &layout->count));
    ZI_TRY(check_documents(index));
    layout->element = index->element;
    layout->offset = 0;
    return ZI_OK;
}

static enum zi_status read_index(const char *path, struct token_layout *layout)
{
    struct index index = {.path = path};
    ZI_TRY(token_file_open(path, &index.file, &index.size));
    enum zi_status status = check_index(&index, layout);
    close(index.file);
    return status;
}

enum zi_status token_find_megatron(const char *path, struct token_layout *layout)
{
    char prefix[4096], index_path[4096];
    ZI_TRY(prefix_of(path, prefix, sizeof prefix));
    ZI_TRY(token_path_join(index_path, sizeof index_path, prefix, ".idx"));
    ZI_TRY(token_layout_name(layout, prefix, ".bin"));
    ZI_TRY(read_index(index_path, layout));
    if (layout->count == 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s lists no tokens", index_path);
    int file;
    int64_t bytes;
    ZI_TRY(token_file_open(layout->path, &file, &bytes));
    close(file);
    int64_t expected = layout->count * token_element_bytes(layout->element);
    if (bytes != expected)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is %s: its index lists %" PRId64 " tokens, which is %" PRId64
                       " bytes, but it has %" PRId64 "; copy or make both files again",
                       layout->path, bytes < expected ? "truncated" : "too long", layout->count,
                       expected, bytes);
    return ZI_OK;
}
