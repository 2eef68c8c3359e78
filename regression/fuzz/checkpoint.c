/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a checkpoint or a run record: opened, verified, its tensors read, and inspected.
 *
 * What begins with a user block is a checkpoint. Of half of them, by their bytes, the block is made
 * to hold again, so that what is behind it is reached; the others are read as they are, and as HDF5
 * should not see them, nobody looks first whether HDF5 bears them.
 *
 * Where FUZZ_SEEDS names a folder, a whole checkpoint is left in it, and a record that makes HDF5 ask
 * for more memory than it gets: a chunk that is said to have 1.25 GiB. */
#include "fuzz.h"

#include "base/random.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/file.h"
#include "h5/attribute.h"
#include "h5/h5.h"
#include "regression/unit/user_block_fixture.h"

#include <string.h>

enum { ELEMENTS_MOST = 1 << 22 };

int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct comm *self;

static void write_seed(const char *folder)
{
    struct checkpoint *made;
    const struct checkpoint_tensor one = {"a", 1, {3, 0}};
    const struct checkpoint_header header = {
        .step = 1, .deck = "run: {name: x}\n", .type = ZI_BF16, .model_text = "{model: {}}"};
    const float values[3] = {1, 2, 3};
    fuzz_must(checkpoint_create(self, folder, &header, &one, 1, &made) == ZI_OK, "seed");
    for (int s = 0; s < TIER_KIND_COUNT; s++)
        if (checkpoint_state_is_written(s, ZI_BF16)) checkpoint_write(made, s, 0, 0, 3, values);
    fuzz_must(checkpoint_commit(made, (struct checkpoint_retention){0, 0}) == ZI_OK, "seed");
    checkpoint_close(made);
}

/* A dataset of one chunk, which has a checksum: only the bytes of filtered chunks are said in the
 * file. */
static void write_record(const char *path)
{
    const hsize_t extent = 10;
    const float values[10] = {1};
    hid_t file = h5_file_create(path, 1), space = H5Screate_simple(1, &extent, NULL);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    fuzz_must(H5Pset_chunk(creation, 1, &extent) >= 0, "seed");
    fuzz_must(H5Pset_fletcher32(creation) >= 0, "seed");
    hid_t dataset =
        H5Dcreate2(file, "a", H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    fuzz_must(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0,
              "seed");
    fuzz_must(h5_text_write(file, "format", "zinf-record") >= 0, "seed");
    H5Dclose(dataset);
    H5Pclose(creation);
    H5Sclose(space);
    fuzz_must(H5Fclose(file) >= 0, "seed");
}

static void write_demand(const char *folder)
{
    enum { MOST = 1 << 16, HEAD = 24 /* of a node, before its first key */ };
    static const unsigned char node[] = {'T', 'R', 'E', 'E', 1};
    static const unsigned char demand[] = {0, 0, 0, 0x50};
    static unsigned char bytes[MOST];
    char path[2100];
    snprintf(path, sizeof path, "%s/demand", folder);
    write_record(path);
    FILE *file = fopen(path, "r+b");
    fuzz_must(file, path);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    unsigned char *found = memmem(bytes, size, node, sizeof node);
    fuzz_must(found && size < MOST && fseek(file, found - bytes + HEAD, SEEK_SET) == 0, path);
    fuzz_must(fwrite(demand, 1, sizeof demand, file) == sizeof demand, path);
    fuzz_must(fclose(file) == 0, path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    fuzz_must(comm_self(&self) == ZI_OK, "comm");
    h5_quiet();
    const char *seeds = getenv("FUZZ_SEEDS");
    if (seeds) {
        write_seed(seeds);
        write_demand(seeds);
    }
    return 0;
}

static void read_tensors(struct checkpoint *checkpoint)
{
    for (int d = 0; d < checkpoint->dataset_count; d++) {
        const struct checkpoint_dataset *dataset = &checkpoint->datasets[d];
        if (dataset->elements > ELEMENTS_MOST) continue;
        void *values = malloc((size_t)dataset->elements * zi_dtype_bytes(dataset->type));
        fuzz_must(values, "memory");
        const char *name = dataset->name + strlen(checkpoint_state_name(dataset->state)) + 1;
        (void)checkpoint_read(checkpoint, dataset->state, name, dataset->elements, 0,
                              dataset->elements, values);
        free(values);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint *checkpoint;
    static FILE *nowhere;
    char path[2100];
    bool covered = size >= sizeof(struct user_block) &&
                   memcmp(data, USER_BLOCK_MAGIC, sizeof USER_BLOCK_MAGIC) == 0;
    const char *name = covered ? "step-00000001.h5" : "run.h5";
    fuzz_put(name, data, size);
    snprintf(path, sizeof path, "%s", fuzz_path(name));
    bool renewed = covered && zi_random_hash(data, size) % 2 == 0 && user_block_renew(path);
    if ((renewed || !covered) && !fuzz_bears(path)) return 0;
    if (checkpoint_open(self, path, &checkpoint) >= 0) {
        (void)checkpoint_verify(checkpoint);
        read_tensors(checkpoint);
        checkpoint_close(checkpoint);
    }
    if (!nowhere) nowhere = fopen("/dev/null", "w");
    fuzz_must(nowhere, "/dev/null");
    (void)checkpoint_inspect(path, 1, nowhere);
    return 0;
}
