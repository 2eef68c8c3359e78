/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece behind functions of C. Nothing of it may throw into C: what the library or its
 * memory throws becomes an error here. */
#include "text/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

extern "C" {
#include "base/log.h"
}

struct spm {
    ::sentencepiece::SentencePieceProcessor processor;
};

static enum zi_status no_memory()
{
    return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for SentencePiece");
}

enum zi_status sentencepiece_open(const char *path, struct spm **model)
{
    *model = nullptr;
    try {
        struct spm *made = new struct spm;
        const auto status = made->processor.Load(path);
        if (status.ok()) {
            *model = made;
            return ZI_OK;
        }
        enum zi_status failed =
            zi_fail(ZI_ERROR_USAGE, "text",
                    "SentencePiece does not take %s: %s; copy the file again, or save the "
                    "tokenizer as tokenizer.json",
                    path, status.ToString().c_str());
        delete made;
        return failed;
    } catch (const std::exception &error) {
        return zi_fail(ZI_ERROR_USAGE, "text", "SentencePiece does not take %s: %s", path,
                       error.what());
    }
}

void sentencepiece_close(struct spm *model)
{
    delete model;
}

int32_t sentencepiece_count(const struct spm *model)
{
    return model->processor.GetPieceSize();
}

int32_t sentencepiece_begin(const struct spm *model)
{
    return model->processor.bos_id();
}

int32_t sentencepiece_end(const struct spm *model)
{
    return model->processor.eos_id();
}

/* Of a piece that is none the library gives the unknown one. */
int32_t sentencepiece_find(const struct spm *model, const char *piece)
{
    try {
        int id = model->processor.PieceToId(piece);
        return model->processor.IdToPiece(id) == piece ? id : -1;
    } catch (const std::exception &) {
        return -1;
    }
}

enum zi_status sentencepiece_encode(const struct spm *model, const char *text, size_t bytes,
                                    int32_t **ids, size_t *count)
{
    try {
        std::vector<int> found;
        const auto status = model->processor.Encode(std::string(text, bytes), &found);
        if (!status.ok())
            return zi_fail(ZI_ERROR_USAGE, "text", "SentencePiece cannot encode a text: %s",
                           status.ToString().c_str());
        *count = found.size();
        *ids = static_cast<int32_t *>(malloc((found.size() + 1) * sizeof **ids));
        if (!*ids) return no_memory();
        for (size_t i = 0; i < found.size(); i++)
            (*ids)[i] = found[i];
        return ZI_OK;
    } catch (const std::exception &) {
        return no_memory();
    }
}

enum zi_status sentencepiece_decode(const struct spm *model, const int32_t *ids, size_t count,
                                    char **text, size_t *bytes)
{
    try {
        std::vector<int> known;
        std::string found;
        for (size_t i = 0; i < count; i++)
            if (ids[i] >= 0 && ids[i] < model->processor.GetPieceSize()) known.push_back(ids[i]);
        const auto status = model->processor.Decode(known, &found);
        if (!status.ok())
            return zi_fail(ZI_ERROR_USAGE, "text", "SentencePiece cannot decode ids: %s",
                           status.ToString().c_str());
        *bytes = found.size();
        *text = static_cast<char *>(malloc(found.size() + 1));
        if (!*text) return no_memory();
        memcpy(*text, found.c_str(), found.size() + 1);
        return ZI_OK;
    } catch (const std::exception &) {
        return no_memory();
    }
}

bool sentencepiece_is_special(const struct spm *model, int32_t id)
{
    return id >= 0 && id < model->processor.GetPieceSize() && model->processor.IsControl(id);
}
