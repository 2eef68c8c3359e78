/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf help`.
 *
 * Help about commands comes from the table of commands, help about decks, operations and states,
 * and the generated documents, from the tables of keys, of kinds of operations and of states. A
 * document that is asked for by an option goes to stdout, so that the build can redirect it. */
#include <string.h>

#include "app/commands.h"
#include "base/log.h"
#include "deck/deck.h"
#include "program/program.h"

static const struct {
    const char *topic, *option;
    void (*write)(FILE *out);
} documents[] = {
    {"deck", "--markdown", deck_write_markdown},
    {"deck", "--reference", deck_write_reference},
    {"deck", "--schema", deck_write_schema},
    {"operations", "--markdown", program_kinds_write_markdown},
    {"states", "--markdown", tier_kinds_write_markdown},
};
enum { DOCUMENT_COUNT = (int)(sizeof documents / sizeof *documents) };

/* What a topic says without an option. */
static enum zi_status explain(const char *topic, const char *what)
{
    if (strcmp(topic, "deck") == 0) return deck_describe(what, stdout);
    if (strcmp(topic, "states") == 0)
        tier_kinds_print(stdout);
    else
        program_kinds_print(stdout);
    return ZI_OK;
}

static enum zi_status help_topic(const char *topic, const struct options *options)
{
    const char *what = options->word_count > 1 ? options->words[1] : NULL;
    int asked = 0, found = -1;
    for (int i = 0; i < DOCUMENT_COUNT; i++) {
        if (!options_given(options, documents[i].option)) continue;
        if (strcmp(documents[i].topic, topic) == 0) asked++, found = i;
    }
    for (int i = 0; i < DOCUMENT_COUNT; i++)
        if (options_given(options, documents[i].option) && found < 0)
            return zi_fail(ZI_ERROR_USAGE, "app", "%s is for decks: zinf help deck %s",
                           documents[i].option, documents[i].option);
    if (what && (asked || strcmp(topic, "deck") != 0))
        return zi_fail(ZI_ERROR_USAGE, "app", "zinf help %s takes no more words, but got %s%s",
                       topic, what, asked ? ": a document is always whole" : "");
    if (asked > 1)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "one document at a time: zinf help %s --markdown, --reference or --schema",
                       topic);
    if (found < 0) return explain(topic, what);
    documents[found].write(stdout);
    return ZI_OK;
}

enum zi_status help_command(struct comm *world, const struct options *options)
{
    (void)world;
    const char *topic = options->word_count ? options->words[0] : NULL;
    for (int i = 0; i < DOCUMENT_COUNT && topic; i++)
        if (strcmp(topic, documents[i].topic) == 0) return help_topic(topic, options);
    for (int i = 0; i < DOCUMENT_COUNT; i++) {
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
