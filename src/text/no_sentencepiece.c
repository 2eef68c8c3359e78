/* SPDX-License-Identifier: Apache-2.0 */
/* What stands for SentencePiece where configure has not found its library: no model is opened, so
 * that nothing else is ever called. */
#include "base/log.h"
#include "text/sentencepiece.h"

enum zi_status sentencepiece_open(const char *path, struct spm **model)
{
    *model = NULL;
    return zi_fail(ZI_ERROR_USAGE, "text",
                   "%s is a model of SentencePiece, and this zinf was built without its library: "
                   "install it (Debian: libsentencepiece-dev) and build again, or save the "
                   "tokenizer as tokenizer.json (transformers: "
                   "AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER))",
                   path);
}

void sentencepiece_close(struct spm *model)
{
    ZI_REQUIRE(!model);
}

int32_t sentencepiece_count(const struct spm *model)
{
    ZI_REQUIRE(model);
    return 0;
}

int32_t sentencepiece_begin(const struct spm *model)
{
    ZI_REQUIRE(model);
    return -1;
}

int32_t sentencepiece_end(const struct spm *model)
{
    ZI_REQUIRE(model);
    return -1;
}

int32_t sentencepiece_find(const struct spm *model, const char *piece)
{
    ZI_REQUIRE(model && piece);
    return -1;
}

enum zi_status sentencepiece_encode(const struct spm *model, const char *text, size_t bytes,
                                    int32_t **ids, size_t *count)
{
    (void)text, (void)bytes, (void)ids, (void)count;
    ZI_REQUIRE(model);
    return ZI_ERROR_BUG;
}

enum zi_status sentencepiece_decode(const struct spm *model, const int32_t *ids, size_t count,
                                    char **text, size_t *bytes)
{
    (void)ids, (void)count, (void)text, (void)bytes;
    ZI_REQUIRE(model);
    return ZI_ERROR_BUG;
}

bool sentencepiece_is_special(const struct spm *model, int32_t id)
{
    (void)id;
    ZI_REQUIRE(model);
    return false;
}
