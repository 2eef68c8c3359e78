/* SPDX-License-Identifier: Apache-2.0 */
/* One byte of a checkpoint is another, anywhere in it: it is refused, and the message names the
 * file. The same where the file was cut. Read as a run reads it that goes on
 * (checkpoint_open_newest), in this process: what HDF5 goes by is compared before HDF5 sees it, so
 * HDF5 has nothing to report, and no process has to look first.
 *
 * Every byte that is not a tensor's is changed, and of tensors the first and last and a sample; and
 * in all ways the references to the texts of the header, which HDF5 1.10.8 follows to wherever they
 * lead. Then a checkpoint with more tensors than its user block is read at once.
 *
 *     checkpoint_flip_test [FILE [PATTERNS [SEED]]]
 *
 * FILE: a checkpoint to take a copy of, instead of small ones of its own; PATTERNS: ways to change
 * each byte, 1 to 10: bits that are drawn, all bits, each bit alone. */
#include "checkpoint_fixture.h"

#include "base/random.h"
#include "checkpoint/file.h"
#include "checkpoint/user_block.h"
#include "regression/unit/test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAMPLE = 400, CUT_EVERY = 61, PATTERNS_MOST = 10, ODD_SHOWN = 20, MANY = 300 };

/* A change: `pattern` is what the byte at `place` is xored with, 0: the file ends before it. */
struct change {
    int64_t place;
    unsigned char pattern;
};

static struct comm *self;
static char folder[4000], path[4200];
static unsigned char *whole;
static int64_t size;
static uint64_t whole_digest;
static struct change *changes;
static int64_t change_count, change_room;
static int errors = -1; /* a file in memory, which is standard error while a file is read */
static int64_t odd_count;

static uint64_t follow(uint64_t before, const void *bytes, size_t count)
{
    const uint64_t both[2] = {before, zi_random_hash(bytes, count)};
    return zi_random_hash(both, sizeof both);
}

/* All that a reader can get of an open checkpoint; 0 when some of it cannot be read. */
static uint64_t digest(struct checkpoint *checkpoint)
{
    const struct checkpoint_header *header = checkpoint_get_header(checkpoint);
    const int64_t numbers[] = {
        header->step, header->updates,          header->tokens,           header->seed,
        header->type, checkpoint->tensor_count, checkpoint->dataset_count};
    uint64_t sum = follow(1, numbers, sizeof numbers);
    sum = follow(sum, header->deck, strlen(header->deck));
    sum = follow(sum, header->model_text, strlen(header->model_text));
    for (int d = 0; d < checkpoint->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        size_t bytes = (size_t)dataset->elements * zi_dtype_bytes(dataset->type);
        void *values = test_allocate(bytes);
        enum zi_status status =
            checkpoint_read(checkpoint, dataset->state, strchr(dataset->name, '/') + 1,
                            dataset->elements, 0, dataset->elements, values);
        sum = follow(sum, dataset->name, strlen(dataset->name));
        sum = follow(sum, dataset->shape, sizeof dataset->shape);
        sum = follow(sum, values, bytes);
        free(values);
        if (status < 0) return 0;
    }
    return sum;
}

enum verdict { REFUSED, SAME, OTHER };

/* The messages of the last reading. */
static const char *said(void)
{
    static char text[1 << 14];
    ssize_t count = pread(errors, text, sizeof text - 1, 0);
    text[count > 0 ? count : 0] = 0;
    return text;
}

/* Reads the folder's only checkpoint as a run does that goes on. */
static enum verdict read_folder(void)
{
    struct checkpoint *opened = NULL;
    if (ftruncate(errors, 0) != 0 || lseek(errors, 0, SEEK_SET) != 0) return OTHER;
    enum zi_status status = checkpoint_open_newest(self, folder, &opened);
    if (status < 0) return OTHER;
    if (opened) {
        bool same = digest(opened) == whole_digest;
        checkpoint_close(opened);
        return same ? SAME : OTHER;
    }
    fflush(stderr);
    return strstr(said(), path) ? REFUSED : OTHER;
}

static void put(const struct change *change, bool damaged)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    unsigned char byte = whole[change->place];
    bool done = file >= 0;
    if (damaged && change->pattern == 0) {
        done = done && ftruncate(file, change->place) == 0;
    } else if (change->pattern == 0) {
        size_t cut = (size_t)(size - change->place);
        done =
            done && pwrite(file, whole + change->place, cut, (off_t)change->place) == (ssize_t)cut;
    } else {
        if (damaged) byte = byte ^ change->pattern;
        done = done && pwrite(file, &byte, 1, (off_t)change->place) == 1;
    }
    if (!done) {
        perror(path);
        exit(99);
    }
    close(file);
}

/* Makes a change, reads, and takes it back; the file must have been refused. */
static void check_change(const struct change *change)
{
    put(change, true);
    enum verdict verdict = read_folder();
    put(change, false);
    if (verdict == REFUSED) return;
    if (odd_count++ >= ODD_SHOWN) return;
    printf("byte %lld of %lld xor %02x: %s: %s\n", (long long)change->place, (long long)size,
           change->pattern, verdict == SAME ? "taken as whole" : "not refused in order", said());
}

static void add(int64_t place, unsigned char pattern)
{
    if (change_count == change_room) {
        change_room = 2 * change_room + 1024;
        changes = realloc(changes, (size_t)change_room * sizeof *changes);
        if (!changes) exit(99);
    }
    changes[change_count++] = (struct change){place, pattern};
}

/* Changes of one byte, in so many ways. */
static void add_flips(int64_t place, int patterns, uint64_t seed)
{
    uint64_t drawn = zi_random_bits(seed, 1, (uint64_t)place);
    add(place, (unsigned char)(1 + drawn % 255));
    if (patterns > 1) add(place, 0xff);
    for (int bit = 0; bit < 8 && bit + 2 < patterns; bit++)
        add(place, (unsigned char)(1u << bit));
}

/* Which bytes are a tensor's, and the changes of those. */
static void list_data(const struct checkpoint *checkpoint, bool *data, int patterns, uint64_t seed)
{
    for (int d = 0; d < checkpoint->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        int64_t first = dataset->offset;
        int64_t bytes = dataset->elements * (int64_t)zi_dtype_bytes(dataset->type);
        if (data[first]) continue; /* a second name */
        memset(data + first, 1, (size_t)bytes);
        for (int64_t i = 0; i < 2 * SAMPLE / checkpoint->dataset_count; i++)
            add_flips(first + (int64_t)(zi_random_bits(seed, 2 + (uint64_t)d, (uint64_t)i) %
                                        (uint64_t)bytes),
                      patterns, seed);
        const int64_t edges[] = {first, first + 1, first + bytes - 1};
        for (int e = 0; e < 3; e++) {
            add_flips(edges[e], patterns, seed);
            add(edges[e], 0);
        }
        if (first + bytes < size) add(first + bytes, 0);
    }
}

static void list_changes(const struct checkpoint *checkpoint, int patterns, uint64_t seed)
{
    bool *data = calloc((size_t)size, sizeof *data);
    if (!data) exit(99);
    change_count = 0;
    list_data(checkpoint, data, patterns, seed);
    int64_t others = 0;
    for (int64_t place = 0; place < size; place++) {
        if (data[place]) continue;
        add_flips(place, patterns, seed);
        if (place == 0 || data[place - 1] || others++ % CUT_EVERY == 0) add(place, 0);
    }
    for (uint64_t i = 0; i < 50; i++)
        add((int64_t)(zi_random_bits(seed, 0, i) % (uint64_t)size), 0);
    add(size - 1, 0);
    free(data);
    printf("%lld bytes, %lld of them no tensor's; %lld changes\n", (long long)size,
           (long long)others, (long long)change_count);
}

static void load(void)
{
    struct stat is;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &is) != 0) exit(99);
    size = is.st_size;
    free(whole);
    whole = test_allocate((size_t)size);
    if (fread(whole, 1, (size_t)size, file) != (size_t)size) exit(99);
    fclose(file);
}

/* Runs the changes that are listed. What HDF5 reports would be of a file that it should not see. */
static void run_changes(void)
{
    int stream = dup(STDERR_FILENO);
    odd_count = 0;
    if (stream < 0 || dup2(errors, STDERR_FILENO) < 0) exit(99);
    for (int64_t i = 0; i < change_count; i++)
        check_change(&changes[i]);
    fflush(stderr);
    dup2(stream, STDERR_FILENO);
    close(stream);
    CHECK_INT(odd_count, 0);
    CHECK(!h5_first_failure());
    if (h5_first_failure()) fprintf(stderr, "HDF5 reported: %s\n", h5_first_failure());
}

/* The changes of 8 bytes that lead HDF5 to a text of the header, and of the 4 that say which of the
 * texts there it is. */
static int64_t list_references(void)
{
    struct user_block head;
    int64_t found = 0;
    memcpy(&head, whole, sizeof head);
    change_count = 0;
    for (int64_t heap = head.block_bytes; heap + 8 <= size; heap++) {
        if (memcmp(whole + heap, "GCOL", 4) != 0) continue;
        const int64_t address = heap - head.block_bytes;
        for (int64_t place = head.block_bytes; place + 12 <= size; place++) {
            if (memcmp(whole + place, &address, sizeof address) != 0) continue;
            found++;
            for (int64_t byte = place; byte < place + 12; byte++)
                for (int pattern = 1; pattern < 256; pattern++)
                    add(byte, (unsigned char)pattern);
        }
    }
    return found;
}

/* All changes of the checkpoint in the folder. */
static void test_changes(int patterns, uint64_t seed)
{
    struct checkpoint *opened = NULL;
    load();
    CHECK_INT(checkpoint_open_newest(self, folder, &opened), ZI_OK);
    if (!opened) exit(99);
    whole_digest = digest(opened);
    CHECK(whole_digest != 0);
    list_changes(opened, patterns, seed);
    checkpoint_close(opened);
    run_changes();
    int64_t references = list_references();
    printf("%lld references to texts, %lld changes\n", (long long)references,
           (long long)change_count);
    CHECK(references >= 7); /* the header has so many texts */
    run_changes();
    CHECK_INT(checkpoint_open_newest(self, folder, &opened), ZI_OK);
    CHECK(opened && digest(opened) == whole_digest); /* the file is whole again */
    checkpoint_close(opened);
}

static const struct checkpoint_tensor three[] = {{"first.weight", 2, {4, 3}, false},
                                                 {"second.bias", 1, {5, 0}, false},
                                                 {"third.weight", 2, {31, 67}, false}};

static void write_own(enum zi_dtype type)
{
    struct checkpoint *made;
    struct checkpoint_header header = header_of(1, type);
    CHECK_INT(checkpoint_create(self, folder, &header, three, 3, &made), ZI_OK);
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (!checkpoint_state_is_written(s, type)) continue;
        for (int t = 0; t < 3; t++) {
            int64_t elements =
                three[t].shape[0] * (three[t].dimensions > 1 ? three[t].shape[1] : 1);
            float values[31 * 67];
            values_fill(1, s, type, t, 0, elements, values);
            checkpoint_write(made, s, t, 0, elements, values);
        }
    }
    CHECK_INT(checkpoint_commit(made, (struct checkpoint_retention){1, 0}), ZI_OK);
    checkpoint_close(made);
}

static void copy_given(const char *from)
{
    char command[9000];
    snprintf(command, sizeof command, "cp -L '%s' '%s'", from, path);
    if (system(command) != 0) exit(99);
}

/* Extents in several pieces, and a user block of more than a page. */
static void test_many(void)
{
    static char names[MANY][16];
    struct checkpoint_tensor many[MANY];
    struct checkpoint_header header = header_of(1, ZI_BF16);
    struct checkpoint *made;
    for (int t = 0; t < MANY; t++) {
        snprintf(names[t], sizeof names[t], "t%03d", t);
        many[t] = (struct checkpoint_tensor){names[t], 1, {1 + t % 7, 0}, false};
    }
    CHECK_INT(checkpoint_create(self, folder, &header, many, MANY, &made), ZI_OK);
    for (int s = 0; s < TIER_KIND_COUNT; s++)
        for (int t = 0; t < MANY && checkpoint_state_is_written(s, ZI_BF16); t++) {
            float values[8];
            values_fill(1, s, ZI_BF16, t, 0, many[t].shape[0], values);
            checkpoint_write(made, s, t, 0, many[t].shape[0], values);
        }
    CHECK_INT(checkpoint_commit(made, (struct checkpoint_retention){1, 0}), ZI_OK);
    checkpoint_close(made);
    struct user_block head;
    struct checkpoint *opened = NULL;
    load();
    memcpy(&head, whole, sizeof head);
    CHECK_INT(head.extent_count, 4 * MANY);
    CHECK_INT(head.block_bytes, 32768);
    CHECK_INT(checkpoint_open_newest(self, folder, &opened), ZI_OK);
    if (!opened) exit(99);
    whole_digest = digest(opened);
    checkpoint_close(opened);
    change_count = 0;
    for (int64_t place = 0; place < size; place += place < head.block_bytes ? 31 : 977)
        add_flips(place, 2, 1);
    run_changes();
}

int main(int argc, char **argv)
{
    if (comm_self(&self) < 0) return 1;
    int patterns = argc > 2 ? atoi(argv[2]) : 2;
    uint64_t seed = argc > 3 ? (uint64_t)atoll(argv[3]) : 1;
    if (patterns < 1 || patterns > PATTERNS_MOST) return 99;
    errors = memfd_create("messages", MFD_CLOEXEC);
    if (errors < 0) return 99;
    folder_make(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/step-00000100.h5", folder);
    if (argc > 1) {
        copy_given(argv[1]);
        test_changes(patterns, seed);
    } else {
        write_own(ZI_FP32);
        test_changes(patterns, seed);
        write_own(ZI_BF16);
        test_changes(patterns, seed);
        test_many();
    }
    folder_remove(folder);
    free(changes);
    free(whole);
    comm_destroy(self);
    return test_finish("checkpoint_flip_test");
}
