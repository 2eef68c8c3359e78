/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints that have parameters alone, under a name that is given: what was written is read back
 * and verified, other states are not there, no link moves, and only a file is replaced. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint_fixture.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

static char folder[] = "./weights-test-XXXXXX";
static struct capture capture;

static const char *path_of(const char *name)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static enum zi_status write_weights(struct comm *self, int version, enum zi_dtype type)
{
    struct checkpoint_header header = header_of(version, type);
    struct checkpoint *checkpoint;
    header.weights_only = true;
    header.path = "model.h5";
    header.mode = 0640;
    ZI_TRY(checkpoint_create(self, folder, &header, tensors, TENSOR_COUNT, &checkpoint));
    for (int t = 0; t < TENSOR_COUNT; t++) {
        void *values = test_allocate((size_t)tensor_elements(t) * 4);
        values_fill(version, TIER_PARAMETER, type, t, 0, tensor_elements(t), values);
        CHECK(checkpoint_write(checkpoint, TIER_PARAMETER, t, 0, tensor_elements(t), values) ==
              ZI_OK);
        free(values);
    }
    enum zi_status status = checkpoint_commit(checkpoint, (struct checkpoint_retention){0, 0});
    checkpoint_close(checkpoint);
    return status;
}

static void test_type(struct comm *self, int version, enum zi_dtype type)
{
    struct checkpoint *checkpoint;
    struct stat is;
    float value;
    CHECK(write_weights(self, version, type) == ZI_OK);
    CHECK(stat(path_of("model.h5"), &is) == 0 && (is.st_mode & 0777) == 0640);
    CHECK(lstat(path_of("latest"), &is) != 0 && lstat(path_of("model.h5.tmp"), &is) != 0);
    CHECK(checkpoint_open(self, path_of("model.h5"), &checkpoint) == ZI_OK);
    CHECK(checkpoint_get_header(checkpoint)->weights_only);
    CHECK(checkpoint_get_header(checkpoint)->type == type);
    CHECK_INT(checkpoint_tensors(checkpoint), TENSOR_COUNT);
    CHECK(checkpoint_verify(checkpoint) == ZI_OK);
    for (int t = 0; t < TENSOR_COUNT; t++)
        CHECK_INT(count_wrong(checkpoint, version, TIER_PARAMETER, t, 0, tensor_elements(t)), 0);
    CHECK_INT(checkpoint_elements(checkpoint, TIER_MASTER, tensors[0].name), -1);
    CHECK_INT(checkpoint_elements(checkpoint, TIER_MOMENT1, tensors[0].name), -1);
    capture_begin(&capture, stderr);
    CHECK(checkpoint_read(checkpoint, TIER_MASTER, tensors[0].name, tensor_elements(0), 0, 1,
                          &value) == ZI_ERROR_USAGE);
    CHECK(strstr(capture_end(&capture), "has no master/"));
    checkpoint_close(checkpoint);
}

/* What is no file under that name stays. */
static void test_occupied(struct comm *self)
{
    struct stat is;
    CHECK(unlink(path_of("model.h5")) == 0 && mkdir(path_of("model.h5"), 0700) == 0);
    capture_begin(&capture, stderr);
    CHECK(write_weights(self, 1, ZI_FP32) == ZI_ERROR_USAGE);
    CHECK(strstr(capture_end(&capture), "is a folder"));
    CHECK(stat(path_of("model.h5"), &is) == 0 && S_ISDIR(is.st_mode));
    CHECK(rmdir(path_of("model.h5")) == 0);
}

int main(void)
{
    struct comm *self;
    if (!mkdtemp(folder) || comm_self(&self) < 0) return 1;
    test_type(self, 1, ZI_FP32);
    test_type(self, 2, ZI_BF16);
    test_type(self, 3, ZI_FP16);
    test_occupied(self);
    comm_destroy(self);
    CHECK(rmdir(folder) == 0);
    return test_finish("checkpoint_weights");
}
