/* SPDX-License-Identifier: Apache-2.0 */
/* Looking through a whole token file for what is out of vocabulary.
 *
 * Reading checks every token that it hands out, but a bad one may first be drawn after hours. So a
 * file is read once before training, at the speed of the disk: blocks of a MiB in order, which the
 * kernel reads ahead of, and in each the largest element, which takes a vector instruction for
 * many. Signed elements are widened as they are and taken for unsigned, so that a negative one is
 * the larger of all others. Only in a block that has a bad token is the place looked for.
 *
 * What a scan found depends on the file alone, not on the vocabulary, so it may be kept: in a line
 * with all by which the file is known again (path, size, times of change, inode, and where in it
 * the tokens are, of which type). The time of change of its content may be set back by whoever
 * copies or touches it; that of its inode, which is kept too, is the kernel's alone. A file that
 * changed since it was opened is not recorded, nor one that changed less than MARGIN_S before: it
 * may change once more within the same tick of the file system's clock. */
#include "data/tokens.h"

#include "base/log.h"
#include "base/stop.h"
#include "data/format.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define BLOCK_BYTES ((int64_t)1 << 20)
#define MARGIN_S    2 /* the coarsest clock of a file system */

#define DEFINE_LARGEST(name, narrow, wide)                                                         \
    static uint64_t largest_##name(const void *memory, int64_t count)                              \
    {                                                                                              \
        const narrow *restrict from = memory;                                                      \
        wide largest = 0;                                                                          \
        _Pragma("omp simd reduction(max : largest)") for (int64_t i = 0; i < count; i++)           \
        {                                                                                          \
            wide value = (wide)from[i];                                                            \
            largest = value > largest ? value : largest;                                           \
        }                                                                                          \
        return largest;                                                                            \
    }
DEFINE_LARGEST(uint8, uint8_t, uint8_t)
DEFINE_LARGEST(int8, int8_t, uint32_t)
DEFINE_LARGEST(uint16, uint16_t, uint16_t)
DEFINE_LARGEST(int16, int16_t, uint32_t)
DEFINE_LARGEST(uint32, uint32_t, uint32_t)
DEFINE_LARGEST(int32, int32_t, uint32_t)
DEFINE_LARGEST(int64, int64_t, uint64_t)

static uint64_t (*const largest_of[])(const void *, int64_t) = {
    [TOKEN_UINT8] = largest_uint8, [TOKEN_INT8] = largest_int8,     [TOKEN_UINT16] = largest_uint16,
    [TOKEN_INT16] = largest_int16, [TOKEN_UINT32] = largest_uint32, [TOKEN_INT32] = largest_int32,
    [TOKEN_INT64] = largest_int64};

bool tokens_are_known(const struct tokens *tokens)
{
    const struct token_layout *layout = &tokens->layout;
    bool every = (layout->element == TOKEN_UINT8 && tokens->vocabulary >= 256) ||
                 (layout->element == TOKEN_UINT16 && tokens->vocabulary >= 65536);
    return every || layout->largest >= 0; /* which opening has compared */
}

/* The first element of a block that is out of vocabulary; count when there is none. */
static int64_t first_bad(const struct tokens *tokens, const char *block, int64_t count)
{
    enum token_element element = tokens->layout.element;
    int64_t bytes = token_element_bytes(element), i = 0;
    while (i < count && largest_of[element](block + i * bytes, 1) < (uint64_t)tokens->vocabulary)
        i++;
    return i;
}

static enum zi_status scan_into(struct tokens *tokens, int64_t first, int64_t count,
                                struct tokens_scan *scan, char *block)
{
    const struct token_layout *layout = &tokens->layout;
    int64_t bytes = token_element_bytes(layout->element), most = BLOCK_BYTES / bytes;
    for (int64_t done = 0; done < count; done += most) {
        int64_t n = count - done < most ? count - done : most;
        ZI_TRY(zi_stop_check());
        ZI_TRY(token_file_read(tokens->file, layout->path, layout->offset + (first + done) * bytes,
                               n * bytes, block));
        uint64_t largest = largest_of[layout->element](block, n);
        if (largest > scan->largest) scan->largest = largest;
        if (largest < (uint64_t)tokens->vocabulary) continue;
        scan->bad = first + done + first_bad(tokens, block, n);
        break;
    }
    return ZI_OK;
}

enum zi_status tokens_scan(struct tokens *tokens, int64_t first, int64_t count,
                           struct tokens_scan *scan)
{
    ZI_REQUIRE(first >= 0 && count >= 0 && first <= tokens->layout.count - count);
    *scan = (struct tokens_scan){.largest = 0, .bad = -1};
    char *block = aligned_alloc(64, (size_t)BLOCK_BYTES);
    if (!block)
        return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to read %s", tokens->layout.path);
    enum zi_status status = scan_into(tokens, first, count, scan, block);
    free(block);
    return status;
}

/* All by which a file is known again, allocated; NULL where it cannot be told. */
static char *describe(const struct tokens *tokens, const struct stat *is)
{
    const struct token_layout *layout = &tokens->layout;
    char *path = realpath(layout->path, NULL), *text = NULL;
    if (!path || strchr(path, '\n') ||
        asprintf(&text,
                 "tokens %" PRId64 " type %s offset %" PRId64 " bytes %" PRId64
                 " changed %lld.%09ld inode %llu of %lld.%09ld path %s",
                 layout->count, token_element_name(layout->element), layout->offset,
                 (int64_t)is->st_size, (long long)is->st_mtim.tv_sec, is->st_mtim.tv_nsec,
                 (unsigned long long)is->st_ino, (long long)is->st_ctim.tv_sec, is->st_ctim.tv_nsec,
                 path) < 0)
        text = NULL;
    free(path);
    return text;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

char *tokens_scan_line(const struct tokens *tokens, uint64_t largest)
{
    const struct stat *before = &tokens->opened;
    struct stat is;
    char *line = NULL;
    if (fstat(tokens->file, &is) != 0 || is.st_size != before->st_size ||
        !same_time(&is.st_mtim, &before->st_mtim) || !same_time(&is.st_ctim, &before->st_ctim) ||
        is.st_mtim.tv_sec > tokens->opened_at - MARGIN_S)
        return NULL;
    char *file = describe(tokens, &is);
    if (file && asprintf(&line, "largest %" PRIu64 " %s\n", largest, file) < 0) line = NULL;
    free(file);
    return line;
}

bool tokens_scan_recalled(const struct tokens *tokens, const char *text, uint64_t *largest)
{
    static const char start[] = "largest ";
    char *file = describe(tokens, &tokens->opened);
    size_t length = file ? strlen(file) : 0;
    bool found = false;
    for (const char *at = text; file && !found && (at = strstr(at, file)); at++) {
        const char *line = at;
        char *end;
        while (line > text && line[-1] != '\n')
            line--;
        if (at[length] != '\n' || strncmp(line, start, strlen(start)) != 0) continue;
        *largest = strtoull(line + strlen(start), &end, 10);
        found = end + 1 == at;
    }
    free(file);
    return found && *largest < (uint64_t)tokens->vocabulary;
}
