/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a token file, of the format and with the vocabulary that the first byte says:
 * opened, read and scanned whole. Of an indexed dataset the next two bytes say where the index ends
 * and the tokens begin. */
#include "fuzz.h"

#include "data/tokens.h"
#include "h5/h5.h"

#include <string.h>

enum { HEAD = 3, PIECE = 1000, FORMATS = 5 };

static void read_all(struct tokens *tokens)
{
    static int32_t ids[PIECE];
    struct tokens_scan scan = {0};
    int64_t count = tokens_count(tokens);
    for (int64_t at = 0; at < count; at += PIECE) {
        int64_t left = count - at;
        if (tokens_read(tokens, at, left < PIECE ? left : PIECE, ids) < 0) break;
    }
    static uint8_t mask[PIECE];
    int64_t *starts = NULL;
    for (int64_t at = 0; at < count && tokens_have_mask(tokens); at += PIECE)
        if (tokens_read_mask(tokens, at, count - at < PIECE ? count - at : PIECE, mask) < 0) break;
    if (tokens_documents(tokens) > 0) (void)tokens_document_starts(tokens, &starts);
    free(starts);
    (void)tokens_scan(tokens, 0, count, &scan);
    char *line = tokens_scan_line(tokens, scan.largest);
    uint64_t largest;
    if (line) (void)tokens_scan_recalled(tokens, line, &largest);
    free(line);
}

/* The same bytes as what an earlier scan has left. */
static void recall(struct tokens *tokens, const uint8_t *data, size_t size)
{
    uint64_t largest;
    char *text = malloc(size + 1);
    fuzz_must(text, "memory");
    memcpy(text, data, size);
    text[size] = 0;
    (void)tokens_scan_recalled(tokens, text, &largest);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t formats[FORMATS] = {ZI_AUTO, DATA_MEGATRON, DATA_LLMC, DATA_NANOGPT,
                                             ZI_AUTO};
    static const int64_t types[] = {ZI_AUTO, ZI_AUTO, DATA_UINT16, DATA_UINT32};
    struct tokens *tokens;
    if (size < HEAD) return -1;
    int kind = data[0] % FORMATS;
    int64_t type = types[data[0] / FORMATS % 4], vocabulary = data[0] & 0x80 ? 256 : 50257;
    size_t index = (size_t)data[1] | (size_t)data[2] << 8;
    const char *name = kind == 4 ? "plain" : "pair.bin";
    data += HEAD;
    size -= HEAD;
    if (kind != 1) index = 0;
    if (index > size) index = size;
    (void)unlink(fuzz_path("pair.idx"));
    if (kind == 1) fuzz_put("pair.idx", data, index);
    fuzz_put(name, data + index, size - index);
    if (H5Fis_hdf5(fuzz_path(name)) > 0 && !fuzz_bears(fuzz_path(name))) return 0;
    if (tokens_open(fuzz_path(name), formats[kind], type, vocabulary, &tokens) < 0) return 0;
    read_all(tokens);
    recall(tokens, data, size);
    tokens_close(tokens);
    return 0;
}
