/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf import`: a model folder of Hugging Face becomes a checkpoint of its weights, in their own type,
 * with a deck's model section beside it and the files that an export puts back.
 *
 * Those files (config, tokenizer, chat template) are copied as they are to a folder beside the
 * checkpoint and not put into it: they are texts that other programs read by name, and a run that
 * begins with the model copies them on to its own checkpoints.
 *
 * One piece of a tensor is in memory at a time. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/commands.h"
#include "app/setup.h"
#include "app/source.h"
#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "checkpoint/checkpoint.h"
#include "deck/table.h"
#include "hf/model.h"

/* Elements that are in memory at a time. */
enum { PIECE = 1 << 20 };

struct import {
    const char *folder, *output;
    struct source *source;
    struct comm *comm;
    struct setup setup;
    struct checkpoint *checkpoint;
    /* Deck with the model. */
    char *deck;
    char *model_text;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the import");
}

static void write_deck(const struct import *import, FILE *out)
{
    const struct settings *settings = import->setup.settings;
    int count;
    const struct deck_row *rows = deck_rows(&count);
    fprintf(out,
            "# %s of %s, as zinf import read it.\n# model.from alone is enough: a run takes the "
            "other keys of the model from there.\nmodel:\n    from: \"%s\"\n",
            source_class(import->source), import->folder, import->output);
    for (int i = 0; i < count; i++) {
        if (strcmp(rows[i].section, "model") != 0 || strcmp(rows[i].key, "from") == 0) continue;
        fprintf(out, "    %s: ", rows[i].key);
        deck_value_write(&rows[i], settings, out);
        fputc('\n', out);
    }
    fprintf(out, "precision:\n    compute: %s\n", zi_dtype_name(source_type(import->source)));
}

static enum zi_status make_deck(struct import *import)
{
    size_t bytes;
    FILE *out = open_memstream(&import->deck, &bytes);
    if (!out) return no_memory();
    write_deck(import, out);
    return fclose(out) == 0 && import->deck ? ZI_OK : no_memory();
}

/* The model's tables, by the rules of a deck. */
static enum zi_status make_model(struct import *import)
{
    static const struct settings_tiling whole = {1, 1, 1};
    char compute[32];
    const char *const sets[] = {compute};
    enum zi_dtype type = source_type(import->source);
    snprintf(compute, sizeof compute, "precision.compute=%s", zi_dtype_name(type));
    ZI_TRY(setup_parse_part(&import->setup, NULL, import->folder, setup_no_sections, sets, 1));
    deck_take_model(import->setup.deck, source_model(import->source), import->folder);
    model_check(import->setup.deck);
    ZI_TRY(deck_check(import->setup.deck));
    ZI_TRY(model_create(&import->setup.settings->model, &whole, type, &import->setup.model));
    return source_match(import->source, import->setup.model, 0);
}

static enum zi_status copy_tensor(struct import *import, int tensor, void *piece)
{
    int64_t elements = import->setup.model->tensors[tensor].elements;
    for (int64_t first = 0; first < elements; first += PIECE) {
        int64_t count = elements - first < PIECE ? elements - first : PIECE;
        ZI_TRY(zi_stop_check());
        ZI_TRY(source_visit(import->source, TIER_PARAMETER, tensor, first, count, piece));
        ZI_TRY(checkpoint_write(import->checkpoint, TIER_PARAMETER, tensor, first, count, piece));
    }
    return ZI_OK;
}

static enum zi_status copy_tensors(struct import *import)
{
    void *piece = malloc(PIECE * sizeof(float));
    enum zi_status status = piece ? ZI_OK : no_memory();
    for (int i = 0; i < import->setup.model->tensor_count && status >= 0; i++)
        status = copy_tensor(import, i, piece);
    free(piece);
    return status;
}

/* The permissions of any file that is made now. */
static unsigned file_mode(void)
{
    mode_t mask = umask(0);
    (void)umask(mask);
    return 0666 & ~mask;
}

static enum zi_status create_checkpoint(struct import *import)
{
    const struct model *model = import->setup.model;
    char folder[PATH_MAX];
    const char *slash = strrchr(import->output, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - import->output) : 1,
             slash ? import->output : ".");
    if (!folder[0]) snprintf(folder, sizeof folder, "/");
    const struct checkpoint_header header = {
        .deck = import->deck,
        .type = model->type,
        .model_text = import->model_text,
        .weights_only = true,
        .loss_scale = 1,
        .path = slash ? slash + 1 : import->output,
        .mode = file_mode(),
    };
    struct checkpoint_tensor *tensors = setup_list_tensors(model);
    if (!tensors) return no_memory();
    enum zi_status status = checkpoint_create(import->comm, folder, &header, tensors,
                                              model->tensor_count, &import->checkpoint);
    free(tensors);
    return status;
}

static enum zi_status write_checkpoint(struct import *import)
{
    const struct checkpoint_retention keep = {0};
    ZI_TRY(create_checkpoint(import));
    ZI_TRY(copy_tensors(import));
    enum zi_status status = checkpoint_commit(import->checkpoint, keep);
    if (status == ZI_ERROR_NUMERICS)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s has weights that are not finite, and is not imported", import->folder);
    return status;
}

static enum zi_status import_all(struct import *import)
{
    char path[PATH_MAX];
    ZI_TRY(source_open(import->folder, true, &import->source));
    ZI_TRY(comm_self(&import->comm));
    ZI_TRY(make_model(import));
    ZI_TRY(setup_model_text(import->setup.settings, &import->model_text));
    ZI_TRY(make_deck(import));
    ZI_TRY(write_checkpoint(import));
    ZI_TRY(source_name_files(import->output, ".files", path));
    ZI_TRY(hf_files_copy(import->folder, path, true));
    ZI_TRY(source_name_files(import->output, ".yaml", path));
    return zi_output_text("app", path, import->deck);
}

/* An output FILE.h5, of which the names of the other outputs are made. */
static enum zi_status check_output(const char *output)
{
    size_t length = output ? strlen(output) : 0;
    if (!output) return zi_fail(ZI_ERROR_USAGE, "app", "--output MODEL.h5 says where it goes");
    if (length > 3 && strcmp(output + length - 3, ".h5") == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "--output %s: expected a name that ends in .h5; MODEL.h5, MODEL.yaml and the "
                   "folder MODEL.files are written",
                   output);
}

/* Whether both are there, and one. */
static bool is_same(const char *a, const char *b)
{
    struct stat of_a, of_b;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

/* What stands where MODEL.yaml goes is written by an import, or nothing is there. */
static bool is_ours(const char *path)
{
    char line[2 * PATH_MAX] = "";
    FILE *file = fopen(path, "r");
    if (!file) return errno == ENOENT;
    bool read = fgets(line, sizeof line, file);
    fclose(file);
    return read && strstr(line, ", as zinf import read it.");
}

/* Nothing that is not an import's is written over. */
static enum zi_status check_beside(const struct import *import)
{
    char deck[PATH_MAX], files[PATH_MAX];
    struct stat is;
    ZI_TRY(source_name_files(import->output, ".yaml", deck));
    ZI_TRY(source_name_files(import->output, ".files", files));
    if (is_same(import->folder, import->output) || is_same(import->folder, files))
        return zi_fail(ZI_ERROR_USAGE, "app", "--output %s is what is imported; give another name",
                       import->output);
    if (!is_ours(deck))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s is no import's, and would be written over; give another --output", deck);
    if (lstat(files, &is) != 0 || S_ISDIR(is.st_mode)) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "%s is no folder of an import: the tokenizer's files would be written through "
                   "it; give another --output, or remove it",
                   files);
}

enum zi_status import_command(struct comm *world, const struct options *options)
{
    struct import import = {.folder = options->words[0],
                            .output = options_text(options, "--output", NULL)};
    (void)world;
    ZI_TRY(check_output(import.output));
    ZI_TRY(check_beside(&import));
    enum zi_status status = import_all(&import);
    if (status >= 0)
        printf("%s: %s, %" PRId64 " parameters, %s\n", import.output, source_class(import.source),
               import.setup.model->parameters, zi_dtype_name(import.setup.model->type));
    if (status == ZI_STOPPED)
        zi_log(ZI_LOG_ERROR, "app", "stopped by %s: %s is not written",
               zi_stop_name(zi_stop_signal()), import.output);
    if (import.checkpoint) checkpoint_close(import.checkpoint);
    setup_cleanup(&import.setup);
    source_close(import.source);
    if (import.comm) comm_destroy(import.comm);
    free(import.deck);
    free(import.model_text);
    return status;
}
