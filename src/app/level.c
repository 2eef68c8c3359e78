/* SPDX-License-Identifier: Apache-2.0 */
/* The local level of checkpoints.
 *
 * A shared checkpoint goes through a network to disks that many jobs use; a local one goes to the
 * disk of the node and may be made ten times as often. It dies with the node, so it is never the
 * only one: the shared level goes on as without it, and a run goes on from whichever is newer.
 *
 * The parts of a local checkpoint lie on many nodes, and some of them may be of another time: of a
 * run that was removed, or of a job on other nodes. Such a part has a good checksum, a step and the
 * right name, and must not be used. So a run has an identity, a number that stands in the file
 * local.yaml of the run directory, which all nodes share, and in every part. It is made anew
 * whenever a run begins, or goes on from anything but a local checkpoint: from then on all parts
 * that exist anywhere are worthless, also on nodes that are not of the job. With the identity stand
 * the number of ranks and the layout (which elements are which rank's), since a rank finds only its
 * own part on its node.
 *
 * A part has what the rank exports to any checkpoint, which is each element once. Where ranks keep
 * all of a state (ZeRO stages 0 to 2), the parts are passed round before they are loaded.
 *
 * A local checkpoint that cannot be written is never the end of a run. */
#include "app/level.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "app/report.h"
#include "app/save_plan.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/timing.h"
#include "checkpoint/local.h"
#include "checkpoint/local_folder.h"

#define LEVEL_FILE "local.yaml"

/* What local.yaml says. */
struct level_file {
    uint64_t identity, layout;
    int64_t ranks;
    /* Where it was written */
    char directory[PATH_MAX];
};

static bool is_first(const struct run *run)
{
    return comm_rank(run->comm) == 0;
}

static const struct settings_checkpoint *settings_of(const struct run *run)
{
    return &run->setup.settings->checkpoint;
}

static bool is_wanted(const struct run *run)
{
    const struct settings_checkpoint *s = settings_of(run);
    return s->local[0] && s->local_every > 0;
}

static struct local_site site_of(const struct run *run)
{
    const struct level *level = &run->level;
    return (struct local_site){level->folder, level->identity, level->layout, level->step};
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    const uint64_t both[2] = {hash, value};
    return zi_random_hash(both, sizeof both);
}

/* A number for which elements of which tensors each rank has. */
static uint64_t layout_of(const struct partition *partition)
{
    uint64_t hash = mix((uint64_t)partition->ranks, (uint64_t)partition->unit_count);
    for (int u = 0; u < partition->unit_count; u++) {
        const struct partition_unit *unit = &partition->units[u];
        hash = mix(mix(hash, (uint64_t)unit->elements), (uint64_t)unit->shard);
        for (int i = 0; i < unit->range_count; i++) {
            const struct partition_range *range = &partition->ranges[unit->range_first + i];
            hash = mix(mix(hash, (uint64_t)range->tensor), (uint64_t)range->unit_first);
            hash = mix(mix(hash, (uint64_t)range->count), range->place.first);
            hash = mix(mix(hash, (uint64_t)range->place.row), (uint64_t)range->place.stride);
        }
    }
    return hash;
}

/* False when the file is not there, or cannot be understood. */
static bool read_file(const char *directory, struct level_file *file)
{
    char path[PATH_MAX], text[PATH_MAX + 256] = "";
    int at = 0;
    FILE *in = report_path(directory, LEVEL_FILE, path) < 0 ? NULL : fopen(path, "re");
    if (!in) return false;
    text[fread(text, 1, sizeof text - 1, in)] = '\0';
    fclose(in);
    bool read =
        sscanf(text,
               "identity: %16" SCNx64 " layout: %16" SCNx64 " ranks: %9" SCNd64 " directory: %n",
               &file->identity, &file->layout, &file->ranks, &at) == 3 &&
        at > 0 && strlen(text + at) < sizeof file->directory;
    if (!read) zi_log(ZI_LOG_WARN, "app", "%s cannot be understood", path);
    if (read)
        snprintf(file->directory, sizeof file->directory, "%.*s", (int)strcspn(text + at, "\n"),
                 text + at);
    return read;
}

bool level_identity(const char *directory, uint64_t *identity)
{
    struct level_file file;
    if (!read_file(directory, &file)) return false;
    *identity = file.identity;
    return true;
}

/* Rank 0; `owner` knows the run directory. */
static enum zi_status write_file(const struct run *run, const struct local_owner *owner)
{
    const struct level *level = &run->level;
    char text[PATH_MAX + 256];
    snprintf(text, sizeof text,
             "identity: %016" PRIx64 "\nlayout: %016" PRIx64 "\nranks: %d\ndirectory: %s\n",
             level->identity, level->layout, comm_size(run->comm), owner->run_directory);
    return report_text(run->setup.settings->run.directory, LEVEL_FILE, text);
}

/* Rank 0. */
static enum zi_status remove_file(const struct run *run)
{
    char path[PATH_MAX];
    ZI_TRY(report_path(run->setup.settings->run.directory, LEVEL_FILE, path));
    if (unlink(path) == 0 || errno == ENOENT) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "app", "cannot remove %s: %s", path, strerror(errno));
}

/* Rank 0. Whether a run directory is a copy of one that is still there, and whose parts these are.
 */
static bool is_copy(const char *directory, const struct level_file *file)
{
    struct level_file there;
    char path[PATH_MAX];
    return realpath(directory, path) && strcmp(path, file->directory) != 0 &&
           read_file(file->directory, &there) && there.identity == file->identity;
}

/* Rank 0. Whether the parts can be of use to this job; says why not. */
static bool is_usable(const struct run *run, const struct level_file *file)
{
    int ranks = comm_size(run->comm);
    if (is_copy(run->setup.settings->run.directory, file))
        zi_log(ZI_LOG_NOTE, "app",
               "the run directory is a copy of %s, which has the local checkpoints: they are left "
               "to that",
               file->directory);
    else if (file->ranks != ranks)
        zi_log(ZI_LOG_NOTE, "app",
               "the local checkpoints are of %" PRId64 " rank%s, and this job has %d: they are of "
               "no use to it",
               file->ranks, file->ranks == 1 ? "" : "s", ranks);
    else if (file->layout != run->level.layout)
        zi_log(ZI_LOG_NOTE, "app",
               "the local checkpoints are of a model, or of tiles, that were cut in another way: "
               "they are of no use to this job");
    else
        return true;
    return false;
}

enum zi_status level_find(struct run *run)
{
    struct level *level = &run->level;
    struct level_file file = {.ranks = 0};
    struct save_plan plan;
    int32_t usable = 0;
    level->layout = layout_of(run->setup.partition);
    if (!is_wanted(run)) return ZI_OK;
    if (is_first(run))
        usable = read_file(run->setup.settings->run.directory, &file) && is_usable(run, &file);
    ZI_TRY(comm_broadcast(run->comm, &usable, sizeof usable, 0));
    if (!usable) return ZI_OK;
    ZI_TRY(comm_broadcast(run->comm, &file.identity, sizeof file.identity, 0));
    level->identity = file.identity;
    enum zi_status status = save_plan_make(run, &plan);
    if (status >= 0)
        status = local_folder_name(settings_of(run)->local, level->identity, level->folder);
    status = comm_agree(run->comm, status);
    const struct local_site site = site_of(run);
    if (status >= 0)
        status = local_open_newest(run->comm, &site, plan.tensors, run->setup.model->tensor_count,
                                   run->setup.model->type, &level->from);
    save_plan_cleanup(&plan);
    return status;
}

void level_leave(struct run *run)
{
    local_close(run->level.from);
    run->level.from = NULL;
}

void level_cleanup(struct run *run)
{
    level_leave(run);
    if (run->level.held >= 0) close(run->level.held);
    run->level.held = -1;
}

/* Collective. What one rank has of a range of a unit, to all. */
static enum zi_status share_range(struct run *run, enum tier_kind kind,
                                  const struct partition_range *range, int root)
{
    const struct device_place *place = &range->place;
    for (int64_t done = 0; done < range->count; done += place->row) {
        int64_t rest = range->count - done;
        ZI_TRY(local_share(run->level.from, kind, range->tensor,
                           (int64_t)place->first + done / place->row * place->stride,
                           rest < place->row ? rest : place->row, root));
    }
    return ZI_OK;
}

/* Collective. A state of a unit, from the ranks that have its shards to all. */
static enum zi_status share_unit(struct run *run, enum tier_kind kind,
                                 const struct partition_unit *unit)
{
    const struct partition *partition = run->setup.partition;
    for (int root = 0; root < partition->ranks; root++) {
        for (int i = 0; i < unit->range_count; i++) {
            struct partition_range cut[3];
            int parts = partition_cut(&partition->ranges[unit->range_first + i], root * unit->shard,
                                      (root + 1) * unit->shard, cut);
            for (int p = 0; p < parts; p++)
                ZI_TRY(share_range(run, kind, &cut[p], root));
        }
    }
    return ZI_OK;
}

enum zi_status level_take(struct run *run)
{
    const struct zero_config *config = &run->setup.config;
    const struct partition *partition = run->setup.partition;
    for (int k = 0; k < TIER_KIND_COUNT && config->ranks > 1; k++) {
        enum tier_kind kind = (enum tier_kind)k;
        bool saved = tier_kind_row(kind)->saved;
        if (kind == TIER_MASTER && config->compute == ZI_FP32) saved = false; /* the parameter */
        for (int u = 0; u < partition->unit_count && saved && !zero_is_sharded(config, kind); u++)
            ZI_TRY(share_unit(run, kind, &partition->units[u]));
    }
    enum zi_status status = local_share_end(run->level.from);
    if (status == ZI_ERROR_IO) level_leave(run);
    return status;
}

static enum zi_status load_range(void *context, enum tier_kind kind, int tensor, int64_t first,
                                 int64_t count, void *values)
{
    return local_read(context, kind, tensor, first, count, values);
}

enum zi_status level_load(struct run *run)
{
    struct local_checkpoint *from = run->level.from;
    ZI_TRY(engine_load(run->engine, load_range, from));
    level_leave(run);
    return ZI_OK;
}

/* A number that no other run has. */
static uint64_t new_identity(void)
{
    struct timespec now;
    char host[256] = "";
    clock_gettime(CLOCK_REALTIME, &now);
    (void)gethostname(host, sizeof host - 1);
    return mix(mix(zi_random_stream(host), (uint64_t)getpid()),
               (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

/* Collective. The run directory as rank 0 has it, from the root. */
static enum zi_status find_directory(struct run *run, char path[PATH_MAX])
{
    const char *directory = run->setup.settings->run.directory;
    enum zi_status status = ZI_OK;
    memset(path, 0, PATH_MAX);
    if (is_first(run) && !realpath(directory, path))
        status = zi_fail(ZI_ERROR_IO, "app", "%s: %s", directory, strerror(errno));
    ZI_TRY(comm_agree(run->comm, status));
    return comm_broadcast(run->comm, path, PATH_MAX, 0);
}

/* Removes what earlier jobs of the run directory left on this node, but what this job has. */
static void remove_others(const struct run *run, const struct local_owner *owner)
{
    const char *path = settings_of(run)->local;
    struct local_remains remains;
    char size[32];
    DIR *list = opendir(path);
    for (struct dirent *entry = list ? readdir(list) : NULL; entry; entry = readdir(list)) {
        if (!local_folder_look(dirfd(list), entry->d_name, &remains) || remains.held ||
            remains.owner.identity == owner->identity ||
            strcmp(remains.owner.run_directory, owner->run_directory) != 0)
            continue;
        int error = local_folder_remove(dirfd(list), entry->d_name);
        if (error == 0)
            zi_log(ZI_LOG_NOTE, "app",
                   "%s/%s, local checkpoints that are of no use any more, is removed: %s are free "
                   "again",
                   path, entry->d_name, zi_memory_text(remains.bytes, size, sizeof size));
        else
            zi_log(ZI_LOG_WARN, "app",
                   "%s/%s, local checkpoints that are of no use any more, cannot be removed: %s",
                   path, entry->d_name, strerror(error));
    }
    if (list) closedir(list);
}

/* Says where the disk of a node has no room for the two steps that stand while one is written. */
static enum zi_status check_room(const struct run *run)
{
    struct statvfs system;
    int64_t bytes;
    char need[32], there[32];
    ZI_TRY(saving_bytes(run, &bytes));
    double needed = 2.0 * (double)bytes / comm_size(run->comm) * comm_node_size(run->comm);
    if (statvfs(run->level.folder, &system) != 0 || system.f_blocks == 0) return ZI_OK;
    double free_bytes = (double)system.f_bavail * (double)system.f_frsize;
    if (needed > free_bytes)
        zi_log(ZI_LOG_WARN, "app",
               "two local checkpoints, which stand at once, take %s on this node, and %s are free "
               "in %s: make room",
               zi_memory_text((size_t)needed, need, sizeof need),
               zi_memory_text((size_t)free_bytes, there, sizeof there), settings_of(run)->local);
    return ZI_OK;
}

/* The folder of this node, when the run directory is known by `owner`. */
static enum zi_status make_folder(struct run *run, const struct local_owner *owner)
{
    struct level *level = &run->level;
    ZI_TRY(local_folder_name(settings_of(run)->local, level->identity, level->folder));
    if (comm_node_rank(run->comm) == 0) remove_others(run, owner);
    ZI_TRY(local_folder_make(level->folder, owner));
    ZI_TRY(local_folder_hold(level->folder, &level->held));
    /* Parts of later steps that some ranks had before the last kill: this job may do these steps
     * with other keys, and all parts of a step are to be of one time. */
    local_remove(level->folder, comm_rank(run->comm), level->step);
    ZI_TRY(zi_file_sync_folder("app", level->folder));
    return comm_node_rank(run->comm) == 0 ? check_room(run) : ZI_OK;
}

enum zi_status level_forget(const struct run *run)
{
    return is_wanted(run) && run->level.step >= 0 ? ZI_OK : remove_file(run);
}

enum zi_status level_begin(struct run *run)
{
    struct level *level = &run->level;
    struct local_owner owner;
    level->layout = layout_of(run->setup.partition);
    if (!is_wanted(run)) return ZI_OK;
    if (level->step < 0) {
        level->identity = new_identity();
        ZI_TRY(comm_broadcast(run->comm, &level->identity, sizeof level->identity, 0));
    }
    owner.identity = level->identity;
    ZI_TRY(find_directory(run, owner.run_directory));
    ZI_TRY(comm_agree(run->comm, make_folder(run, &owner)));
    return comm_agree(run->comm, is_first(run) ? write_file(run, &owner) : ZI_OK);
}

static enum zi_status save_range(void *context, enum tier_kind kind, int tensor, int64_t first,
                                 int64_t count, void *values)
{
    return local_write(context, kind, tensor, first, count, values);
}

/* Collective. */
static enum zi_status save_states(struct run *run, const struct save_plan *plan)
{
    struct level *level = &run->level;
    const struct local_site site = site_of(run);
    struct local_checkpoint *local;
    ZI_TRY(local_create(run->comm, &site, &plan->header, plan->tensors,
                        run->setup.model->tensor_count, &local));
    enum zi_status status = comm_agree(run->comm, engine_save(run->engine, save_range, local));
    if (status >= 0) status = local_commit(local);
    if (status >= 0) {
        level->step = run->good;
        level->bytes = local_bytes(local);
        level->count++;
    }
    local_close(local);
    return status;
}

/* Rank 0. */
static void say_unwritten(const struct run *run)
{
    char stands[64] = "there is none yet";
    if (run->level.step >= 0)
        snprintf(stands, sizeof stands, "that of step %" PRId64 " stands", run->level.step);
    zi_log(ZI_LOG_WARN, "app",
           "the local checkpoint of step %" PRId64 " could not be written: training goes on, %s, "
           "and the next is tried when it is due",
           run->good, stands);
}

enum zi_status level_save(struct run *run, bool skipped)
{
    struct level *level = &run->level;
    struct save_plan plan;
    if (!is_wanted(run)) return ZI_OK;
    if (run->done % settings_of(run)->local_every == 0) level->due = true;
    if (!level->due || skipped) return ZI_OK;
    level->due = false;
    double start = zi_time_s();
    enum zi_status status = comm_agree(run->comm, save_plan_make(run, &plan));
    if (status >= 0) status = save_states(run, &plan);
    save_plan_cleanup(&plan);
    double seconds = zi_time_s() - start;
    level->seconds += seconds;
    run->progress.checkpoint_s += seconds;
    control_paused(&run->control, seconds);
    if (status == ZI_ERROR_IO && is_first(run)) say_unwritten(run);
    return status == ZI_ERROR_NUMERICS || status == ZI_ERROR_IO ? ZI_OK : status;
}

/* Rank 0. */
static void print_summary(const struct level *level)
{
    char size[32];
    if (level->count == 0) return;
    double each = level->seconds / (double)level->count;
    printf("%" PRId64 " local checkpoint%s, %s of rank 0 in each, %.3g s and %.3g GB/s a rank\n",
           level->count, level->count == 1 ? "" : "s",
           zi_memory_text((size_t)level->bytes, size, sizeof size), each,
           (double)level->bytes / each * 1e-9);
}

/* Each rank its own, then the first of a node what is left. */
static enum zi_status remove_all(struct run *run)
{
    const char *path = settings_of(run)->local, *folder = run->level.folder;
    ZI_TRY(comm_agree(run->comm, is_first(run) ? remove_file(run) : ZI_OK));
    local_remove(folder, comm_rank(run->comm), -1);
    level_cleanup(run);
    ZI_TRY(comm_barrier(run->comm));
    if (comm_node_rank(run->comm) != 0) return ZI_OK;
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = directory < 0 ? errno : local_folder_remove(directory, folder + strlen(path) + 1);
    if (directory >= 0) close(directory);
    if (error != 0 && error != ENOENT)
        zi_log(ZI_LOG_WARN, "app", "%s: cannot be removed: %s", folder, strerror(error));
    return ZI_OK;
}

enum zi_status level_end(struct run *run, enum zi_status left)
{
    const struct level *level = &run->level;
    bool finished = left >= 0 && run->done >= run->setup.settings->run.steps;
    bool saved = (left >= 0 || left == ZI_STOPPED) && run->saved == run->good;
    if (!is_wanted(run)) return ZI_OK;
    if (is_first(run)) print_summary(level);
    if (finished || saved) return remove_all(run);
    if (is_first(run) && level->step > run->saved)
        printf("local checkpoint of step %" PRId64 " in %s\n", level->step,
               settings_of(run)->local);
    return ZI_OK;
}
