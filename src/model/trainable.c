/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensors training changes: those whose names fit a pattern of model.trainable. Names are known
 * without tables: they are those of the family's rows, of every block. */
#include "model/trainable.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

enum { NAMES_MOST = 64, NAME_BYTES = 80 };

/* The names of a model, with * for the number of the block. */
struct names {
    char text[NAMES_MOST][NAME_BYTES];
    const char *list[NAMES_MOST];
    int count;
};

bool trainable_matches(const struct settings_model *settings, const char *name, bool adapts)
{
    const struct deck_list *patterns = &settings->trainable;
    if (adapts) return true;
    if (deck_list_is_auto(patterns)) return settings->adapter.rank == 0;
    for (int i = 0; i < patterns->count; i++)
        if (fnmatch(patterns->items[i], name, 0) == 0) return true;
    return false;
}

/* Those of rows that the model has. */
static void add_names(const struct settings_model *settings, struct names *names, const char *layer,
                      const struct family_row *rows)
{
    for (; rows && rows->name && names->count < NAMES_MOST; rows++) {
        if (!family_has_row(settings, rows)) continue;
        char *text = names->text[names->count];
        snprintf(text, NAME_BYTES, "%s.%s", layer, rows->name);
        names->list[names->count++] = text;
    }
}

static void list_names(const struct settings_model *settings, struct names *names)
{
    const struct family *family = family_of(settings);
    names->count = 0;
    add_names(settings, names, "embedding.token", family->token);
    add_names(settings, names, "embedding.position", family->position);
    add_names(settings, names, "blocks.*.attention", family->attention);
    add_names(settings, names, "blocks.*.mlp", family->mlp);
    add_names(settings, names, "norm", family->norm);
    if (!settings->tied) add_names(settings, names, "head", family->head);
}

/* Whether a pattern fits a tensor of that name, in any block. */
static bool fits(const char *pattern, const char *name, int64_t layers)
{
    char full[NAME_BYTES + 16];
    const char *star = strchr(name, '*');
    if (!star) return fnmatch(pattern, name, 0) == 0;
    for (int64_t block = 0; block < layers; block++) {
        snprintf(full, sizeof full, "%.*s%lld%s", (int)(star - name), name, (long long)block,
                 star + 1);
        if (fnmatch(pattern, full, 0) == 0) return true;
    }
    return false;
}

/* A pattern with * for the number of its block. */
static void generalise(const char *pattern, char to[NAME_BYTES])
{
    const char *rest = pattern + strlen("blocks.");
    snprintf(to, NAME_BYTES, "%s", pattern);
    if (strncmp(pattern, "blocks.", strlen("blocks.")) != 0 || !isdigit((unsigned char)*rest))
        return;
    while (isdigit((unsigned char)*rest))
        rest++;
    snprintf(to, NAME_BYTES, "blocks.*%s", rest);
}

static void complain(struct deck *deck, const char *pattern, const struct names *names)
{
    char general[NAME_BYTES];
    generalise(pattern, general);
    const char *nearest = deck_nearest(general, names->list, names->count);
    if (nearest)
        deck_complain(deck, "model", "trainable", "%s fits no tensor of the model; nearest is %s",
                      pattern, nearest);
    else
        deck_complain(deck, "model", "trainable",
                      "%s fits no tensor of the model, whose names are as %s and %s; a pattern has "
                      "to fit a whole name",
                      pattern, names->list[0], names->list[names->count / 2]);
}

void trainable_check(struct deck *deck)
{
    const struct settings_model *s = &deck_settings(deck)->model;
    struct names names;
    if (deck_list_is_auto(&s->trainable)) return;
    list_names(s, &names);
    for (int i = 0; i < s->trainable.count; i++) {
        bool found = false;
        for (int n = 0; n < names.count && !found; n++)
            found = fits(s->trainable.items[i], names.list[n], s->layers);
        if (!found) complain(deck, s->trainable.items[i], &names);
    }
}
