/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the NVMe store share: a folder to work in, settings, a pattern, and the log. */
#ifndef ZI_REGRESSION_TIER_STORE_H
#define ZI_REGRESSION_TIER_STORE_H

#include "regression/unit/test.h"
#include "tier/store.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_BLOCK ((size_t)TIER_STORE_BLOCK)

/* Goes into a new folder of its own under the current one. */
static inline void store_test_enter(char name[32])
{
    strcpy(name, "tier-test-XXXXXX");
    if (!mkdtemp(name) || chdir(name) != 0) {
        perror(name);
        exit(1);
    }
}

/* Leaves the folder and removes it, which must be empty by then. */
static inline void store_test_leave(const char *name)
{
    if (chdir("..") != 0) exit(1);
    CHECK(rmdir(name) == 0);
}

/* Settings with these paths. */
static inline struct settings_nvme store_test_settings(struct deck_list paths)
{
    return (struct settings_nvme){
        .paths = paths, .engine = ZI_AUTO, .depth = 4, .block = 64 * 1024, .deadline = 60};
}

/* Options of a store with these settings. */
static inline struct tier_store_options store_test_options(const struct settings_nvme *nvme,
                                                           uint64_t id)
{
    return (struct tier_store_options){.nvme = nvme, .run = "a test/1", .id = id, .node_ranks = 1};
}

/* Zeros, aligned for the store, freed with free(). */
static inline void *store_test_buffer(size_t bytes)
{
    void *memory = NULL;
    if (posix_memalign(&memory, STORE_BLOCK, bytes) != 0) exit(1);
    memset(memory, 0, bytes);
    return memory;
}

/* Words that depend on the array, the place in it, and how often it was written. */
static inline uint32_t store_test_word(int array, size_t word, uint32_t round)
{
    uint32_t x = (uint32_t)array * 0x9e3779b9u ^ (uint32_t)word * 0x85ebca6bu ^ round * 0xc2b2ae35u;
    return x ^ x >> 15;
}

/* These words for a piece of an array. */
static inline void store_test_fill(void *buffer, int array, size_t offset, size_t bytes,
                                   uint32_t round)
{
    uint32_t *words = buffer;
    for (size_t w = 0; w < bytes / 4; w++)
        words[w] = store_test_word(array, offset / 4 + w, round);
}

/* Number of wrong words. */
static inline long store_test_wrong(const void *buffer, int array, size_t offset, size_t bytes,
                                    uint32_t round)
{
    const uint32_t *words = buffer;
    long wrong = 0;
    for (size_t w = 0; w < bytes / 4; w++)
        wrong += words[w] != store_test_word(array, offset / 4 + w, round);
    return wrong;
}

/* Entries of a folder whose names start with `start`; the last one's name into name[0..size). */
static inline int store_test_entries(const char *folder, const char *start, char *name, size_t size)
{
    DIR *list = opendir(folder);
    int count = 0;
    if (!list) return 0;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        if (strncmp(entry->d_name, start, strlen(start)) != 0 || entry->d_name[0] == '.') continue;
        count++;
        if (name) snprintf(name, size, "%.*s", (int)size - 1, entry->d_name);
    }
    closedir(list);
    return count;
}

/* The log, that is stdout and stderr, while it goes to a file. */
struct store_test_log {
    int saved[2];
    FILE *file;
};

/* From here on the log goes to a file. */
static inline void store_test_log_begin(struct store_test_log *log)
{
    log->file = tmpfile();
    if (!log->file) exit(1);
    for (int stream = 0; stream < 2; stream++) {
        fflush(stream == 0 ? stdout : stderr);
        log->saved[stream] = dup(stream + 1);
        if (dup2(fileno(log->file), stream + 1) < 0) exit(1);
    }
}

/* Sends the log back where it went, and its text; gives that, and the caller frees it. */
static inline char *store_test_log_end(struct store_test_log *log)
{
    for (int stream = 0; stream < 2; stream++) {
        fflush(stream == 0 ? stdout : stderr);
        if (dup2(log->saved[stream], stream + 1) < 0) exit(1);
        close(log->saved[stream]);
    }
    long size = lseek(fileno(log->file), 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);
    if (!text || pread(fileno(log->file), text, (size_t)size, 0) != size) exit(1);
    fclose(log->file);
    fputs(text, stdout);
    return text;
}

#endif
