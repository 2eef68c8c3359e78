/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the way from a deck to a checked step program, shared by the commands that go it.
 */
#ifndef ZI_APP_SETUP_H
#define ZI_APP_SETUP_H

#include "checkpoint/checkpoint.h"
#include "deck/deck.h"
#include "device/device.h"
#include "plan/machine.h"
#include "program/program.h"

/* Members are made from the top to the bottom, and ended from the bottom to the top. */
struct setup {
    struct deck *deck;
    /* Owned by the deck. */
    struct settings *settings;
    struct device_properties description;
    /* Of that description, or NULL where it is enough. */
    struct device *device;
    struct model *model;
    struct zero_config config;
    struct partition *partition;
    struct program *program;
};

/* Local. A whole file, or what comes through a pipe, in memory with a 0 behind it, which the caller
 * frees with free(). ZI_ERROR_USAGE when it is missing, no file or larger than any deck,
 * ZI_ERROR_IO when it cannot be read. */
enum zi_status setup_read_file(const char *path, char **text, int64_t *bytes);

/* Local. The rates of a machine file; all are assumed where there is none (NULL). Errors of
 * setup_read_file and plan_node_parse. */
enum zi_status setup_read_machine(const char *path, struct plan_node *node);

/* Local. Parses and checks a deck for `ranks` ranks: every complaint of every room at once. Where
 * model.from names a model, what the deck does not say of it is taken from there. */
enum zi_status setup_parse(struct setup *setup, const char *text, int64_t bytes, const char *name,
                           const char *const *sets, int set_count, int ranks);

/* Local. Parses a part of a deck, as deck_parse_part does. Nothing is checked beyond single keys.
 */
enum zi_status setup_parse_part(struct setup *setup, const char *text, const char *name,
                                const char *const *sections, const char *const *sets,
                                int set_count);

/* Local. Describes the device, which is all that compiling needs. */
enum zi_status setup_describe(struct setup *setup, struct device_share share);

/* Local. Describes and opens the device, and makes the model's tables, with the tiles that the deck
 * names. */
enum zi_status setup_open(struct setup *setup, struct device_share share);

/* Local. Makes the model again with the tiles of setup->config, cuts it, compiles the programs of
 * setup->config and proves them sound. */
enum zi_status setup_compile(struct setup *setup);

/* Local. Ends whatever has been made; twice does nothing. */
void setup_cleanup(struct setup *setup);

/* Local. The tensors of a model as checkpoints list them, which the caller frees with free(); NULL
 * without memory. */
struct checkpoint_tensor *setup_list_tensors(const struct model *model);

/* Local. The same for a model folder. */
struct hf_tensor *setup_hf_tensors(const struct model *model);

/* No section, for a deck that is made of a model. */
extern const char *const setup_no_sections[];

/* The sections that say what a model is, up to NULL. */
extern const char *const setup_model_sections[];

/* Local. These sections as one line of YAML, which setup_parse_part reads; the caller frees *text
 * with free(). */
enum zi_status setup_model_text(const struct settings *settings, char **text);

#endif
