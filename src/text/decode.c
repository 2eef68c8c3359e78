/* SPDX-License-Identifier: Apache-2.0 */
#include "text/decode.h"

#include <stdlib.h>

#include "base/log.h"

/* Appends what becomes of all pieces. */
typedef enum zi_status decode_apply(const struct decode_step *step, const struct pieces *from,
                                    struct pieces *to);

struct decode_step {
    decode_apply *apply;
    struct pattern pattern;
    /* A prefix, a suffix, or what a pattern becomes. */
    char *content;
    uint32_t character;
    /* How many at either side, of Strip. */
    int64_t start, stop;
    /* Of WordPiece: cleanup; of Metaspace: a space before the first was added. */
    bool flag;
};

enum zi_status pieces_end(struct pieces *pieces)
{
    void *ends = pieces->ends;
    ZI_TRY(array_reserve(&ends, &pieces->capacity, pieces->count + 1, sizeof *pieces->ends));
    pieces->ends = ends;
    pieces->ends[pieces->count++] = pieces->text.bytes;
    return ZI_OK;
}

void pieces_free(struct pieces *pieces)
{
    buffer_free(&pieces->text);
    free(pieces->ends);
    *pieces = (struct pieces){.ends = NULL};
}

static const char *piece_at(const struct pieces *pieces, size_t i, size_t *bytes)
{
    size_t from = i ? pieces->ends[i - 1] : 0;
    *bytes = pieces->ends[i] - from;
    return pieces->text.text ? pieces->text.text + from : "";
}

/* A token whose characters are not all such that stand for bytes is taken as it is. */
static enum zi_status apply_byte_level(const struct decode_step *step, const struct pieces *from,
                                       struct pieces *to)
{
    size_t bytes;
    (void)step;
    for (size_t i = 0; i < from->count; i++) {
        const char *text = piece_at(from, i, &bytes);
        size_t begun = to->text.bytes, at = 0;
        ZI_TRY(buffer_reserve(&to->text, bytes));
        for (; at < bytes; at += utf8_length(text[at])) {
            int byte = byte_of_character(utf8_at(text + at));
            if (byte < 0) break;
            to->text.text[to->text.bytes++] = (char)byte;
        }
        if (at < bytes) {
            to->text.bytes = begun;
            ZI_TRY(buffer_add(&to->text, text, bytes));
        }
    }
    return pieces_end(to);
}

static enum zi_status apply_metaspace(const struct decode_step *step, const struct pieces *from,
                                      struct pieces *to)
{
    size_t bytes;
    for (size_t i = 0; i < from->count; i++) {
        const char *text = piece_at(from, i, &bytes);
        ZI_TRY(buffer_reserve(&to->text, bytes));
        for (size_t at = 0; at < bytes; at += utf8_length(text[at])) {
            uint32_t c = utf8_at(text + at);
            if (c != step->character)
                buffer_put(&to->text, c);
            else if (i > 0 || !step->flag)
                buffer_put(&to->text, ' ');
        }
        ZI_TRY(pieces_end(to));
    }
    return ZI_OK;
}

/* Puts one text for another in all of what was added since `begun`. */
static enum zi_status replace_all(struct buffer *text, size_t begun, const char *old,
                                  const char *new)
{
    size_t length = strlen(old), done = begun;
    char *at;
    if (text->bytes - begun < length ||
        !memmem(text->text + begun, text->bytes - begun, old, length))
        return ZI_OK;
    struct buffer out = {.text = NULL};
    enum zi_status status = ZI_OK;
    while (status >= 0 && (at = memmem(text->text + done, text->bytes - done, old, length))) {
        size_t place = (size_t)(at - text->text);
        status = buffer_add(&out, text->text + done, place - done);
        if (status >= 0) status = buffer_add(&out, new, strlen(new));
        done = place + length;
    }
    if (status >= 0) status = buffer_add(&out, text->text + done, text->bytes - done);
    text->bytes = begun;
    if (status >= 0) status = buffer_add(text, out.text, out.bytes);
    buffer_free(&out);
    return status;
}

static enum zi_status apply_wordpiece(const struct decode_step *step, const struct pieces *from,
                                      struct pieces *to)
{
    static const char *const cleanups[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    size_t bytes, prefix = strlen(step->content);
    for (size_t i = 0; i < from->count; i++) {
        const char *text = piece_at(from, i, &bytes);
        size_t begun = to->text.bytes;
        bool goes_on = i > 0 && bytes >= prefix && memcmp(text, step->content, prefix) == 0;
        if (i > 0 && !goes_on) ZI_TRY(buffer_add(&to->text, " ", 1));
        if (goes_on) text += prefix, bytes -= prefix;
        ZI_TRY(buffer_add(&to->text, text, bytes));
        for (size_t k = 0; step->flag && k < sizeof cleanups / sizeof *cleanups; k++)
            ZI_TRY(replace_all(&to->text, begun, cleanups[k][0], cleanups[k][1]));
        ZI_TRY(pieces_end(to));
    }
    return ZI_OK;
}

static enum zi_status apply_suffix(const struct decode_step *step, const struct pieces *from,
                                   struct pieces *to)
{
    size_t bytes;
    for (size_t i = 0; i < from->count; i++) {
        const char *text = piece_at(from, i, &bytes);
        size_t begun = to->text.bytes;
        ZI_TRY(buffer_add(&to->text, text, bytes));
        ZI_TRY(replace_all(&to->text, begun, step->content, i + 1 == from->count ? "" : " "));
        ZI_TRY(pieces_end(to));
    }
    return ZI_OK;
}

/* The byte of a token as <0x0A>; -1 of others. */
static int fallback_byte(const char *text, size_t bytes)
{
    int value = 0;
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *found = text[i] ? strchr(digits, text[i]) : NULL;
        if (!found) return -1;
        int digit = (int)(found - digits);
        value = 16 * value + (digit > 15 ? digit - 6 : digit);
    }
    return value;
}

/* Ends a run of bytes: characters, or one U+FFFD for each byte when they are none. */
static enum zi_status end_bytes(struct buffer *run, struct pieces *to)
{
    if (run->bytes == 0) return ZI_OK;
    if (utf8_valid(run->text, run->bytes) == run->bytes) {
        ZI_TRY(buffer_add(&to->text, run->text, run->bytes));
        ZI_TRY(pieces_end(to));
    } else {
        for (size_t i = 0; i < run->bytes; i++) {
            ZI_TRY(buffer_add(&to->text, "\xef\xbf\xbd", 3));
            ZI_TRY(pieces_end(to));
        }
    }
    run->bytes = 0;
    return ZI_OK;
}

static enum zi_status apply_fallback(const struct decode_step *step, const struct pieces *from,
                                     struct pieces *to)
{
    struct buffer run = {.text = NULL};
    enum zi_status status = ZI_OK;
    (void)step;
    for (size_t i = 0; i < from->count && status >= 0; i++) {
        size_t bytes;
        const char *text = piece_at(from, i, &bytes);
        int byte = fallback_byte(text, bytes);
        if (byte >= 0) {
            char c = (char)byte;
            status = buffer_add(&run, &c, 1);
            continue;
        }
        status = end_bytes(&run, to);
        if (status >= 0) status = buffer_add(&to->text, text, bytes);
        if (status >= 0) status = pieces_end(to);
    }
    if (status >= 0) status = end_bytes(&run, to);
    buffer_free(&run);
    return status;
}

static enum zi_status apply_fuse(const struct decode_step *step, const struct pieces *from,
                                 struct pieces *to)
{
    (void)step;
    ZI_TRY(buffer_add(&to->text, from->text.text, from->text.bytes));
    return pieces_end(to);
}

static enum zi_status apply_strip(const struct decode_step *step, const struct pieces *from,
                                  struct pieces *to)
{
    char own[4];
    size_t bytes, length = utf8_write(own, step->character);
    for (size_t i = 0; i < from->count; i++) {
        const char *text = piece_at(from, i, &bytes);
        for (int64_t k = 0; k < step->start && bytes >= length && !memcmp(text, own, length); k++) {
            text += length;
            bytes -= length;
        }
        for (int64_t k = 0;
             k < step->stop && bytes >= length && !memcmp(text + bytes - length, own, length); k++)
            bytes -= length;
        ZI_TRY(buffer_add(&to->text, text, bytes));
        ZI_TRY(pieces_end(to));
    }
    return ZI_OK;
}

/* One piece, of valid UTF-8. */
static enum zi_status replace_in(const struct decode_step *step, struct regex_matcher *matcher,
                                 const struct buffer *text, struct pieces *to)
{
    struct pattern_walk walk = {&step->pattern,
                                {.matcher = matcher, .text = text->text, .bytes = text->bytes}};
    struct text_range found;
    size_t done = 0;
    bool is_found;
    for (;;) {
        ZI_TRY(pattern_next(&walk, &found, &is_found));
        if (!is_found) break;
        ZI_TRY(buffer_add(&to->text, text->text + done, found.begin - done));
        ZI_TRY(buffer_add(&to->text, step->content, strlen(step->content)));
        done = found.end;
    }
    ZI_TRY(buffer_add(&to->text, text->text + done, text->bytes - done));
    return pieces_end(to);
}

static enum zi_status apply_replace(const struct decode_step *step, const struct pieces *from,
                                    struct pieces *to)
{
    struct regex_matcher *matcher;
    struct buffer text = {.text = NULL};
    size_t bytes;
    ZI_TRY(regex_matcher_create(&matcher));
    enum zi_status status = buffer_reserve(&text, 1);
    for (size_t i = 0; i < from->count && status >= 0; i++) {
        const char *piece = piece_at(from, i, &bytes);
        text.bytes = 0;
        status = utf8_repair(&text, piece, bytes);
        if (status >= 0) status = replace_in(step, matcher, &text, to);
    }
    buffer_free(&text);
    regex_matcher_free(matcher);
    return status;
}

static enum zi_status read_content(const struct zi_json_place *place, const json_t *object,
                                   const char *key, struct decode_step *step)
{
    const char *content = NULL;
    ZI_TRY(zi_json_require(place, object, key));
    ZI_TRY(zi_json_get_string(place, object, key, &content));
    return text_copy(content, &step->content);
}

static enum zi_status read_metaspace(const struct zi_json_place *place, const json_t *object,
                                     struct decode_step *step)
{
    const char *scheme = "always";
    bool prefix = true;
    step->character = 0x2581;
    ZI_TRY(text_character(place, object, "replacement", &step->character));
    ZI_TRY(zi_json_get_string(place, object, "prepend_scheme", &scheme));
    ZI_TRY(zi_json_get_bool(place, object, "add_prefix_space", &prefix));
    step->flag = prefix && strcmp(scheme, "never") != 0;
    return ZI_OK;
}

static enum zi_status read_wordpiece(const struct zi_json_place *place, const json_t *object,
                                     struct decode_step *step)
{
    step->flag = true;
    ZI_TRY(zi_json_get_bool(place, object, "cleanup", &step->flag));
    return read_content(place, object, "prefix", step);
}

static enum zi_status read_suffix(const struct zi_json_place *place, const json_t *object,
                                  struct decode_step *step)
{
    ZI_TRY(read_content(place, object, "suffix", step));
    if (*step->content) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "text", "%s: BPEDecoder has no suffix", place->file);
}

static enum zi_status read_strip(const struct zi_json_place *place, const json_t *object,
                                 struct decode_step *step)
{
    ZI_TRY(zi_json_require(place, object, "content"));
    ZI_TRY(text_character(place, object, "content", &step->character));
    ZI_TRY(zi_json_get_integer(place, object, "start", &step->start));
    return zi_json_get_integer(place, object, "stop", &step->stop);
}

static enum zi_status read_replace(const struct zi_json_place *place, const json_t *object,
                                   struct decode_step *step)
{
    ZI_TRY(pattern_read(place, object, &step->pattern));
    return read_content(place, object, "content", step);
}

/* What a type does, and what of its object is read; NULL: nothing. */
static const struct {
    const char *type, *keys;
    decode_apply *apply;
    enum zi_status (*read)(const struct zi_json_place *place, const json_t *object,
                           struct decode_step *step);
} types[] = {
    {"ByteLevel", "add_prefix_space trim_offsets use_regex", apply_byte_level, NULL},
    {"Metaspace", "replacement prepend_scheme add_prefix_space split str_rep", apply_metaspace,
     read_metaspace},
    {"WordPiece", "prefix cleanup", apply_wordpiece, read_wordpiece},
    {"BPEDecoder", "suffix", apply_suffix, read_suffix},
    {"ByteFallback", "", apply_fallback, NULL},
    {"Fuse", "", apply_fuse, NULL},
    {"Strip", "content start stop", apply_strip, read_strip},
    {"Replace", "pattern content", apply_replace, read_replace},
};

static enum zi_status read_step(const struct zi_json_place *place, const json_t *object,
                                const char *type, struct decoder *decoder)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].type) != 0) continue;
        void *steps = decoder->steps;
        ZI_TRY(text_check_keys(place, object, types[i].keys));
        ZI_TRY(
            array_reserve(&steps, &decoder->capacity, decoder->count + 1, sizeof *decoder->steps));
        decoder->steps = steps;
        struct decode_step *step = &decoder->steps[decoder->count++];
        *step = (struct decode_step){.apply = types[i].apply};
        return types[i].read ? types[i].read(place, object, step) : ZI_OK;
    }
    return zi_fail(ZI_ERROR_USAGE, "text", "%s: decoder %s is not done", place->file, type);
}

enum zi_status decoder_read(const struct zi_json_place *place, const json_t *object,
                            struct decoder *decoder)
{
    const char *type = NULL;
    const json_t *list = NULL;
    decoder->is_none = !object;
    if (!object) return ZI_OK;
    ZI_TRY(zi_json_require(place, object, "type"));
    ZI_TRY(zi_json_get_string(place, object, "type", &type));
    if (strcmp(type, "Sequence") != 0) return read_step(place, object, type, decoder);
    ZI_TRY(zi_json_require(place, object, "decoders"));
    ZI_TRY(zi_json_get_array(place, object, "decoders", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!json_is_object(json_array_get(list, i)))
            return zi_fail(ZI_ERROR_USAGE, "text", "%s: a decoder is no object", place->file);
        ZI_TRY(decoder_read(place, json_array_get(list, i), decoder));
    }
    return ZI_OK;
}

void decoder_free(struct decoder *decoder)
{
    for (size_t i = 0; i < decoder->count; i++) {
        pattern_free(&decoder->steps[i].pattern);
        free(decoder->steps[i].content);
    }
    free(decoder->steps);
    *decoder = (struct decoder){.steps = NULL};
}

static enum zi_status join_spaces(const struct pieces *from, struct pieces *to)
{
    size_t bytes;
    for (size_t i = 0; i < from->count; i++) {
        const char *text = piece_at(from, i, &bytes);
        if (i > 0) ZI_TRY(buffer_add(&to->text, " ", 1));
        ZI_TRY(buffer_add(&to->text, text, bytes));
    }
    return pieces_end(to);
}

enum zi_status decoder_run(const struct decoder *decoder, struct pieces *pieces)
{
    size_t steps = decoder->is_none ? 1 : decoder->count;
    for (size_t i = 0; i < steps; i++) {
        struct pieces to = {.ends = NULL};
        const struct decode_step *step = &decoder->steps[i];
        enum zi_status status =
            decoder->is_none ? join_spaces(pieces, &to) : step->apply(step, pieces, &to);
        if (status < 0) {
            pieces_free(&to);
            return status;
        }
        pieces_free(pieces);
        *pieces = to;
    }
    return ZI_OK;
}
