/* SPDX-License-Identifier: Apache-2.0 */
/* Files with changed bytes, read by what reads them.
 *
 * The program makes small whole files (checkpoints, a run record, token files of every format),
 * changes some of their bytes, and opens each in a child, which must come to an end: a fault, or a
 * report of a sanitizer, is a failure. Built with -fsanitize=address,undefined by
 * regression/checks/fuzz_files.sh. The changes follow from seed, kind and number alone; no file is
 * kept.
 *
 * HDF5 is not ours, is not built with sanitizers, and does not bear every file: its faults are
 * counted and passed over, since a user's file is tried out by a child first (base/probe.h). A
 * fault is HDF5's when it happens there, in memory that is not ours: a read that HDF5 makes beyond
 * a buffer of its caller is the caller's, who did not ask for the size.
 *
 * Of every other checkpoint the user block is made to hold again, so that what is behind it is tried
 * as well; on the rest HDF5 must not fail at all, since it should not see them.
 *
 *     files FOLDER COUNT SEED [KIND [NUMBER]]    NUMBER: that one only, with its messages
 *
 * Where the environment names a program as ZINF, each file on which HDF5 fails is given to its
 * command inspect, which must refuse it in good order. */
#include "judge.h"

#include "base/random.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/inspect.h"
#include "checkpoint/record.h"
#include "data/tokens.h"
#include "regression/unit/user_block_fixture.h"

#include <fcntl.h>
#include <hdf5.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILE_BYTES = 1 << 20, REPORT_BYTES = 1 << 16, TOKENS = 500, SECONDS = 3, ROW = 17 };

static struct comm *self;
static char folder[2000];
static bool loud;

static const struct checkpoint_tensor two[] = {{"first.weight", 2, {4, 3}},
                                               {"second.bias", 1, {5, 0}}};

struct random {
    uint64_t seed, stream, count;
};

static uint64_t draw(struct random *random, uint64_t below)
{
    return zi_random_bits(random->seed, random->stream, random->count++) % below;
}

static const char *path_of(const char *name)
{
    static char paths[4][2100];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

static void must(bool condition, const char *what)
{
    if (condition) return;
    fprintf(stderr, "fuzz: cannot %s\n", what);
    exit(1);
}

/* ---- whole files ---- */

static void write_checkpoint(enum zi_dtype type)
{
    struct checkpoint *made;
    const struct checkpoint_header header = {.step = 1,
                                             .tokens = 64,
                                             .deck = "run: {name: x}\n",
                                             .type = type,
                                             .model_text = "{model: {}}"};
    const float zeros[12] = {0};
    must(checkpoint_create(self, folder, &header, two, 2, &made) == ZI_OK, "make a checkpoint");
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (!tier_kind_row(s)->saved || (type == ZI_FP32 && s == TIER_MASTER)) continue;
        checkpoint_write(made, s, 0, 0, 12, zeros);
        checkpoint_write(made, s, 1, 0, 5, zeros);
    }
    must(checkpoint_commit(made, (struct checkpoint_retention){0, 0}) == ZI_OK,
         "write a checkpoint");
    checkpoint_close(made);
}

static void make_checkpoint(void)
{
    write_checkpoint(ZI_BF16);
}

/* Writes an attribute of ROW elements where zinf writes one. */
static void put_row(hid_t object, const char *name, hid_t type, int64_t value)
{
    const hsize_t count = ROW;
    int64_t values[ROW];
    for (int i = 0; i < ROW; i++)
        values[i] = value;
    hid_t space = H5Screate_simple(1, &count, NULL);
    if (H5Aexists(object, name) > 0) H5Adelete(object, name);
    hid_t made = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    must(made >= 0 && H5Awrite(made, type, values) >= 0, "write an attribute");
    H5Aclose(made);
    H5Sclose(space);
}

static size_t read_bytes(const char *name, unsigned char *bytes)
{
    FILE *file = fopen(path_of(name), "rb");
    must(file, "open a file");
    size_t size = fread(bytes, 1, FILE_BYTES, file);
    fclose(file);
    must(size > 0 && size < FILE_BYTES, "read a file");
    return size;
}

static void write_bytes(const char *name, const void *bytes, size_t count)
{
    FILE *file = fopen(path_of(name), "wb");
    must(file && fwrite(bytes, 1, count, file) == count && fclose(file) == 0, "write a file");
}

/* Makes the rows of put_row say that they are of one element: whole files, in which one number
 * changed is a row again. (A row begins with version 1 and rank 1, 8 bytes before its extent.) */
static void shrink_rows(const char *name, int expected)
{
    static unsigned char bytes[FILE_BYTES];
    const uint64_t row = ROW, one = 1;
    size_t size = read_bytes(name, bytes);
    int found = 0;
    for (size_t i = 8; i + 8 <= size; i++) {
        if (memcmp(bytes + i, &row, 8) != 0 || bytes[i - 8] != 1 || bytes[i - 7] != 1) continue;
        memcpy(bytes + i, &one, 8);
        found++;
    }
    must(found == expected, "find the rows");
    write_bytes(name, bytes, size);
}

static void make_rows(void)
{
    write_checkpoint(ZI_FP32);
    hid_t file = H5Fopen(path_of("step-00000001.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t dataset = H5Dopen2(file, "moment1/first.weight", H5P_DEFAULT);
    put_row(file, "step", H5T_STD_I64LE, 1);
    put_row(file, "seed", H5T_STD_I64LE, 1);
    put_row(dataset, "checksum", H5T_STD_U64LE, 0);
    H5Dclose(dataset);
    H5Fclose(file);
    shrink_rows("step-00000001.h5", 3);
    must(user_block_renew(path_of("step-00000001.h5")), "renew a user block");
}

static void make_record(void)
{
    static const struct record_column columns[] = {{"step", "", 1}, {"loss", "nats", 0}};
    struct record *record;
    int table;
    must(record_create(path_of("run.h5"), "run: {name: x}\n", &record) == ZI_OK &&
             record_add_table(record, "steps", columns, 2, &table) == ZI_OK,
         "make a record");
    for (int64_t i = 0; i < 20; i++)
        record_append(record, table, (double[]){0, 1.0 / (double)(i + 1)}, (int64_t[]){i, 0});
    must(record_close(record) == ZI_OK, "write a record");
}

static void make_tokens(void)
{
    char text[TOKENS];
    memset(text, 'a', sizeof text);
    write_bytes("text", text, sizeof text);
    const char *input = path_of("text");
    const struct tokens_writer writer = {
        .inputs = &input, .input_count = 1, .path = path_of("tokens.h5")};
    must(tokens_write(&writer) == ZI_OK, "write tokens");
    hid_t file = H5Fopen(path_of("tokens.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t dataset = H5Dopen2(file, "tokens", H5P_DEFAULT);
    put_row(dataset, "format_version", H5T_STD_I64LE, 1);
    put_row(dataset, "largest_token", H5T_STD_I64LE, 'a');
    H5Dclose(dataset);
    H5Fclose(file);
    shrink_rows("tokens.h5", 2);
}

static void fill_ids(char ids[2 * TOKENS])
{
    for (int i = 0; i < TOKENS; i++) {
        uint16_t id = (uint16_t)(1 + i % 251);
        memcpy(ids + 2 * i, &id, sizeof id);
    }
}

static void make_llmc(void)
{
    char bytes[1024 + 2 * TOKENS] = {0};
    fill_ids(bytes + 1024);
    const int32_t header[3] = {20240520, 1, TOKENS};
    memcpy(bytes, header, sizeof header);
    write_bytes("llmc.bin", bytes, sizeof bytes);
}

static void make_nanogpt(void)
{
    char bytes[2 * TOKENS];
    fill_ids(bytes);
    write_bytes("plain.bin", bytes, sizeof bytes);
}

/* Ten sequences of as many tokens, in two documents. */
static void make_megatron(void)
{
    unsigned char bytes[34 + 10 * 12 + 3 * 8] = "MMIDIDX";
    const uint64_t version = 1, sequences = 10, starts[3] = {0, 5, 10};
    const uint64_t documents = 3;
    char tokens[2 * TOKENS];
    fill_ids(tokens);
    memcpy(bytes + 9, &version, 8);
    bytes[17] = 8;
    memcpy(bytes + 18, &sequences, 8);
    memcpy(bytes + 26, &documents, 8);
    for (int i = 0; i < 10; i++) {
        int32_t length = TOKENS / 10;
        int64_t place = 2 * (TOKENS / 10) * i;
        memcpy(bytes + 34 + 4 * i, &length, 4);
        memcpy(bytes + 34 + 40 + 8 * i, &place, 8);
    }
    memcpy(bytes + 34 + 120, starts, sizeof starts);
    write_bytes("pair.idx", bytes, sizeof bytes);
    write_bytes("pair.bin", tokens, sizeof tokens);
}

/* ---- what reads them; each gives whether the file was taken ---- */

static bool inspect(const char *path)
{
    FILE *out = fopen("/dev/null", "w");
    enum zi_status status = checkpoint_inspect(path, 1, out);
    fclose(out);
    return status >= 0;
}

static bool read_checkpoint(const char *path)
{
    struct checkpoint *opened;
    if (checkpoint_open(self, path, &opened) < 0) return inspect(path) && false;
    bool whole = checkpoint_verify(opened) >= 0;
    size_t size = zi_dtype_bytes(checkpoint_get_header(opened)->type);
    for (int t = 0; t < 2; t++) {
        int64_t elements = t == 0 ? 12 : 5;
        void *values = malloc((size_t)elements * size);
        (void)checkpoint_read(opened, TIER_PARAMETER, two[t].name, elements, 0, elements, values);
        free(values);
    }
    checkpoint_close(opened);
    return inspect(path) && whole;
}

static bool read_tokens(const char *path)
{
    struct tokens *tokens;
    int32_t ids[1000];
    bool whole = true;
    if (tokens_open(path, ZI_AUTO, ZI_AUTO, 256, &tokens) < 0) return false;
    for (int64_t at = 0; at < tokens_count(tokens) && whole; at += 1000) {
        int64_t left = tokens_count(tokens) - at;
        whole = tokens_read(tokens, at, left < 1000 ? left : 1000, ids) >= 0;
    }
    tokens_close(tokens);
    return whole;
}

static const struct kind {
    const char *name, *file;
    void (*make)(void);
    bool (*read)(const char *path);
    bool has_user_block;
} kinds[] = {
    {"checkpoint", "step-00000001.h5", make_checkpoint, read_checkpoint, true},
    {"rows", "step-00000001.h5", make_rows, read_checkpoint, true},
    {"record", "run.h5", make_record, inspect, false},
    {"tokens", "tokens.h5", make_tokens, read_tokens, false},
    {"llmc", "llmc.bin", make_llmc, read_tokens, false},
    {"nanogpt", "plain.bin", make_nanogpt, read_tokens, false},
    {"megatron", "pair.idx", make_megatron, read_tokens, false},
};
enum { KIND_COUNT = (int)(sizeof kinds / sizeof *kinds) };

/* ---- changes ---- */

/* A place, mostly one where something is written: much of an HDF5 file is padding. */
static size_t place_of(const unsigned char *bytes, size_t size, struct random *random)
{
    size_t place = draw(random, size);
    if (draw(random, 8) == 0) return place;
    for (size_t tries = 0; tries < size && bytes[place] == 0; tries++)
        place = (place + 1) % size;
    size_t back = draw(random, 4);
    return place >= back ? place - back : place;
}

/* The next place from `place` on where a small number of 8 bytes lies: a count, an extent, a size.
 */
static size_t number_at(const unsigned char *bytes, size_t size, size_t place, uint64_t most)
{
    for (size_t tries = 0; tries < size; tries++, place = (place + 1) % size) {
        uint64_t value = 0;
        if (size - place < sizeof value) continue;
        memcpy(&value, bytes + place, sizeof value);
        if (value > 0 && value <= most) return place;
    }
    return 0;
}

static void change(unsigned char *bytes, size_t *size, struct random *random)
{
    static const uint64_t numbers[] = {
        0,          1,          UINT64_MAX, 1u << 31,           UINT32_MAX, 1u << 9,
        1ull << 32, 1ull << 62, INT64_MAX,  0x8000000000000001, 3,          100};
    size_t place = place_of(bytes, *size, random), left = *size - place;
    uint64_t number = numbers[draw(random, sizeof numbers / sizeof *numbers)];
    size_t width = (size_t)1 << draw(random, 4);
    switch (draw(random, 9)) {
    case 0:
        bytes[place] = (unsigned char)draw(random, 256);
        break;
    case 1:
        bytes[place] ^= (unsigned char)(1u << draw(random, 8));
        break;
    case 2:
        bytes[place] = (unsigned char)(bytes[place] + (draw(random, 2) ? 1 : 255));
        break;
    case 3:
        memcpy(bytes + place, &number, width < left ? width : left);
        break;
    case 4:
        if (draw(random, 4) == 0) *size = place + 1;
        break;
    case 5:
    case 6:
    case 7:
        place = number_at(bytes, *size, draw(random, *size), draw(random, 2) ? 1 : 4096);
        left = *size - place;
        if (draw(random, 2)) number = 2 + draw(random, 4); /* a little more than one */
        memcpy(bytes + place, &number, left < 8 ? left : 8);
        break;
    default:
        memmove(bytes + place, bytes + draw(random, *size - (left < 16 ? left : 16) + 1),
                left < 16 ? left : 16);
    }
}

/* ---- judging the end of a child ---- */

enum verdict { OPENED, REFUSED, HDF5_FAULT, HDF5_BUSY, OUR_FAULT };

static enum verdict judge(int end)
{
    static char report[REPORT_BYTES];
    FILE *file = fopen(path_of("report"), "rb");
    size_t bytes = file ? fread(report, 1, sizeof report - 1, file) : 0;
    report[bytes] = 0;
    if (file) fclose(file);
    if (loud) printf("%s", report);
    if (WIFEXITED(end) && WEXITSTATUS(end) == 0) return OPENED;
    if (WIFEXITED(end) && WEXITSTATUS(end) == 10) return REFUSED;
    if (WIFSIGNALED(end) && WTERMSIG(end) == SIGXCPU) return HDF5_BUSY;
    if (judge_is_hdf5(report)) return HDF5_FAULT;
    printf("%.6000s\nended with %s %d\n", report, WIFSIGNALED(end) ? "signal" : "code",
           WIFSIGNALED(end) ? WTERMSIG(end) : WEXITSTATUS(end));
    return OUR_FAULT;
}

static enum verdict read_in_child(const struct kind *kind)
{
    fflush(NULL);
    pid_t child = fork();
    must(child >= 0, "start a child");
    if (child == 0) {
        const struct rlimit seconds = {SECONDS, SECONDS + 5}, none = {0, 0};
        setrlimit(RLIMIT_CPU, &seconds);
        setrlimit(RLIMIT_CORE, &none);
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        int report = open(path_of("report"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(report, 2);
        bool taken = kind->read(path_of(kind->file));
        fflush(NULL);
        _exit(taken ? 0 : 10);
    }
    int end = 0;
    must(waitpid(child, &end, 0) == child, "wait for a child");
    return judge(end);
}

/* The program itself comes to an orderly end with a file on which HDF5 fails. */
static bool bears(const char *path)
{
    char command[5000];
    const char *program = getenv("ZINF");
    if (!program) return true;
    snprintf(command, sizeof command, "'%s' inspect '%s' --verify >'%s' 2>&1", program, path,
             path_of("report"));
    int end = system(command), code = WIFEXITED(end) ? WEXITSTATUS(end) : -1;
    if (code == 0 || code == 2 || code == 5) return true;
    printf("zinf inspect ended with %d\n", code);
    return false;
}

/* ---- all of it ---- */

static int fuzz(const struct kind *kind, uint64_t seed, int64_t first, int64_t end)
{
    static unsigned char whole[FILE_BYTES], bytes[FILE_BYTES];
    int64_t counts[OUR_FAULT + 1] = {0};
    kind->make();
    size_t whole_size = read_bytes(kind->file, whole);
    must(read_in_child(kind) == OPENED, "have the whole file taken");
    for (int64_t number = first; number < end; number++) {
        struct random random = {seed, zi_random_stream(kind->name) + (uint64_t)number, 0};
        size_t size = whole_size;
        memcpy(bytes, whole, size);
        for (uint64_t i = 0, changes = 1 + draw(&random, 3); i < changes; i++)
            change(bytes, &size, &random);
        write_bytes(kind->file, bytes, size);
        bool renews = kind->has_user_block && number % 2 == 0;
        if (renews) (void)user_block_renew(path_of(kind->file));
        enum verdict verdict = read_in_child(kind);
        bool seen = verdict == HDF5_FAULT || verdict == HDF5_BUSY;
        if (seen && kind->has_user_block && !renews) verdict = OUR_FAULT;
        if (verdict == HDF5_FAULT && !bears(path_of(kind->file))) verdict = OUR_FAULT;
        counts[verdict]++;
        if (verdict == OUR_FAULT)
            printf("fuzz: failed: kind %s, seed %llu, number %lld\n", kind->name,
                   (unsigned long long)seed, (long long)number);
    }
    unlink(path_of(kind->file));
    printf("%-12s %lld files: %lld taken, %lld refused; HDF5: %lld faults, %lld without end; "
           "%lld failed\n",
           kind->name, (long long)(end - first), (long long)counts[OPENED],
           (long long)counts[REFUSED], (long long)counts[HDF5_FAULT], (long long)counts[HDF5_BUSY],
           (long long)counts[OUR_FAULT]);
    bool pointless = end - first >= 100 && counts[REFUSED] == 0;
    if (pointless) printf("fuzz: failed: no file of kind %s was refused\n", kind->name);
    return counts[OUR_FAULT] > 0 || pointless;
}

int main(int argc, char **argv)
{
    must(argc >= 4 && comm_self(&self) == ZI_OK, "start: files FOLDER COUNT SEED [KIND [NUMBER]]");
    snprintf(folder, sizeof folder, "%s", argv[1]);
    int64_t count = atoll(argv[2]), number = argc > 5 ? atoll(argv[5]) : -1;
    uint64_t seed = (uint64_t)atoll(argv[3]);
    int failed = 0;
    H5open();
    for (int k = 0; k < KIND_COUNT; k++) {
        if (argc > 4 && strcmp(argv[4], kinds[k].name) != 0) continue;
        loud = number >= 0;
        failed |= number >= 0 ? fuzz(&kinds[k], seed, number, number + 1)
                              : fuzz(&kinds[k], seed, 0, count);
    }
    comm_destroy(self);
    return failed;
}
