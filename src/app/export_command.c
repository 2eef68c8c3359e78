/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf export`: a checkpoint becomes a model folder of Hugging Face, in a folder that is new or
 * empty, so that no file of another model stands among its own. It gets its name, or an empty one its
 * files, when all are there, config.json last; where that fails nothing of it stays.
 *
 * In the type of the checkpoint weights keep their bits. In another type they are rounded from the
 * fp32 masters, where it has such. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/merge.h"
#include "app/new_folder.h"
#include "app/setup.h"
#include "app/source.h"
#include "base/file.h"
#include "base/half.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/version.h"
#include "checkpoint/checkpoint.h"
#include "hf/adapter.h"
#include "hf/model.h"

/* Elements that are converted at once. */
enum { PIECE = 1 << 16 };

struct export
{
    const char *output;
    struct new_folder folder;
    struct source *source;
    struct merge *merge;
    /* What is written: without adapters. */
    struct settings_model settings;
    struct model *model;
    enum zi_dtype type;
    int64_t shard_bytes;
    /* The adapters alone. */
    bool adapter;
    /* With config and tokenizer, or "". */
    char files[PATH_MAX];
    float *piece;
};

static enum zi_status no_memory(void)
{
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the export");
}

/* The type that --type names, or the checkpoint's. */
static enum zi_status read_type(const struct options *options, struct export *export)
{
    static const enum zi_dtype types[] = {ZI_FP32, ZI_BF16, ZI_FP16};
    const char *name = options_text(options, "--type", NULL);
    /* Adapters as they were trained: their masters. */
    export->type = export->adapter ? ZI_FP32 : source_type(export->source);
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++) {
        if (strcmp(name, zi_dtype_name(types[i])) != 0) continue;
        export->type = types[i];
        return ZI_OK;
    }
    if (!name) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app", "--type %s: expected fp32, bf16 or fp16", name);
}

/* A size as a number with a unit of bytes: 5GB, 500 MiB. */
static enum zi_status read_shard_size(const struct options *options, int64_t *bytes)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"B", 1},     {"kB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
                 {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
    const char *text = options_text(options, "--shard-size", "5GB");
    char *end;
    double number = strtod(text, &end);
    while (end != text && *end == ' ')
        end++;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (end == text || strcmp(end, units[i].unit) != 0) continue;
        if (!(number * units[i].bytes >= 1 && number * units[i].bytes < 0x1p62)) break;
        *bytes = (int64_t)(number * units[i].bytes);
        return ZI_OK;
    }
    return zi_fail(
        ZI_ERROR_USAGE, "app",
        "--shard-size %s: expected a size as 5GB or 500MiB (B, kB, MB, GB, TB, KiB, MiB, "
        "GiB)",
        text);
}

/* Rounds values, of which none may become infinite. */
static enum zi_status round_values(const struct export *export, const char *tensor, int64_t count,
                                   uint16_t *values)
{
    for (int64_t i = 0; i < count; i++) {
        values[i] = zi_half_round_even(export->type, export->piece[i]);
        if (isfinite(zi_half_to_fp32(export->type, values[i])) || !isfinite(export->piece[i]))
            continue;
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s has the value %g, which %s cannot hold; export with --type fp32%s",
                       tensor, (double)export->piece[i], zi_dtype_name(export->type),
                       export->type == ZI_FP16 ? " or bf16" : "");
    }
    return ZI_OK;
}

static enum zi_status give_values(void *context, int tensor, int64_t first, int64_t count,
                                  void *values)
{
    struct export *export = context;
    ZI_TRY(zi_stop_check());
    bool adapts = merge_adapts(export->merge, tensor);
    if (export->type == ZI_FP32) return merge_read(export->merge, tensor, first, count, values);
    if (export->type == source_type(export->source) && !adapts)
        return merge_read_bits(export->merge, tensor, first, count, values);
    for (int64_t done = 0; done < count; done += PIECE) {
        int64_t part = count - done < PIECE ? count - done : PIECE;
        ZI_TRY(merge_read(export->merge, tensor, first + done, part, export->piece));
        ZI_TRY(round_values(export, export->model->tensors[tensor].name, part,
                            (uint16_t *)values + done));
    }
    return ZI_OK;
}

static enum zi_status write_model(struct export *export)
{
    const struct model *model = export->model;
    char original[PATH_MAX + 16];
    struct stat info;
    snprintf(original, sizeof original, "%s/config.json", export->files);
    bool known = export->files[0] && stat(original, &info) == 0;
    struct hf_tensor *tensors = setup_hf_tensors(model);
    if (!tensors) return no_memory();
    const struct hf_writing writing = {
        .folder = export->folder.making,
        .description = {.model = &export->settings,
                        .type = export->type,
                        .original = known ? original : NULL},
        .tensors = tensors,
        .count = model->tensor_count,
        .shard_bytes = export->shard_bytes,
        .source = give_values,
        .context = export,
    };
    enum zi_status status = hf_model_write(&writing);
    free(tensors);
    return status;
}

static enum zi_status give_adapter(void *context, int tensor, int64_t first, int64_t count,
                                   void *values)
{
    struct export *export = context;
    if (export->type == ZI_FP32) return source_read(export->source, tensor, first, count, values);
    for (int64_t done = 0; done < count; done += PIECE) {
        int64_t part = count - done < PIECE ? count - done : PIECE;
        ZI_TRY(source_read(export->source, tensor, first + done, part, export->piece));
        ZI_TRY(round_values(export, merge_model(export->merge)->tensors[tensor].name, part,
                            (uint16_t *)values + done));
    }
    return ZI_OK;
}

/* Before there is a folder. What was trained beside adapters would be lost. */
static enum zi_status check_adapter(const struct export *export)
{
    const struct model *model = merge_model(export->merge);
    if (model->settings.adapter.rank == 0)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "the model has no adapters (adapter.rank); export it without --adapter");
    for (int i = 0; i < model->tensor_count; i++)
        if (model->tensors[i].trainable && !model->tensors[i].adapts)
            return zi_fail(ZI_ERROR_USAGE, "app",
                           "%s was trained as well (model.trainable), and is in no adapter; export "
                           "without --adapter, which merges them",
                           model->tensors[i].name);
    return ZI_OK;
}

/* The adapters alone, for PEFT. */
static enum zi_status write_adapter(struct export *export)
{
    const struct model *model = merge_model(export->merge);
    struct hf_tensor *tensors = setup_hf_tensors(model);
    if (!tensors) return no_memory();
    const struct hf_adapter_writing writing = {
        .folder = export->folder.making,
        .description = {.model = &model->settings, .type = export->type},
        .tensors = tensors,
        .count = model->tensor_count,
        .source = give_adapter,
        .context = export,
    };
    enum zi_status status = hf_adapter_write(&writing);
    free(tensors);
    return status;
}

/* A model card to be filled in. */
static enum zi_status write_card(const struct export *export, const char *checkpoint)
{
    char path[PATH_MAX], text[2048];
    const char *slash = strrchr(export->output, '/');
    int length = snprintf(path, sizeof path, "%s/README.md", export->folder.making);
    if (length < 0 || length >= (int)sizeof path)
        return zi_fail(ZI_ERROR_USAGE, "app", "%s: the path is too long", export->output);
    snprintf(
        text, sizeof text,
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n# %.200s\n\n"
        "%" PRId64 " parameters, %s. Written by `zinf export` %s from %.500s.\n\n"
        "What it was trained on, how, for what it is meant, and its licence: to be said here.\n",
        slash && slash[1] ? slash + 1 : export->output, export->model->parameters,
        zi_dtype_name(export->type), zi_version(), checkpoint);
    return zi_output_text("app", path, text);
}

/* What --files names has a tokenizer. */
static enum zi_status name_files(const char *folder, char files[PATH_MAX])
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model",
                                        "tokenizer_config.json", "vocab.json"};
    char path[PATH_MAX + 32];
    snprintf(files, PATH_MAX, "%s", folder);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", files, names[i]);
        if (access(path, F_OK) == 0) return ZI_OK;
    }
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "--files %s: there is no tokenizer (tokenizer.json, tokenizer.model)", folder);
}

static enum zi_status prepare(struct export *export, const struct options *options)
{
    static const struct settings_tiling whole = {1, 1, 1};
    const char *files = options_text(options, "--files", NULL);
    if (!export->output)
        return zi_fail(ZI_ERROR_USAGE, "app", "--output FOLDER says where the model goes");
    ZI_TRY(read_shard_size(options, &export->shard_bytes));
    ZI_TRY(source_open(options->words[0], true, &export->source));
    ZI_TRY(read_type(options, export));
    if (files)
        ZI_TRY(name_files(files, export->files));
    else
        ZI_TRY(source_files(export->source, export->files));
    if (!export->files[0] && !export->adapter)
        zi_log(
            ZI_LOG_WARN, "app",
            "there are no files of a tokenizer beside %s: none are exported; --files FOLDER says "
            "where they are",
            options->words[0]);
    export->settings = *source_model(export->source);
    export->settings.adapter.rank = 0;
    ZI_TRY(model_create(&export->settings, &whole, source_type(export->source), &export->model));
    ZI_TRY(merge_open(export->source, export->model, &export->merge));
    if (export->adapter) ZI_TRY(check_adapter(export));
    const struct hf_description description = {.model = &export->settings};
    ZI_TRY(hf_config_check(&description));
    export->piece = malloc(PIECE * sizeof *export->piece);
    return export->piece ? new_folder_begin(export->output, &export->folder) : no_memory();
}

static enum zi_status write_files(struct export *export, const struct options *options)
{
    if (export->adapter) return write_adapter(export);
    if (export->files[0]) ZI_TRY(hf_files_copy(export->files, export->folder.making, false));
    ZI_TRY(write_card(export, options->words[0]));
    return write_model(export);
}

static enum zi_status export_all(struct export *export, const struct options *options)
{
    ZI_TRY(prepare(export, options));
    ZI_TRY(write_files(export, options));
    return new_folder_finish(&export->folder,
                             export->adapter ? "adapter_config.json" : "config.json");
}

/* Elements of what was written. */
static int64_t written_parameters(const struct export *export)
{
    int64_t all = merge_model(export->merge)->parameters;
    return export->adapter ? all - export->model->parameters : export->model->parameters;
}

enum zi_status export_command(struct comm *world, const struct options *options)
{
    struct export export = {.output = options_text(options, "--output", NULL),
                            .adapter = options_given(options, "--adapter")};
    (void)world;
    enum zi_status status = export_all(&export, options);
    if (status >= 0)
        printf("%s: %" PRId64 " parameters, %s\n", export.output, written_parameters(&export),
               zi_dtype_name(export.type));
    if (status == ZI_STOPPED)
        zi_log(ZI_LOG_ERROR, "app", "stopped by %s: %s is not written",
               zi_stop_name(zi_stop_signal()), export.output);
    if (status < 0 && status != ZI_STOPPED && export.folder.making[0])
        zi_log(ZI_LOG_ERROR, "app", "%s is not written; what there was of it is removed",
               export.output);
    new_folder_discard(&export.folder);
    merge_close(export.merge);
    if (export.model) model_destroy(export.model);
    source_close(export.source);
    free(export.piece);
    return status;
}
