/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the room: which files a path of a deck stands for. */
#ifndef ZI_DATA_SHARDS_H
#define ZI_DATA_SHARDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct shard_list {
    /* Of the deck, for messages; and the format that it says, as of tokens_open. */
    const char *key;
    int64_t format;
    /* In the order of the corpus; owned. */
    char **paths;
    size_t count, capacity;
};

/* Local. Adds the files of a file, a folder or a pattern. ZI_ERROR_USAGE naming the path and the
 * remedy; ZI_ERROR_DEVICE. */
enum zi_status shard_list_add(struct shard_list *list, const char *path);

/* Local. Frees the paths; the list is empty then. */
void shard_list_free(struct shard_list *list);

#endif
