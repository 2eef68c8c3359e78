/* SPDX-License-Identifier: Apache-2.0 */
/* A request to stop while states are laid out: all ranks leave together with ZI_STOPPED, also when
 * only one of them knows of it, and nothing is left on the disk; states that are saved are not held
 * up by it, states that are loaded are. The request of a process cannot be taken back, so this is
 * one story from before it to its end. */
#include "regression/unit/step_fixture.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include "base/stop.h"
#include "comm/comm.h"
#include "regression/unit/test.h"

static struct comm *world;

static int entries(const char *folder)
{
    DIR *list = opendir(folder);
    int count = 0;
    if (!list) return -1;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        count += entry->d_name[0] != '.';
    }
    closedir(list);
    return count;
}

static enum zi_status visit(void *context, enum tier_kind kind, int tensor, int64_t first,
                            int64_t count, void *values)
{
    (void)kind, (void)tensor, (void)first, (void)values;
    *(int64_t *)context += count;
    return ZI_OK;
}

/* The last rank alone is asked to stop. */
static void request(void)
{
    if (comm_rank(world) == comm_size(world) - 1) {
        CHECK(kill(getpid(), SIGTERM) == 0);
        while (zi_stop_signal() == 0) {
            usleep(1000);
        }
    }
    CHECK(comm_barrier(world) == ZI_OK);
}

static void test_story(struct step_fixture *f)
{
    const struct settings *s = deck_settings(f->deck);
    struct engine *engine = NULL, *second = NULL;
    int64_t elements = 0;
    CHECK_INT(engine_create(f->program, f->device, world, s, &engine), ZI_OK);
    if (!engine) return;
    CHECK_INT(engine_initialize(engine), ZI_OK);
    request();
    CHECK_INT(engine_save(engine, visit, &elements), ZI_OK);
    CHECK(elements > 0);
    CHECK_INT(engine_load(engine, visit, &elements), ZI_STOPPED);
    CHECK_INT(engine_initialize(engine), ZI_STOPPED);
    engine_destroy(engine);
    CHECK_INT(engine_create(f->program, f->device, world, s, &second), ZI_STOPPED);
    CHECK(!second);
}

int main(int argc, char **argv)
{
    static const char *const sets[] = {"placement.parameters=nvme",
                                       "placement.gradients=nvme",
                                       "placement.optimizer=nvme",
                                       "placement.activations=nvme",
                                       "nvme.paths=zero-stop.paths",
                                       "precision.compute=bf16",
                                       NULL};
    struct step_fixture f;
    char folder[32];
    if (zi_stop_start() < 0 || comm_start(&argc, &argv, &world) < 0) return 1;
    step_fixture_enter(world, folder);
    CHECK_INT(step_fixture_open(&f, step_fixture_gpt2, sets, comm_size(world), comm_rank(world)),
              ZI_OK);
    if (f.program) test_story(&f);
    step_fixture_close(&f);
    CHECK(comm_barrier(world) == ZI_OK);
    CHECK_INT(entries("zero-stop.paths"), 0);
    CHECK(comm_barrier(world) == ZI_OK);
    if (comm_rank(world) == 0) CHECK(rmdir("zero-stop.paths") == 0);
    CHECK(step_fixture_leave(world, folder, NULL));
    int result = test_finish("engine_stop_test");
    comm_finish(world);
    return result;
}
