/* SPDX-License-Identifier: Apache-2.0 */
/* Ids to text, all at once and as they come.
 *
 * A decoder may treat the first token of a text otherwise than the next ones, and several tokens may
 * make one character. A stream therefore decodes a few ids again each time: those whose text was
 * given last, and the new ones; what is new is what the text has more than that of the former. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "text/file.h"
#include "text/model_kinds.h"
#include "text/tokenizer.h"

/* Ids whose text is held back, at most: four bytes make any character. */
#define HELD_MOST 8

struct tokenizer_stream {
    const struct tokenizer *tokenizer;
    bool skip_special;
    /* Those given last, `given` of them, with the bytes of their text; then those held back. */
    struct tokenizer_ids ids;
    size_t given, given_bytes;
    char *text;
};

static enum zi_status decode_sentencepiece(const struct spm *model, const int32_t *ids,
                                           size_t count, bool skip_special, struct buffer *out)
{
    struct tokenizer_ids kept = {.ids = NULL};
    char *text = NULL;
    size_t bytes = 0;
    enum zi_status status = ZI_OK;
    (void)skip_special; /* control pieces have no text */
    for (size_t i = 0; i < count && status >= 0; i++)
        if (!sentencepiece_is_special(model, ids[i])) status = ids_add(&kept, ids[i]);
    if (status >= 0) status = sentencepiece_decode(model, kept.ids, kept.count, &text, &bytes);
    if (status >= 0) status = buffer_add(out, text, bytes);
    free(text);
    tokenizer_ids_free(&kept);
    return status;
}

static enum zi_status decode_pieces(const struct tokenizer *t, const int32_t *ids, size_t count,
                                    bool skip_special, struct pieces *pieces)
{
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t bytes;
        if (skip_special && added_is_special(&t->added, ids[i])) continue;
        if (!added_text(&t->added, &t->model, ids[i], &text, &bytes)) continue;
        ZI_TRY(buffer_add(&pieces->text, text, bytes));
        ZI_TRY(pieces_end(pieces));
    }
    return pieces->count ? decoder_run(&t->decoder, pieces) : ZI_OK;
}

enum zi_status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t count,
                                bool skip_special, char **text, size_t *bytes)
{
    struct pieces pieces = {.ends = NULL};
    enum zi_status status = t->sentencepiece ? decode_sentencepiece(t->sentencepiece, ids, count,
                                                                    skip_special, &pieces.text)
                                             : decode_pieces(t, ids, count, skip_special, &pieces);
    if (status >= 0) status = buffer_reserve(&pieces.text, 1);
    if (status < 0) {
        pieces_free(&pieces);
        return status;
    }
    *text = pieces.text.text;
    *bytes = pieces.text.bytes;
    (*text)[*bytes] = 0;
    free(pieces.ends);
    return ZI_OK;
}

enum zi_status tokenizer_stream_create(const struct tokenizer *tokenizer, bool skip_special,
                                       struct tokenizer_stream **stream)
{
    *stream = calloc(1, sizeof **stream);
    if (!*stream) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory to decode a text");
    (*stream)->tokenizer = tokenizer;
    (*stream)->skip_special = skip_special;
    return ZI_OK;
}

void tokenizer_stream_free(struct tokenizer_stream *stream)
{
    if (!stream) return;
    tokenizer_ids_free(&stream->ids);
    free(stream->text);
    free(stream);
}

/* Whether a text ends within a character: its last bytes begin one, or what stands for broken ones. */
static bool is_open(const char *text, size_t bytes)
{
    bool valid;
    if (bytes >= 3 && memcmp(text + bytes - 3, "\xef\xbf\xbd", 3) == 0) return true;
    for (size_t back = 1; back <= 3 && back <= bytes; back++) {
        unsigned char byte = (unsigned char)text[bytes - back];
        if ((byte & 0xc0) == 0x80) continue;
        return byte >= 0xc2 && byte < 0xf5 &&
               utf8_check(text + bytes - back, back, &valid) == back && !valid;
    }
    return false;
}

static enum zi_status decode_window(const struct tokenizer_stream *s, char **text, size_t *bytes)
{
    return tokenizer_decode(s->tokenizer, s->ids.ids, s->ids.count, s->skip_special, text, bytes);
}

/* Gives what is new, and lets go of the ids whose text was given before; not where the new ones have
 * no text by themselves, as spaces that a decoder takes away at the beginning of a text. */
static enum zi_status give(struct tokenizer_stream *s, const char **text, size_t *bytes)
{
    char *own;
    size_t own_bytes, fresh = s->ids.count - s->given;
    ZI_TRY(tokenizer_decode(s->tokenizer, s->ids.ids + s->given, fresh, s->skip_special, &own,
                            &own_bytes));
    free(own);
    *text = s->text + s->given_bytes;
    s->given_bytes = *bytes;
    *bytes = (size_t)(s->text + *bytes - *text);
    if (own_bytes > 0) {
        memmove(s->ids.ids, s->ids.ids + s->given, fresh * sizeof *s->ids.ids);
        s->ids.count = fresh;
        s->given_bytes = own_bytes;
    }
    s->given = s->ids.count;
    return ZI_OK;
}

static enum zi_status advance(struct tokenizer_stream *s, bool all, const char **text,
                              size_t *bytes)
{
    free(s->text);
    s->text = NULL;
    ZI_TRY(decode_window(s, &s->text, bytes));
    bool held = !all && is_open(s->text, *bytes) && s->ids.count - s->given <= HELD_MOST;
    if (*bytes > s->given_bytes && !held) return give(s, text, bytes);
    *text = s->text;
    *bytes = 0;
    return ZI_OK;
}

enum zi_status tokenizer_stream_next(struct tokenizer_stream *stream, int32_t id, const char **text,
                                     size_t *bytes)
{
    ZI_TRY(ids_add(&stream->ids, id));
    return advance(stream, false, text, bytes);
}

enum zi_status tokenizer_stream_rest(struct tokenizer_stream *stream, const char **text,
                                     size_t *bytes)
{
    return advance(stream, true, text, bytes);
}
