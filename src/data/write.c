/* SPDX-License-Identifier: Apache-2.0 */
/* Making token files out of text: every byte is a token, so the vocabulary is 256 and the tokens of
 * a file are the file; or an encoder makes tokens of a file's text.
 *
 * Two passes. The first walks the inputs and lists their files with their sizes (inputs.c), and
 * where there is an encoder lets it make the tokens, which wait in a file (encode.c). So the number
 * of tokens, and with it the place of the cut between training and validation, is known before the
 * first one is written. The second copies. A file that changed in between, in
 * size or time, is an error, since the cut and the space would be wrong, or part of it of another
 * time. Before both it is made sure that the outputs can be made, and are two. */
#include "data/tokens.h"

#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "data/encode.h"
#include "data/format.h"
#include "data/inputs.h"
#include "data/output.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES  ((size_t)1 << 20)
#define SOURCE_MOST 4096 /* bytes of the attribute that lists the inputs */
#define PIECE_IDS   ((int64_t)1 << 18)

/* A file under way. */
struct part {
    struct token_output *output;
    /* Tokens that still go there, and that are there */
    int64_t left, done;
    bool masked;
};

/* The files under way, in the order of their tokens; without validation its part is empty. */
struct cut {
    struct part train, validation;
};

/* How many of `count` tokens still go to a part. */
static int64_t part_take(struct part *part, int64_t count)
{
    int64_t taken = count < part->left ? count : part->left;
    part->left -= taken;
    part->done += taken;
    return taken;
}

static enum zi_status cut_append(struct cut *cut, const uint8_t *bytes, int64_t count)
{
    int64_t train = part_take(&cut->train, count);
    int64_t validation = part_take(&cut->validation, count - train);
    if (train > 0) ZI_TRY(token_output_append_bytes(cut->train.output, bytes, train));
    if (validation == 0) return ZI_OK;
    return token_output_append_bytes(cut->validation.output, bytes + train, validation);
}

/* Gives a part its name; there is nothing of it to discard afterwards. */
static enum zi_status part_finish(struct part *part)
{
    struct token_output *output = part->output;
    part->output = NULL;
    return output ? token_output_finish(output) : ZI_OK;
}

static enum zi_status copy_bytes(struct cut *cut, const struct input_file *input, int file,
                                 uint8_t *buffer)
{
    for (int64_t done = 0; done < input->bytes;) {
        int64_t left = input->bytes - done;
        ZI_TRY(zi_stop_check());
        ssize_t got = read(file, buffer, left < (int64_t)COPY_BYTES ? (size_t)left : COPY_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return zi_fail(ZI_ERROR_IO, "data", "reading input %s at byte %" PRId64 " failed: %s",
                           input->path, done, strerror(errno));
        if (got == 0) break; /* said by input_check */
        done += got;
        ZI_TRY(cut_append(cut, buffer, got));
    }
    return ZI_OK;
}

static enum zi_status copy_file(struct cut *cut, const struct input_file *input, uint8_t *buffer)
{
    int file;
    ZI_TRY(input_open(input, &file));
    enum zi_status status = copy_bytes(cut, input, file, buffer);
    if (status >= 0) status = input_check(input, file);
    close(file);
    return status;
}

static enum zi_status copy_all(struct cut *cut, const struct input_list *list)
{
    uint8_t *buffer = malloc(COPY_BYTES);
    if (!buffer) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to copy tokens");
    enum zi_status status = ZI_OK;
    for (size_t i = 0; i < list->count && status >= 0; i++)
        status = copy_file(cut, &list->files[i], buffer);
    free(buffer);
    return status;
}

/* Room for a piece of the spool, and for what it is taken apart into. */
struct piece {
    int32_t ids[PIECE_IDS];
    uint8_t mask[PIECE_IDS];
    int64_t starts[PIECE_IDS];
};

/* Numbers [first, end) of a piece go to a part, which has room for them. */
static enum zi_status append_piece(struct part *part, struct piece *p, int64_t first, int64_t end)
{
    int64_t tokens = 0, documents = 0;
    for (int64_t i = first; i < end; i++) {
        if (p->ids[i] == ENCODED_DOCUMENT) {
            p->starts[documents++] = part->done + tokens;
            continue;
        }
        p->mask[tokens] = p->ids[i] >= 0;
        p->ids[first + tokens++] = p->ids[i] < 0 ? ~p->ids[i] : p->ids[i];
    }
    ZI_REQUIRE(part_take(part, tokens) == tokens);
    if (tokens > 0) ZI_TRY(token_output_append_ids(part->output, p->ids + first, tokens));
    if (part->masked) ZI_TRY(token_output_append_mask(part->output, p->mask, tokens));
    if (documents == 0) return ZI_OK;
    return token_output_append_documents(part->output, p->starts, documents);
}

/* How many numbers of a piece come before token number `tokens` of it, or what stands before that;
 * the piece's `count` where it has no more tokens. */
static int64_t piece_numbers(const struct piece *p, int64_t count, int64_t tokens)
{
    int64_t i = 0;
    for (; i < count && tokens > 0; i++)
        tokens -= p->ids[i] != ENCODED_DOCUMENT;
    return i;
}

static enum zi_status read_piece(const struct zi_output *spool, int64_t first, int64_t count,
                                 struct piece *p)
{
    ZI_TRY(zi_stop_check());
    return token_file_read(spool->file, spool->temporary, first * (int64_t)sizeof *p->ids,
                           count * (int64_t)sizeof *p->ids, p->ids);
}

/* The tokens that an encoder has made, from where they wait. */
static enum zi_status copy_ids(struct cut *cut, const struct zi_output *spool, int64_t numbers)
{
    struct piece *p = malloc(sizeof *p);
    if (!p) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to copy tokens");
    enum zi_status status = ZI_OK;
    for (int64_t done = 0; done < numbers && status >= 0; done += PIECE_IDS) {
        int64_t count = numbers - done < PIECE_IDS ? numbers - done : PIECE_IDS;
        status = read_piece(spool, done, count, p);
        int64_t train = piece_numbers(p, count, cut->train.left);
        if (status >= 0) status = append_piece(&cut->train, p, 0, train);
        if (status >= 0) status = append_piece(&cut->validation, p, train, count);
    }
    free(p);
    return status;
}

/* Moves the cut behind `train->tokens` tokens to the next start of a document, and counts the
 * documents before it. */
static enum zi_status cut_documents(const struct zi_output *spool, const struct encoded *made,
                                    struct encoded *train)
{
    struct piece *p = malloc(sizeof *p);
    if (!p) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to count documents");
    int64_t numbers = made->tokens + made->documents, tokens = 0;
    bool found = false;
    enum zi_status status = ZI_OK;
    for (int64_t done = 0; done < numbers && status >= 0 && !found; done += PIECE_IDS) {
        int64_t count = numbers - done < PIECE_IDS ? numbers - done : PIECE_IDS;
        status = read_piece(spool, done, count, p);
        for (int64_t i = 0; i < count && status >= 0 && !found; i++) {
            bool starts = p->ids[i] == ENCODED_DOCUMENT;
            found = starts && tokens >= train->tokens;
            train->documents += starts && !found;
            tokens += !starts;
        }
    }
    train->tokens = tokens;
    free(p);
    return status;
}

/* The inputs as they were named, one a line, for the record in the file. */
static void describe_source(const struct tokens_writer *writer, char *text, size_t size)
{
    size_t length = 0;
    text[0] = '\0';
    for (int i = 0; i < writer->input_count && length + 1 < size; i++) {
        int written =
            snprintf(text + length, size - length, "%s%s", i == 0 ? "" : "\n", writer->inputs[i]);
        if (written > 0) length += (size_t)written;
    }
}

/* What of all goes to training: all but the share of validation, rounded to the nearest number of
 * tokens, and on to the end of a document. */
static enum zi_status find_cut(const struct tokens_writer *writer, const struct zi_output *spool,
                               const struct encoded *made, struct encoded *train)
{
    *train = *made;
    if (!writer->validation_path) return ZI_OK;
    double share = writer->validation_share;
    if (!(share > 0 && share < 1))
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "the share of validation is %g, and must lie between 0 and 1", share);
    train->tokens -= llround(share * (double)made->tokens);
    train->documents = 0;
    if (made->documents > 0 && train->tokens > 0) ZI_TRY(cut_documents(spool, made, train));
    if (train->tokens == 0 || train->tokens == made->tokens)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%" PRId64 " tokens%s are too few to give a share of %g to validation",
                       made->tokens, made->documents > 0 ? " in whole documents" : "", share);
    return ZI_OK;
}

/* Makes the file of a part of what was encoded. */
static enum zi_status part_create(struct part *part, const char *path, const struct encoded *of,
                                  struct token_output_meta meta)
{
    meta.documents = of->documents;
    meta.masked = part->masked = of->masked;
    part->left = of->tokens;
    return token_output_create(path, of->tokens, &meta, &part->output);
}

/* " in 12 documents", where they are told apart. */
static const char *documents_text(int64_t documents, char text[48])
{
    text[0] = 0;
    if (documents > 0)
        snprintf(text, 48, " in %" PRId64 " document%s", documents, documents == 1 ? "" : "s");
    return text;
}

/* What was made: of the spool, or of bytes where there is none. */
static enum zi_status write_outputs(const struct input_list *list, const struct zi_output *spool,
                                    const struct encoded *made, struct cut *cut)
{
    const struct tokens_writer *writer = list->writer;
    const struct tokens_encoder *encoder = writer->encoder;
    char source[SOURCE_MOST], text[48];
    describe_source(writer, source, sizeof source);
    struct token_output_meta meta = {.vocabulary = encoder ? encoder->vocabulary : 256,
                                     .tokenizer = encoder ? encoder->name : "bytes",
                                     .source = source};
    struct encoded train;
    ZI_TRY(find_cut(writer, spool, made, &train));
    const struct encoded validation = {made->tokens - train.tokens,
                                       made->documents - train.documents, made->masked};
    ZI_TRY(part_create(&cut->train, writer->path, &train, meta));
    if (validation.tokens > 0)
        ZI_TRY(part_create(&cut->validation, writer->validation_path, &validation, meta));
    ZI_TRY(encoder ? copy_ids(cut, spool, made->tokens + made->documents) : copy_all(cut, list));
    ZI_TRY(part_finish(&cut->validation));
    ZI_TRY(part_finish(&cut->train));
    zi_log(ZI_LOG_NOTE, "data", "%s: %" PRId64 " tokens%s from %zu file%s", writer->path,
           train.tokens, documents_text(train.documents, text), list->count,
           list->count == 1 ? "" : "s");
    if (validation.tokens > 0)
        zi_log(ZI_LOG_NOTE, "data", "%s: %" PRId64 " tokens%s, the last of them",
               writer->validation_path, validation.tokens,
               documents_text(validation.documents, text));
    return ZI_OK;
}

/* The end of a path and the folder that it is in, as the system knows it. */
struct place {
    const char *name;
    struct stat folder;
};

static bool find_place(const char *path, struct place *place)
{
    const char *slash = strrchr(path, '/');
    place->name = slash ? slash + 1 : path;
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    bool found = folder && stat(folder, &place->folder) == 0;
    free(folder);
    return found;
}

/* Whether two paths, whose links have been followed, name one file: one name in one folder. */
static bool is_one_name(const char *a, const char *b)
{
    struct place one, other;
    return find_place(a, &one) && find_place(b, &other) && strcmp(one.name, other.name) == 0 &&
           one.folder.st_dev == other.folder.st_dev && one.folder.st_ino == other.folder.st_ino;
}

/* Whether both outputs can be made and are not one file, in whatever spelling. */
static enum zi_status check_outputs(const struct tokens_writer *writer)
{
    struct zi_output train = {.room = NULL}, validation = {.room = NULL};
    enum zi_status status = zi_output_begin("data", writer->path, 0600, &train);
    if (status >= 0 && writer->validation_path) {
        status = zi_output_begin("data", writer->validation_path, 0600, &validation);
        if (status >= 0 && is_one_name(train.path, validation.path))
            status = zi_fail(ZI_ERROR_USAGE, "data",
                             "training and validation tokens cannot both go to %s (%s)",
                             writer->path, writer->validation_path);
    }
    zi_output_discard(&validation);
    zi_output_discard(&train);
    return status;
}

enum zi_status tokens_write(const struct tokens_writer *writer)
{
    struct input_list list = {.writer = writer};
    struct cut cut = {.train = {.output = NULL}};
    struct zi_output spool = {.room = NULL};
    enum zi_status status = check_outputs(writer);
    if (status >= 0) status = input_list_make(&list);
    struct encoded made = {.tokens = list.bytes};
    if (status >= 0 && writer->encoder) status = inputs_encode(&list, &spool, &made);
    if (status >= 0) status = write_outputs(&list, &spool, &made, &cut);
    zi_output_discard(&spool);
    token_output_discard(cut.train.output);
    token_output_discard(cut.validation.output);
    input_list_free(&list);
    if (status == ZI_STOPPED)
        zi_log(ZI_LOG_ERROR, "data", "stopped by %s: %s is not written",
               zi_stop_name(zi_stop_signal()), writer->path);
    return status;
}
