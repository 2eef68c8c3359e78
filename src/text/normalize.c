/* SPDX-License-Identifier: Apache-2.0 */
#include "text/normalize.h"

#include <stdlib.h>

#include "base/log.h"
#include "text/charsmap.h"
#include "text/unicode.h"

struct normal_step;

/* Appends the text as it is after the step. */
typedef enum zi_status normal_apply(const struct normal_step *step, struct normal_work *work,
                                    const char *text, size_t bytes, struct buffer *out);

struct normal_step {
    normal_apply *apply;
    enum normal_form form;
    struct pattern pattern;
    /* What a pattern becomes, or stands before a text. */
    char *content;
    struct charsmap *map;
    /* Of Strip. */
    bool left, right;
    /* Of BertNormalizer. */
    bool clean, chinese, accents, lower;
};

static enum zi_status apply_form(const struct normal_step *step, struct normal_work *work,
                                 const char *text, size_t bytes, struct buffer *out)
{
    (void)work;
    return unicode_normalize(step->form, text, bytes, out);
}

static enum zi_status apply_lowercase(const struct normal_step *step, struct normal_work *work,
                                      const char *text, size_t bytes, struct buffer *out)
{
    (void)step, (void)work;
    ZI_TRY(buffer_reserve(out, 2 * bytes + 4));
    for (const char *at = text; at < text + bytes; at += utf8_length(*at))
        unicode_put_lower(out, utf8_at(at));
    return ZI_OK;
}

static enum zi_status apply_strip(const struct normal_step *step, struct normal_work *work,
                                  const char *text, size_t bytes, struct buffer *out)
{
    const char *begin = text, *end = text + bytes;
    while (step->left && text < end && unicode_is_space(utf8_at(text)))
        text += utf8_length(*text);
    work->lost |= text > begin;
    while (step->right && text < end && unicode_is_space(utf8_before(text, end))) {
        do
            end--;
        while (((unsigned char)*end & 0xc0) == 0x80);
    }
    return buffer_add(out, text, (size_t)(end - text));
}

static enum zi_status drop_marks(const char *text, size_t bytes, bool nonspacing,
                                 struct buffer *out)
{
    ZI_TRY(buffer_reserve(out, bytes));
    for (const char *at = text; at < text + bytes; at += utf8_length(*at))
        if (!unicode_is_mark(utf8_at(at), nonspacing)) buffer_put(out, utf8_at(at));
    return ZI_OK;
}

static enum zi_status apply_strip_accents(const struct normal_step *step, struct normal_work *work,
                                          const char *text, size_t bytes, struct buffer *out)
{
    (void)step;
    work->lost |= bytes && unicode_is_mark(utf8_at(text), false);
    return drop_marks(text, bytes, false, out);
}

static enum zi_status apply_replace(const struct normal_step *step, struct normal_work *work,
                                    const char *text, size_t bytes, struct buffer *out)
{
    struct pattern_walk walk = {&step->pattern,
                                {.matcher = work->matcher, .text = text, .bytes = bytes}};
    struct text_range found;
    size_t done = 0, length = strlen(step->content);
    bool is_found;
    for (;;) {
        ZI_TRY(pattern_next(&walk, &found, &is_found));
        if (!is_found) return buffer_add(out, text + done, bytes - done);
        ZI_TRY(buffer_add(out, text + done, found.begin - done));
        ZI_TRY(buffer_add(out, step->content, length));
        done = found.end;
        work->lost |= found.begin == 0 && found.end > 0 && length == 0;
    }
}

static enum zi_status apply_prepend(const struct normal_step *step, struct normal_work *work,
                                    const char *text, size_t bytes, struct buffer *out)
{
    (void)work;
    if (bytes) ZI_TRY(buffer_add(out, step->content, strlen(step->content)));
    return buffer_add(out, text, bytes);
}

static enum zi_status apply_charsmap(const struct normal_step *step, struct normal_work *work,
                                     const char *text, size_t bytes, struct buffer *out)
{
    return charsmap_apply(step->map, text, bytes, out, &work->lost);
}

static enum zi_status apply_bytes(const struct normal_step *step, struct normal_work *work,
                                  const char *text, size_t bytes, struct buffer *out)
{
    (void)step, (void)work;
    ZI_TRY(buffer_reserve(out, 2 * bytes));
    for (size_t i = 0; i < bytes; i++)
        buffer_put(out, byte_character((unsigned char)text[i]));
    return ZI_OK;
}

/* Characters that Moses and SentencePiece's rule nmt drop, and those that become a space. */
static enum zi_status apply_nmt(const struct normal_step *step, struct normal_work *work,
                                const char *text, size_t bytes, struct buffer *out)
{
    (void)step;
    ZI_TRY(buffer_reserve(out, bytes));
    for (const char *at = text; at < text + bytes; at += utf8_length(*at)) {
        uint32_t c = utf8_at(at);
        work->lost |= at > text && out->bytes == 0;
        if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
            c == 0x9f)
            continue;
        bool space = c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 ||
                     (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xfeff || c == 0xfffd;
        buffer_put(out, space ? ' ' : c);
    }
    return ZI_OK;
}

/* Ideographs as BERT counts them; one of the blocks begins later there than in Unicode. */
static bool is_chinese(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static enum zi_status clean_text(const struct normal_step *step, struct normal_work *work,
                                 const char *text, size_t bytes, struct buffer *out)
{
    for (const char *at = text; at < text + bytes; at += utf8_length(*at)) {
        uint32_t c = utf8_at(at);
        work->lost |= at > text && out->bytes == 0;
        ZI_TRY(buffer_reserve(out, 6));
        if (step->clean) {
            bool line = c == '\t' || c == '\n' || c == '\r';
            if (c == 0 || c == 0xfffd || (!line && unicode_is_control(c))) continue;
            if (line || unicode_is_space(c)) c = ' ';
        }
        bool apart = step->chinese && is_chinese(c);
        if (apart) buffer_put(out, ' ');
        buffer_put(out, c);
        if (apart) buffer_put(out, ' ');
    }
    return ZI_OK;
}

static enum zi_status apply_bert(const struct normal_step *step, struct normal_work *work,
                                 const char *text, size_t bytes, struct buffer *out)
{
    struct buffer one = {.text = NULL}, two = {.text = NULL};
    enum zi_status status = clean_text(step, work, text, bytes, &one);
    if (status >= 0 && step->accents) {
        status = unicode_normalize(FORM_NFD, one.text, one.bytes, &two);
        one.bytes = 0;
        work->lost |= two.bytes && unicode_is_mark(utf8_at(two.text), true);
        if (status >= 0) status = drop_marks(two.text, two.bytes, true, &one);
    }
    if (status >= 0)
        status = step->lower ? apply_lowercase(step, NULL, one.text, one.bytes, out)
                             : buffer_add(out, one.text, one.bytes);
    buffer_free(&one);
    buffer_free(&two);
    return status;
}

static enum zi_status read_content(const struct zi_json_place *place, const json_t *object,
                                   const char *key, struct normal_step *step)
{
    const char *content = NULL;
    ZI_TRY(zi_json_require(place, object, key));
    ZI_TRY(zi_json_get_string(place, object, key, &content));
    return text_copy(content, &step->content);
}

static enum zi_status read_bert(const struct zi_json_place *place, const json_t *object,
                                struct normal_step *step)
{
    step->clean = step->chinese = step->lower = true;
    ZI_TRY(zi_json_get_bool(place, object, "clean_text", &step->clean));
    ZI_TRY(zi_json_get_bool(place, object, "handle_chinese_chars", &step->chinese));
    ZI_TRY(zi_json_get_bool(place, object, "lowercase", &step->lower));
    step->accents = step->lower;
    return zi_json_get_bool(place, object, "strip_accents", &step->accents);
}

static enum zi_status read_strip(const struct zi_json_place *place, const json_t *object,
                                 struct normal_step *step)
{
    step->left = step->right = true;
    ZI_TRY(zi_json_get_bool(place, object, "strip_left", &step->left));
    return zi_json_get_bool(place, object, "strip_right", &step->right);
}

static enum zi_status read_replace(const struct zi_json_place *place, const json_t *object,
                                   struct normal_step *step)
{
    ZI_TRY(pattern_read(place, object, &step->pattern));
    return read_content(place, object, "content", step);
}

static enum zi_status read_prepend(const struct zi_json_place *place, const json_t *object,
                                   struct normal_step *step)
{
    return read_content(place, object, "prepend", step);
}

static enum zi_status read_charsmap(const struct zi_json_place *place, const json_t *object,
                                    struct normal_step *step)
{
    const char *base64 = NULL;
    ZI_TRY(zi_json_require(place, object, "precompiled_charsmap"));
    ZI_TRY(zi_json_get_string(place, object, "precompiled_charsmap", &base64));
    return charsmap_read(place, base64, &step->map);
}

/* What a type does, and what of its object is read; NULL: nothing. */
static const struct {
    const char *type, *keys;
    normal_apply *apply;
    enum normal_form form;
    enum zi_status (*read)(const struct zi_json_place *place, const json_t *object,
                           struct normal_step *step);
} types[] = {
    {"NFC", "", apply_form, FORM_NFC, NULL},
    {"NFD", "", apply_form, FORM_NFD, NULL},
    {"NFKC", "", apply_form, FORM_NFKC, NULL},
    {"NFKD", "", apply_form, FORM_NFKD, NULL},
    {"Lowercase", "", apply_lowercase, 0, NULL},
    {"Strip", "strip_left strip_right", apply_strip, 0, read_strip},
    {"StripAccents", "", apply_strip_accents, 0, NULL},
    {"BertNormalizer", "clean_text handle_chinese_chars strip_accents lowercase", apply_bert, 0,
     read_bert},
    {"Replace", "pattern content", apply_replace, 0, read_replace},
    {"Prepend", "prepend", apply_prepend, 0, read_prepend},
    {"Nmt", "", apply_nmt, 0, NULL},
    {"Precompiled", "precompiled_charsmap", apply_charsmap, 0, read_charsmap},
    {"ByteLevel", "", apply_bytes, 0, NULL},
};

static enum zi_status read_step(const struct zi_json_place *place, const json_t *object,
                                const char *type, struct normalizer *normalizer)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].type) != 0) continue;
        ZI_TRY(text_check_keys(place, object, types[i].keys));
        void *steps = normalizer->steps;
        ZI_TRY(array_reserve(&steps, &normalizer->capacity, normalizer->count + 1,
                             sizeof *normalizer->steps));
        normalizer->steps = steps;
        struct normal_step *step = &normalizer->steps[normalizer->count++];
        *step = (struct normal_step){.apply = types[i].apply, .form = types[i].form};
        return types[i].read ? types[i].read(place, object, step) : ZI_OK;
    }
    return zi_fail(ZI_ERROR_USAGE, "text", "%s: normalizer %s is not done", place->file, type);
}

enum zi_status normalizer_read(const struct zi_json_place *place, const json_t *object,
                               struct normalizer *normalizer)
{
    const char *type = NULL;
    const json_t *list = NULL;
    if (!object) return ZI_OK;
    ZI_TRY(zi_json_require(place, object, "type"));
    ZI_TRY(zi_json_get_string(place, object, "type", &type));
    if (strcmp(type, "Sequence") != 0) return read_step(place, object, type, normalizer);
    ZI_TRY(zi_json_require(place, object, "normalizers"));
    ZI_TRY(zi_json_get_array(place, object, "normalizers", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!json_is_object(json_array_get(list, i)))
            return zi_fail(ZI_ERROR_USAGE, "text", "%s: a normalizer is no object", place->file);
        ZI_TRY(normalizer_read(place, json_array_get(list, i), normalizer));
    }
    return ZI_OK;
}

void normalizer_free(struct normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        pattern_free(&normalizer->steps[i].pattern);
        free(normalizer->steps[i].content);
        charsmap_free(normalizer->steps[i].map);
    }
    free(normalizer->steps);
    *normalizer = (struct normalizer){.steps = NULL};
}

enum zi_status normalizer_apply(const struct normalizer *normalizer, struct normal_work *work,
                                const char **text, size_t *bytes)
{
    work->lost = false;
    for (size_t i = 0; i < normalizer->count; i++) {
        const struct normal_step *step = &normalizer->steps[i];
        struct buffer *out = &work->texts[i & 1];
        out->bytes = 0;
        ZI_TRY(step->apply(step, work, *text, *bytes, out));
        *text = out->text ? out->text : "";
        *bytes = out->bytes;
    }
    return ZI_OK;
}
