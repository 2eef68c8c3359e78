/* SPDX-License-Identifier: Apache-2.0 */
/* From a deck to a checked step program.
 *
 * `run`, `plan`, `program`, `check` and `generate` go parts of one way: text, settings, complaints,
 * description of the device (the device itself where something runs), model, configuration,
 * partition, program. It is written once, here, so that `check` accepts what
 * `run` accepts and `program` prints what `run` executes. Between opening and compiling each
 * command resolves the configuration itself, because a job asks rank 0 and the others ask nobody.
 *
 * A checkpoint carries its model as a line of YAML, made from the rows of the deck's table: a new
 * key of the model section is in it without a change here. A command that needs no more than that,
 * or no deck at all, asks for the sections that it needs: setup_parse_part. */
#include "app/setup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/source.h"
#include "base/log.h"
#include "compiler/compiler.h"
#include "compiler/placement.h"
#include "deck/table.h"
#include "hf/adapter.h"

enum { FILE_MOST = 1 << 20 }; /* bytes of a deck or a machine file */

static enum zi_status read_whole(FILE *file, const char *path, char **text, int64_t *bytes)
{
    size_t capacity = 1 << 16, used = 0;
    char *memory = malloc(capacity + 1);
    while (memory) {
        used += fread(memory + used, 1, capacity - used, file);
        if (used < capacity) break;
        if (capacity > FILE_MOST) {
            free(memory);
            return zi_fail(ZI_ERROR_USAGE, "app", "%s is no deck: it has more than 1 MiB", path);
        }
        char *larger = realloc(memory, 2 * capacity + 1);
        if (!larger) free(memory);
        memory = larger;
        capacity *= 2;
    }
    if (!memory) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to read %s", path);
    if (ferror(file)) {
        free(memory);
        return zi_fail(ZI_ERROR_IO, "app", "cannot read %s: %s", path, strerror(errno));
    }
    memory[used] = 0;
    *text = memory;
    *bytes = (int64_t)used;
    return ZI_OK;
}

enum zi_status setup_read_file(const char *path, char **text, int64_t *bytes)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return zi_fail(ZI_ERROR_USAGE, "app", "%s is a folder; name a file in it", path);
    FILE *file = fopen(path, "rb");
    if (!file)
        return zi_fail(errno == ENOENT || errno == ENOTDIR ? ZI_ERROR_USAGE : ZI_ERROR_IO, "app",
                       "cannot open %s: %s", path, strerror(errno));
    enum zi_status status = read_whole(file, path, text, bytes);
    fclose(file);
    return status;
}

enum zi_status setup_read_machine(const char *path, struct plan_node *node)
{
    char *text;
    int64_t bytes;
    plan_node_assume(node);
    if (!path) return ZI_OK;
    ZI_TRY(setup_read_file(path, &text, &bytes));
    enum zi_status status = plan_node_parse(text, (size_t)bytes, path, node);
    free(text);
    return status;
}

/* The adapter section, where adapter.from names adapters beside a model. */
static enum zi_status take_adapter(struct setup *setup, const struct source *source)
{
    const char *from = setup->settings->model.adapter.from;
    struct settings_model given = *source_model(source);
    struct hf_adapter *adapter;
    if (given.adapter.rank > 0) {
        deck_complain(setup->deck, "adapter", "from",
                      "%s has adapters already; name a model without, or take the key out",
                      setup->settings->model.from);
        return ZI_OK;
    }
    ZI_TRY(hf_adapter_open(from, &given, &adapter));
    given.adapter = *hf_adapter_settings(adapter);
    deck_take_model(setup->deck, &given, from);
    hf_adapter_close(adapter);
    return ZI_OK;
}

/* The model section, where model.from names a model. */
static enum zi_status take_model(struct setup *setup)
{
    const char *from = setup->settings->model.from;
    struct source *source;
    if (!*from && *setup->settings->model.adapter.from)
        deck_complain(setup->deck, "adapter", "from",
                      "adapters need the weights that they are for; name them in model.from");
    if (!*from) return ZI_OK;
    ZI_TRY(source_open(from, false, &source));
    deck_take_model(setup->deck, source_model(source), from);
    enum zi_status status = ZI_OK;
    if (*setup->settings->model.adapter.from) status = take_adapter(setup, source);
    source_close(source);
    return status;
}

enum zi_status setup_parse(struct setup *setup, const char *text, int64_t bytes, const char *name,
                           const char *const *sets, int set_count, int ranks)
{
    ZI_TRY(deck_parse(text, (size_t)bytes, name, sets, set_count, &setup->deck));
    setup->settings = deck_settings(setup->deck);
    ZI_TRY(take_model(setup));
    model_check(setup->deck);
    optimizer_check(setup->deck);
    zero_check(setup->deck, ranks);
    return deck_check(setup->deck);
}

enum zi_status setup_parse_part(struct setup *setup, const char *text, const char *name,
                                const char *const *sections, const char *const *sets, int set_count)
{
    ZI_TRY(deck_parse_part(text, name, sections, sets, set_count, &setup->deck));
    setup->settings = deck_settings(setup->deck);
    return ZI_OK;
}

enum zi_status setup_describe(struct setup *setup, struct device_share share)
{
    return device_describe(&setup->settings->device, share, &setup->description);
}

enum zi_status setup_open(struct setup *setup, struct device_share share)
{
    const struct settings *s = setup->settings;
    ZI_TRY(device_open(&s->device, share, &setup->device));
    setup->description = *device_get_properties(setup->device);
    return model_create(&s->model, &s->tiling, (enum zi_dtype)s->precision.compute, &setup->model);
}

enum zi_status setup_compile(struct setup *setup)
{
    const struct zero_config *config = &setup->config;
    model_destroy(setup->model);
    setup->model = NULL;
    ZI_TRY(model_create(&setup->settings->model, &config->tiling, config->compute, &setup->model));
    ZI_TRY(partition_create(setup->model, &setup->settings->optimizer, config->ranks,
                            &setup->partition));
    ZI_TRY(program_compile(setup->model, setup->partition, config, &setup->program));
    return program_check(setup->program);
}

void setup_cleanup(struct setup *setup)
{
    if (setup->program) program_destroy(setup->program);
    if (setup->partition) partition_destroy(setup->partition);
    if (setup->model) model_destroy(setup->model);
    if (setup->device) device_close(setup->device);
    if (setup->deck) deck_destroy(setup->deck);
    memset(setup, 0, sizeof *setup);
}

struct checkpoint_tensor *setup_list_tensors(const struct model *model)
{
    struct checkpoint_tensor *tensors = calloc((size_t)model->tensor_count, sizeof *tensors);
    for (int i = 0; tensors && i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        tensors[i] = (struct checkpoint_tensor){
            t->name, t->dimensions, {t->shape[0], t->shape[1]}, !t->trainable};
    }
    return tensors;
}

struct hf_tensor *setup_hf_tensors(const struct model *model)
{
    struct hf_tensor *tensors = calloc((size_t)model->tensor_count + 1, sizeof *tensors);
    for (int i = 0; tensors && i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        tensors[i] = (struct hf_tensor){t->name, t->dimensions, {t->shape[0], t->shape[1]}};
    }
    return tensors;
}

const char *const setup_no_sections[] = {NULL};

const char *const setup_model_sections[] = {"model", "adapter", "precision", NULL};

static void write_section(const struct settings *settings, const char *section, FILE *out)
{
    int count;
    const struct deck_row *rows = deck_rows(&count);
    const char *comma = "";
    fprintf(out, "%s: {", section);
    for (int i = 0; i < count; i++) {
        if (strcmp(rows[i].section, section) != 0) continue;
        if (strcmp(rows[i].key, "from") == 0) continue; /* it is there */
        fprintf(out, "%s%s: ", comma, rows[i].key);
        deck_value_write(&rows[i], settings, out);
        comma = ", ";
    }
    fputc('}', out);
}

enum zi_status setup_model_text(const struct settings *settings, char **text)
{
    size_t bytes;
    *text = NULL;
    FILE *out = open_memstream(text, &bytes);
    if (!out) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to describe the model");
    for (int i = 0; setup_model_sections[i]; i++) {
        fputs(i ? ", " : "{", out);
        write_section(settings, setup_model_sections[i], out);
    }
    fputc('}', out);
    if (fclose(out) == 0 && *text) return ZI_OK;
    free(*text);
    *text = NULL;
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory to describe the model");
}
