/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and reading token files.
 *
 * Formats differ only in where their one array of integers begins, how long it is and of what type
 * it is. A format finds that out once, when the file is opened (format.h), and checks it against
 * the size of the file. After that all formats are read by the same code: pread at a position, so
 * reads need no state, may come from any thread, and the page cache with its readahead does the
 * rest. HDF5 is a format like the others here: its library is called while a file is opened and
 * never again.
 *
 * Every token that is handed out has been compared with the vocabulary. The comparison runs with
 * the widening to int32, in one loop that vectorises; only when it finds something does a second
 * loop look for the position. */
#include "data/tokens.h"

#include "base/file.h"
#include "base/log.h"
#include "data/format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "token files are little-endian, and read as they are"
#endif

#define READ_BYTES ((int64_t)32 << 10) /* at once: stays in the first cache levels */

int token_element_bytes(enum token_element element)
{
    static const int bytes[] = {
        [TOKEN_UINT8] = 1,  [TOKEN_INT8] = 1,  [TOKEN_UINT16] = 2, [TOKEN_INT16] = 2,
        [TOKEN_UINT32] = 4, [TOKEN_INT32] = 4, [TOKEN_INT64] = 8};
    return bytes[element];
}

const char *token_element_name(enum token_element element)
{
    static const char *const names[] = {
        [TOKEN_UINT8] = "uint8", [TOKEN_INT8] = "int8",     [TOKEN_UINT16] = "uint16",
        [TOKEN_INT16] = "int16", [TOKEN_UINT32] = "uint32", [TOKEN_INT32] = "int32",
        [TOKEN_INT64] = "int64"};
    return names[element];
}

enum token_element token_element_of(int64_t type)
{
    static const enum token_element elements[] = {[DATA_UINT8] = TOKEN_UINT8,
                                                  [DATA_UINT16] = TOKEN_UINT16,
                                                  [DATA_UINT32] = TOKEN_UINT32,
                                                  [DATA_INT32] = TOKEN_INT32,
                                                  [DATA_INT64] = TOKEN_INT64};
    if (type == ZI_AUTO) return TOKEN_UINT16;
    ZI_REQUIRE(type >= 0 && type < (int64_t)(sizeof elements / sizeof *elements));
    return elements[type];
}

enum zi_status token_file_open(const char *path, int *file, int64_t *bytes)
{
    struct stat information;
    if (stat(path, &information) != 0 && errno == ENOENT)
        return zi_fail(
            ZI_ERROR_USAGE, "data",
            "cannot open token file %s: No such file or directory (paths are relative to "
            "where zinf was started; `zinf tokenize` makes token files)",
            path);
    return zi_file_open_input("data", path, file, bytes);
}

int64_t token_file_head(const char *path, void *head, size_t size)
{
    struct stat information;
    if (stat(path, &information) != 0 || !S_ISREG(information.st_mode)) return -1;
    int file = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t got = pread(file, head, size, 0);
    close(file);
    return got;
}

const char *token_file_kind(const void *head, int64_t bytes)
{
    if (token_is_hdf5(head, bytes)) return "an HDF5 file";
    if (token_is_llmc(head, bytes)) return "an llm.c token file";
    if (bytes >= 8 && memcmp(head, "MMIDIDX", 8) == 0) return "an index of Megatron-LM";
    return NULL;
}

enum zi_status token_file_read(int file, const char *path, int64_t offset, int64_t bytes,
                               void *memory)
{
    int64_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(file, (char *)memory + done, (size_t)(bytes - done), offset + done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return zi_fail(ZI_ERROR_IO, "data", "reading %s at byte %" PRId64 " failed: %s", path,
                           offset + done, strerror(errno));
        if (got == 0)
            return zi_fail(ZI_ERROR_IO, "data",
                           "%s ends at byte %" PRId64 ", %" PRId64 " more were expected: the file "
                           "was cut after it was opened",
                           path, offset + done, bytes - done);
        done += got;
    }
    return ZI_OK;
}

enum zi_status token_path_join(char *text, size_t size, const char *first, const char *second)
{
    int length = snprintf(text, size, "%s%s", first, second);
    if (length < 0 || (size_t)length >= size)
        return zi_fail(ZI_ERROR_USAGE, "data", "path too long: %s%s", first, second);
    return ZI_OK;
}

enum zi_status token_layout_name(struct token_layout *layout, const char *first, const char *second)
{
    char path[4096];
    ZI_TRY(token_path_join(path, sizeof path, first, second));
    layout->path = strdup(path);
    return layout->path ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "data", "no memory to open %s", path);
}

int token_name_ends(const char *name, const char *end)
{
    size_t length = strlen(name), end_length = strlen(end);
    return length >= end_length && strcmp(name + length - end_length, end) == 0;
}

enum zi_status token_detect(const char *path, int64_t *format)
{
    if (token_is_megatron(path)) {
        *format = DATA_MEGATRON;
        return ZI_OK;
    }
    int file;
    int64_t bytes;
    unsigned char head[8] = {0};
    ZI_TRY(token_file_open(path, &file, &bytes));
    int64_t head_bytes = bytes < (int64_t)sizeof head ? bytes : (int64_t)sizeof head;
    enum zi_status status = token_file_read(file, path, 0, head_bytes, head);
    close(file);
    if (status < 0) return status;
    if (token_is_hdf5(head, head_bytes))
        *format = DATA_HDF5;
    else if (token_is_llmc(head, head_bytes))
        *format = DATA_LLMC;
    else if (token_name_ends(path, ".bin"))
        *format = DATA_NANOGPT;
    else
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is no token file that can be told by its first bytes or its name: make "
                       "one with `zinf tokenize`, or set data.format",
                       path);
    return ZI_OK;
}

static enum zi_status find(const char *path, int64_t format, int64_t type, struct tokens *tokens)
{
    struct token_layout *layout = &tokens->layout;
    switch (format) {
    case DATA_HDF5:
        return token_find_hdf5(path, layout);
    case DATA_LLMC:
        return token_find_llmc(path, layout);
    case DATA_NANOGPT:
        return token_find_nanogpt(path, type, tokens->vocabulary, layout);
    case DATA_MEGATRON:
        return token_find_megatron(path, layout);
    default:
        return zi_fail(ZI_ERROR_BUG, "data", "no token format has number %" PRId64, format);
    }
}

/* Finds the tokens, opens their file, and checks that it holds all of them. */
static enum zi_status open_layout(const char *path, int64_t format, int64_t type,
                                  struct tokens *tokens)
{
    struct token_layout *layout = &tokens->layout;
    if (format == ZI_AUTO) ZI_TRY(token_detect(path, &format));
    ZI_TRY(find(path, format, type, tokens));
    if (type != ZI_AUTO && token_element_of(type) != layout->element)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s holds %s tokens, as it says itself, but data.type is %s: set data.type "
                       "to auto",
                       path, token_element_name(layout->element),
                       token_element_name(token_element_of(type)));
    if (layout->largest >= tokens->vocabulary)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s holds tokens up to %" PRId64 ", but model.vocabulary is %" PRId64
                       ": set it to at least %" PRId64 ", or use another token file",
                       path, layout->largest, tokens->vocabulary, layout->largest + 1);
    int64_t bytes;
    ZI_TRY(token_file_open(layout->path, &tokens->file, &bytes));
    tokens->opened_at = time(NULL);
    if (fstat(tokens->file, &tokens->opened) != 0)
        return zi_fail(ZI_ERROR_IO, "data", "cannot examine %s: %s", layout->path, strerror(errno));
    int64_t needed = layout->count * token_element_bytes(layout->element);
    if (bytes - layout->offset < needed)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is truncated: %" PRId64 " tokens end at byte %" PRId64
                       ", the file at %" PRId64 "; copy or make it again",
                       layout->path, layout->count, layout->offset + needed, bytes);
    return ZI_OK;
}

enum zi_status tokens_open(const char *path, int64_t format, int64_t type, int64_t vocabulary,
                           struct tokens **tokens)
{
    ZI_REQUIRE(vocabulary > 0 && vocabulary <= (int64_t)INT32_MAX + 1);
    struct tokens *opened = calloc(1, sizeof *opened);
    if (!opened) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to open %s", path);
    opened->vocabulary = vocabulary;
    opened->file = -1;
    opened->layout.largest = -1;
    opened->layout.mask_offset = -1;
    enum zi_status status = open_layout(path, format, type, opened);
    if (status < 0) {
        tokens_close(opened);
        return status;
    }
    *tokens = opened;
    return ZI_OK;
}

void tokens_close(struct tokens *tokens)
{
    if (!tokens) return;
    token_file_rest(tokens);
    free(tokens->layout.path);
    free(tokens);
}

void token_file_rest(struct tokens *tokens)
{
    if (tokens->file >= 0) close(tokens->file);
    tokens->file = -1;
}

enum zi_status token_file_wake(struct tokens *tokens)
{
    const char *path = tokens->layout.path;
    const struct stat *before = &tokens->opened;
    struct stat is;
    int64_t bytes;
    if (tokens->file >= 0) return ZI_OK;
    if (token_file_open(path, &tokens->file, &bytes) < 0)
        return zi_fail(ZI_ERROR_IO, "data", "%s cannot be opened any more", path);
    if (fstat(tokens->file, &is) == 0 && is.st_dev == before->st_dev &&
        is.st_ino == before->st_ino && is.st_size == before->st_size &&
        is.st_mtim.tv_sec == before->st_mtim.tv_sec &&
        is.st_mtim.tv_nsec == before->st_mtim.tv_nsec)
        return ZI_OK;
    token_file_rest(tokens);
    return zi_fail(ZI_ERROR_IO, "data",
                   "%s has changed since the run began: start again with --resume auto, with the "
                   "file as it is to be",
                   path);
}

int64_t tokens_count(const struct tokens *tokens)
{
    return tokens->layout.count;
}

const char *tokens_path(const struct tokens *tokens)
{
    return tokens->layout.path;
}

/* Widens to int32 and gives whether any value is negative or not below the vocabulary. The wide
 * type is unsigned, so a negative value is a large one. */
#define DEFINE_WIDEN(name, narrow, wide)                                                           \
    static int widen_##name(const void *memory, int64_t count, int64_t vocabulary, int32_t *ids)   \
    {                                                                                              \
        const narrow *restrict from = memory;                                                      \
        int32_t *restrict to = ids;                                                                \
        wide limit = (wide)vocabulary;                                                             \
        int bad = 0;                                                                               \
        _Pragma("omp simd reduction(| : bad)") for (int64_t i = 0; i < count; i++)                 \
        {                                                                                          \
            bad |= (wide)from[i] >= limit;                                                         \
            to[i] = (int32_t)from[i];                                                              \
        }                                                                                          \
        return bad;                                                                                \
    }
DEFINE_WIDEN(uint8, uint8_t, uint32_t)
DEFINE_WIDEN(int8, int8_t, uint32_t)
DEFINE_WIDEN(uint16, uint16_t, uint32_t)
DEFINE_WIDEN(int16, int16_t, uint32_t)
DEFINE_WIDEN(uint32, uint32_t, uint32_t)
DEFINE_WIDEN(int32, int32_t, uint32_t)
DEFINE_WIDEN(int64, int64_t, uint64_t)

static int widen(enum token_element element, const void *memory, int64_t count, int64_t vocabulary,
                 int32_t *ids)
{
    static int (*const widen_of[])(const void *, int64_t, int64_t, int32_t *) = {
        [TOKEN_UINT8] = widen_uint8, [TOKEN_INT8] = widen_int8,     [TOKEN_UINT16] = widen_uint16,
        [TOKEN_INT16] = widen_int16, [TOKEN_UINT32] = widen_uint32, [TOKEN_INT32] = widen_int32,
        [TOKEN_INT64] = widen_int64};
    return widen_of[element](memory, count, vocabulary, ids);
}

static int64_t element_value(enum token_element element, const void *memory, int64_t i)
{
    switch (element) {
    case TOKEN_UINT8:
        return ((const uint8_t *)memory)[i];
    case TOKEN_INT8:
        return ((const int8_t *)memory)[i];
    case TOKEN_UINT16:
        return ((const uint16_t *)memory)[i];
    case TOKEN_INT16:
        return ((const int16_t *)memory)[i];
    case TOKEN_UINT32:
        return ((const uint32_t *)memory)[i];
    case TOKEN_INT32:
        return ((const int32_t *)memory)[i];
    case TOKEN_INT64:
        return ((const int64_t *)memory)[i];
    }
    return -1;
}

/* Names the first token of a piece that is out of vocabulary; `first` is the position of the
 * piece. */
static enum zi_status out_of_vocabulary(const struct tokens *tokens, const void *piece,
                                        int64_t count, int64_t first)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t token = element_value(tokens->layout.element, piece, i);
        if (token < 0 || token >= tokens->vocabulary)
            return zi_fail(ZI_ERROR_USAGE, "data",
                           "%s: token %" PRId64 " at position %" PRId64
                           " is out of vocabulary (0 .. %" PRId64
                           "): set model.vocabulary to that of the tokenizer, or data.format or "
                           "data.type if the file is of another format or its ids of another type",
                           tokens->layout.path, token, first + i, tokens->vocabulary - 1);
    }
    return zi_fail(ZI_ERROR_BUG, "data", "%s: no token is out of vocabulary after all",
                   tokens->layout.path);
}

enum zi_status tokens_read(struct tokens *tokens, int64_t first, int64_t count, int32_t *ids)
{
    const struct token_layout *layout = &tokens->layout;
    ZI_REQUIRE(first >= 0 && count >= 0 && first <= layout->count - count);
    _Alignas(64) char piece[READ_BYTES];
    int64_t element_bytes = token_element_bytes(layout->element);
    int64_t piece_elements = READ_BYTES / element_bytes;
    for (int64_t done = 0; done < count; done += piece_elements) {
        int64_t n = count - done < piece_elements ? count - done : piece_elements;
        int64_t offset = layout->offset + (first + done) * element_bytes;
        ZI_TRY(token_file_read(tokens->file, layout->path, offset, n * element_bytes, piece));
        if (widen(layout->element, piece, n, tokens->vocabulary, ids + done))
            return out_of_vocabulary(tokens, piece, n, first + done);
    }
    return ZI_OK;
}

bool tokens_have_mask(const struct tokens *tokens)
{
    return tokens->layout.mask_offset >= 0;
}

enum zi_status tokens_read_mask(struct tokens *tokens, int64_t first, int64_t count, uint8_t *mask)
{
    const struct token_layout *layout = &tokens->layout;
    ZI_REQUIRE(tokens_have_mask(tokens));
    ZI_REQUIRE(first >= 0 && count >= 0 && first <= layout->count - count);
    return token_file_read(tokens->file, layout->path, layout->mask_offset + first, count, mask);
}

int64_t tokens_documents(const struct tokens *tokens)
{
    return tokens->layout.documents;
}

enum zi_status tokens_document_starts(struct tokens *tokens, int64_t **starts)
{
    const struct token_layout *layout = &tokens->layout;
    int64_t count = layout->documents, bytes = count * (int64_t)sizeof **starts;
    int64_t *read = malloc((size_t)bytes + sizeof *read);
    if (!read)
        return zi_fail(ZI_ERROR_DEVICE, "data",
                       "no memory for the places of %" PRId64 " documents of %s", count,
                       layout->path);
    enum zi_status status =
        token_file_read(tokens->file, layout->path, layout->documents_offset, bytes, read);
    read[count] = layout->count;
    for (int64_t i = 0; i < count && status >= 0; i++)
        if (read[i] < 0 || read[i] >= read[i + 1] || read[0] != 0)
            status = zi_fail(ZI_ERROR_USAGE, "data",
                             "%s: document %" PRId64 " begins at token %" PRId64
                             ", and the next at %" PRId64
                             ": /documents does not increase from 0 on; make the file again",
                             layout->path, i, read[i], read[i + 1]);
    if (status < 0)
        free(read);
    else
        *starts = read;
    return status;
}
