/* SPDX-License-Identifier: Apache-2.0 */
/* The form of a run's checkpoints: what they have in common is made once, so that each of them begins
 * at once. */
#ifndef ZI_CHECKPOINT_FORM_H
#define ZI_CHECKPOINT_FORM_H

#include "checkpoint/checkpoint.h"

struct checkpoint_form;

/* Collective. What the checkpoints of a run have in common, all of the header but step, updates,
 * tokens and loss scale, and their layout, which HDF5 makes here and never again. They will be in
 * DIRECTORY; what is given is copied. ZI_ERROR_IO on every rank, with file and remedy, for want of
 * room, rights or memory; 20 of a kind are said, for they may come with every checkpoint. */
enum zi_status checkpoint_form_create(struct comm *comm, const char *directory,
                                      const struct checkpoint_header *header,
                                      const struct checkpoint_tensor *tensors, int tensor_count,
                                      struct checkpoint_form **form);

/* Local. When all checkpoints of the form are closed. Nothing for NULL. */
void checkpoint_form_destroy(struct checkpoint_form *form);

/* Collective. Starts DIRECTORY/step-NNNNNNNN.h5 (the folder is made where absent) under a temporary
 * name with room for all states of the tensors (master is stored only when type is not fp32; with
 * fp32 write one of parameter and master). Where the
 * header has a name for it, the file that has it is replaced in the end. ZI_ERROR_IO as above, and
 * nothing is left behind. */
enum zi_status checkpoint_begin(struct checkpoint_form *form,
                                const struct checkpoint_header *header,
                                struct checkpoint **checkpoint);

#endif
