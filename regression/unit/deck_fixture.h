/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of deck: a small deck, reading of texts, and the messages that reading
 * writes. */
#ifndef ZI_REGRESSION_DECK_FIXTURE_H
#define ZI_REGRESSION_DECK_FIXTURE_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "deck/deck.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

/* All required keys, in seven lines, so that what a test adds begins in line 8. */
#define DECK_SMALL                                                                                 \
    "# small\n"                                                                                    \
    "run: {steps: 20}\n"                                                                           \
    "model: {family: gpt2, layers: 2, hidden: 24,\n"                                               \
    "    heads: 3, context: 16, vocabulary: 65}\n"                                                 \
    "data: {train: t.h5}\n"                                                                        \
    "batch: {global: 8}\n"                                                                         \
    "optimizer: {learning_rate: 0.01}\n"

static struct capture deck_messages;

/* Reads a text and checks the rules of the deck; `sets` is a list that ends in NULL, or NULL. What
 * is said meanwhile is in deck_messages.text. */
static inline enum zi_status deck_try_bytes(const char *text, size_t bytes, const char *const *sets,
                                            struct deck **deck)
{
    int count = 0;
    while (sets && sets[count])
        count++;
    capture_begin(&deck_messages, stderr);
    enum zi_status status = deck_parse(text, bytes, "d.yaml", sets, count, deck);
    if (status == ZI_OK) status = deck_check(*deck);
    if (status != ZI_OK) {
        deck_destroy(*deck);
        *deck = NULL;
    }
    capture_end(&deck_messages);
    return status;
}

/* The same of a text that ends with NUL. */
static inline enum zi_status deck_try(const char *text, const char *const *sets, struct deck **deck)
{
    return deck_try_bytes(text, strlen(text), sets, deck);
}

/* A deck that has to be good. */
static inline struct deck *deck_read_text(const char *text, const char *const *sets)
{
    struct deck *deck;
    if (deck_try(text, sets, &deck) == ZI_OK) return deck;
    printf("refused: %s\nin: %s\n", deck_messages.text, text);
    exit(1);
}

/* The echo of a deck, which the caller frees. */
static inline char *deck_echo_text(const struct deck *deck)
{
    char *text;
    if (deck_echo(deck, &text) != ZI_OK) exit(1);
    return text;
}

/* Whether a list holds these texts, which end in NULL. */
static inline bool deck_list_is(const struct deck_list *list, const char *const *texts)
{
    int count = 0;
    while (texts[count] && count < list->count && strcmp(texts[count], list->items[count]) == 0)
        count++;
    bool same = !texts[count] && count == list->count;
    for (int i = 0; i < list->count && !same; i++)
        printf("item %d of %d: %s\n", i, list->count, list->items[i]);
    return same;
}

/* Whether sources are one path without a weight. */
static inline bool deck_source_is(const struct deck_sources *sources, const char *path)
{
    return sources->count == 1 && sources->items[0].weight == 0 &&
           strcmp(sources->items[0].path, path) == 0;
}

/* Lines of the messages, of which each has one. */
static inline int deck_message_lines(void)
{
    int lines = 0;
    for (const char *c = deck_messages.text; *c; c++)
        lines += *c == '\n';
    return lines;
}

/* Whether the messages contain a text. */
static inline bool deck_said(const char *text)
{
    bool found = strstr(deck_messages.text, text);
    if (!found) printf("not said: %s\nbut: %s", text, deck_messages.text);
    return found;
}

#endif
