/* SPDX-License-Identifier: Apache-2.0 */
/* Token files, read by position: zinf's own HDF5 (dataset /tokens, attribute vocabulary, and perhaps
 * the datasets /mask and /documents), flat .bin
 * files as nanoGPT (bare uint16) and llm.c (1 KiB header, uint16 or uint32) write them, and
 * Megatron-LM indexed datasets (.idx beside .bin; documents are read as one stream).
 *
 * Which format a path is of when the deck says auto, first rule that holds: (1) Megatron-LM, when
 * the path, its own ending .idx or .bin aside, plus ".idx" names a file that begins with
 * "MMIDIDX\0\0", or is empty or of the older kind, which are refused (a path without an ending only
 * when no file has that very name); (2) HDF5, by its signature; (3) llm.c, by its first number; (4)
 * nanoGPT, when the name ends in .bin; otherwise an error. An HDF5 dataset must be contiguous, of
 * little-endian integers; attributes may be missing.
 */
#ifndef ZI_DATA_TOKENS_H
#define ZI_DATA_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "deck/settings.h"

struct tokens;

/* Local, from the main thread (HDF5 has no threads). Opens a file; `format` is an enum data_format
 * or ZI_AUTO (told by its first bytes and name), `type` an enum data_type or ZI_AUTO: the ids of a
 * file without a header, which with auto are uint16, unless the vocabulary or a sample of the file
 * says that they cannot be; a header must agree with it. Every token must be below `vocabulary`: an
 * HDF5 file is checked by its recorded largest token, others by a scan and as they are read.
 * ZI_ERROR_USAGE naming the file and the remedy when it is missing, of another format or type,
 * truncated or out of vocabulary; ZI_ERROR_IO when reading fails. */
enum zi_status tokens_open(const char *path, int64_t format, int64_t type, int64_t vocabulary,
                           struct tokens **tokens);

/* Local. NULL does nothing. */
void tokens_close(struct tokens *tokens);

/* Local. Tokens of the file. */
int64_t tokens_count(const struct tokens *tokens);

/* Local. Of the file that has them; the tokens' own. */
const char *tokens_path(const struct tokens *tokens);

/* Local, from any thread. ids[0..count) = tokens first .. first+count-1; the range lies inside the
 * file. ZI_ERROR_USAGE naming file, position and token when one is out of vocabulary. */
enum zi_status tokens_read(struct tokens *tokens, int64_t first, int64_t count, int32_t *ids);

/* Local. Whether the file says of each token whether it counts as a target. */
bool tokens_have_mask(const struct tokens *tokens);

/* Local, from any thread. mask[0..count): 0 for each of these tokens that is no target that counts.
 * Of a file that has a mask. ZI_ERROR_IO. */
enum zi_status tokens_read_mask(struct tokens *tokens, int64_t first, int64_t count, uint8_t *mask);

/* Local. The number of documents that the file tells apart; 0: it is one stream. */
int64_t tokens_documents(const struct tokens *tokens);

/* Local. The first token of each document and behind them the number of tokens, [documents + 1],
 * increasing from 0; to be freed. ZI_ERROR_USAGE naming the file when they are not; ZI_ERROR_IO;
 * ZI_ERROR_DEVICE. */
enum zi_status tokens_document_starts(struct tokens *tokens, int64_t **starts);

/* Local. Whether no token can be out of vocabulary: by its type, or by what the file records. */
bool tokens_are_known(const struct tokens *tokens);

/* What a scan found. */
struct tokens_scan {
    /* Token seen; a negative one counts as the larger of all others */
    uint64_t largest;
    /* Position of the first token out of vocabulary, where the scan ended; -1 */
    int64_t bad;
};

/* Local. Reads tokens first .. first+count-1 as fast as the disk gives them. ZI_STOPPED when a stop
 * was asked for; ZI_ERROR_IO. */
enum zi_status tokens_scan(struct tokens *tokens, int64_t first, int64_t count,
                           struct tokens_scan *scan);

/* Local. A line of text that says which file, in which state, was scanned whole, and its largest
 * token; to be freed. NULL where the state cannot be told: the file has changed since it was
 * opened, or a moment before, and may change again without a new time. */
char *tokens_scan_line(const struct tokens *tokens, uint64_t largest);

/* Local. Whether one of the lines of `text` is about the file as it is, and no token is out of
 * vocabulary by it; *largest is what it says. */
bool tokens_scan_recalled(const struct tokens *tokens, const char *text, uint64_t *largest);

/* A text to be encoded: a file, or a line of one. */
struct tokens_text {
    const char *text;
    size_t bytes;
    const char *path;
    /* From 1; 0: the whole file. */
    int64_t line;
};

/* What makes tokens of texts, given by a room that knows how. */
struct tokens_encoder {
    /* From any thread: makes what one thread needs, which `end` frees. Fallible. */
    enum zi_status (*begin)(void *context, void **worker);
    /* From the worker's thread: the ids of a text, 0 or more, each below `vocabulary`; *ids is freed
     * with free(). Of a line, ~id is an id that is no target that counts. */
    enum zi_status (*encode)(void *worker, const struct tokens_text *text, int32_t **ids,
                             size_t *count);
    void (*end)(void *worker);
    void *context;
    int64_t vocabulary;
    /* For the record in the file. */
    const char *name;
    /* Comes behind the tokens of each file; -1: nothing. */
    int32_t separator;
    /* Each line of a file is a text, and what it becomes a document. The vocabulary is then less
     * than 2^31 - 1. */
    bool lines;
};

/* The most bytes of a line. */
#define TOKENS_LINE_MOST ((size_t)16 << 20)

/* What is made a token file, and where. */
struct tokens_writer {
    const char *const *inputs;
    int input_count;
    /* In folders take files with this ending only; NULL: all regular files */
    const char *suffix;
    const char *path, *validation_path;
    double validation_share;
    /* NULL: every byte is a token. */
    const struct tokens_encoder *encoder;
};

/* Local, from the main thread. Writes an HDF5 token file from the texts of `inputs`: files in the
 * order given, a folder's files in name order. Without an encoder the bytes are the tokens
 * (vocabulary of 256), separated by nothing; with one each file is encoded by itself, whole, several
 * at a time by the threads of OpenMP, and the ids wait in a file beside the output until all are
 * there, 4 bytes each. Of files of lines one line's most bytes, and what is made of them, are in memory
 * at a time; lines of white space are passed over. Written to a temporary name, synced, then renamed.
 * When validation_path is not NULL, the last `validation_share` of the tokens goes there, of documents
 * whole ones. Of folders token files, the outputs, links
 * to nothing or to folders and what is no regular file are left out, and said; named as inputs they
 * are refused. ZI_ERROR_USAGE, ZI_ERROR_IO; ZI_STOPPED when a stop was asked for: in either case
 * the outputs are what they were. */
enum zi_status tokens_write(const struct tokens_writer *writer);

#endif
