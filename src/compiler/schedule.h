/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: in which order units are visited. */
#ifndef ZI_COMPILER_SCHEDULE_H
#define ZI_COMPILER_SCHEDULE_H

#include "compiler/derive.h"

/* A visit is a stretch of compute operations for which the same units are on the device. */
enum visit_phase {
    /* One operation, forward; of a tiled head: its statistics. */
    VISIT_FORWARD,
    /* Head: loss only. */
    VISIT_LOSS,
    /* Head: logits of the last token. */
    VISIT_LOGITS,
    /* Operations [first, first + count), recomputed and differentiated. */
    VISIT_BACKWARD,
    /* Backward that needs no weights (embed). */
    VISIT_GRADIENT,
    /* The optimizer on unit `first`. */
    VISIT_UPDATE
};

struct visit {
    enum visit_phase phase;
    /* Operations of the model [first, first + count). */
    int first, count;
    /* Micro-batches [micro, micro + micro_count). */
    int micro, micro_count;
    /* FLOPs. */
    double flops;
};

/* The visits of one program. */
struct schedule {
    struct visit *visits;
    int count;
    /* The visit with which backward starts, or count. */
    int first_backward;
};

/* Local. Takes the memory for the visits of any program. */
void schedule_lay(struct builder *b);

/* Local. Lists the visits of a program. */
void schedule_begin(struct builder *b, enum program_name name);

/* Local. How much of the arithmetic of visits [first, end) is behind when `visit` of them is. */
double schedule_share(const struct builder *b, int first, int end, int visit);

/* Local. The most units of a class that any window of the listed visits needs. */
int schedule_window(const struct builder *b, enum size_class class);

#endif
