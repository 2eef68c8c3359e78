/* SPDX-License-Identifier: Apache-2.0 */
/* All token files that a key of the deck names.
 *
 * A corpus is a row of sources, a source a row of files (shards) of any length and of mixed
 * formats. A path of the deck is a file, a folder (all its files) or a pattern (the files that it
 * fits); the files of a folder or a pattern come in the order of the bytes of their names. Paths
 * without weights make one source together, in the order of the deck; each path with a weight is a
 * source of its own.
 *
 * Hidden files (.NAME), outputs that are being written (NAME.tmp-XXXXXX) and folders in a folder
 * are passed over, which is said; any other file that is no token file is an error, since to leave
 * out what was meant is worse. Of a dataset of Megatron-LM the .bin and the .idx are one shard. A file
 * *.jsonl stands for the token file that its documents are made into. */
#ifndef ZI_DATA_CORPUS_H
#define ZI_DATA_CORPUS_H

#include "data/tokens.h"
#include "deck/sources.h"

/* The most files of one key. */
enum { CORPUS_SHARDS_MAX = 65536 };

struct corpus;

/* Finds, or makes, the token file of a file of JSON lines, for this room does not know texts. */
struct corpus_lines {
    /* Its path into tokens[0..size), or an error that was said. */
    enum zi_status (*find)(void *context, const char *path, char *tokens, size_t size);
    void *context;
};

struct corpus_wanted {
    /* Of the deck, for messages: "data.train"; it and the sources outlive the corpus. */
    const char *key;
    const struct deck_sources *sources;
    /* As of tokens_open. Where there are several files, `type` is only for those without a header. */
    int64_t format, type, vocabulary;
    /* enum data_packing. */
    int64_t packing;
    /* For files *.jsonl, which are refused where it is NULL. */
    const struct corpus_lines *lines;
};

struct corpus_source {
    /* The path of the deck, or the key where several make one source. */
    const char *name;
    /* 1 where it is the only one. */
    double weight;
    /* Its shards. */
    int first, count;
};

/* Local, from the main thread. Opens all files once, which checks them, and finds those of JSON lines.
 * Only some stay open; the others keep 300 bytes each. ZI_ERROR_USAGE as tokens_open, and when a path
 * has no file, a file comes twice in a source, or there are too many; ZI_STOPPED when a stop was asked
 * for. */
enum zi_status corpus_open(const struct corpus_wanted *wanted, struct corpus **corpus);

/* Local. NULL does nothing. */
void corpus_close(struct corpus *corpus);

/* Local. Its one file, or the key, for messages. */
const char *corpus_name(const struct corpus *corpus);

/* Local. The number of sources. */
int corpus_source_count(const struct corpus *corpus);

/* Local. One of them; the corpus's own. */
const struct corpus_source *corpus_source(const struct corpus *corpus, int source);

/* Local. The number of files. */
int corpus_shard_count(const struct corpus *corpus);

/* Local. Tokens of one. */
int64_t corpus_shard_tokens(const struct corpus *corpus, int shard);

/* Local. Documents of one that are to be packed; 0: its tokens are one stream. */
int64_t corpus_shard_documents(const struct corpus *corpus, int shard);

/* Local. Whether one says which of its tokens count as targets. */
bool corpus_shard_masks(const struct corpus *corpus, int shard);

/* Local, from the thread that opened the corpus. A file, open until the next call; the corpus's
 * own. ZI_ERROR_IO when it had been closed and has changed since. */
enum zi_status corpus_use(struct corpus *corpus, int shard, struct tokens **tokens);

#endif
