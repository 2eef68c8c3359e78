/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf inspect`: what a file of zinf holds, and of a token file the first tokens as its tokenizer
 * reads them, each with its text between bars, so that white space shows; where documents begin, and
 * what is masked. */
#include <inttypes.h>
#include <stdlib.h>

#include "app/commands.h"
#include "base/log.h"
#include "checkpoint/inspect.h"
#include "data/tokens.h"
#include "text/tokenizer.h"

/* A text on one line. */
static void print_text(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c < 0x20 || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
}

/* The first tokens of a file. */
struct shown {
    int64_t count;
    int32_t *ids;
    /* NULL: all count */
    uint8_t *mask;
    /* Where its documents begin, and behind them its end; NULL: one stream */
    int64_t *starts;
};

static enum zi_status print_tokens(const struct tokenizer *tokenizer, const struct shown *shown)
{
    printf("\nfirst %" PRId64 " tokens by %s\n", shown->count, tokenizer_identity(tokenizer));
    int64_t document = 0;
    for (int64_t i = 0; i < shown->count; i++) {
        char *text;
        size_t bytes;
        if (shown->starts && shown->starts[document] == i)
            printf("document %" PRId64 "\n", ++document);
        ZI_TRY(tokenizer_decode(tokenizer, &shown->ids[i], 1, false, &text, &bytes));
        printf("%8" PRId32 "  |", shown->ids[i]);
        print_text(text, bytes);
        puts(shown->mask && !shown->mask[i] ? "|  masked" : "|");
        free(text);
    }
    return ZI_OK;
}

static enum zi_status show_tokens(struct tokens *tokens, const struct tokenizer *tokenizer,
                                  int64_t count)
{
    struct shown shown = {.count = count < tokens_count(tokens) ? count : tokens_count(tokens)};
    bool masked = tokens_have_mask(tokens);
    shown.ids = calloc((size_t)shown.count + 1, sizeof *shown.ids);
    if (masked) shown.mask = calloc((size_t)shown.count + 1, 1);
    enum zi_status status = ZI_OK;
    if (!shown.ids || (masked && !shown.mask))
        status = zi_fail(ZI_ERROR_DEVICE, "app", "no memory to show tokens");
    if (status >= 0) status = tokens_read(tokens, 0, shown.count, shown.ids);
    if (status >= 0 && masked) status = tokens_read_mask(tokens, 0, shown.count, shown.mask);
    if (status >= 0 && tokens_documents(tokens) > 0)
        status = tokens_document_starts(tokens, &shown.starts);
    if (status >= 0) status = print_tokens(tokenizer, &shown);
    free(shown.ids);
    free(shown.mask);
    free(shown.starts);
    return status;
}

static enum zi_status read_tokens(const char *path, const struct tokenizer *tokenizer,
                                  int64_t count)
{
    struct tokens *tokens;
    ZI_TRY(tokens_open(path, DATA_HDF5, ZI_AUTO, tokenizer_vocabulary(tokenizer), &tokens));
    enum zi_status status = show_tokens(tokens, tokenizer, count);
    tokens_close(tokens);
    return status;
}

enum zi_status inspect_command(struct comm *world, const struct options *options)
{
    const char *path = options_text(options, "--tokenizer", NULL);
    struct tokenizer *tokenizer = NULL;
    int64_t count = 32;
    (void)world;
    ZI_TRY(options_integer(options, "--tokens", 0, 1 << 20, &count));
    if (!path && options_given(options, "--tokens"))
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "--tokens has no effect without --tokenizer FOLDER, which reads them");
    if (path) ZI_TRY(tokenizer_open(path, &tokenizer));
    enum zi_status status =
        checkpoint_inspect(options->words[0], options_given(options, "--verify"), stdout);
    if (status >= 0 && tokenizer) status = read_tokens(options->words[0], tokenizer, count);
    tokenizer_close(tokenizer);
    return status;
}
