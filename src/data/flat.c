/* SPDX-License-Identifier: Apache-2.0 */
/* Flat token files: an array of integers with next to nothing around it.
 *
 * llm.c: a header of 256 int32 (magic, version, number of tokens, zeros), then the tokens. Magic
 * 20240520 with version 1 means uint16 (GPT-2), 20240801 with version 7 means uint32 (Llama 3). The
 * header is held against the size of the file, both ways: a file that is longer than its header
 * says was not written by a writer that finished.
 *
 * nanoGPT: the bare uint16 tokens (numpy's tofile). The file says nothing about itself, so all that
 * can be checked is that its size is even; what it holds is checked as it is read. */
#include "data/format.h"

#include "base/log.h"

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
    ZI_TRY(token_path_join(layout->path, sizeof layout->path, path, ""));
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

enum zi_status token_find_nanogpt(const char *path, struct token_layout *layout)
{
    int file;
    int64_t bytes;
    ZI_TRY(token_path_join(layout->path, sizeof layout->path, path, ""));
    ZI_TRY(token_file_open(path, &file, &bytes));
    close(file);
    if (bytes == 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s is empty: make the token file again", path);
    if (bytes % 2 != 0)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s has %" PRId64
                       " bytes, an odd number, so it is no nanoGPT file of uint16 "
                       "tokens, or it is truncated: copy or make it again, or set data.format",
                       path, bytes);
    layout->element = TOKEN_UINT16;
    layout->offset = 0;
    layout->count = bytes / 2;
    return ZI_OK;
}
