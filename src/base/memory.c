/* SPDX-License-Identifier: Apache-2.0 */
/* Named memory.
 *
 * Every buffer carries a record of 128 bytes just before its first byte: what to give back to the
 * system, and which entry of the table of names it counts for. Entries are never removed, so that
 * peaks stay visible; names are few, since a name says a purpose, not a buffer. One lock guards the
 * table; system calls and first touches happen outside it.
 *
 * Large buffers (2 MiB or more) are mapped by themselves, on a 2 MiB boundary, and asked to be on
 * huge pages: first touch then costs a third, and walks over several streams miss the TLB less.
 * They do not start on the boundary but 1 to 15 steps of 4 KiB + 256 B after it, in turn: streams
 * that are a power of two apart fall into the same sets of the caches, and Adam over four of them
 * loses half of its speed and more. So a large buffer is aligned to 256 bytes, no better.
 *
 * A large buffer is written once, page by page, when it is made: the pages exist from then on, and
 * the first step of a run is as fast as the second. Linux grants more memory than it has and kills
 * whoever then touches it, so what the node has left is asked first and a request above that fails,
 * with a message, before a page is touched. */
#include "base/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"

#define LARGE ((size_t)2 << 20)

enum { RECORD_BYTES = 128, STEP = 4096 + 256, STEPS = 15, TOUCH = 4096, MAGIC = 0x5a49 };

struct entry {
    char *name;
    enum zi_tier tier;
    size_t bytes, peak_bytes;
};

struct record {
    /* What the system gave */
    void *base;
    /* Length of the mapping, 0 = from the heap */
    size_t mapped_bytes;
    /* As asked for */
    size_t bytes;
    size_t entry;
    int magic;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *entries;
static size_t entry_count, entry_room;
static size_t used[ZI_TIER_COUNT], peak[ZI_TIER_COUNT];
static size_t next_step;

const char *zi_tier_name(enum zi_tier tier)
{
    static const char *const names[ZI_TIER_COUNT] = {"device", "host", "nvme"};
    return (unsigned)tier < ZI_TIER_COUNT ? names[tier] : "unknown";
}

/* Index of the entry of (name, tier), made if absent; SIZE_MAX without memory. Under the lock. */
static size_t entry_find(const char *name, enum zi_tier tier)
{
    for (size_t i = 0; i < entry_count; i++)
        if (entries[i].tier == tier && strcmp(entries[i].name, name) == 0) return i;
    if (entry_count == entry_room) {
        size_t room = entry_room ? 2 * entry_room : 32;
        struct entry *grown = realloc(entries, room * sizeof *grown);
        if (!grown) return SIZE_MAX;
        entries = grown;
        entry_room = room;
    }
    char *copy = strdup(name);
    if (!copy) return SIZE_MAX;
    entries[entry_count] = (struct entry){.name = copy, .tier = tier};
    return entry_count++;
}

/* Counts bytes for an entry; false when the table cannot grow. */
static bool account_add(size_t bytes, enum zi_tier tier, const char *name, size_t *entry)
{
    pthread_mutex_lock(&lock);
    size_t i = entry_find(name, tier);
    if (i != SIZE_MAX) {
        entries[i].bytes += bytes;
        if (entries[i].bytes > entries[i].peak_bytes) entries[i].peak_bytes = entries[i].bytes;
        used[tier] += bytes;
        if (used[tier] > peak[tier]) peak[tier] = used[tier];
        *entry = i;
    }
    pthread_mutex_unlock(&lock);
    return i != SIZE_MAX;
}

static void account_remove(size_t entry, size_t bytes)
{
    pthread_mutex_lock(&lock);
    used[entries[entry].tier] -= bytes;
    entries[entry].bytes -= bytes;
    pthread_mutex_unlock(&lock);
}

static void pages_touch(char *memory, size_t bytes)
{
    int64_t pages = (int64_t)((bytes + TOUCH - 1) / TOUCH);
#pragma omp parallel for schedule(static) if (bytes >= 32 * LARGE)
    for (int64_t i = 0; i < pages; i++)
        *(volatile char *)(memory + i * TOUCH) = 0;
    *(volatile char *)(memory + bytes - 1) = 0;
}

/* Maps `bytes` on a staggered start; NULL with errno set when the system refuses. */
static char *large_map(size_t bytes, struct record *record)
{
    pthread_mutex_lock(&lock);
    size_t step = 1 + next_step++ % STEPS;
    pthread_mutex_unlock(&lock);
    /* Room to slide to a boundary, and whole huge pages to the end. */
    size_t mapped = (bytes + step * STEP + LARGE - 1) / LARGE * LARGE + LARGE;
    char *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    char *start = base + (LARGE - (uintptr_t)base % LARGE) % LARGE;
    /* A kernel without huge pages refuses, and small pages serve: only speed depends on it. */
    (void)madvise(start, mapped - LARGE, MADV_HUGEPAGE);
    record->base = base;
    record->mapped_bytes = mapped;
    return start + step * STEP;
}

static char *small_allocate(size_t bytes, struct record *record)
{
    void *base;
    int error = posix_memalign(&base, 64, RECORD_BYTES + bytes);
    errno = error;
    if (error) return NULL;
    memset(base, 0, RECORD_BYTES + bytes);
    record->base = base;
    record->mapped_bytes = 0;
    return (char *)base + RECORD_BYTES;
}

/* What the node has is no remedy where the process may not have it. */
static enum zi_status refuse(size_t bytes, const char *name, const char *why)
{
    char need[32], has[32];
    size_t available = zi_memory_node_available();
    return zi_fail(
        ZI_ERROR_DEVICE, "base",
        "no memory for %s: %s (%zu bytes) asked for, %s available on this node (%s); %slower "
        "memory.host or memory.device of the deck",
        name, zi_memory_text(bytes, need, sizeof need), bytes,
        zi_memory_text(available, has, sizeof has), why,
        bytes <= available ? "raise the limit on the memory of a process (ulimit -v), or "
                           : "use fewer ranks per node, or ");
}

enum zi_status zi_memory_allocate(size_t bytes, enum zi_tier tier, const char *name, void **memory)
{
    _Static_assert(sizeof(struct record) <= RECORD_BYTES, "the record fits before the buffer");
    struct record record = {.bytes = bytes, .magic = MAGIC};
    *memory = NULL;
    ZI_REQUIRE(bytes > 0 && name && (unsigned)tier < ZI_TIER_COUNT);
    bool large = bytes >= LARGE;
    if (bytes > SIZE_MAX / 2 || (large && bytes > zi_memory_node_available()))
        return refuse(bytes, name, "more than the node has");
    char *data = large ? large_map(bytes, &record) : small_allocate(bytes, &record);
    if (!data) return refuse(bytes, name, strerror(errno));
    if (!account_add(bytes, tier, name, &record.entry)) {
        if (large)
            munmap(record.base, record.mapped_bytes);
        else
            free(record.base);
        return refuse(bytes, name, "the table of names cannot grow");
    }
    if (large) pages_touch(data, bytes);
    memcpy(data - RECORD_BYTES, &record, sizeof record);
    *memory = data;
    return ZI_OK;
}

void zi_memory_free(void *memory)
{
    struct record record;
    if (!memory) return;
    memcpy(&record, (char *)memory - RECORD_BYTES, sizeof record);
    ZI_REQUIRE(record.magic == MAGIC); /* freed twice, or overrun by the buffer before it */
    memset((char *)memory - RECORD_BYTES, 0, sizeof record);
    account_remove(record.entry, record.bytes);
    if (record.mapped_bytes)
        munmap(record.base, record.mapped_bytes);
    else
        free(record.base);
}

enum zi_status zi_memory_note(size_t bytes, enum zi_tier tier, const char *name, size_t *mark)
{
    ZI_REQUIRE(name && (unsigned)tier < ZI_TIER_COUNT);
    if (account_add(bytes, tier, name, mark)) return ZI_OK;
    return refuse(bytes, name, "the table of names cannot grow");
}

void zi_memory_forget(size_t mark, size_t bytes)
{
    account_remove(mark, bytes);
}

size_t zi_memory_used(enum zi_tier tier)
{
    pthread_mutex_lock(&lock);
    size_t bytes = (unsigned)tier < ZI_TIER_COUNT ? used[tier] : 0;
    pthread_mutex_unlock(&lock);
    return bytes;
}

size_t zi_memory_peak(enum zi_tier tier)
{
    pthread_mutex_lock(&lock);
    size_t bytes = (unsigned)tier < ZI_TIER_COUNT ? peak[tier] : 0;
    pthread_mutex_unlock(&lock);
    return bytes;
}

static int entry_compare(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
    return strcmp(a->name, b->name);
}

void zi_memory_visit(void (*visit)(void *context, const char *name, enum zi_tier tier, size_t bytes,
                                   size_t peak_bytes),
                     void *context)
{
    /* A copy, so that `visit` may allocate; names are never freed. */
    pthread_mutex_lock(&lock);
    size_t count = 0;
    struct entry *copy = malloc((entry_count + 1) * sizeof *copy);
    for (size_t i = 0; copy && i < entry_count; i++)
        if (entries[i].bytes) copy[count++] = entries[i];
    pthread_mutex_unlock(&lock);
    if (!copy) {
        zi_log(ZI_LOG_WARN, "base", "no memory to list the names of buffers");
        return;
    }
    qsort(copy, count, sizeof *copy, entry_compare);
    for (size_t i = 0; i < count; i++)
        visit(context, copy[i].name, copy[i].tier, copy[i].bytes, copy[i].peak_bytes);
    free(copy);
}

const char *zi_memory_text(size_t bytes, char *text, size_t size)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes / 1024;
    int unit = 0;
    if (bytes < 1024)
        snprintf(text, size, "%zu B", bytes);
    else {
        /* 1023.995 would be printed as 1024.00. */
        for (; value >= 1023.995 && unit < 5; unit++)
            value /= 1024;
        snprintf(text, size, "%.2f %s", value, units[unit]);
    }
    return text;
}
