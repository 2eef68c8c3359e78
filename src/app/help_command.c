/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf help` and `zinf inspect`.
 *
 * Help about commands comes from the table of commands, help about decks and the generated
 * documents from the deck's own table. A document that is asked for by an option goes to stdout, so
 * that the build can redirect it. */
#include <string.h>

#include "app/commands.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "deck/deck.h"

static const struct {
    const char *option;
    void (*write)(FILE *out);
} documents[] = {
    {"--markdown", deck_write_markdown},
    {"--reference", deck_write_reference},
    {"--schema", deck_write_schema},
};

static enum zi_status help_deck(const struct options *options)
{
    const char *what = options->word_count > 1 ? options->words[1] : NULL;
    int asked = 0;
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++)
        asked += options_given(options, documents[i].option);
    if (!asked) return deck_describe(what, stdout);
    if (asked > 1 || what)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "one document at a time, and always of the whole deck: zinf help deck "
                       "--markdown, --reference or --schema");
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++)
        if (options_given(options, documents[i].option)) documents[i].write(stdout);
    return ZI_OK;
}

enum zi_status help_command(struct comm *world, const struct options *options)
{
    (void)world;
    const char *topic = options->word_count ? options->words[0] : NULL;
    if (topic && strcmp(topic, "deck") == 0) return help_deck(options);
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        if (options_given(options, documents[i].option))
            return zi_fail(ZI_ERROR_USAGE, "app", "%s is for decks: zinf help deck %s",
                           documents[i].option, documents[i].option);
    }
    if (options->word_count > 1)
        return zi_fail(ZI_ERROR_USAGE, "app", "zinf help takes one command, but got also %s",
                       options->words[1]);
    if (!topic) {
        commands_overview(stdout);
        return ZI_OK;
    }
    const struct command *command = commands_find(topic);
    if (!command) return ZI_ERROR_USAGE;
    commands_describe(command, stdout);
    return ZI_OK;
}

enum zi_status inspect_command(struct comm *world, const struct options *options)
{
    (void)world;
    return checkpoint_inspect(options->words[0], options_given(options, "--verify"), stdout);
}
