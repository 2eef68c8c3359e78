/* SPDX-License-Identifier: Apache-2.0 */
/* A model to be asked. Of a deck it needs the sections model and precision, which a checkpoint has as
 * a line of YAML and config.json says of a folder; it is compiled to programs of parameters only, for
 * one rank, and the states are read by the tensors' names. Other sections of a checkpoint's text, with
 * paths in them, are not read; tiers and budgets are those of --set. */
#include "app/loaded.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "app/source.h"
#include "base/log.h"
#include "comm/comm.h"
#include "compiler/placement.h"
#include "text/tokenizer.h"

/* Most values that a command line sets, and ours. */
enum { SETS_MOST = 64, SETS_OWN = 4, SET_BYTES = 64 };

/* All values that are set, in the order in which they count. */
struct sets {
    const char *all[SETS_MOST + SETS_OWN];
    char own[SETS_OWN][SET_BYTES];
    int count;
};

static enum zi_status fail_model(const char *what, int64_t said, int64_t found)
{
    return zi_fail(ZI_ERROR_IO, "app",
                   "the checkpoint's text of its model says %" PRId64 " %s, but it has %" PRId64
                   ": the file is damaged; use an older checkpoint",
                   said, what, found);
}

/* The tensors of the model are those that the checkpoint has. */
static enum zi_status check_tensors(const struct loaded *l)
{
    const struct model *model = l->setup.model;
    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        int64_t found = checkpoint_elements(l->checkpoint, TIER_PARAMETER, t->name);
        char what[160];
        snprintf(what, sizeof what, "elements of %s", t->name);
        if (found != t->elements) return fail_model(what, t->elements, found < 0 ? 0 : found);
    }
    int found = checkpoint_tensors(l->checkpoint);
    return found == model->tensor_count ? ZI_OK : fail_model("tensors", model->tensor_count, found);
}

/* The model is that of the checkpoint or folder; what it is asked is said by options. */
static enum zi_status check_set(const char *set)
{
    static const char *const sections[] = {"placement.", "memory.", "nvme.",   "device.",
                                           "precision.", "batch.",  "tiling.", "zero."};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (strncmp(set, sections[i], strlen(sections[i])) == 0) return ZI_OK;
    return zi_fail(
        ZI_ERROR_USAGE, "app",
        "--set %s: of a deck this command takes keys of placement, memory, nvme, device, "
        "precision, batch, tiling and zero; all else is as the model was trained",
        set);
}

/* What --set says, behind what it may override. */
static enum zi_status collect_sets(const struct loading *loading, struct sets *sets)
{
    int64_t threads = 0;
    int given_count;
    const char *const *given = options_all(loading->options, "--set", &given_count);
    ZI_TRY(options_integer(loading->options, "--threads", 1, 1024, &threads));
    if (given_count > SETS_MOST)
        return zi_fail(ZI_ERROR_USAGE, "app", "%d times --set, at most %d", given_count, SETS_MOST);
    for (int i = 0; i < given_count; i++)
        ZI_TRY(check_set(given[i]));
    sets->count = 0;
    for (int i = 0; i < SETS_OWN; i++) {
        if (i == SETS_OWN - 1 && threads == 0) continue;
        sets->all[sets->count++] = sets->own[i];
    }
    snprintf(sets->own[0], SET_BYTES, "batch.global=%" PRId64, loading->sequences);
    snprintf(sets->own[1], SET_BYTES, "batch.micro=%" PRId64, loading->sequences);
    snprintf(sets->own[2], SET_BYTES, "run.name=ask"); /* folders of nvme.paths are named by it */
    snprintf(sets->own[3], SET_BYTES, "device.threads=%" PRId64, threads);
    for (int i = 0; i < given_count; i++)
        sets->all[sets->count++] = given[i];
    return ZI_OK;
}

static enum zi_status check_deck(struct loaded *l)
{
    model_check(l->setup.deck);
    zero_check(l->setup.deck, 1);
    return deck_check(l->setup.deck);
}

static enum zi_status describe_checkpoint(struct loaded *l, const struct sets *sets)
{
    const struct checkpoint_header *header = checkpoint_get_header(l->checkpoint);
    ZI_TRY(setup_parse_part(&l->setup, header->model_text, "model of the checkpoint",
                            setup_model_sections, sets->all, sets->count));
    ZI_TRY(check_deck(l));
    const struct settings *s = l->setup.settings;
    if (s->precision.compute != (int)header->type)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "precision.compute is %s, but the parameters of the checkpoint are %s, and "
                       "are computed with as they are",
                       zi_dtype_name((enum zi_dtype)s->precision.compute),
                       zi_dtype_name(header->type));
    if (s->model.layers > checkpoint_tensors(l->checkpoint)) /* each has several */
        return fail_model("layers", s->model.layers, checkpoint_tensors(l->checkpoint));
    return ZI_OK;
}

static enum zi_status describe_folder(struct loaded *l, const char *path, struct sets *sets)
{
    char compute[SET_BYTES];
    const char *all[SETS_MOST + SETS_OWN + 1] = {compute};
    snprintf(compute, sizeof compute, "precision.compute=%s",
             zi_dtype_name(source_type(l->source)));
    for (int i = 0; i < sets->count; i++)
        all[i + 1] = sets->all[i];
    ZI_TRY(setup_parse_part(&l->setup, NULL, path, setup_no_sections, all, sets->count + 1));
    deck_take_model(l->setup.deck, source_model(l->source), path);
    return check_deck(l);
}

static enum zi_status open_path(struct loaded *l, const char *path)
{
    char config[PATH_MAX];
    struct stat info;
    int length = snprintf(config, sizeof config, "%s/config.json", path);
    bool is_folder = length > 0 && length < (int)sizeof config && stat(config, &info) == 0;
    ZI_TRY(comm_self(&l->comm));
    return is_folder ? source_open(path, false, &l->source)
                     : source_open_checkpoint(l->comm, path, &l->checkpoint);
}

enum zi_status loaded_find_tokenizer(struct loaded *loaded, const struct options *options,
                                     char path[PATH_MAX])
{
    const char *given = options_text(options, "--tokenizer", NULL);
    if (given) {
        snprintf(path, PATH_MAX, "%s", given);
        return ZI_OK;
    }
    ZI_TRY(open_path(loaded, options->words[0]));
    ZI_TRY(loaded->source
               ? source_files(loaded->source, path)
               : source_find_files(checkpoint_get_header(loaded->checkpoint)->path, path));
    if (path[0] && !tokenizer_exists(path)) path[0] = 0;
    return ZI_OK;
}

/* A base of rotation that depends on the length of a text would turn what is in the cache. */
static int64_t cache_most(const struct settings_model *s)
{
    bool depends = s->rope_scaling == ROPE_DYNAMIC && s->rope_original > 0;
    return depends && s->rope_original < s->context ? s->rope_original : s->context;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static enum zi_status compile(struct loaded *l, const struct loading *loading)
{
    struct settings *s = l->setup.settings;
    const struct zero_node node = {.ranks = 1};
    l->vocabulary = s->model.vocabulary;
    l->context = loading->cache > 0 ? cache_most(&s->model) : s->model.context;
    if (s->batch.tokens == ZI_AUTO) s->batch.tokens = smaller(loading->tokens, l->context);
    l->setup.config.training = false;
    l->setup.config.cache = smaller(loading->cache, l->context);
    ZI_TRY(zero_resolve(s, &l->setup.description, 1, &node, &l->setup.config));
    ZI_TRY(setup_compile(&l->setup));
    if (l->source) ZI_TRY(source_match(l->source, l->setup.model, 0));
    return engine_create(l->setup.program, l->setup.device, l->comm, s, &l->engine);
}

static enum zi_status load_range(void *context, enum tier_kind kind, int tensor, int64_t first,
                                 int64_t count, void *values)
{
    struct loaded *l = context;
    const struct model_tensor *t = &l->setup.model->tensors[tensor];
    if (kind != TIER_PARAMETER) return ZI_OK;
    if (l->source) return source_visit(l->source, kind, tensor, first, count, values);
    return checkpoint_read(l->checkpoint, TIER_PARAMETER, t->name, t->elements, first, count,
                           values);
}

enum zi_status loaded_open(struct loaded *loaded, const struct loading *loading)
{
    struct sets sets;
    ZI_TRY(collect_sets(loading, &sets));
    if (!loaded->comm) ZI_TRY(open_path(loaded, loading->path));
    ZI_TRY(loaded->source ? describe_folder(loaded, loading->path, &sets)
                          : describe_checkpoint(loaded, &sets));
    ZI_TRY(setup_open(&loaded->setup, DEVICE_ALONE));
    ZI_TRY(loaded->source ? source_match(loaded->source, loaded->setup.model, 0)
                          : check_tensors(loaded));
    ZI_TRY(compile(loaded, loading));
    return engine_load(loaded->engine, load_range, loaded);
}

void loaded_close(struct loaded *loaded)
{
    engine_destroy(loaded->engine);
    setup_cleanup(&loaded->setup);
    if (loaded->checkpoint) checkpoint_close(loaded->checkpoint);
    source_close(loaded->source);
    if (loaded->comm) comm_destroy(loaded->comm);
}
