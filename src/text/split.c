/* SPDX-License-Identifier: Apache-2.0 */
#include "text/split.h"

#include <stdlib.h>

#include "base/log.h"
#include "text/unicode.h"

/* What becomes of a match: a piece, nothing, or part of the piece beside it. */
enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };

enum prepend { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };

/* A piece on its way through the steps. */
struct piece {
    const struct splitter *splitter;
    struct split_work *work;
    /* The step that is to take it. */
    size_t step;
    const char *text;
    size_t bytes;
    /* Begins where the whole text does. */
    bool first;
};

typedef enum zi_status split_apply(const struct split_step *step, const struct piece *piece);

struct split_step {
    split_apply *apply;
    struct pattern pattern;
    enum behavior behavior;
    /* What the pattern does not match counts as matched. */
    bool invert;
    /* Of steps that look at characters. */
    bool (*is_match)(uint32_t character);
    /* Of Metaspace. */
    char replacement[5];
    enum prepend prepend;
};

static enum zi_status pass(const struct piece *piece)
{
    if (piece->bytes == 0) return ZI_OK;
    if (piece->step < piece->splitter->count) {
        const struct split_step *step = &piece->splitter->steps[piece->step];
        return step->apply(step, piece);
    }
    return piece->work->word(piece->work->context, piece->text, piece->bytes);
}

static enum zi_status pass_part(const struct piece *piece, size_t from, size_t end)
{
    struct piece part = *piece;
    part.step++;
    part.text += from;
    part.bytes = end - from;
    part.first = piece->first && from == 0;
    return pass(&part);
}

/* Puts segments, which are matched or not by turns, together to pieces by a behavior. */
struct joiner {
    const struct piece *piece;
    enum behavior behavior;
    /* The piece that may still grow, and whether its last segment was matched. */
    bool has, matched;
    size_t from, end;
};

static enum zi_status joiner_end(struct joiner *j)
{
    if (!j->has) return ZI_OK;
    j->has = false;
    return pass_part(j->piece, j->from, j->end);
}

static enum zi_status join(struct joiner *j, size_t from, size_t end, bool matched)
{
    bool grows = j->has && ((j->behavior == CONTIGUOUS && matched == j->matched) ||
                            (j->behavior == MERGED_WITH_PREVIOUS && matched && !j->matched) ||
                            (j->behavior == MERGED_WITH_NEXT && !matched && j->matched));
    if (j->behavior == REMOVED) return matched ? ZI_OK : pass_part(j->piece, from, end);
    if (j->behavior == ISOLATED) return pass_part(j->piece, from, end);
    if (!grows) {
        ZI_TRY(joiner_end(j));
        j->from = from;
    }
    j->has = true;
    j->end = end;
    j->matched = matched;
    return ZI_OK;
}

static enum zi_status apply_pattern(const struct split_step *step, const struct piece *piece)
{
    struct joiner j = {.piece = piece, .behavior = step->behavior};
    struct pattern_walk walk = {
        &step->pattern,
        {.matcher = piece->work->matcher, .text = piece->text, .bytes = piece->bytes}};
    struct text_range found;
    size_t done = 0;
    bool is_found;
    for (;;) {
        ZI_TRY(pattern_next(&walk, &found, &is_found));
        if (!is_found) break;
        if (done < found.begin) ZI_TRY(join(&j, done, found.begin, step->invert));
        ZI_TRY(join(&j, found.begin, found.end, !step->invert));
        done = found.end;
    }
    if (done < piece->bytes) ZI_TRY(join(&j, done, piece->bytes, step->invert));
    return joiner_end(&j);
}

/* A pattern that is scanned by hand matches all of a text. */
static enum zi_status apply_scanner(const struct split_step *step, const struct piece *piece)
{
    for (size_t at = 0; at < piece->bytes;) {
        size_t length = scanner_next(step->pattern.scanner, piece->text + at, piece->bytes - at);
        ZI_TRY(pass_part(piece, at, at + length));
        at += length;
    }
    return ZI_OK;
}

static enum zi_status apply_characters(const struct split_step *step, const struct piece *piece)
{
    struct joiner j = {.piece = piece, .behavior = step->behavior};
    size_t done = 0;
    for (size_t at = 0; at < piece->bytes;) {
        size_t end = at + utf8_length(piece->text[at]);
        if (step->is_match(utf8_at(piece->text + at))) {
            if (done < at) ZI_TRY(join(&j, done, at, false));
            ZI_TRY(join(&j, at, end, true));
            done = end;
        }
        at = end;
    }
    if (done < piece->bytes) ZI_TRY(join(&j, done, piece->bytes, false));
    return joiner_end(&j);
}

/* Runs of word characters, and runs of others that are no white space. */
static enum zi_status apply_words(const struct split_step *step, const struct piece *piece)
{
    (void)step;
    for (size_t at = 0; at < piece->bytes;) {
        uint32_t c = utf8_at(piece->text + at);
        bool word = unicode_is_word(c), space = !word && unicode_is_space(c);
        size_t from = at;
        do {
            at += utf8_length(piece->text[at]);
            if (at == piece->bytes) break;
            c = utf8_at(piece->text + at);
        } while (unicode_is_word(c) == word && (!word && unicode_is_space(c)) == space);
        if (!space) ZI_TRY(pass_part(piece, from, at));
    }
    return ZI_OK;
}

/* Passes on what a step has written to its buffer. */
static enum zi_status pass_text(const struct piece *piece, const struct buffer *text)
{
    struct piece changed = *piece;
    changed.step++;
    changed.text = text->text;
    changed.bytes = text->bytes;
    return pass(&changed);
}

static enum zi_status apply_prefix_space(const struct split_step *step, const struct piece *piece)
{
    struct buffer *text = &piece->work->texts[piece->step];
    (void)step;
    if (piece->text[0] == ' ') return pass_part(piece, 0, piece->bytes);
    text->bytes = 0;
    ZI_TRY(buffer_add(text, " ", 1));
    ZI_TRY(buffer_add(text, piece->text, piece->bytes));
    return pass_text(piece, text);
}

static enum zi_status apply_bytes(const struct split_step *step, const struct piece *piece)
{
    struct buffer *text = &piece->work->texts[piece->step];
    (void)step;
    text->bytes = 0;
    ZI_TRY(buffer_reserve(text, 2 * piece->bytes));
    for (size_t i = 0; i < piece->bytes; i++)
        buffer_put(text, byte_character((unsigned char)piece->text[i]));
    return pass_text(piece, text);
}

static enum zi_status apply_metaspace(const struct split_step *step, const struct piece *piece)
{
    struct buffer *text = &piece->work->texts[piece->step];
    const char *at = piece->text, *end = piece->text + piece->bytes, *space;
    size_t length = strlen(step->replacement);
    bool prepend =
        step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && piece->first);
    bool begins =
        *at == ' ' || (piece->bytes >= length && memcmp(at, step->replacement, length) == 0);
    text->bytes = 0;
    if (prepend && !begins) ZI_TRY(buffer_add(text, step->replacement, length));
    while ((space = memchr(at, ' ', (size_t)(end - at)))) {
        ZI_TRY(buffer_add(text, at, (size_t)(space - at)));
        ZI_TRY(buffer_add(text, step->replacement, length));
        at = space + 1;
    }
    ZI_TRY(buffer_add(text, at, (size_t)(end - at)));
    return pass_text(piece, text);
}

/* What is read of the file. */
struct reading {
    const struct zi_json_place *place;
    struct splitter *splitter;
};

static enum zi_status add_step(const struct reading *r, split_apply *apply, enum behavior behavior,
                               struct split_step **step)
{
    struct splitter *s = r->splitter;
    if (s->count == SPLIT_MOST)
        return zi_fail(ZI_ERROR_USAGE, "text", "%s: the pre-tokenizer has more than %d steps",
                       r->place->file, SPLIT_MOST);
    if (!s->steps) s->steps = calloc(SPLIT_MOST, sizeof *s->steps);
    if (!s->steps) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for a tokenizer");
    *step = &s->steps[s->count++];
    (*step)->apply = apply;
    (*step)->behavior = behavior;
    return ZI_OK;
}

/* A step of the pattern that has been read, which takes the shorter way where it can. */
static void choose_pattern(struct split_step *step)
{
    enum behavior whole = step->invert ? REMOVED : ISOLATED;
    if (step->pattern.scanner && step->behavior == whole) step->apply = apply_scanner;
}

static enum zi_status read_behavior(const struct reading *r, const json_t *object,
                                    enum behavior *behavior)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name = NULL;
    ZI_TRY(zi_json_get_string(r->place, object, "behavior", &name));
    if (!name) return ZI_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *behavior = (enum behavior)i;
            return ZI_OK;
        }
    return zi_fail(ZI_ERROR_USAGE, "text", "%s: behavior %s is not done", r->place->file, name);
}

static enum zi_status read_byte_level(const struct reading *r, const json_t *object)
{
    bool prefix = true, regex = true;
    struct split_step *step = NULL;
    ZI_TRY(zi_json_get_bool(r->place, object, "add_prefix_space", &prefix));
    ZI_TRY(zi_json_get_bool(r->place, object, "use_regex", &regex));
    if (prefix) ZI_TRY(add_step(r, apply_prefix_space, ISOLATED, &step));
    if (regex) {
        ZI_TRY(add_step(r, apply_pattern, ISOLATED, &step));
        ZI_TRY(pattern_compile(r->place, scan_gpt2, &step->pattern));
        choose_pattern(step);
    }
    return add_step(r, apply_bytes, ISOLATED, &step);
}

static enum zi_status read_scheme(const struct reading *r, const json_t *object,
                                  enum prepend *prepend)
{
    static const char *const names[] = {"never", "first", "always"};
    const char *name = "always";
    bool prefix = true;
    ZI_TRY(zi_json_get_string(r->place, object, "prepend_scheme", &name));
    ZI_TRY(zi_json_get_bool(r->place, object, "add_prefix_space", &prefix));
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *prepend = prefix ? (enum prepend)i : PREPEND_NEVER;
            return ZI_OK;
        }
    return zi_fail(ZI_ERROR_USAGE, "text", "%s: prepend_scheme %s is not done", r->place->file,
                   name);
}

static enum zi_status read_metaspace(const struct reading *r, const json_t *object)
{
    struct split_step *step = NULL;
    bool split = true;
    uint32_t replacement = 0x2581;
    char text[5] = "";
    ZI_TRY(text_character(r->place, object, "replacement", &replacement));
    ZI_TRY(zi_json_get_bool(r->place, object, "split", &split));
    text[utf8_write(text, replacement)] = 0;
    ZI_TRY(add_step(r, apply_metaspace, ISOLATED, &step));
    memcpy(step->replacement, text, sizeof text);
    ZI_TRY(read_scheme(r, object, &step->prepend));
    if (!split) return ZI_OK;
    ZI_TRY(add_step(r, apply_pattern, MERGED_WITH_NEXT, &step));
    step->pattern.literal_bytes = strlen(text);
    return text_copy(text, &step->pattern.literal);
}

static enum zi_status read_split(const struct reading *r, const json_t *object)
{
    struct split_step *step = NULL;
    ZI_TRY(zi_json_require(r->place, object, "pattern"));
    ZI_TRY(zi_json_require(r->place, object, "behavior"));
    ZI_TRY(add_step(r, apply_pattern, ISOLATED, &step));
    ZI_TRY(pattern_read(r->place, object, &step->pattern));
    ZI_TRY(zi_json_get_bool(r->place, object, "invert", &step->invert));
    ZI_TRY(read_behavior(r, object, &step->behavior));
    choose_pattern(step);
    return ZI_OK;
}

static enum zi_status read_delimiter(const struct reading *r, const json_t *object)
{
    struct split_step *step = NULL;
    uint32_t delimiter = 0;
    char text[5] = "";
    ZI_TRY(zi_json_require(r->place, object, "delimiter"));
    ZI_TRY(text_character(r->place, object, "delimiter", &delimiter));
    ZI_TRY(add_step(r, apply_pattern, REMOVED, &step));
    text[utf8_write(text, delimiter)] = 0;
    step->pattern.literal_bytes = strlen(text);
    return text_copy(text, &step->pattern.literal);
}

static enum zi_status add_characters(const struct reading *r, bool (*is_match)(uint32_t),
                                     enum behavior behavior)
{
    struct split_step *step = NULL;
    ZI_TRY(add_step(r, apply_characters, behavior, &step));
    step->is_match = is_match;
    return ZI_OK;
}

static enum zi_status read_whitespace_split(const struct reading *r, const json_t *object)
{
    (void)object;
    return add_characters(r, unicode_is_space, REMOVED);
}

static enum zi_status read_whitespace(const struct reading *r, const json_t *object)
{
    struct split_step *step = NULL;
    (void)object;
    return add_step(r, apply_words, ISOLATED, &step);
}

static enum zi_status read_bert(const struct reading *r, const json_t *object)
{
    (void)object;
    ZI_TRY(add_characters(r, unicode_is_space, REMOVED));
    return add_characters(r, unicode_is_punctuation, ISOLATED);
}

static enum zi_status read_punctuation(const struct reading *r, const json_t *object)
{
    enum behavior behavior = ISOLATED;
    ZI_TRY(read_behavior(r, object, &behavior));
    return add_characters(r, unicode_is_punctuation, behavior);
}

static enum zi_status read_digits(const struct reading *r, const json_t *object)
{
    bool individual = false;
    ZI_TRY(zi_json_get_bool(r->place, object, "individual_digits", &individual));
    return add_characters(r, unicode_is_number, individual ? ISOLATED : CONTIGUOUS);
}

static enum zi_status read_sequence(const struct reading *r, const json_t *object)
{
    const json_t *list = NULL;
    ZI_TRY(zi_json_require(r->place, object, "pretokenizers"));
    ZI_TRY(zi_json_get_array(r->place, object, "pretokenizers", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!json_is_object(json_array_get(list, i)))
            return zi_fail(ZI_ERROR_USAGE, "text", "%s: a pre-tokenizer is no object",
                           r->place->file);
        ZI_TRY(splitter_read(r->place, json_array_get(list, i), r->splitter));
    }
    return ZI_OK;
}

enum zi_status splitter_read(const struct zi_json_place *place, const json_t *object,
                             struct splitter *splitter)
{
    static const struct {
        const char *type, *keys;
        enum zi_status (*read)(const struct reading *r, const json_t *object);
    } types[] = {
        {"ByteLevel", "add_prefix_space trim_offsets use_regex", read_byte_level},
        {"Metaspace", "replacement prepend_scheme add_prefix_space split str_rep", read_metaspace},
        {"Split", "pattern behavior invert", read_split},
        {"Sequence", "pretokenizers", read_sequence},
        {"BertPreTokenizer", "", read_bert},
        {"Whitespace", "", read_whitespace},
        {"WhitespaceSplit", "", read_whitespace_split},
        {"Punctuation", "behavior", read_punctuation},
        {"Digits", "individual_digits", read_digits},
        {"CharDelimiterSplit", "delimiter", read_delimiter},
    };
    const struct reading r = {place, splitter};
    const char *type = NULL;
    if (!object) return ZI_OK;
    ZI_TRY(zi_json_require(place, object, "type"));
    ZI_TRY(zi_json_get_string(place, object, "type", &type));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i].type) == 0) {
            ZI_TRY(text_check_keys(place, object, types[i].keys));
            return types[i].read(&r, object);
        }
    return zi_fail(ZI_ERROR_USAGE, "text", "%s: pre-tokenizer %s is not done", place->file, type);
}

void splitter_free(struct splitter *splitter)
{
    for (size_t i = 0; i < splitter->count; i++)
        pattern_free(&splitter->steps[i].pattern);
    free(splitter->steps);
    *splitter = (struct splitter){.steps = NULL};
}

bool splitter_take_bytes(struct splitter *splitter)
{
    if (splitter->count == 0 || splitter->steps[splitter->count - 1].apply != apply_bytes)
        return false;
    splitter->count--;
    return true;
}

enum zi_status splitter_run(const struct splitter *splitter, struct split_work *work,
                            const char *text, size_t bytes, bool first)
{
    const struct piece piece = {splitter, work, 0, text, bytes, first};
    return pass(&piece);
}
