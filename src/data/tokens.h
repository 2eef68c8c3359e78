/* SPDX-License-Identifier: Apache-2.0 */
/* Token files, read by position: zinf's own HDF5 (dataset /tokens, attribute vocabulary), flat .bin
 * files as nanoGPT (bare uint16) and llm.c (1 KiB header, uint16 or uint32) write them, and
 * Megatron-LM indexed datasets (.idx beside .bin; documents are read as one stream).
 *
 * Which format a path is of when the deck says auto, first rule that holds: (1) Megatron-LM, when
 * the path, its own ending .idx or .bin aside, plus ".idx" names a file that begins with
 * "MMIDIDX\0\0" (a path without an ending only when no file has that very name); (2) HDF5, by its
 * signature; (3) llm.c, by its first number; (4) nanoGPT, when the name ends in .bin; otherwise an
 * error. An HDF5 dataset must be contiguous, of little-endian integers; attributes may be missing.
 */
#ifndef ZI_DATA_TOKENS_H
#define ZI_DATA_TOKENS_H

#include <stdint.h>

#include "base/status.h"
#include "deck/settings.h"

struct tokens;

/* Local, from the main thread (HDF5 has no threads). Opens a file; `format` is an enum data_format
 * or ZI_AUTO (told by its first bytes and name). Every token must be below `vocabulary`: an HDF5
 * file is checked by its recorded largest token, others as they are read. ZI_ERROR_USAGE naming the
 * file and the remedy when it is missing, of another format, truncated or out of vocabulary;
 * ZI_ERROR_IO when reading fails. */
enum zi_status tokens_open(const char *path, int64_t format, int64_t vocabulary,
                           struct tokens **tokens);
void tokens_close(struct tokens *tokens);
int64_t tokens_count(const struct tokens *tokens);
const char *tokens_path(const struct tokens *tokens);

/* Local, from any thread. ids[0..count) = tokens first .. first+count-1; the range lies inside the
 * file. ZI_ERROR_USAGE naming file, position and token when one is out of vocabulary. */
enum zi_status tokens_read(struct tokens *tokens, int64_t first, int64_t count, int32_t *ids);

/* Local, from the main thread. Writes an HDF5 token file from the bytes of `inputs` (byte-level
 * vocabulary of 256; files are taken in the order given, a folder's files in name order, separated
 * by nothing). Written to a temporary name, synced, then renamed. When validation_path is not NULL,
 * the last `validation_share` of the tokens goes there. */
struct tokens_writer {
    const char *const *inputs;
    int input_count;
    const char *suffix; /* in folders take files with this ending only; NULL: all regular files */
    const char *path, *validation_path;
    double validation_share;
};
enum zi_status tokens_write(const struct tokens_writer *writer);

#endif
