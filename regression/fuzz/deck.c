/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a deck, and as the part of one that a checkpoint carries. A deck that is taken has an
 * echo, which is taken as well and whose echo is itself. */
#include "fuzz.h"

#include "deck/deck.h"

#include <string.h>

/* The echo of a deck, NULL where it is refused. */
static char *echo_of(const char *text, size_t size)
{
    struct deck *deck;
    char *echo = NULL;
    if (deck_parse(text, size, "fuzzed", NULL, 0, &deck) < 0) return NULL;
    if (deck_check(deck) >= 0) fuzz_must(deck_echo(deck, &echo) >= 0, "echo");
    deck_destroy(deck);
    return echo;
}

static void check_part(const char *text)
{
    static const char *const sections[] = {"model", "data", NULL};
    struct deck *deck;
    if (deck_parse_part(text, "fuzzed", sections, NULL, 0, &deck) >= 0) deck_destroy(deck);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    fuzz_must(text, "memory");
    memcpy(text, data, size);
    text[size] = 0;
    char *once = echo_of(text, size);
    if (once) {
        char *twice = echo_of(once, strlen(once));
        fuzz_must(twice && strcmp(once, twice) == 0, "the echo of an echo is another");
        free(twice);
    }
    check_part(text);
    free(once);
    free(text);
    return 0;
}
