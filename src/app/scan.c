/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens outside the vocabulary, found before the first step.
 *
 * Every rank looks through its share of each file (data/scan.c), then all agree: on the largest token,
 * and on the first bad one. A file of terabytes takes a while, so what was found is kept in the run
 * directory, as lines of the text data.scan: a run that is repeated with the files as they were
 * does not look again. Whether a file needs a look is decided by rank 0 for all. Before, ranks make
 * sure that they see files of one length: a path may mean another file on another node.
 *
 * Files whose header records the largest token (zinf's own) are not looked through: opening has
 * compared it, and reading checks each token anyway. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/report.h"
#include "app/run.h"
#include "base/file.h"
#include "base/log.h"

#define KNOWN_MOST  ((off_t)1 << 20)   /* bytes of data.scan, which has a line for some files */
#define LONG_TOKENS ((int64_t)1 << 30) /* in one file: said beforehand, as the run stands still */

/* Local. What data.scan holds; empty text when there is none, or something else of that name. */
static enum zi_status read_known(const char *path, char **text)
{
    struct stat is;
    int64_t bytes;
    if (stat(path, &is) == 0 && S_ISREG(is.st_mode) && is.st_size <= KNOWN_MOST)
        return setup_read_file(path, text, &bytes);
    *text = strdup("");
    return *text ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "app", "no memory to read %s", path);
}

/* Collective. Every rank's number, in `numbers` of as many as there are ranks. */
static enum zi_status share_number(struct comm *comm, uint64_t own, uint64_t *numbers)
{
    memset(numbers, 0, (size_t)comm_size(comm) * sizeof *numbers);
    numbers[comm_rank(comm)] = own;
    return comm_sum_uint64(comm, numbers, comm_size(comm));
}

/* Collective. Whether all ranks see as many files or tokens under a name. */
static enum zi_status check_alike(struct run *run, int64_t own, const char *what, const char *name,
                                  uint64_t *numbers)
{
    enum zi_status status = ZI_OK;
    ZI_TRY(share_number(run->comm, (uint64_t)own, numbers));
    for (int r = 1; r < comm_size(run->comm) && status >= 0; r++) {
        if (numbers[r] == numbers[0]) continue;
        status = ZI_ERROR_USAGE;
        if (comm_rank(run->comm) == 0)
            zi_log(ZI_LOG_ERROR, "app",
                   "%s has %" PRIu64 " %s on rank 0, but %" PRIu64 " on rank %d: all ranks must "
                   "see the same files; is the path relative, or on a local disk?",
                   name, numbers[0], what, numbers[r], r);
    }
    return status;
}

/* Collective. The first bad token of all ranks is said by rank 0, or, where its copy of the file is
 * another one, by the rank that has it. The largest token of all. */
static enum zi_status join(struct run *run, struct tokens *tokens, struct tokens_scan *scan,
                           uint64_t *numbers)
{
    int first = -1, rank = comm_rank(run->comm);
    int32_t id;
    ZI_TRY(share_number(run->comm, scan->bad < 0 ? 0 : (uint64_t)scan->bad + 1, numbers));
    for (int r = comm_size(run->comm) - 1; r >= 0; r--) /* shares are in the order of ranks */
        if (numbers[r] > 0) first = r;
    for (int turn = 0; turn < 2 && first >= 0; turn++) {
        enum zi_status status = ZI_OK;
        if (rank == (turn == 0 ? 0 : first))
            status = tokens_read(tokens, (int64_t)numbers[first] - 1, 1, &id);
        ZI_TRY(comm_agree(run->comm, status));
    }
    ZI_TRY(share_number(run->comm, scan->largest, numbers));
    for (int r = 0; r < comm_size(run->comm); r++)
        if (numbers[r] > scan->largest) scan->largest = numbers[r];
    return ZI_OK;
}

/* Collective. This rank's share of the file, and what all found. */
static enum zi_status scan_shares(struct run *run, struct tokens *tokens, struct tokens_scan *scan,
                                  uint64_t *numbers)
{
    int64_t count = tokens_count(tokens), ranks = comm_size(run->comm), rank = comm_rank(run->comm);
    int64_t each = count / ranks, rest = count % ranks;
    int64_t first = rank * each + (rank < rest ? rank : rest);
    if (rank == 0 && count >= LONG_TOKENS)
        zi_log(ZI_LOG_NOTE, "app", "looking through %" PRId64 " tokens of %s", count,
               tokens_path(tokens));
    ZI_TRY(comm_agree(run->comm, tokens_scan(tokens, first, each + (rank < rest), scan)));
    return join(run, tokens, scan, numbers);
}

/* What rank 0 has of data.scan: its text before, and what is to be its text. */
struct record {
    char path[PATH_MAX];
    char *known, *lines;
    size_t bytes;
    /* Writes into `lines`; NULL on other ranks. */
    FILE *text;
    bool changed;
    /* One of each rank, on all ranks. */
    uint64_t *numbers;
};

/* Collective. Looks through a file if that is needed; `tokens` is open. */
static enum zi_status scan_file(struct run *run, struct tokens *tokens, struct record *record)
{
    struct tokens_scan scan = {.bad = -1};
    int32_t needed = 0;
    bool recalled = false;
    ZI_TRY(check_alike(run, tokens_count(tokens), "tokens", tokens_path(tokens), record->numbers));
    if (record->text) {
        recalled = tokens_scan_recalled(tokens, record->known, &scan.largest);
        needed = !recalled && !tokens_are_known(tokens);
    }
    ZI_TRY(comm_broadcast(run->comm, &needed, sizeof needed, 0));
    if (needed) ZI_TRY(scan_shares(run, tokens, &scan, record->numbers));
    if (!record->text || !(needed || recalled)) return ZI_OK;
    char *line = tokens_scan_line(tokens, scan.largest);
    if (line) fputs(line, record->text);
    if (line && needed) record->changed = true;
    free(line);
    return ZI_OK;
}

/* Collective. All files of a key. */
static enum zi_status scan_corpus(struct run *run, struct corpus *corpus, struct record *record)
{
    struct tokens *tokens = NULL;
    if (!corpus) return ZI_OK; /* on all ranks alike */
    ZI_TRY(check_alike(run, corpus_shard_count(corpus), "files", corpus_name(corpus),
                       record->numbers));
    for (int i = 0; i < corpus_shard_count(corpus); i++) {
        ZI_TRY(comm_agree(run->comm, corpus_use(corpus, i, &tokens)));
        ZI_TRY(scan_file(run, tokens, record));
    }
    return ZI_OK;
}

/* Rank 0. */
static enum zi_status record_begin(struct record *record, const char *directory)
{
    ZI_TRY(report_path(directory, "data.scan", record->path));
    ZI_TRY(read_known(record->path, &record->known));
    record->text = open_memstream(&record->lines, &record->bytes);
    if (record->text) return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to write %s", record->path);
}

/* Writes data.scan anew where there is something new. */
static enum zi_status record_end(struct record *record)
{
    FILE *text = record->text;
    record->text = NULL;
    if (!text) return ZI_OK;
    if (fclose(text) != 0)
        return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to write %s", record->path);
    return record->changed ? zi_output_text("app", record->path, record->lines) : ZI_OK;
}

enum zi_status scan_data(struct run *run)
{
    struct record record = {.text = NULL};
    bool first = comm_rank(run->comm) == 0;
    record.numbers = calloc((size_t)comm_size(run->comm), sizeof *record.numbers);
    enum zi_status status =
        record.numbers ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "app", "no memory for a number per rank");
    if (first && status >= 0) status = record_begin(&record, run->setup.settings->run.directory);
    status = comm_agree(run->comm, status);
    if (status >= 0) status = scan_corpus(run, run->train_corpus, &record);
    if (status >= 0 && run->setup.settings->data.validation_every > 0)
        status = scan_corpus(run, run->validation_corpus, &record);
    if (status >= 0) status = record_end(&record);
    status = comm_agree(run->comm, status);
    if (first && status == ZI_STOPPED)
        printf("stopped before the first step, while the data were looked through: %s\n",
               control_reason(&run->control));
    if (record.text) fclose(record.text);
    free(record.numbers);
    free(record.lines);
    free(record.known);
    return status;
}
