/* SPDX-License-Identifier: Apache-2.0 */
/* Shell notation in paths.
 *
 * A path that is copied from a command line has ~ and $TMPDIR in it, and a job script relies on
 * them; taken literally they make folders of these names. So a leading ~ or ~user and, anywhere,
 * $NAME and ${NAME} are replaced, by the environment of the process that reads the deck. $$ is a
 * dollar, and a name that begins with ~ is written ./~name. Nothing else of a shell works: what
 * looks like more is an error, and so is a variable that is not set or empty, since the path would
 * be another one without a word.
 *
 * Invariants of what comes out: it is UTF-8, and does not begin with ~, so that written again with
 * each $ doubled it reads as itself. What comes out is not expanded once more. */
#include "deck/expand.h"

#include "deck/private.h"

#include <ctype.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 40 }; /* bytes of a name in messages */

static size_t name_length(const char *at)
{
    size_t length = 0;
    while (isalnum((unsigned char)at[length]) || at[length] == '_')
        length++;
    return isdigit((unsigned char)at[0]) ? 0 : length;
}

/* What a variable holds, or NULL and what is wrong. */
static const char *variable_get(const char *name, size_t length, char wrong[DECK_WRONG])
{
    char *copy = strndup(name, length);
    const char *value = copy ? getenv(copy) : NULL;
    if (!copy)
        snprintf(wrong, DECK_WRONG, "more than memory holds");
    else if (!value || !*value)
        snprintf(wrong, DECK_WRONG, "$%.*s is %s; $$ is a dollar", SHOWN, copy,
                 value ? "empty" : "not set");
    free(copy);
    return value && *value ? value : NULL;
}

/* Writes the variable at a dollar; what follows it, or NULL and what is wrong. */
static const char *dollar_write(const char *at, bool first, FILE *out, char wrong[DECK_WRONG])
{
    bool braces = at[1] == '{';
    const char *name = at + 1 + braces;
    size_t length = name_length(name);
    if (at[1] == '$') {
        fputc('$', out);
        return at + 2;
    }
    if (!length || (braces && name[length] != '}')) {
        snprintf(wrong, DECK_WRONG, "a $ that is neither $NAME nor ${NAME}; $$ is a dollar");
        return NULL;
    }
    const char *value = variable_get(name, length, wrong);
    if (!value) return NULL;
    fprintf(out, "%s%s", first && *value == '~' ? "./" : "", value);
    return name + length + braces;
}

/* Writes the folder of the user at a tilde; what follows, or NULL and what is wrong. */
static const char *tilde_write(const char *at, FILE *out, char wrong[DECK_WRONG])
{
    size_t length = strcspn(at + 1, "/");
    const char *folder;
    if (length) {
        char *name = strndup(at + 1, length);
        const struct passwd *user = name ? getpwnam(name) : NULL;
        folder = user && user->pw_dir && *user->pw_dir ? user->pw_dir : NULL;
        free(name);
        if (!folder)
            snprintf(wrong, DECK_WRONG, "no user %.*s is known; ./~ begins a name with ~",
                     (int)(length < SHOWN ? length : SHOWN), at + 1);
    } else {
        folder = variable_get("HOME", 4, wrong);
    }
    if (!folder) return NULL;
    fprintf(out, "%s%s", *folder == '~' ? "./" : "", folder);
    return at + 1 + length;
}

static bool path_write(const char *at, FILE *out, char wrong[DECK_WRONG])
{
    const char *start = at;
    if (*at == '~') at = tilde_write(at, out, wrong);
    while (at && *at) {
        if (*at == '$')
            at = dollar_write(at, at == start, out, wrong);
        else
            fputc(*at++, out);
    }
    return at;
}

bool deck_path_expand(const char *written, size_t bytes, char **path, char wrong[DECK_WRONG])
{
    char *copy = strndup(written, bytes), *text = NULL;
    size_t length;
    FILE *out = copy ? open_memstream(&text, &length) : NULL;
    bool good = out && path_write(copy, out, wrong), whole = out && fclose(out) == 0;
    free(copy);
    if (!whole) {
        snprintf(wrong, DECK_WRONG, "more than memory holds");
        good = false;
    } else if (good && !deck_text_is_utf8(text)) {
        snprintf(wrong, DECK_WRONG, "a variable whose value is not UTF-8");
        good = false;
    }
    if (good)
        *path = text;
    else
        free(text);
    return good;
}

/* Whether a path has something to expand. */
static bool is_shell(const char *path)
{
    if (*path == '~') return true;
    for (; (path = strchr(path, '$')); path += 2)
        if (path[1] != '$') return true;
    return false;
}

char *deck_written_text(const struct deck_row *row, const char *text)
{
    const char *comma = text;
    bool shell = is_shell(text);
    if (row->type == DECK_WORDS || (row->type != DECK_PATH && !deck_row_is_list(row))) return NULL;
    if (row->type == DECK_SOURCES && *text == '[') shell = shell || strchr(text, '~');
    while (!shell && row->type == DECK_PATHS && (comma = strchr(comma, ','))) {
        comma += 1 + strspn(comma + 1, " ");
        shell = *comma == '~';
    }
    return shell ? strdup(text) : NULL;
}

/* Writes an item of a sequence: a path, or a map with one. Whether a text in it has something to
 * expand. */
static bool item_write(const struct deck_node *item, const char *before, FILE *out)
{
    bool shell = false;
    if (item->kind == NODE_SCALAR) {
        fprintf(out, "%s%s", before, item->text);
        return is_shell(item->text);
    }
    for (int i = 0; item->kind == NODE_MAPPING && i < item->count; i++) {
        const struct deck_node *key = item->pairs[i].key, *value = item->pairs[i].value;
        if (value->kind != NODE_SCALAR) continue;
        fprintf(out, "%s%s%s", i ? ", " : before, i ? "" : "{", key->text);
        fprintf(out, ": %s", value->text);
        shell = shell || is_shell(value->text);
    }
    if (item->kind == NODE_MAPPING) fputc('}', out);
    return shell;
}

char *deck_written(const struct deck_row *row, const struct deck_node *node)
{
    char *text = NULL;
    size_t bytes;
    bool shell = false;
    if (node->kind == NODE_SCALAR) return deck_written_text(row, node->text);
    if (node->kind != NODE_SEQUENCE || !deck_row_is_list(row) || row->type == DECK_WORDS)
        return NULL;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    fputc('[', out);
    for (int i = 0; i < node->count; i++)
        shell = item_write(node->items[i], i ? ", " : "", out) || shell;
    fputc(']', out);
    if (fclose(out) == 0 && shell) return text;
    free(text);
    return NULL;
}
