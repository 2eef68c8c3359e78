/* SPDX-License-Identifier: Apache-2.0 */
/* YAML text to a tree.
 *
 * libyaml gives events; a stack of open nodes turns them into a tree. What libyaml leaves to its
 * user is done here: anchors and aliases, merge keys, duplicate keys.
 *
 * A deck is input from outside and may be anything, so the cost is bounded before anything is
 * built: size, depth, number of nodes, keys of a mapping. Aliases share their node instead of
 * copying it, and a merge is resolved once, when its mapping ends, to at most KEYS_MAX keys; so a
 * bomb of nested aliases stays as small as its text. An alias of a node that is still open would
 * make a cycle and is an error.
 *
 * Text that cannot be YAML (binary files, other encodings) is found first, because libyaml's words
 * for it do not help: the usual mistake is a file name of something else than a deck. */
#include "deck/tree.h"

#include "base/log.h"
#include "deck/value.h"

#include <yaml.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16, NODES_MAX = 10000, KEYS_MAX = 200, TEXT_MAX = 1 << 20, CLIP = 40 };

/* A mapping waits for a key when `key` is NULL; `name` is the key it stands at itself. */
struct level {
    struct deck_node *node, *key;
    const char *name;
};

struct builder {
    struct deck_tree *tree;
    struct deck_errors *errors;
    struct level stack[DEPTH_MAX];
    int depth;
    int documents;
};

static enum zi_status no_memory(const struct builder *builder)
{
    builder->errors->failed = true;
    return zi_fail(ZI_ERROR_DEVICE, "deck", "no memory to read %s", builder->errors->name);
}

/* Bytes of the UTF-8 character at `at`, 0 when there is none. */
static size_t utf8_length(const unsigned char *at, size_t left)
{
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] > 0xf4 || length == 0 || length > left) return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    if (at[0] == 0xe0 && at[1] < 0xa0) return 0; /* overlong */
    if (at[0] == 0xed && at[1] > 0x9f) return 0; /* surrogate */
    if (at[0] == 0xf0 && at[1] < 0x90) return 0;
    if (at[0] == 0xf4 && at[1] > 0x8f) return 0;
    return length;
}

bool deck_text_is_utf8(const char *text)
{
    size_t left = strlen(text), length;
    for (const unsigned char *at = (const unsigned char *)text; left; at += length, left -= length)
        if (!(length = utf8_length(at, left))) return false;
    return true;
}

/* Adds an error and gives false when the text cannot be a deck whatever it says. */
static bool text_check(const char *text, size_t bytes, struct deck_errors *errors)
{
    const unsigned char *at = (const unsigned char *)text;
    int line = 1, column = 1;
    if (bytes >= 8 && memcmp(text, "\211HDF\r\n\032\n", 8) == 0) {
        deck_errors_add(errors, DECK_PLACE_WHOLE, 0,
                        "this is an HDF5 file, not a deck; a deck is YAML text");
        return false;
    }
    if (bytes >= 2 && ((at[0] == 0xff && at[1] == 0xfe) || (at[0] == 0xfe && at[1] == 0xff))) {
        deck_errors_add(errors, DECK_PLACE_WHOLE, 0, "this is UTF-16; save the deck as UTF-8");
        return false;
    }
    if (bytes > TEXT_MAX) {
        deck_errors_add(errors, DECK_PLACE_WHOLE, 0,
                        "%zu bytes; a deck has at most %d, so this is some other file", bytes,
                        (int)TEXT_MAX);
        return false;
    }
    for (size_t i = 0; i < bytes;) {
        size_t length = utf8_length(at + i, bytes - i);
        bool control = at[i] < 0x20 && at[i] != '\n' && at[i] != '\r' && at[i] != '\t';
        if (!length || control || at[i] == 0x7f) {
            deck_errors_add(errors, line, column,
                            "byte 0x%02x is %s; is this a binary file? A deck is YAML text in "
                            "UTF-8",
                            at[i], length ? "a control character" : "not UTF-8");
            return false;
        }
        column = at[i] == '\n' ? 1 : column + 1;
        line += at[i] == '\n';
        i += length;
    }
    return true;
}

/* A new node of the tree, which owns it, at the place of an event. */
static enum zi_status node_new(struct builder *builder, enum deck_node_kind kind,
                               const yaml_event_t *event, const yaml_char_t *anchor,
                               struct deck_node **result)
{
    struct deck_tree *tree = builder->tree;
    int line = (int)event->start_mark.line + 1, column = (int)event->start_mark.column + 1;
    if (tree->count == NODES_MAX) {
        deck_errors_add(builder->errors, line, column,
                        "more than %d values; a deck has about a hundred", (int)NODES_MAX);
        return ZI_ERROR_USAGE;
    }
    if (tree->count == tree->room) {
        int room = tree->room ? 2 * tree->room : 256;
        struct deck_node **grown = realloc(tree->nodes, (size_t)room * sizeof(struct deck_node *));
        if (!grown) return no_memory(builder);
        tree->nodes = grown;
        tree->room = room;
    }
    struct deck_node *node = calloc(1, sizeof *node);
    if (!node) return no_memory(builder);
    tree->nodes[tree->count++] = node;
    node->kind = kind;
    node->line = line;
    node->column = column;
    if (anchor && !(node->anchor = strdup((const char *)anchor))) return no_memory(builder);
    *result = node;
    return ZI_OK;
}

static struct deck_node *pair_key(const struct deck_node *mapping, const struct deck_node *key)
{
    for (int i = 0; i < mapping->count; i++) {
        const struct deck_node *other = mapping->pairs[i].key;
        if (other->length == key->length && memcmp(other->text, key->text, key->length) == 0)
            return mapping->pairs[i].key;
    }
    return NULL;
}

/* Makes place for one more child. */
static enum zi_status node_grow(struct builder *builder, struct deck_node *node)
{
    if (node->kind == NODE_MAPPING && node->count == KEYS_MAX) {
        deck_errors_add(builder->errors, node->line, node->column,
                        "more than %d keys in one mapping; no section has that many",
                        (int)KEYS_MAX);
        return ZI_ERROR_USAGE;
    }
    if (node->count < node->room) return ZI_OK;
    int room = node->room ? 2 * node->room : 8;
    if (node->kind == NODE_MAPPING) {
        struct deck_pair *pairs = realloc(node->pairs, (size_t)room * sizeof *pairs);
        if (!pairs) return no_memory(builder);
        node->pairs = pairs;
    } else {
        struct deck_node **items = realloc(node->items, (size_t)room * sizeof(struct deck_node *));
        if (!items) return no_memory(builder);
        node->items = items;
    }
    node->room = room;
    return ZI_OK;
}

static enum zi_status pair_add(struct builder *builder, struct deck_node *mapping,
                               struct deck_node *key, struct deck_node *value)
{
    char section[64], shown[64];
    struct deck_node *first = pair_key(mapping, key);
    if (first) {
        const char *name = builder->stack[builder->depth - 1].name;
        deck_errors_add(builder->errors, key->line, key->column,
                        "%s%s%s: duplicate key; the first is in line %d%s",
                        name ? deck_value_clip(name, section) : "", name ? "." : "",
                        deck_value_clip(key->text, shown), first->line,
                        strcmp(key->text, "<<") == 0 ? "; merge several with <<: [*a, *b]" : "");
        return ZI_OK;
    }
    ZI_TRY(node_grow(builder, mapping));
    mapping->pairs[mapping->count++] = (struct deck_pair){key, value};
    return ZI_OK;
}

/* Puts a complete or just opened node where the innermost open node wants it. */
static enum zi_status node_place(struct builder *builder, struct deck_node *node)
{
    struct level *level = builder->depth ? &builder->stack[builder->depth - 1] : NULL;
    if (!level) {
        builder->tree->root = node;
    } else if (level->node->kind == NODE_SEQUENCE) {
        ZI_TRY(node_grow(builder, level->node));
        level->node->items[level->node->count++] = node;
    } else if (level->key) {
        ZI_TRY(pair_add(builder, level->node, level->key, node));
        level->key = NULL;
    } else if (node->kind == NODE_SCALAR && node->length == strlen(node->text)) {
        level->key = node;
    } else {
        deck_errors_add(builder->errors, node->line, node->column, "a key must be a word, found %s",
                        node->kind == NODE_MAPPING    ? "a mapping"
                        : node->kind == NODE_SEQUENCE ? "a list"
                                                      : "text with a zero character");
        return ZI_ERROR_USAGE;
    }
    return ZI_OK;
}

/* Adds to `mapping` the pairs of `source` whose keys it lacks. */
static enum zi_status merge_one(struct builder *builder, struct deck_node *mapping,
                                const struct deck_node *source, const struct deck_node *place)
{
    if (source->kind != NODE_MAPPING) {
        deck_errors_add(builder->errors, place->line, place->column,
                        "<<: merges mappings, as in <<: *name or <<: [*a, *b]; found a %s",
                        source->kind == NODE_SCALAR ? "single value" : "list");
        return ZI_OK;
    }
    for (int i = 0; i < source->count; i++) {
        if (pair_key(mapping, source->pairs[i].key)) continue;
        ZI_TRY(node_grow(builder, mapping));
        mapping->pairs[mapping->count++] = source->pairs[i];
    }
    return ZI_OK;
}

/* Replaces the key `<<` of a mapping whose end was read by what it names. Keys written in the
 * mapping itself win, then earlier sources over later ones. */
static enum zi_status merge_resolve(struct builder *builder, struct deck_node *mapping)
{
    struct deck_node *value = NULL, *key = NULL;
    for (int i = 0; i < mapping->count && !value; i++) {
        key = mapping->pairs[i].key;
        if (!key->plain || strcmp(key->text, "<<") != 0) continue;
        value = mapping->pairs[i].value;
        memmove(&mapping->pairs[i], &mapping->pairs[i + 1],
                (size_t)(mapping->count - i - 1) * sizeof *mapping->pairs);
        mapping->count--;
    }
    if (!value) return ZI_OK;
    if (value->kind != NODE_SEQUENCE) return merge_one(builder, mapping, value, key);
    for (int i = 0; i < value->count; i++)
        ZI_TRY(merge_one(builder, mapping, value->items[i], key));
    return ZI_OK;
}

static enum zi_status event_alias(struct builder *builder, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    int line = (int)event->start_mark.line + 1, column = (int)event->start_mark.column + 1;
    for (int i = builder->tree->count; i-- > 0;) {
        struct deck_node *node = builder->tree->nodes[i];
        if (!node->anchor || strcmp(node->anchor, name) != 0) continue;
        if (!node->open) return node_place(builder, node);
        deck_errors_add(builder->errors, line, column, "*%.*s names a value that it is a part of",
                        CLIP, name);
        return ZI_ERROR_USAGE;
    }
    deck_errors_add(builder->errors, line, column, "*%.*s names no anchor &%.*s before it", CLIP,
                    name, CLIP, name);
    return ZI_ERROR_USAGE;
}

static enum zi_status tag_refuse(struct builder *builder, const yaml_event_t *event,
                                 const yaml_char_t *tag)
{
    if (!tag) return ZI_OK;
    deck_errors_add(
        builder->errors, (int)event->start_mark.line + 1, (int)event->start_mark.column + 1,
        "decks have no tags like !%.*s; leave it out", CLIP, (const char *)tag + (*tag == '!'));
    return ZI_ERROR_USAGE;
}

static enum zi_status event_scalar(struct builder *builder, const yaml_event_t *event)
{
    struct deck_node *node;
    ZI_TRY(tag_refuse(builder, event, event->data.scalar.tag));
    ZI_TRY(node_new(builder, NODE_SCALAR, event, event->data.scalar.anchor, &node));
    node->length = event->data.scalar.length;
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = malloc(node->length + 1);
    if (!node->text) return no_memory(builder);
    memcpy(node->text, event->data.scalar.value, node->length);
    node->text[node->length] = 0;
    return node_place(builder, node);
}

static enum zi_status event_open(struct builder *builder, const yaml_event_t *event)
{
    struct deck_node *node;
    bool mapping = event->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *anchor =
        mapping ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;
    ZI_TRY(tag_refuse(builder, event,
                      mapping ? event->data.mapping_start.tag : event->data.sequence_start.tag));
    ZI_TRY(node_new(builder, mapping ? NODE_MAPPING : NODE_SEQUENCE, event, anchor, &node));
    if (builder->depth == DEPTH_MAX) {
        deck_errors_add(builder->errors, node->line, node->column,
                        "nested more than %d deep; a deck has sections and keys", (int)DEPTH_MAX);
        return ZI_ERROR_USAGE;
    }
    struct deck_node *key = builder->depth ? builder->stack[builder->depth - 1].key : NULL;
    ZI_TRY(node_place(builder, node));
    node->open = true;
    builder->stack[builder->depth++] = (struct level){node, NULL, key ? key->text : NULL};
    return ZI_OK;
}

static enum zi_status event_take(struct builder *builder, const yaml_event_t *event)
{
    struct deck_node *node;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event_scalar(builder, event);
    case YAML_ALIAS_EVENT:
        return event_alias(builder, event);
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        return event_open(builder, event);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        node = builder->stack[--builder->depth].node;
        node->open = false;
        return node->kind == NODE_MAPPING ? merge_resolve(builder, node) : ZI_OK;
    case YAML_DOCUMENT_START_EVENT:
        if (builder->documents++) {
            deck_errors_add(builder->errors, (int)event->start_mark.line + 1, 1,
                            "a second document starts here; a deck is one");
            return ZI_ERROR_USAGE;
        }
        return ZI_OK;
    default:
        return ZI_OK;
    }
}

/* What libyaml found wrong, at its place. */
static enum zi_status syntax_error(struct builder *builder, const yaml_parser_t *parser,
                                   const char *text, size_t bytes)
{
    if (parser->error == YAML_MEMORY_ERROR) return no_memory(builder);
    size_t at = parser->problem_mark.index;
    int line = (int)parser->problem_mark.line + 1, column = (int)parser->problem_mark.column + 1;
    if (parser->error == YAML_READER_ERROR) {
        at = parser->problem_offset;
        line = column = 1;
        for (size_t i = 0; i < at && i < bytes; i++) {
            column = text[i] == '\n' ? 1 : column + 1;
            line += text[i] == '\n';
        }
    }
    deck_errors_add(builder->errors, line, column, "not YAML: %s%s%s%s",
                    parser->context ? parser->context : "", parser->context ? ", " : "",
                    parser->problem ? parser->problem : "cannot be read",
                    at < bytes && text[at] == '\t' ? "; indent with spaces, not tabs" : "");
    return ZI_ERROR_USAGE;
}

enum zi_status deck_tree_parse(const char *text, size_t bytes, struct deck_errors *errors,
                               struct deck_tree *tree)
{
    struct builder builder = {.tree = tree, .errors = errors};
    yaml_parser_t parser;
    yaml_event_t event;
    enum zi_status status = ZI_OK;
    bool done = false;
    memset(tree, 0, sizeof *tree);
    if (!text_check(text, bytes, errors)) return ZI_ERROR_USAGE;
    if (!yaml_parser_initialize(&parser)) return no_memory(&builder);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    while (!done && status == ZI_OK) {
        if (!yaml_parser_parse(&parser, &event)) {
            status = syntax_error(&builder, &parser, text, bytes);
            break;
        }
        done = event.type == YAML_STREAM_END_EVENT;
        status = event_take(&builder, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}

void deck_tree_free(struct deck_tree *tree)
{
    for (int i = 0; i < tree->count; i++) {
        struct deck_node *node = tree->nodes[i];
        free(node->anchor);
        free(node->text);
        free(node->pairs);
        free(node->items);
        free(node);
    }
    free(tree->nodes);
    memset(tree, 0, sizeof *tree);
}
