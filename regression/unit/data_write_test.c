/* SPDX-License-Identifier: Apache-2.0 */
/* Writing token files from bytes: the order of files, the cut between training and validation, what
 * is recorded in the file (read back here with HDF5's own calls), that nothing half-written stays
 * behind, and every input that must be refused. */
#include "base/log.h"
#include "base/stop.h"
#include "data/tokens.h"

#include "regression/unit/data_fixture.h"

#include <hdf5.h>

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>

static enum zi_status write_from(const char *const *inputs, int count, const char *suffix,
                                 const char *output)
{
    struct tokens_writer writer = {inputs, count, suffix, output, NULL, 0, NULL};
    return tokens_write(&writer);
}

static int exists(const char *name)
{
    return access(fixture_path(name), F_OK) == 0;
}

/* Temporary files that are still in the folder. */
static int leftovers(void)
{
    struct dirent **entries;
    int found = 0, count = scandir(fixture_folder, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (strstr(entries[i]->d_name, ".tmp-")) found++;
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    return found;
}

static void check_file(const char *name, const char *text, int64_t count)
{
    struct tokens *tokens = NULL;
    CHECK_INT(tokens_open(fixture_path(name), ZI_AUTO, ZI_AUTO, 256, &tokens), ZI_OK);
    if (!tokens) return;
    CHECK_INT(tokens_count(tokens), count);
    int32_t *ids = malloc((size_t)count * sizeof *ids);
    if (!ids) exit(1);
    CHECK_INT(tokens_read(tokens, 0, tokens_count(tokens) < count ? 0 : count, ids), ZI_OK);
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; i++)
        wrong += ids[i] != (unsigned char)text[i];
    CHECK_INT(wrong, 0);
    free(ids);
    tokens_close(tokens);
}

static void check_integer(hid_t dataset, const char *name, int64_t expected)
{
    int64_t value = -1;
    hid_t attribute = H5Aopen(dataset, name, H5P_DEFAULT);
    CHECK(attribute >= 0 && H5Aread(attribute, H5T_NATIVE_INT64, &value) >= 0);
    CHECK_INT(value, expected);
    H5Aclose(attribute);
}

static void check_string(hid_t dataset, const char *name, const char *expected)
{
    char value[4096] = "";
    hid_t attribute = H5Aopen(dataset, name, H5P_DEFAULT);
    hid_t type = H5Aget_type(attribute);
    CHECK(H5Tget_size(type) < sizeof value && H5Aread(attribute, type, value) >= 0);
    CHECK(strcmp(value, expected) == 0);
    H5Tclose(type);
    H5Aclose(attribute);
}

/* A tree whose order tells walks apart: a file between two folders, capitals before small letters,
 * a folder in a folder, another suffix, a link to a file, and a link back up that must not be
 * followed. */
static void make_tree(void)
{
    static const char *const folders[] = {"tree", "tree/a", "tree/a/z", "tree/c", "tree/empty"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        if (mkdir(fixture_path(folders[i]), 0700) != 0) exit(1);
    fixture_write("tree/a/z/1.txt", "two ", 4);
    fixture_write("tree/a/b.txt", "one ", 4);
    fixture_write("tree/b.txt", "three ", 6);
    fixture_write("tree/c/0.md", "(mark)", 6);
    fixture_write("tree/c/1.txt", "four\n", 5);
    fixture_write("tree/Z.txt", "zero ", 5);
    fixture_write("tree/d.txt", "", 0);
    if (symlink("b.txt", fixture_path("tree/e.txt")) != 0) exit(1);
    if (symlink("..", fixture_path("tree/a/up.txt")) != 0) exit(1);
}

static void test_order(void)
{
    make_tree();
    fixture_write("last", "end", 3);
    char tree[512], last[512], output[512];
    snprintf(tree, sizeof tree, "%s", fixture_path("tree"));
    snprintf(last, sizeof last, "%s", fixture_path("last"));
    snprintf(output, sizeof output, "%s", fixture_path("tree.h5"));
    const char *const inputs[] = {tree, last};
    CHECK_INT(write_from(inputs, 2, ".txt", output), ZI_OK);
    static const char some[] = "zero one two three four\nthree end";
    check_file("tree.h5", some, (int64_t)strlen(some));
    CHECK_INT(write_from(inputs, 1, NULL, output), ZI_OK);
    static const char all[] = "zero one two three (mark)four\nthree ";
    check_file("tree.h5", all, (int64_t)strlen(all));
    const char *const turned[] = {last, tree};
    CHECK_INT(write_from(turned, 2, ".txt", output), ZI_OK);
    static const char first[] = "endzero one two three four\nthree ";
    check_file("tree.h5", first, (int64_t)strlen(first));
    CHECK_INT(leftovers(), 0);
}

/* All byte values, and more than the 1 MiB that is copied at once. */
static char *make_long(size_t bytes)
{
    char *text = malloc(bytes);
    if (!text) exit(1);
    for (size_t i = 0; i < bytes; i++)
        text[i] = (char)(i * 2654435761u >> 13);
    return text;
}

static void test_record(void)
{
    const size_t bytes = 2500003;
    char *text = make_long(bytes), input[512], output[512];
    fixture_write("long", text, bytes);
    snprintf(input, sizeof input, "%s", fixture_path("long"));
    snprintf(output, sizeof output, "%s", fixture_path("long.h5"));
    const char *const inputs[] = {input};
    CHECK_INT(write_from(inputs, 1, NULL, output), ZI_OK);
    check_file("long.h5", text, (int64_t)bytes);
    hid_t file = H5Fopen(output, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t dataset = H5Dopen2(file, "/tokens", H5P_DEFAULT);
    hid_t type = H5Dget_type(dataset);
    CHECK(H5Tequal(type, H5T_STD_U8LE) > 0);
    check_integer(dataset, "format_version", 1);
    check_integer(dataset, "vocabulary", 256);
    check_integer(dataset, "largest_token", 255);
    check_string(dataset, "tokenizer", "bytes");
    check_string(dataset, "source", input);
    H5Tclose(type);
    H5Dclose(dataset);
    H5Fclose(file);
    struct tokens *tokens = NULL;
    fixture_listen();
    CHECK_INT(tokens_open(output, ZI_AUTO, ZI_AUTO, 255, &tokens), ZI_ERROR_USAGE);
    CHECK(fixture_said("at least 256"));
    free(text);
}

static void test_cut(void)
{
    const size_t bytes = 2100001;
    static const double shares[] = {0.1, 0.5, 0.999999, 1e-6};
    char *text = make_long(bytes), input[512], train[512], validation[512];
    fixture_write("long", text, bytes);
    snprintf(input, sizeof input, "%s", fixture_path("long"));
    snprintf(train, sizeof train, "%s", fixture_path("train.h5"));
    snprintf(validation, sizeof validation, "%s", fixture_path("validation.h5"));
    const char *const inputs[] = {input};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        struct tokens_writer writer = {inputs, 1, NULL, train, validation, shares[i], NULL};
        CHECK_INT(tokens_write(&writer), ZI_OK);
        int64_t last = (int64_t)(shares[i] * (double)bytes + 0.5);
        check_file("train.h5", text, (int64_t)bytes - last);
        check_file("validation.h5", text + bytes - last, last);
    }
    free(text);
}

static void check_refused(const struct tokens_writer *writer, enum zi_status status,
                          const char *text)
{
    fixture_listen();
    CHECK_INT(tokens_write(writer), status);
    CHECK(fixture_said(text));
    CHECK(!exists("refused.h5"));
    CHECK_INT(leftovers(), 0);
}

static void test_refused(void)
{
    char tree[512], empty[512], nowhere[512], refused[512], validation[512], unwritable[512];
    snprintf(tree, sizeof tree, "%s", fixture_path("tree"));
    snprintf(empty, sizeof empty, "%s", fixture_path("tree/empty"));
    snprintf(nowhere, sizeof nowhere, "%s", fixture_path("nowhere"));
    snprintf(refused, sizeof refused, "%s", fixture_path("refused.h5"));
    snprintf(validation, sizeof validation, "%s", fixture_path("validation.h5"));
    snprintf(unwritable, sizeof unwritable, "%s", fixture_path("no_such_folder/refused.h5"));
    const char *const inputs[] = {tree, nowhere, "/dev/null", empty};
    struct tokens_writer writer = {inputs, 2, NULL, refused, NULL, 0, NULL};
    check_refused(&writer, ZI_ERROR_USAGE, "nowhere");
    writer.inputs = inputs + 2;
    writer.input_count = 1;
    check_refused(&writer, ZI_ERROR_USAGE, "/dev/null");
    writer.inputs = inputs + 3;
    check_refused(&writer, ZI_ERROR_USAGE, "no input files");
    writer.inputs = inputs;
    writer.suffix = ".rst";
    check_refused(&writer, ZI_ERROR_USAGE, ".rst");
    writer.suffix = "d.txt";
    check_refused(&writer, ZI_ERROR_USAGE, "empty");
    writer.suffix = ".txt";
    writer.path = unwritable;
    check_refused(&writer, ZI_ERROR_IO, "no_such_folder");
    writer.path = refused;
    writer.validation_path = validation;
    static const double shares[] = {0, 1, -0.5, 1e-9};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        writer.validation_share = shares[i];
        check_refused(&writer, ZI_ERROR_USAGE, "share");
    }
    writer.validation_share = 0.5;
    writer.validation_path = refused;
    check_refused(&writer, ZI_ERROR_USAGE, "both");
    writer.validation_path = fixture_path("no_such_folder/validation.h5");
    check_refused(&writer, ZI_ERROR_IO, "no_such_folder");
}

/* A limit on the size of files stands for a full disk. Early allocation finds it before much is
 * written, and nothing stays behind. */
static void test_full_disk(void)
{
    const size_t bytes = 3000000;
    char *text = make_long(bytes), input[512], output[512];
    fixture_write("long", text, bytes);
    free(text);
    snprintf(input, sizeof input, "%s", fixture_path("long"));
    snprintf(output, sizeof output, "%s", fixture_path("refused.h5"));
    const char *const inputs[] = {input};
    struct tokens_writer writer = {inputs, 1, NULL, output, NULL, 0, NULL};
    struct rlimit before, low;
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    low = before;
    low.rlim_cur = 1 << 20;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &low) == 0);
    check_refused(&writer, ZI_ERROR_IO, "ulimit -f");
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK_INT(tokens_write(&writer), ZI_OK);
    CHECK(exists("refused.h5"));
}

/* Stands for a tokenizer: each byte is its value and 70000, but a file that begins with ! is not
 * encoded. */
static enum zi_status begin_worker(void *context, void **worker)
{
    *worker = context;
    return ZI_OK;
}

static enum zi_status encode_bytes(void *worker, const struct tokens_text *of, int32_t **ids,
                                   size_t *count)
{
    const char *text = of->text;
    size_t bytes = of->bytes;
    CHECK_INT(of->line, 0);
    if (bytes && text[0] == '!') return zi_fail(ZI_ERROR_USAGE, "data", "a text of the test");
    *ids = malloc((bytes + 1) * sizeof **ids);
    if (!*ids) exit(1);
    for (size_t i = 0; i < bytes; i++)
        (*ids)[i] = (unsigned char)text[i] + *(const int32_t *)worker;
    *count = bytes;
    return ZI_OK;
}

static void end_worker(void *worker)
{
    CHECK_INT(*(const int32_t *)worker, 70000);
}

static void check_ids(const char *name, const char *text, int32_t separator)
{
    struct tokens *tokens = NULL;
    int64_t count = (int64_t)strlen(text), wrong = 0;
    int32_t ids[64];
    CHECK_INT(tokens_open(fixture_path(name), ZI_AUTO, ZI_AUTO, 80000, &tokens), ZI_OK);
    if (!tokens) return;
    CHECK_INT(tokens_count(tokens), count);
    CHECK_INT(tokens_read(tokens, 0, count, ids), ZI_OK);
    for (int64_t i = 0; i < count; i++)
        wrong += ids[i] != (text[i] == '|' ? separator : (unsigned char)text[i] + 70000);
    CHECK_INT(wrong, 0);
    tokens_close(tokens);
}

/* Files in order whatever thread encodes them, a token behind each, the cut between two files, a type
 * that is wide enough, what the file says of the tokenizer; an encoder that fails leaves nothing. */
static void test_encoder(void)
{
    static int32_t shift = 70000;
    struct tokens_encoder encoder = {begin_worker, encode_bytes, end_worker, &shift,
                                     79999,        "fake: 1",    79998,      false};
    char tree[512], output[512], validation[512];
    snprintf(tree, sizeof tree, "%s", fixture_path("tree"));
    snprintf(output, sizeof output, "%s", fixture_path("ids.h5"));
    snprintf(validation, sizeof validation, "%s", fixture_path("ids2.h5"));
    const char *inputs[] = {tree, NULL};
    struct tokens_writer writer = {inputs, 1, ".txt", output, NULL, 0, &encoder};
    CHECK_INT(tokens_write(&writer), ZI_OK);
    check_ids("ids.h5", "zero |one |two |three |four\n||three |", 79998);
    hid_t file = H5Fopen(output, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t dataset = H5Dopen2(file, "tokens", H5P_DEFAULT);
    check_integer(dataset, "vocabulary", 79999);
    check_integer(dataset, "largest_token", 79998);
    check_string(dataset, "tokenizer", "fake: 1");
    H5Dclose(dataset);
    H5Fclose(file);
    writer.validation_path = validation;
    writer.validation_share = 0.5;
    encoder.separator = -1;
    CHECK_INT(tokens_write(&writer), ZI_OK);
    check_ids("ids.h5", "zero one two th", -1);
    check_ids("ids2.h5", "ree four\nthree ", -1);
    fixture_write("bad", "!", 1);
    inputs[1] = fixture_path("bad");
    writer.input_count = 2;
    writer.validation_path = NULL;
    writer.path = fixture_path("absent.h5");
    CHECK_INT(tokens_write(&writer), ZI_ERROR_USAGE);
    CHECK(!exists("absent.h5"));
    CHECK_INT(leftovers(), 0);
}

static const char tree_text[] = "zero one two three four\nthree ";

/* The output of the last time, found in a folder, is left out; named as an input it is refused, and
 * survives. */
static void test_output_among_inputs(void)
{
    char tree[512], output[512];
    snprintf(tree, sizeof tree, "%s", fixture_path("tree"));
    snprintf(output, sizeof output, "%s", fixture_path("tree/tokens.h5"));
    const char *const inputs[] = {tree, output};
    CHECK_INT(write_from(inputs, 1, ".txt", output), ZI_OK);
    CHECK_INT(write_from(inputs, 1, NULL, output), ZI_OK);
    static const char all[] = "zero one two three (mark)four\nthree ";
    check_file("tree/tokens.h5", all, (int64_t)strlen(all));
    fixture_listen();
    CHECK_INT(write_from(inputs + 1, 1, NULL, output), ZI_ERROR_USAGE);
    CHECK(fixture_said("is an input and the output"));
    check_file("tree/tokens.h5", all, (int64_t)strlen(all));
    if (unlink(output) != 0) exit(1);
}

/* What a folder holds besides texts is left out; named, it is refused. The notes of what is left
 * out go to stdout, so that what counts here are the tokens. */
static void test_left_out(void)
{
    static const int32_t llmc[256] = {20240520, 1, 0};
    static const char index[34] = "MMIDIDX\0\0\1";
    static const char *const names[] = {"mixed/a.h5", "mixed/b.bin", "mixed/c.idx", "mixed/c.bin",
                                        "mixed/fifo"};
    char mixed[512], output[512];
    if (mkdir(fixture_path("mixed"), 0700) != 0 || mkfifo(fixture_path("mixed/fifo"), 0600) != 0 ||
        symlink("nowhere", fixture_path("mixed/dangling")) != 0 ||
        symlink("circle", fixture_path("mixed/circle")) != 0 ||
        symlink("..", fixture_path("mixed/up")) != 0)
        exit(1);
    snprintf(mixed, sizeof mixed, "%s", fixture_path("mixed"));
    snprintf(output, sizeof output, "%s", fixture_path("mixed.h5"));
    fixture_write("mixed/b.bin", llmc, sizeof llmc);
    fixture_write("mixed/c.idx", index, sizeof index);
    fixture_write("mixed/c.bin", "tokens", 6);
    fixture_write("mixed/mixed.h5.tmp-abcdef", "unfinished", 10);
    fixture_write("mixed/text", "a text", 6);
    fixture_write("mixed/text.tmp-abcdef", "!", 1);
    const char *inputs[] = {mixed};
    CHECK_INT(write_from(inputs, 1, "text", fixture_path("mixed/a.h5")), ZI_OK);
    CHECK_INT(write_from(inputs, 1, NULL, output), ZI_OK);
    check_file("mixed.h5", "a text!", 7);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        inputs[0] = fixture_path(names[i]);
        fixture_listen();
        CHECK_INT(write_from(inputs, 1, NULL, output), ZI_ERROR_USAGE);
        CHECK(fixture_said(names[i]));
        check_file("mixed.h5", "a text!", 7);
    }
}

/* What stands at the name of an output: links are followed, what is no file is refused. */
static void test_names(void)
{
    char input[512], train[512], other[512];
    struct stat is;
    fixture_write("words", "many words", 10);
    snprintf(input, sizeof input, "%s", fixture_path("words"));
    snprintf(train, sizeof train, "%s", fixture_path("link.h5"));
    const char *const inputs[] = {input};
    if (symlink("target.h5", train) != 0) exit(1);
    for (int turn = 0; turn < 2; turn++) { /* a link to nothing yet, then to a file */
        CHECK_INT(write_from(inputs, 1, NULL, train), ZI_OK);
        CHECK(lstat(train, &is) == 0 && S_ISLNK(is.st_mode));
        CHECK(lstat(fixture_path("target.h5"), &is) == 0 && S_ISREG(is.st_mode));
        check_file("target.h5", "many words", 10);
    }
    snprintf(other, sizeof other, "%s", fixture_path("odd.h5"));
    if (mkfifo(other, 0600) != 0) exit(1);
    fixture_listen();
    CHECK_INT(write_from(inputs, 1, NULL, other), ZI_ERROR_USAGE);
    CHECK(fixture_said("odd.h5 is a fifo"));
    struct tokens_writer writer = {inputs, 1, NULL, fixture_path("new.h5"), other, 0.5, NULL};
    CHECK_INT(tokens_write(&writer), ZI_ERROR_USAGE);
    CHECK(lstat(other, &is) == 0 && S_ISFIFO(is.st_mode));
    CHECK(!exists("new.h5"));
    if (unlink(other) != 0) exit(1);
    if (mknod(other, S_IFCHR | 0600, makedev(1, 3)) != 0) {
        printf("device nodes: not permitted here, left out\n");
    } else {
        CHECK_INT(write_from(inputs, 1, NULL, other), ZI_ERROR_USAGE);
        CHECK(lstat(other, &is) == 0 && S_ISCHR(is.st_mode));
    }
    CHECK_INT(leftovers(), 0);
}

/* Training and validation in one file, in other spellings. */
static void test_one_name(void)
{
    char input[512], train[512], folder[512];
    snprintf(input, sizeof input, "%s", fixture_path("words"));
    snprintf(train, sizeof train, "%s", fixture_path("one.h5"));
    const char *const inputs[] = {input};
    if (symlink("one.h5", fixture_path("alias.h5")) != 0 || symlink(".", fixture_path("here")) != 0)
        exit(1);
    snprintf(folder, sizeof folder, "%s/../%s/one.h5", fixture_path("tree"), "here");
    const char *const spellings[] = {fixture_path("./one.h5"), fixture_path("alias.h5"), folder};
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        struct tokens_writer writer = {inputs, 1, NULL, train, spellings[i], 0.5, NULL};
        fixture_listen();
        CHECK_INT(tokens_write(&writer), ZI_ERROR_USAGE);
        CHECK(fixture_said("cannot both go"));
        CHECK(!exists("one.h5"));
    }
    struct tokens_writer two = {inputs, 1, NULL, train, fixture_path("tree/one.h5"), 0.5, NULL};
    CHECK_INT(tokens_write(&two), ZI_OK);
    CHECK_INT(leftovers(), 0);
}

/* A stop ends the making of tokens; what was there stays. The last test, as a stop is for good. */
static void test_stop(void)
{
    char tree[512], output[512];
    snprintf(tree, sizeof tree, "%s", fixture_path("tree"));
    snprintf(output, sizeof output, "%s", fixture_path("tree.h5"));
    const char *const inputs[] = {tree};
    CHECK_INT(write_from(inputs, 1, ".txt", output), ZI_OK);
    CHECK_INT(zi_stop_start(), ZI_OK);
    CHECK(kill(getpid(), SIGTERM) == 0);
    while (zi_stop_signal() == 0)
        usleep(1000);
    fixture_listen();
    CHECK_INT(write_from(inputs, 1, NULL, output), ZI_STOPPED);
    CHECK(fixture_said("stopped by SIGTERM"));
    const char *const one[] = {fixture_path("words")};
    CHECK_INT(write_from(one, 1, NULL, output), ZI_STOPPED);
    check_file("tree.h5", tree_text, (int64_t)strlen(tree_text));
    CHECK_INT(leftovers(), 0);
}

int main(void)
{
    sigset_t stop;
    /* threads of the encoder's team leave the signal to the one that waits for it, as in zinf */
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    fixture_begin("data_write");
    test_order();
    test_record();
    test_cut();
    test_refused();
    test_output_among_inputs();
    test_left_out();
    test_names();
    test_one_name();
    test_full_disk();
    test_encoder();
    test_stop();
    fixture_end();
    return test_finish("data_write_test");
}
