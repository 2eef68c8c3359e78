/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: the state of a compilation. compile.c orders the parts; each lays its slots
 * (PART_lay), starts with a list (PART_begin), and writes operations. */
#ifndef ZI_COMPILER_COMPILE_H
#define ZI_COMPILER_COMPILE_H

#include "compiler/activation.h"
#include "compiler/build.h"
#include "compiler/cache.h"
#include "compiler/derive.h"
#include "compiler/fetch.h"
#include "compiler/gradient.h"
#include "compiler/save.h"
#include "compiler/schedule.h"
#include "compiler/update.h"

struct builder {
    struct program *program;
    const struct model *model;
    const struct partition *partition;
    const struct zero_config *config;
    /* First error; later calls do nothing. */
    enum zi_status status;
    struct builder_block *blocks;
    /* Each is written by the file of its name (the writer by build.c), and read by others. */
    struct derived derived;
    struct list_writer writer;
    struct schedule schedule;
    struct fetch_ring fetch[CLASS_COUNT];
    struct activations activations;
    struct caches caches;
    struct gradients gradients;
    struct update update;
    struct save save;
};

#endif
