/* SPDX-License-Identifier: Apache-2.0 */
/* Global memory in a launch, by pages of 4096 bytes: where it is here, which bytes have been read and
 * written, and which block has written them. */
#include "regression/emulator/ptx/machine.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_BITS = 12, PAGE = 1 << PAGE_BITS, WORDS = PAGE / 64, RECENT = 256 };

struct page {
    uint64_t key;
    /* The part of it that is known: [first, end), which is at `here`. */
    uint64_t first, end;
    uint8_t *here;
    /* Of the module's variables, which are no business of the caller's. */
    bool variables;
    /* A bit for each byte. */
    uint64_t read[WORDS], written[WORDS];
    /* Block + 1 that wrote each granule; 0: none. Made by the first write. */
    uint32_t *writers;
    bool has_writers;
};

struct ptx_pages {
    /* By a hash of the key; all those in use; those that are not. */
    struct page **table, **used, **spare;
    size_t slots, count, spare_count, room;
    struct page *recent[RECENT];
    unsigned granule;
};

static size_t slot_of(const struct ptx_pages *pages, uint64_t key)
{
    return (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (pages->slots - 1);
}

static struct page *take(struct ptx_pages *pages)
{
    struct page *page =
        pages->spare_count > 0 ? pages->spare[--pages->spare_count] : calloc(1, sizeof *page);
    if (!page) abort();
    return page;
}

static void insert(struct ptx_pages *pages, struct page *page)
{
    size_t slot = slot_of(pages, page->key);
    while (pages->table[slot])
        slot = (slot + 1) & (pages->slots - 1);
    pages->table[slot] = page;
}

static void grow(struct ptx_pages *pages)
{
    pages->slots = pages->slots > 0 ? 2 * pages->slots : 1024;
    pages->room = pages->slots / 2;
    free(pages->table);
    pages->table = calloc(pages->slots, sizeof *pages->table);
    pages->used = realloc(pages->used, pages->room * sizeof *pages->used);
    pages->spare = realloc(pages->spare, pages->room * sizeof *pages->spare);
    if (!pages->table || !pages->used || !pages->spare) abort();
    for (size_t k = 0; k < pages->count; k++)
        insert(pages, pages->used[k]);
}

static struct page *find(struct ptx_pages *pages, uint64_t key)
{
    for (size_t slot = slot_of(pages, key); pages->table[slot];
         slot = (slot + 1) & (pages->slots - 1))
        if (pages->table[slot]->key == key) return pages->table[slot];
    if (pages->count == pages->room) grow(pages);
    struct page *page = take(pages);
    page->key = key;
    page->first = page->end = 0;
    page->variables = false;
    insert(pages, page);
    pages->used[pages->count++] = page;
    return page;
}

/* The part of the page around an access; false when there is no live memory. */
static bool locate(struct ptx_thread *t, struct page *page, uint64_t address, unsigned bytes)
{
    const struct ptx_launch *launch = t->machine->launch;
    const struct ptx_module *module = t->machine->kernel->module;
    uint64_t first = (uint64_t)(uintptr_t)module->variables, end = first + module->variable_bytes;
    uint8_t *here = NULL;
    page->variables = address >= first && address - first + bytes <= module->variable_bytes;
    if (page->variables)
        here = module->variables + (address - first);
    else
        here = launch->reach(launch->context, address, bytes, &first, &end);
    if (!here) return false;
    uint64_t start = page->key << PAGE_BITS;
    page->first = first > start ? first : start;
    page->end = end < start + PAGE ? end : start + PAGE;
    page->here = here - (address - page->first);
    return true;
}

/* A write by the thread's block; false when another block has written there. */
static bool note_writer(struct ptx_thread *t, struct page *page, uint64_t offset, unsigned bytes,
                        uint32_t *other)
{
    unsigned granule = t->machine->pages->granule;
    uint32_t self = t->machine->block + 1;
    if (!page->has_writers) {
        if (!page->writers) page->writers = malloc(PAGE * sizeof *page->writers);
        if (!page->writers) abort();
        memset(page->writers, 0, PAGE / granule * sizeof *page->writers);
        page->has_writers = true;
    }
    uint32_t *writer = page->writers + offset / granule;
    for (unsigned k = 0; k < bytes / granule; k++) {
        if (writer[k] != self && writer[k] != 0) {
            *other = writer[k] - 1;
            return false;
        }
        writer[k] = self;
    }
    return true;
}

/* What is wrong with an access that is not in a known part of its page; NULL when nothing is. */
static const char *wrong(struct ptx_thread *t, struct page *page, uint64_t address, unsigned bytes,
                         enum ptx_access access)
{
    const struct ptx_module *module = t->machine->kernel->module;
    if ((address < page->first || address + bytes - 1 >= page->end) &&
        !locate(t, page, address, bytes))
        return "are no live memory of this device";
    if (page->variables && access != PTX_READ &&
        address >= (uint64_t)(uintptr_t)module->variables + module->global_bytes)
        return "are constant";
    return NULL;
}

uint8_t *ptx_global(struct ptx_thread *t, const struct ptx_instruction *i, uint64_t address,
                    unsigned bytes, enum ptx_access access)
{
    struct ptx_pages *pages = t->machine->pages;
    uint64_t key = address >> PAGE_BITS, offset = address & (PAGE - 1);
    struct page **recent = &pages->recent[(key ^ key >> 8) % RECENT], *page = *recent;
    const char *fault = NULL;
    uint32_t other = 0;
    if (address & (bytes - 1)) {
        fault = "are misaligned";
    } else {
        if (!page || page->key != key) *recent = page = find(pages, key);
        if (address < page->first || address + bytes - 1 >= page->end || page->variables)
            fault = wrong(t, page, address, bytes, access);
    }
    if (fault) {
        ptx_fault(t, i, "%s of %u bytes at %#llx, which %s", access == PTX_READ ? "read" : "write",
                  bytes, (unsigned long long)address, fault);
        return NULL;
    }
    uint64_t bits = ((UINT64_C(1) << bytes) - 1) << (offset & 63);
    if (access != PTX_WRITE) page->read[offset / 64] |= bits;
    if (access != PTX_READ) page->written[offset / 64] |= bits;
    if (access == PTX_WRITE && !note_writer(t, page, offset, bytes, &other)) {
        ptx_fault(t, i, "blocks %u and %u of one launch write the same bytes at %#llx", other,
                  t->machine->block, (unsigned long long)address);
        return NULL;
    }
    return page->here + (address - page->first);
}

bool ptx_pages_begin(struct ptx_machine *machine)
{
    if (!machine->pages) {
        machine->pages = calloc(1, sizeof *machine->pages);
        if (!machine->pages) return false;
        grow(machine->pages);
    }
    machine->pages->granule = machine->kernel->global_granule;
    return true;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = (*(struct page *const *)a)->key, y = (*(struct page *const *)b)->key;
    return (x > y) - (x < y);
}

/* Runs of bits that are set, over pages in order. */
static void tell(struct ptx_machine *machine, bool writes)
{
    const struct ptx_launch *launch = machine->launch;
    struct ptx_pages *pages = machine->pages;
    uint64_t first = 0, end = 0;
    for (size_t k = 0; k < pages->count; k++) {
        const struct page *page = pages->used[k];
        const uint64_t *words = writes ? page->written : page->read;
        for (uint64_t word = 0; word < WORDS && !page->variables; word++) {
            uint64_t bits = words[word], at = (page->key << PAGE_BITS) + 64 * word;
            while (bits) {
                unsigned low = (unsigned)__builtin_ctzll(bits);
                uint64_t rest = ~(bits >> low);
                unsigned run = rest ? (unsigned)__builtin_ctzll(rest) : 64 - low;
                if (at + low != end) {
                    if (end > first) launch->touched(launch->context, first, end, writes);
                    first = at + low;
                }
                end = at + low + run;
                bits = low + run < 64 ? bits >> (low + run) << (low + run) : 0;
            }
        }
    }
    if (end > first) launch->touched(launch->context, first, end, writes);
}

void ptx_pages_end(struct ptx_machine *machine)
{
    struct ptx_pages *pages = machine->pages;
    qsort(pages->used, pages->count, sizeof *pages->used, by_key);
    tell(machine, false);
    tell(machine, true);
    for (size_t k = 0; k < pages->count; k++) {
        struct page *page = pages->used[k];
        memset(page->read, 0, sizeof page->read);
        memset(page->written, 0, sizeof page->written);
        page->has_writers = false;
        pages->spare[pages->spare_count++] = page;
    }
    memset(pages->table, 0, pages->slots * sizeof *pages->table);
    memset(pages->recent, 0, sizeof pages->recent);
    pages->count = 0;
}
