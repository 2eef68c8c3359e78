/* SPDX-License-Identifier: Apache-2.0 */
/* Encodes texts for checks that compare with other programs, and for their clocks.
 *
 *     encode TOKENIZER TEXTS OUT     TEXTS: of each text 8 bytes of length, then its bytes; OUT: of each
 *                                    8 bytes of count, the ids (with special tokens), 8 bytes of length
 *                                    and their text
 *     encode TOKENIZER TEXTS         prints the seconds that encoding without special tokens took, of
 *                                    one thread, and the number of ids */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text/tokenizer.h"

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static char *read_all(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) exit(2);
    *bytes = (size_t)ftell(file);
    char *all = malloc(*bytes + 1);
    rewind(file);
    if (!all || fread(all, 1, *bytes, file) != *bytes) exit(2);
    fclose(file);
    return all;
}

static void write_one(const struct tokenizer *t, const struct tokenizer_ids *ids, FILE *out)
{
    char *text;
    size_t bytes;
    uint64_t count = ids->count, length;
    if (tokenizer_decode(t, ids->ids, ids->count, false, &text, &bytes) < 0) exit(1);
    length = bytes;
    fwrite(&count, sizeof count, 1, out);
    fwrite(ids->ids, sizeof *ids->ids, ids->count, out);
    fwrite(&length, sizeof length, 1, out);
    fwrite(text, 1, bytes, out);
    free(text);
}

int main(int argc, char **argv)
{
    struct tokenizer *t;
    struct tokenizer_work *work;
    struct tokenizer_ids ids = {.ids = NULL};
    size_t bytes, total = 0;
    if (argc < 3 || tokenizer_open(argv[1], &t) < 0 || tokenizer_work_create(t, &work) < 0)
        return 2;
    char *texts = read_all(argv[2], &bytes);
    FILE *out = argc > 3 ? fopen(argv[3], "wb") : NULL;
    double spent = 0;
    for (size_t at = 0; at < bytes;) {
        uint64_t length;
        memcpy(&length, texts + at, sizeof length);
        ids.count = 0;
        double begun = seconds();
        if (tokenizer_encode(work, texts + at + sizeof length, length, out, &ids) < 0) return 1;
        spent += seconds() - begun;
        total += ids.count;
        if (out) write_one(t, &ids, out);
        at += sizeof length + length;
    }
    printf("%.6f %zu\n", spent, total);
    if (out && fclose(out) != 0) return 1;
    tokenizer_ids_free(&ids);
    tokenizer_work_free(work);
    tokenizer_close(t);
    free(texts);
    return 0;
}
