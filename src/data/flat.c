/* SPDX-License-Identifier: Apache-2.0 */
/* Flat token files: an array of integers with next to nothing around it.
 *
 * llm.c: a header of 256 int32 (magic, version, number of tokens, zeros), then the tokens. Magic
 * 20240520 with version 1 means uint16 (GPT-2), 20240801 with version 7 means uint32 (Llama 3). The
 * header is held against the size of the file, both ways: a file that is longer than its header
 * says was not written by a writer that finished.
 *
 * nanoGPT: the bare tokens (numpy's tofile), of which only the user knows the type: uint16 as
 * nanoGPT itself writes them, others where a vocabulary needs more. Read at the wrong width a file
 * gives numbers without meaning that may all be below the vocabulary. So, unless data.type says
 * what they are, they are taken for uint16 only where nothing speaks against it:
 *
 *   - a vocabulary above 65536 has no place in uint16;
 *   - wide ids leave their upper halves zero, or small where ids go beyond 65535: every other
 * uint16 of a sample is then a number below 4, which ids of a text never are;
 *   - a file of bytes, or a text by mistake, has no control characters, while the upper byte of an
 *     id is mostly one;
 *   - archives, compressed files and numpy's .npy begin with bytes of their own.
 *
 * The sample is three pieces, at the beginning, the middle and the end. */
#include "data/format.h"

#include "base/log.h"
#include "deck/settings.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define LLMC_MAGIC_UINT16   20240520
#define LLMC_VERSION_UINT16 1
#define LLMC_MAGIC_UINT32   20240801
#define LLMC_VERSION_UINT32 7
#define LLMC_HEADER_BYTES   1024

int token_is_llmc(const void *head, int64_t bytes)
{
    int32_t magic;
    if (bytes < (int64_t)sizeof magic) return 0;
    memcpy(&magic, head, sizeof magic);
    return magic == LLMC_MAGIC_UINT16 || magic == LLMC_MAGIC_UINT32;
}

static enum zi_status check_llmc(const char *path, const int32_t *header, int64_t bytes,
                                 struct token_layout *layout)
{
    if (!token_is_llmc(header, LLMC_HEADER_BYTES))
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is no llm.c token file: its first number is %" PRId32 ", not %d or %d; "
                       "set data.format to auto or to what the file is",
                       path, header[0], LLMC_MAGIC_UINT16, LLMC_MAGIC_UINT32);
    int is_wide = header[0] == LLMC_MAGIC_UINT32;
    int version = is_wide ? LLMC_VERSION_UINT32 : LLMC_VERSION_UINT16;
    if (header[1] != version)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is an llm.c token file of version %" PRId32
                       ", and only version %d of this kind can be read: write it again with a "
                       "current llm.c",
                       path, header[1], version);
    layout->element = is_wide ? TOKEN_UINT32 : TOKEN_UINT16;
    layout->offset = LLMC_HEADER_BYTES;
    layout->count = header[2];
    int64_t expected = LLMC_HEADER_BYTES + layout->count * token_element_bytes(layout->element);
    if (layout->count <= 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s has a header for %" PRId64 " tokens", path,
                       layout->count);
    if (bytes != expected)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is %s: its header says %" PRId64 " tokens, which is %" PRId64
                       " bytes, but it has %" PRId64 "; copy or make it again",
                       path, bytes < expected ? "truncated" : "too long", layout->count, expected,
                       bytes);
    return ZI_OK;
}

enum zi_status token_find_llmc(const char *path, struct token_layout *layout)
{
    int file;
    int64_t bytes;
    int32_t header[LLMC_HEADER_BYTES / 4];
    ZI_TRY(token_layout_name(layout, path, ""));
    ZI_TRY(token_file_open(path, &file, &bytes));
    enum zi_status status;
    if (bytes < LLMC_HEADER_BYTES)
        status = zi_fail(ZI_ERROR_USAGE, "data",
                         "%s has %" PRId64 " bytes, but the header of an llm.c token file has %d: "
                         "it is truncated, or data.format is wrong",
                         path, bytes, LLMC_HEADER_BYTES);
    else
        status = token_file_read(file, path, 0, LLMC_HEADER_BYTES, header);
    close(file);
    if (status < 0) return status;
    return check_llmc(path, header, bytes, layout);
}

/* Files that are no bare tokens, by how they begin. */
static const struct {
    const char *bytes;
    int count;
    const char *kind, *cure;
} foreign[] = {
    {"\x93NUMPY", 6, "an array of numpy's save", "write it with tofile instead"},
    {"PK\x03\x04", 4, "a zip archive", "unpack it first"},
    {"\x1f\x8b\x08", 3, "compressed by gzip", "unpack it first"},
    {"\x28\xb5\x2f\xfd", 4, "compressed by zstd", "unpack it first"},
    {"BZh", 3, "compressed by bzip2", "unpack it first"},
    {"\xfd"
     "7zXZ",
     5, "compressed by xz", "unpack it first"},
};

static enum zi_status check_beginning(const char *path, int file, int64_t bytes)
{
    char head[16];
    int64_t count = bytes < (int64_t)sizeof head ? bytes : (int64_t)sizeof head;
    ZI_TRY(token_file_read(file, path, 0, count, head));
    const char *kind = token_file_kind(head, count);
    if (kind)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s is no nanoGPT file but %s, by its first bytes: set data.format to auto "
                       "or to what the file is",
                       path, kind);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (count >= foreign[i].count &&
            memcmp(head, foreign[i].bytes, (size_t)foreign[i].count) == 0)
            return zi_fail(ZI_ERROR_USAGE, "data", "%s is no file of bare tokens but %s: %s", path,
                           foreign[i].kind, foreign[i].cure);
    }
    return ZI_OK;
}

#define SAMPLE_BYTES ((int64_t)64 << 10) /* of each of three pieces; a multiple of 8 */
#define PAIRS_LEAST  8                   /* that say something when the second of each is zero */
#define PAIRS_MANY   512                 /* and when it is small only */
#define TEXT_LEAST   64                  /* bytes that say something when all are of a text */
#define SMALL        3

struct sample {
    int64_t pairs, bytes, controls;
    /* Of the uint16 at places 0 to 3 of every four */
    int largest[4];
};

/* Whether a text has no use for this byte. */
static int is_control(unsigned char byte)
{
    return (byte < 32 && byte != '\t' && byte != '\n' && byte != '\r' && byte != '\f') ||
           byte == 127;
}

static void sample_add(struct sample *sample, const unsigned char *bytes, int64_t count)
{
    for (int64_t i = 0; i + 1 < count; i += 2) {
        int value = bytes[i] | bytes[i + 1] << 8, place = (int)(i / 2 % 4);
        if (value > sample->largest[place]) sample->largest[place] = value;
        sample->controls += is_control(bytes[i]) + is_control(bytes[i + 1]);
    }
    sample->bytes += count;
    sample->pairs += count / 4;
}

static enum zi_status sample_take(const char *path, int file, int64_t bytes, struct sample *sample)
{
    const int64_t last = bytes > SAMPLE_BYTES ? bytes - SAMPLE_BYTES : 0;
    const int64_t starts[] = {0, last / 2, last};
    unsigned char piece[SAMPLE_BYTES];
    *sample = (struct sample){0};
    for (int i = 0; i < (last > 0 ? 3 : 1); i++) {
        int64_t start = starts[i] / 8 * 8; /* so that places are the same in all pieces */
        int64_t count = bytes - start < SAMPLE_BYTES ? bytes - start : SAMPLE_BYTES;
        ZI_TRY(token_file_read(file, path, start, count, piece));
        sample_add(sample, piece, count);
    }
    return ZI_OK;
}

/* What the sample says that the ids are instead of uint16; NULL for nothing. */
static const char *sample_says(const struct sample *sample, int64_t bytes)
{
    const int *largest = sample->largest;
    int even = largest[0] > largest[2] ? largest[0] : largest[2];
    int odd = largest[1] > largest[3] ? largest[1] : largest[3];
    int64_t least = odd == 0 ? PAIRS_LEAST : PAIRS_MANY;
    bool halves = odd == 0 || (odd <= SMALL && even > 255);
    if (halves && bytes % 8 == 0 && sample->pairs >= 2 * least && largest[2] + largest[3] == 0)
        return "int64";
    if (halves && bytes % 4 == 0 && sample->pairs >= least) return "uint32";
    if (sample->bytes >= TEXT_LEAST && sample->controls == 0) return "uint8";
    return NULL;
}

/* Whether uint16 can be right for a file of which the deck says nothing. */
static enum zi_status check_uint16(const char *path, int file, int64_t bytes, int64_t vocabulary)
{
    struct sample sample;
    ZI_TRY(sample_take(path, file, bytes, &sample));
    const char *type = sample_says(&sample, bytes);
    if (!type && vocabulary > 65536)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s says nothing of its tokens, which are then uint16, but model.vocabulary "
                       "is %" PRId64 ": set data.type to what they are (uint32, or uint16 if so it "
                       "is)",
                       path, vocabulary);
    if (!type) return ZI_OK;
    if (strcmp(type, "uint8") == 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s looks like a text, not like uint16 tokens: make tokens of it with `zinf "
                       "tokenize`, or set data.type to what its tokens are (uint8, or uint16 if so "
                       "it is)",
                       path);
    return zi_fail(ZI_ERROR_USAGE, "data",
                   "%s looks like tokens of %s, not of uint16: every other number of 16 bits in a "
                   "sample is %s; set data.type to what they are (%s, or uint16 if so it is)",
                   path, type, sample.largest[1] + sample.largest[3] == 0 ? "zero" : "below 4",
                   type);
}

static enum zi_status check_bare(const char *path, int file, int64_t bytes, int64_t type,
                                 int64_t vocabulary)
{
    enum token_element element = token_element_of(type);
    int size = token_element_bytes(element);
    if (bytes == 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s is empty: make the token file again", path);
    ZI_TRY(check_beginning(path, file, bytes));
    if (bytes % size != 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s has %" PRId64 " bytes, no multiple of %d, so it is no file of bare %s "
                       "tokens, or it is truncated: copy or make it again, or set data.format or "
                       "data.type",
                       path, bytes, size, token_element_name(element));
    return type == ZI_AUTO ? check_uint16(path, file, bytes, vocabulary) : ZI_OK;
}

enum zi_status token_find_nanogpt(const char *path, int64_t type, int64_t vocabulary,
                                  struct token_layout *layout)
{
    int file;
    int64_t bytes;
    ZI_TRY(token_layout_name(layout, path, ""));
    ZI_TRY(token_file_open(path, &file, &bytes));
    enum zi_status status = check_bare(path, file, bytes, type, vocabulary);
    close(file);
    if (status < 0) return status;
    layout->element = token_element_of(type);
    layout->offset = 0;
    layout->count = bytes / token_element_bytes(layout->element);
    return ZI_OK;
}
