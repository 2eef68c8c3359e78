/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles the programs of a configuration: lays out every slot first, then writes the operations.
 *
 * Slots come in three sorts. Homes hold a unit's states from step to step. Dedicated slots hold
 * what lives from one place of a step to another: kept inputs and inner activations, fp32 sums of
 * gradients. Rings hold what passes: fetched units, accumulators, staging between tiers. All
 * programs of a run share the slots, since they never run at the same time. */
#include <stdlib.h>

#include "base/log.h"
#include "compiler/compile.h"
#include "compiler/compiler.h"
#include "compiler/emit.h"
#include "compiler/home.h"
#include "compiler/value.h"

static enum zi_status lay_slots(struct builder *b)
{
    schedule_lay(b);
    home_lay(b);
    activation_lay_work(b);
    cache_lay(b);
    value_lay(b);
    if (b->config->training) {
        activation_lay_kept(b);
        gradient_lay(b);
        activation_lay_rings(b);
        update_lay(b);
    }
    fetch_lay(b);
    save_lay(b);
    return b->status;
}

static void write_visits(struct builder *b, enum program_name name)
{
    schedule_begin(b, name);
    builder_begin(b, name);
    update_begin(b);
    fetch_begin(b);
    activation_begin(b);
    gradient_begin(b);
    save_begin(b);
    value_begin(b);
    for (int v = 0; v < b->schedule.count && b->status >= 0; v++) {
        emit_visit(b, v);
    }
    if (program_row(name)->exports && program_row(name)->flushes) save_frozen(b);
    update_end(b);
    fetch_end(b);
    value_end(b);
}

static void write_states(struct builder *b, enum program_name name)
{
    builder_begin(b, name);
    update_begin(b);
    fetch_begin(b);
    save_emit(b);
}

static enum zi_status write_programs(struct builder *b)
{
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        if (!program_exists(b->config, (enum program_name)name)) continue;
        if (program_row((enum program_name)name)->states)
            write_states(b, (enum program_name)name);
        else
            write_visits(b, (enum program_name)name);
        ZI_TRY(b->status);
    }
    return ZI_OK;
}

/* Lays out all slots and, where it is asked to, writes the lists. */
static enum zi_status compile(const struct model *model, const struct partition *partition,
                              const struct zero_config *config, bool writes,
                              struct program **program)
{
    struct builder b = {.model = model, .partition = partition, .config = config};
    struct program *p = calloc(1, sizeof *p);
    if (p) p->homes = calloc((size_t)model->unit_count, sizeof *p->homes);
    if (!p || !p->homes) {
        program_destroy(p);
        return zi_fail(ZI_ERROR_DEVICE, "compiler", "no memory for a program of %d units",
                       model->unit_count);
    }
    p->model = model;
    p->partition = partition;
    p->config = *config;
    b.program = p;
    builder_derive(&b);
    enum zi_status status = lay_slots(&b);
    if (status >= 0 && writes) status = write_programs(&b);
    builder_free(&b);
    if (status < 0) {
        program_destroy(p);
        return status;
    }
    *program = p;
    return ZI_OK;
}

enum zi_status program_compile(const struct model *model, const struct partition *partition,
                               const struct zero_config *config, struct program **program)
{
    return compile(model, partition, config, true, program);
}

enum zi_status program_measure(const struct model *model, const struct partition *partition,
                               const struct zero_config *config, struct program **program)
{
    return compile(model, partition, config, false, program);
}
