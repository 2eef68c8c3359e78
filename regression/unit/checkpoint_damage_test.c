/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints that are sound HDF5 files and say what no commit says: more elements than one,
 * another type, extents that cannot be, a tensor that is missing, with a user block that holds
 * again. Each must be refused with its reason when it is opened, and inspect must come to an end
 * with it. Then the user block: whatever another program changes is refused before HDF5 sees it.
 * Then which file a folder stands for, what the file's permissions are, and that a file on which
 * HDF5 fails is refused: this program is the child that looks at it, and ends by a fault when the
 * file's name says so. */
#include "checkpoint_fixture.h"

#include "base/probe.h"
#include "checkpoint/file.h"
#include "checkpoint/inspect.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"
#include "regression/unit/user_block_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANY = 4096 };

static struct comm *self;
static struct capture capture;
static char folder[4000];

static const struct checkpoint_tensor two[] = {{"first.weight", 2, {4, 3}, false},
                                               {"second.bias", 1, {5, 0}, false}};

static const char *path_of(const char *name)
{
    static char paths[4][4200];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

static enum zi_status write_small(int64_t step, enum zi_dtype type, unsigned mode)
{
    struct checkpoint *made;
    struct checkpoint_header header = header_of(1, type);
    const float zeros[12] = {0};
    header.step = step;
    header.mode = mode;
    ZI_TRY(checkpoint_create(self, folder, &header, two, 2, &made));
    for (int s = 0; s < TIER_KIND_COUNT; s++) {
        if (!tier_kind_row(s)->saved || (type == ZI_FP32 && s == TIER_MASTER)) continue;
        checkpoint_write(made, s, 0, 0, 12, zeros);
        checkpoint_write(made, s, 1, 0, 5, zeros);
    }
    enum zi_status status = checkpoint_commit(made, (struct checkpoint_retention){0, 0});
    checkpoint_close(made);
    return status;
}

/* Opens the path; its messages go to `text`, which stays until the next call. */
static enum zi_status open_path(const char *path, int64_t *step, const char **text)
{
    struct checkpoint *opened = NULL;
    capture_begin(&capture, stderr);
    enum zi_status status = checkpoint_open(self, path, &opened);
    *text = capture_end(&capture);
    *step = status == ZI_OK ? checkpoint_get_header(opened)->step : -1;
    if (status == ZI_OK) checkpoint_close(opened);
    return status;
}

static enum zi_status inspect_path(const char *path, int verify, const char **text)
{
    FILE *out = fopen("/dev/null", "w");
    capture_begin(&capture, stderr);
    enum zi_status status = checkpoint_inspect(path, verify, out);
    *text = capture_end(&capture);
    fclose(out);
    return status;
}

/* Replaces an attribute by one of `count` elements of a type. */
static void put_attribute(hid_t object, const char *name, hid_t type, hsize_t count)
{
    static char zeros[8 * MANY];
    hid_t space = H5Screate_simple(1, &count, NULL);
    if (H5Aexists(object, name) > 0) H5Adelete(object, name);
    hid_t made = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(made >= 0 && H5Awrite(made, type, zeros) >= 0);
    H5Aclose(made);
    H5Sclose(space);
}

static void put_text(hid_t object, const char *name, const char *text, hsize_t count)
{
    const char *texts[64];
    hid_t space = H5Screate_simple(1, &count, NULL), type = H5Tcopy(H5T_C_S1);
    for (hsize_t i = 0; i < count; i++)
        texts[i] = text;
    H5Tset_size(type, H5T_VARIABLE);
    H5Adelete(object, name);
    hid_t made = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(made >= 0 && H5Awrite(made, type, texts) >= 0);
    H5Aclose(made);
    H5Tclose(type);
    H5Sclose(space);
}

/* A damage: a change of the open file, and what opening it must say. */
struct damage {
    void (*make)(hid_t file);
    enum zi_status expected;
    const char *said;
};

static void many_steps(hid_t file)
{
    put_attribute(file, "step", H5T_STD_I64LE, MANY);
}

static void no_steps(hid_t file)
{
    put_attribute(file, "step", H5T_STD_I64LE, 0);
}

static void wide_steps(hid_t file)
{
    hid_t type = H5Tcopy(H5T_STD_I64LE);
    H5Tset_size(type, 64);
    put_attribute(file, "step", type, 1);
    H5Tclose(type);
}

static void real_step(hid_t file)
{
    put_attribute(file, "step", H5T_IEEE_F64LE, 1);
}

static void step_of_text(hid_t file)
{
    H5Adelete(file, "step");
    h5_text_write(file, "step", "100");
}

static void negative_step(hid_t file)
{
    H5Adelete(file, "step");
    h5_integer_write(file, "step", -1);
}

static void many_formats(hid_t file)
{
    put_text(file, "format", CHECKPOINT_FORMAT, 64);
}

static void many_decks(hid_t file)
{
    put_text(file, "deck", "run: {}", 64);
}

static void fixed_text(hid_t file)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, 4096);
    put_attribute(file, "model", type, 1);
    H5Tclose(type);
}

static void number_as_model(hid_t file)
{
    put_attribute(file, "model", H5T_STD_I64LE, 1);
}

static void no_seed(hid_t file)
{
    H5Adelete(file, "seed");
}

static void other_step(hid_t file)
{
    CHECK(h5_integer_replace(file, "step", 101) >= 0);
}

static void other_deck(hid_t file)
{
    H5Adelete(file, "deck");
    h5_text_write(file, "deck", "run: {name: Test}\nmodel: {family: gpt2}\n");
}

static void one_more(hid_t file)
{
    h5_integer_write(file, "note", 1);
}

static void exchanged_names(hid_t file)
{
    H5Arename(file, "updates", "other");
    H5Arename(file, "tokens", "updates");
    H5Arename(file, "other", "tokens");
}

/* All zeros, as the parameters are: only that it is another dataset tells. */
static void other_master(hid_t file)
{
    H5Ldelete(file, "master/first.weight", H5P_DEFAULT);
    H5Lcreate_hard(file, "moment1/first.weight", file, "master/first.weight", H5P_DEFAULT,
                   H5P_DEFAULT);
}

/* Of all states alike. */
static void other_shapes(hid_t file)
{
    const char *const names[] = {"parameter/first.weight", "moment1/first.weight",
                                 "moment2/first.weight"};
    const hsize_t extents[2] = {3, 4};
    for (int i = 0; i < 3; i++) {
        hid_t space = H5Screate_simple(2, extents, NULL),
              properties = H5Pcreate(H5P_DATASET_CREATE);
        H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
        H5Ldelete(file, names[i], H5P_DEFAULT);
        hid_t made =
            H5Dcreate2(file, names[i], H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
        CHECK(made >= 0 && h5_bits_write(made, "checksum", 0) >= 0);
        H5Dclose(made);
        H5Pclose(properties);
        H5Sclose(space);
    }
    H5Ldelete(file, "master/first.weight", H5P_DEFAULT);
    H5Lcreate_hard(file, names[0], file, "master/first.weight", H5P_DEFAULT, H5P_DEFAULT);
}

static void earlier_format(hid_t file)
{
    put_text(file, "format", "zinf-checkpoint-1", 1);
}

static void many_checksums(hid_t file)
{
    hid_t dataset = H5Dopen2(file, "moment1/first.weight", H5P_DEFAULT);
    put_attribute(dataset, "checksum", H5T_STD_U64LE, MANY);
    H5Dclose(dataset);
}

static void no_checksum(hid_t file)
{
    H5Adelete_by_name(file, "moment1/first.weight", "checksum", H5P_DEFAULT);
}

static void other_type(hid_t file)
{
    put_text(file, "type", "bf16", 1);
}

static void unknown_type(hid_t file)
{
    put_text(file, "type", "fp64", 1);
}

/* With fp16 a header has a loss scale. */
static void no_scale(hid_t file)
{
    put_text(file, "type", "fp16", 1);
}

static void odd_scale(hid_t file)
{
    put_text(file, "type", "fp16", 1);
    h5_integer_write(file, "loss_scale", 3);
    h5_integer_write(file, "loss_scale_steps", 0);
}

static void no_tensor(hid_t file)
{
    H5Ldelete(file, "moment2/second.bias", H5P_DEFAULT);
}

static void external_tensor(hid_t file)
{
    H5Ldelete(file, "moment2/second.bias", H5P_DEFAULT);
    H5Lcreate_external("other.h5", "/x", file, "moment2/second.bias", H5P_DEFAULT, H5P_DEFAULT);
}

/* Puts a dataset that is made with `properties`, which it closes, in the place of a tensor. */
static void put_made_with(hid_t file, hid_t space, hid_t properties)
{
    H5Ldelete(file, "moment2/second.bias", H5P_DEFAULT);
    hid_t made = H5Dcreate2(file, "moment2/second.bias", H5T_IEEE_F32LE, space, H5P_DEFAULT,
                            properties, H5P_DEFAULT);
    CHECK(made >= 0 && h5_bits_write(made, "checksum", 0) >= 0);
    H5Dclose(made);
    H5Pclose(properties);
    H5Sclose(space);
}

/* Its numbers are in a fifo: whoever asks HDF5 for them waits for ever. */
static void stored_outside(hid_t file)
{
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(properties, path_of("waiting"), 0, 20);
    put_made_with(file, H5Screate_simple(1, (const hsize_t[]){5}, NULL), properties);
}

/* Even its extents are asked of the other file. */
static void virtual_tensor(hid_t file)
{
    const hsize_t five = 5, most = H5S_UNLIMITED, start = 0, one = 1;
    hid_t space = H5Screate_simple(1, &five, &most), source = H5Screate_simple(1, &five, &most);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &one, &most);
    H5Sselect_hyperslab(source, H5S_SELECT_SET, &start, NULL, &one, &most);
    CHECK(H5Pset_virtual(properties, space, path_of("waiting"), "x", source) >= 0);
    put_made_with(file, space, properties);
    H5Sclose(source);
}

static void external_group(hid_t file)
{
    H5Ldelete(file, "moment2", H5P_DEFAULT);
    H5Lcreate_external(path_of("waiting"), "/x", file, "moment2", H5P_DEFAULT, H5P_DEFAULT);
}

static void linked_group(hid_t file)
{
    H5Lmove(file, "moment2", file, "other", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/other", file, "moment2", H5P_DEFAULT, H5P_DEFAULT);
}

static void renamed_tensor(hid_t file)
{
    H5Lmove(file, "moment2/second.bias", file, "moment2/zecond.bias", H5P_DEFAULT, H5P_DEFAULT);
}

static void group_as_tensor(hid_t file)
{
    H5Ldelete(file, "moment2/second.bias", H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "moment2/second.bias", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

/* Puts another dataset in the place of moment2/second.bias. */
static void put_dataset(hid_t file, hid_t type, int dimensions, const hsize_t *extents, int chunked)
{
    const hsize_t chunk[4] = {2, 2, 2, 2};
    hid_t space = H5Screate_simple(dimensions, extents, NULL);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (chunked) H5Pset_chunk(properties, dimensions, chunk);
    if (!chunked) H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
    H5Ldelete(file, "moment2/second.bias", H5P_DEFAULT);
    hid_t made =
        H5Dcreate2(file, "moment2/second.bias", type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    CHECK(made >= 0 && h5_bits_write(made, "checksum", 0) >= 0);
    H5Dclose(made);
    H5Pclose(properties);
    H5Sclose(space);
}

static void chunked_tensor(hid_t file)
{
    put_dataset(file, H5T_IEEE_F32LE, 1, (const hsize_t[]){5}, 1);
}

static void long_tensor(hid_t file)
{
    put_dataset(file, H5T_IEEE_F32LE, 1, (const hsize_t[]){6}, 0);
}

static void wide_tensor(hid_t file)
{
    put_dataset(file, H5T_IEEE_F64LE, 1, (const hsize_t[]){5}, 0);
}

static void deep_tensor(hid_t file)
{
    put_dataset(file, H5T_IEEE_F32LE, 4, (const hsize_t[]){1, 1, 1, 5}, 0);
}

static void scalar_tensor(hid_t file)
{
    put_dataset(file, H5T_IEEE_F32LE, 0, NULL, 0);
}

static void empty_tensor(hid_t file)
{
    put_dataset(file, H5T_IEEE_F32LE, 1, (const hsize_t[]){0}, 0);
}

static void huge_tensor(hid_t file)
{
    put_dataset(file, H5T_IEEE_F32LE, 2, (const hsize_t[]){1u << 31, (hsize_t)1 << 31}, 1);
}

static void huger_tensor(hid_t file)
{
    put_dataset(file, H5T_IEEE_F32LE, 1, (const hsize_t[]){(hsize_t)1 << 62}, 1);
}

static const struct damage damages[] = {
    {many_steps, ZI_ERROR_IO, "attribute step is not one number"},
    {no_steps, ZI_ERROR_IO, "attribute step is not one number"},
    {wide_steps, ZI_ERROR_IO, "attribute step is not one number"},
    {real_step, ZI_ERROR_IO, "attribute step is not one number"},
    {step_of_text, ZI_ERROR_IO, "attribute step is not one number"},
    {negative_step, ZI_ERROR_IO, "negative counts"},
    {many_formats, ZI_ERROR_USAGE, "its format is not stated"},
    {many_decks, ZI_ERROR_IO, "attribute deck is not one text"},
    {fixed_text, ZI_ERROR_IO, "attribute model is not one text"},
    {number_as_model, ZI_ERROR_IO, "attribute model is not one text"},
    {no_seed, ZI_ERROR_IO, "seed"},
    {other_master, ZI_ERROR_IO, "master/first.weight is not the parameter itself"},
    {earlier_format, ZI_ERROR_USAGE, "its format is zinf-checkpoint-1, not"},
    {many_checksums, ZI_ERROR_IO, "moment1/first.weight has no checksum"},
    {no_checksum, ZI_ERROR_IO, "moment1/first.weight has no checksum"},
    {other_type, ZI_ERROR_IO, "first.weight is not of the type"},
    {unknown_type, ZI_ERROR_IO, "an unknown type"},
    {no_tensor, ZI_ERROR_IO, "not the same tensors"},
    {external_tensor, ZI_ERROR_IO, "second.bias is a link"},
    {stored_outside, ZI_ERROR_IO, "second.bias is in another file"},
    {virtual_tensor, ZI_ERROR_IO, "second.bias is in another file"},
    {external_group, ZI_ERROR_IO, "moment2 is a link"},
    {linked_group, ZI_ERROR_IO, "moment2 is a link"},
    {renamed_tensor, ZI_ERROR_IO, "zecond.bias is not what the same tensor is"},
    {group_as_tensor, ZI_ERROR_IO, "cannot open a dataset"},
    {no_scale, ZI_ERROR_IO, "read the loss scale"},
    {odd_scale, ZI_ERROR_IO, "its header has a loss scale that cannot be"},
    {chunked_tensor, ZI_ERROR_IO, "moment2/second.bias has no place in the file"},
    {long_tensor, ZI_ERROR_IO, "moment2/second.bias is not what the same tensor is"},
    {wide_tensor, ZI_ERROR_IO, "second.bias is not of the type"},
    {deep_tensor, ZI_ERROR_IO, "it has 4 dimensions"},
    {scalar_tensor, ZI_ERROR_IO, "second.bias has no extents"},
    {empty_tensor, ZI_ERROR_IO, "an extent of 0 cannot be"},
    {huge_tensor, ZI_ERROR_IO, "extents are beyond what a file can hold"},
    {huger_tensor, ZI_ERROR_IO, "extents are beyond what a file can hold"},
};

/* What another program may do to a file that stays a sound checkpoint to HDF5. */
static void (*const edits[])(hid_t file) = {other_step, other_deck, one_more, exchanged_names,
                                            other_shapes};

/* Each is refused for its user block, though HDF5 and all later checks would take it. */
static void test_edits(void)
{
    const char *text;
    char path[4200];
    int64_t step;
    snprintf(path, sizeof path, "%s", path_of("step-00000100.h5"));
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        CHECK_INT(write_small(100, ZI_FP32, 0), ZI_OK);
        hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        edits[i](file);
        H5Fclose(file);
        CHECK_INT(open_path(path, &step, &text), ZI_ERROR_IO);
        CHECK(strstr(text, path) &&
              strstr(text, "or another program has changed it; use an older"));
        CHECK_INT(inspect_path(path, 0, &text), ZI_ERROR_IO);
        CHECK(user_block_renew(path));
        CHECK_INT(open_path(path, &step, &text), ZI_OK);
        CHECK_INT(inspect_path(path, 1, &text), ZI_OK);
    }
}

static void overwrite(const char *path, int64_t place, const void *bytes, size_t count)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(file >= 0 && pwrite(file, bytes, count, (off_t)place) == (ssize_t)count);
    close(file);
}

/* Opens and inspects the file, which must be refused for what is `said`. */
static void check_refused(const char *path, enum zi_status expected, const char *said)
{
    const char *text;
    int64_t step;
    CHECK_INT(open_path(path, &step, &text), expected);
    CHECK(strstr(text, path) && strstr(text, said));
    if (!strstr(text, said)) fprintf(stderr, "%s: %s", said, text);
    CHECK_INT(inspect_path(path, 0, &text), ZI_ERROR_IO);
}

/* Numbers of the block that cannot be, alone and where its checksum holds all the same. */
static void test_user_block(void)
{
    static const int64_t numbers[] = {-1, 0, 1, 4095, 1 << 27, INT64_MAX, INT64_MIN};
    struct user_block head;
    struct user_extent extents[2];
    char path[4200];
    const char *text;
    int64_t step;
    snprintf(path, sizeof path, "%s", path_of("step-00000100.h5"));
    const size_t fields[] = {
        offsetof(struct user_block, block_bytes), offsetof(struct user_block, file_bytes),
        offsetof(struct user_block, extent_count), sizeof head, sizeof head + sizeof(int64_t)};
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
        for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
            CHECK_INT(write_small(100, ZI_FP32, 0), ZI_OK);
            overwrite(path, (int64_t)fields[f], &numbers[n], sizeof *numbers);
            check_refused(path, ZI_ERROR_IO, "user block");
        }
    }
    CHECK_INT(write_small(100, ZI_FP32, 0), ZI_OK);
    int file = open(path, O_RDWR | O_CLOEXEC);
    CHECK(pread(file, &head, sizeof head, 0) == (ssize_t)sizeof head);
    CHECK(pread(file, extents, sizeof extents, sizeof head) == (ssize_t)sizeof extents);
    CHECK_INT(head.extent_count, 6); /* two tensors, of three states */
    const struct user_extent wrong[][2] = {{extents[1], extents[0]},
                                           {extents[0], extents[0]},
                                           {extents[0], {extents[1].offset, 0}},
                                           {extents[0], {extents[1].offset, -1}},
                                           {extents[0], {extents[1].offset, INT64_MAX}},
                                           {extents[0], {INT64_MAX, 1}},
                                           {{0, 8}, extents[1]}};
    for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++) {
        capture_begin(&capture, stderr);
        CHECK_INT(user_block_store(path, file, wrong[w], 2), ZI_ERROR_IO);
        CHECK(strstr(capture_end(&capture), "names places that cannot be"));
    }
    close(file);
    CHECK_INT(write_small(100, ZI_FP32, 0), ZI_OK);
    CHECK(truncate(path, head.file_bytes + 1) == 0);
    check_refused(path, ZI_ERROR_IO, "not the");
    CHECK(truncate(path, head.file_bytes) == 0);
    CHECK_INT(open_path(path, &step, &text), ZI_OK);
    /* Nothing of the block is left: what HDF5 takes is no checkpoint for that. */
    overwrite(path, 0, (const char[4096]){0}, 4096);
    check_refused(path, ZI_ERROR_USAGE, "does not begin with a user block of zinf");
}

static void copy_file(const char *from, const char *to)
{
    char command[9000];
    snprintf(command, sizeof command, "cp '%s' '%s'", path_of(from), path_of(to));
    CHECK(system(command) == 0);
}

/* A copy under another name that no block covers is shown, and said to be damaged. */
static void test_uncovered(void)
{
    const char *text;
    CHECK_INT(write_small(100, ZI_FP32, 0), ZI_OK);
    copy_file("step-00000100.h5", "copy.h5");
    CHECK_INT(inspect_path(path_of("copy.h5"), 1, &text), ZI_OK);
    overwrite(path_of("copy.h5"), 0, "Z", 1);
    for (int verify = 0; verify < 2; verify++) {
        CHECK_INT(inspect_path(path_of("copy.h5"), verify, &text), ZI_ERROR_USAGE);
        CHECK(strstr(text, "does not begin with a user block of zinf"));
    }
}

/* HDF5 opens a file for writing and changes nothing: the file stays as it is. */
static void test_opened(void)
{
    const char *text;
    char path[4200];
    int64_t step;
    CHECK_INT(write_small(100, ZI_BF16, 0), ZI_OK);
    snprintf(path, sizeof path, "%s", path_of("step-00000100.h5"));
    H5Fclose(H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT));
    CHECK_INT(open_path(path, &step, &text), ZI_OK);
    CHECK_INT(inspect_path(path, 1, &text), ZI_OK);
}

static void test_damages(void)
{
    const char *path = path_of("step-00000100.h5"), *text;
    char file_path[4200];
    int64_t step;
    snprintf(file_path, sizeof file_path, "%s", path);
    CHECK(mkfifo(path_of("waiting"), 0600) == 0);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const struct damage *damage = &damages[i];
        CHECK_INT(write_small(100, ZI_FP32, 0), ZI_OK);
        hid_t file = H5Fopen(file_path, H5F_ACC_RDWR, H5P_DEFAULT);
        damage->make(file);
        H5Fclose(file);
        CHECK(user_block_renew(file_path));
        CHECK_INT(open_path(file_path, &step, &text), damage->expected);
        CHECK(strstr(text, damage->said));
        if (!strstr(text, damage->said)) fprintf(stderr, "%s: %s", damage->said, text);
        CHECK(inspect_path(file_path, 1, &text) < 0);
        (void)inspect_path(file_path, 0, &text); /* comes to an end */
    }
    CHECK_INT(write_small(100, ZI_FP32, 0), ZI_OK);
    CHECK_INT(open_path(file_path, &step, &text), ZI_OK);
    CHECK_INT(inspect_path(file_path, 1, &text), ZI_OK);
}

static hid_t dataset_put(hid_t file, const char *name, hid_t space)
{
    hid_t made =
        H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Sclose(space);
    return made;
}

/* What no tensor is may stand beside: inspect names it and goes on. What it cannot read it names.
 */
static void test_beside(void)
{
    const hsize_t ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, huge = (hsize_t)1 << 60;
    const char *text;
    CHECK_INT(write_small(100, ZI_FP32, 0), ZI_OK);
    hid_t file = H5Fopen(path_of("step-00000100.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Dclose(dataset_put(file, "null", H5Screate(H5S_NULL)));
    H5Dclose(dataset_put(file, "nine", H5Screate_simple(9, ones, NULL)));
    H5Fclose(file);
    CHECK(user_block_renew(path_of("step-00000100.h5")));
    CHECK_INT(inspect_path(path_of("step-00000100.h5"), 1, &text), ZI_OK);
    file = H5Fopen(path_of("step-00000100.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 1, ones);
    hid_t space = H5Screate_simple(1, &huge, NULL);
    H5Dclose(H5Dcreate2(file, "huge", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(properties);
    H5Fclose(file);
    CHECK(user_block_renew(path_of("step-00000100.h5")));
    CHECK_INT(inspect_path(path_of("step-00000100.h5"), 0, &text), ZI_ERROR_IO);
    CHECK(strstr(text, "cannot read its dataset /huge: its extents are beyond"));
}

/* The step of what the folder stands for, -1 when nothing; and what is said about it. */
static int64_t found_in_folder(const char *said)
{
    int64_t step;
    const char *text;
    (void)open_path(folder, &step, &text);
    bool right = text[0] == 0;
    if (said) right = strstr(text, said);
    CHECK(right);
    if (said && !right) fprintf(stderr, "%s: %s", said, text);
    return step;
}

static void test_folder(void)
{
    CHECK_INT(write_small(100, ZI_FP32, 0), ZI_OK);
    CHECK_INT(write_small(300, ZI_BF16, 0), ZI_OK);
    CHECK_INT(write_small(200, ZI_BF16, 0), ZI_OK);
    CHECK_INT(found_in_folder(NULL), 200); /* the link counts, not the number */
    CHECK(unlink(path_of("latest")) == 0);
    CHECK_INT(found_in_folder("step-00000300.h5 is taken, the newest whole checkpoint"), 300);
    CHECK(symlink("step-00000999.h5", path_of("latest")) == 0);
    CHECK_INT(found_in_folder("a link latest to step-00000999.h5, which is not there"), 300);
    /* other names are not looked at, whatever they hold; what is not whole is passed over */
    copy_file("step-00000100.h5", "step-00000400-best.h5");
    copy_file("step-00000100.h5", "step-401.h5");
    copy_file("step-00000100.h5", "step-00000402.h5.tmp");
    copy_file("step-00000100.h5", "step-000000000403.h5");
    CHECK(mkdir(path_of("step-00000404.h5"), 0700) == 0);
    CHECK(symlink(".", path_of("step-00000405.h5")) == 0);
    CHECK(truncate(path_of("step-00000300.h5"), 3000) == 0);
    CHECK_INT(found_in_folder("step-00000300.h5 is passed over"), 200);
    CHECK(unlink(path_of("step-00000200.h5")) == 0);
    CHECK_INT(found_in_folder("step-00000100.h5 is taken"), 100);
    CHECK(unlink(path_of("step-00000100.h5")) == 0);
    CHECK_INT(found_in_folder("no file step-NNNNNNNN.h5 in it is a whole checkpoint"), -1);
    /* a link that leads to a damaged file is an error, not a reason to take another */
    CHECK_INT(write_small(100, ZI_FP32, 0), ZI_OK);
    CHECK(unlink(path_of("latest")) == 0);
    CHECK(symlink("step-00000300.h5", path_of("latest")) == 0);
    CHECK_INT(found_in_folder("it has 3000 bytes, not the"), -1);
}

static int64_t mode_of(const char *name)
{
    struct stat is;
    return stat(path_of(name), &is) == 0 ? (int64_t)(is.st_mode & 07777) : -1;
}

static void test_mode(void)
{
    for (int wide = 0; wide < 2; wide++) {
        mode_t before = umask(wide ? 0 : 0077);
        CHECK_INT(write_small(500, ZI_FP32, 0), ZI_OK);
        CHECK_INT(mode_of("step-00000500.h5"), 0600);
        CHECK_INT(write_small(501, ZI_FP32, 0640), ZI_OK);
        CHECK_INT(mode_of("step-00000501.h5"), 0640);
        umask(before);
    }
}

/* What has the temporary name and is no file of a killed run is neither written nor removed. */
static void test_temporary(void)
{
    struct stat is;
    const char *name = "step-00000600.h5.tmp";
    FILE *target = fopen(path_of("target"), "w");
    fputs("a user's own", target);
    fclose(target);
    CHECK(symlink("target", path_of(name)) == 0);
    CHECK_INT(write_small(600, ZI_FP32, 0), ZI_ERROR_USAGE);
    CHECK(lstat(path_of(name), &is) == 0 && S_ISLNK(is.st_mode));
    CHECK(stat(path_of("target"), &is) == 0 && is.st_size == 12);
    CHECK(unlink(path_of(name)) == 0 && mkfifo(path_of(name), 0600) == 0);
    CHECK_INT(write_small(600, ZI_FP32, 0), ZI_ERROR_USAGE);
    CHECK(lstat(path_of(name), &is) == 0 && S_ISFIFO(is.st_mode));
    CHECK(unlink(path_of(name)) == 0);
    copy_file("target", name);
    CHECK_INT(write_small(600, ZI_FP32, 0), ZI_OK); /* left by a killed run */
}

/* Special files where a checkpoint is expected: an error, and no waiting. */
static void test_special(void)
{
    const char *text;
    int64_t step;
    CHECK(mkfifo(path_of("fifo"), 0600) == 0);
    CHECK_INT(open_path(path_of("fifo"), &step, &text), ZI_ERROR_USAGE);
    CHECK(strstr(text, "a fifo"));
    CHECK_INT(inspect_path(path_of("fifo"), 0, &text), ZI_ERROR_USAGE);
    CHECK_INT(inspect_path("/dev/null", 0, &text), ZI_ERROR_USAGE);
    CHECK(strstr(text, "a device"));
}

static void test_probe(void)
{
    const char *text;
    int64_t step;
    CHECK_INT(write_small(700, ZI_FP32, 0), ZI_OK);
    copy_file("step-00000700.h5", "fault.h5");
    copy_file("step-00000700.h5", "step-00000999.h5");
    zi_probe_set("/proc/self/exe");
    CHECK_INT(open_path(path_of("step-00000700.h5"), &step, &text), ZI_OK);
    CHECK_INT(inspect_path(path_of("step-00000700.h5"), 1, &text), ZI_OK);
    CHECK_INT(open_path(path_of("fault.h5"), &step, &text), ZI_ERROR_IO);
    CHECK(strstr(text, "its reader ended by SIGSEGV: the file is damaged; use an older"));
    CHECK_INT(inspect_path(path_of("fault.h5"), 0, &text), ZI_ERROR_IO);
    CHECK(strstr(text, "its reader ended by SIGSEGV"));
    CHECK(unlink(path_of("latest")) == 0);
    CHECK_INT(found_in_folder("step-00000999.h5 is passed over"), 700);
    zi_probe_set(NULL);
}

/* The real walk, without a fault of its own in names that do not ask for one. */
static int child(const char *path)
{
    zi_probe_child();
    if (strstr(path, "fault") || strstr(path, "00000999")) raise(SIGSEGV);
    const char *reason;
    return checkpoint_probe(path, &reason) == ZI_OK ? ZI_PROBE_DONE : ZI_PROBE_MEMORY;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], ZI_PROBE_WORD) == 0) return child(argv[2]);
    if (comm_self(&self) < 0) return 1;
    folder_make(folder, sizeof folder);
    alarm(120); /* a fifo that somebody opens has no writer */
    test_damages();
    test_edits();
    test_user_block();
    test_uncovered();
    test_opened();
    test_beside();
    test_folder();
    test_mode();
    test_temporary();
    test_special();
    test_probe();
    folder_remove(folder);
    comm_destroy(self);
    return test_finish("checkpoint_damage_test");
}
