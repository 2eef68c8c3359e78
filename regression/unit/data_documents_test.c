/* SPDX-License-Identifier: Apache-2.0 */
/* Files of lines: documents, masks, the cut between two outputs, and what a token file says of them
 * that cannot be. Packing: every target of every document once, within as few sequences as is known
 * to be possible, by lengths alone. Samples: inputs and targets that follow each other within a
 * document alone, positions from 0 in each, each place of each epoch once. */
#include "base/log.h"
#include "data/packing.h"
#include "data/sampler.h"
#include "h5/h5.h"
#include "regression/unit/data_fixture.h"

#include <hdf5.h>

/* Stands for a tokenizer: a letter is its place in the alphabet, a capital letter one that is
 * masked; a line with ! is not encoded. */
static enum zi_status begin_worker(void *context, void **worker)
{
    *worker = context;
    return ZI_OK;
}

static enum zi_status encode_letters(void *worker, const struct tokens_text *of, int32_t **ids,
                                     size_t *count)
{
    (void)worker;
    CHECK(of->line > 0 && strlen(of->path) > 0);
    if (memchr(of->text, '!', of->bytes)) return ZI_ERROR_USAGE;
    *ids = malloc((of->bytes + 1) * sizeof **ids);
    if (!*ids) exit(1);
    for (size_t i = 0; i < of->bytes; i++) {
        int32_t letter = of->text[i] & 31;
        (*ids)[i] = of->text[i] & 32 ? letter : ~letter;
    }
    *count = of->bytes;
    return ZI_OK;
}

static void end_worker(void *worker)
{
    (void)worker;
}

static enum zi_status write_lines(const char *text, const char *name, const char *validation)
{
    static const struct tokens_encoder encoder = {.begin = begin_worker,
                                                  .encode = encode_letters,
                                                  .end = end_worker,
                                                  .vocabulary = 27,
                                                  .name = "letters",
                                                  .separator = -1,
                                                  .lines = true};
    char input[1024], output[1024], second[1024];
    fixture_write("lines", text, strlen(text));
    snprintf(input, sizeof input, "%s", fixture_path("lines"));
    snprintf(output, sizeof output, "%s", fixture_path(name));
    if (validation) snprintf(second, sizeof second, "%s", fixture_path(validation));
    const char *const inputs[] = {input};
    const struct tokens_writer writer = {.inputs = inputs,
                                         .input_count = 1,
                                         .path = output,
                                         .validation_path = validation ? second : NULL,
                                         .validation_share = 0.5,
                                         .encoder = &encoder};
    return tokens_write(&writer);
}

static enum zi_status open_file(const char *name, struct tokens **tokens)
{
    return tokens_open(fixture_path(name), ZI_AUTO, ZI_AUTO, 27, tokens);
}

/* The documents of a file, as the lines that they came from. */
static void check_file(const char *name, const char *text, int64_t documents, bool masked)
{
    struct tokens *tokens = NULL;
    int32_t ids[64];
    uint8_t mask[64];
    int64_t *starts = NULL, at = 0;
    ZI_REQUIRE(open_file(name, &tokens) == ZI_OK);
    int64_t count = tokens_count(tokens);
    CHECK_INT(tokens_documents(tokens), documents);
    CHECK_INT(tokens_have_mask(tokens), masked);
    memset(mask, 1, sizeof mask);
    CHECK_INT(tokens_read(tokens, 0, count, ids), ZI_OK);
    if (masked) CHECK_INT(tokens_read_mask(tokens, 0, count, mask), ZI_OK);
    ZI_REQUIRE(tokens_document_starts(tokens, &starts) == ZI_OK);
    CHECK_INT(starts[documents], count);
    for (int64_t d = 0; d < documents; d++, text++) {
        CHECK_INT(starts[d], at);
        for (; *text && *text != '\n'; text++, at++) {
            CHECK_INT(ids[at], *text & 31);
            CHECK_INT(mask[at], (*text & 32) != 0);
        }
    }
    CHECK_INT(at, count);
    free(starts);
    tokens_close(tokens);
}

static void test_lines(void)
{
    CHECK_INT(write_lines("abc\n\n  \t\r\nDEfg\nh", "a.h5", NULL), ZI_OK);
    check_file("a.h5", "abc\nDEfg\nh", 3, true);
    CHECK_INT(write_lines("abc\ndefg\n", "a.h5", NULL), ZI_OK);
    check_file("a.h5", "abc\ndefg", 2, false);
    /* half of nine tokens ends in the second line, which stays whole */
    CHECK_INT(write_lines("abc\ndefg\nhI\n", "a.h5", "b.h5"), ZI_OK);
    check_file("a.h5", "abc\ndefg", 2, true);
    check_file("b.h5", "hI", 1, true);
    fixture_listen();
    CHECK_INT(write_lines("abcdefg\nh\n", "b.h5", "c.h5"), ZI_OK);
    CHECK_INT(write_lines("abcdefg\n", "b.h5", "c.h5"), ZI_ERROR_USAGE);
    CHECK(fixture_said("too few"));
    fixture_listen();
    CHECK_INT(write_lines("abc\ndef!\n", "c.h5", NULL), ZI_ERROR_USAGE);
    CHECK_INT(write_lines("\n \n", "c.h5", NULL), ZI_ERROR_USAGE);
    CHECK(fixture_said("all lines are empty"));
}

/* Adds a dataset to a.h5. */
static void add_dataset(const char *name, hid_t type, const void *values, hsize_t count)
{
    CHECK_INT(write_lines("abc\n", "a.h5", NULL), ZI_OK);
    hid_t file = H5Fopen(fixture_path("a.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    CHECK(H5Ldelete(file, "documents", H5P_DEFAULT) >= 0);
    hid_t space = H5Screate_simple(1, &count, NULL);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Fclose(file);
}

static void check_refused(const char *message)
{
    struct tokens *tokens = NULL;
    int64_t *starts = NULL;
    fixture_listen();
    enum zi_status status = open_file("a.h5", &tokens);
    if (status >= 0) status = tokens_document_starts(tokens, &starts);
    CHECK_INT(status, ZI_ERROR_USAGE);
    CHECK(fixture_said(message));
    tokens_close(tokens);
}

static void test_refusals(void)
{
    const int64_t gap[] = {1, 2}, falls[] = {0, 2, 2}, beyond[] = {0, 3}, many[] = {0, 1, 2, 3};
    const int32_t narrow[] = {0, 1};
    const uint8_t mask[] = {1, 1};
    add_dataset("documents", H5T_STD_I64LE, gap, 2);
    check_refused("does not increase from 0 on");
    add_dataset("documents", H5T_STD_I64LE, falls, 3);
    check_refused("does not increase from 0 on");
    add_dataset("documents", H5T_STD_I64LE, beyond, 2);
    check_refused("does not increase from 0 on");
    add_dataset("documents", H5T_STD_I64LE, many, 4);
    check_refused("has 4 documents, but there are 3 tokens");
    add_dataset("documents", H5T_STD_I32LE, narrow, 2);
    check_refused("holds int32, not int64");
    add_dataset("mask", H5T_STD_U8LE, mask, 2);
    check_refused("is of 2 tokens, but there are 3");
}

/* Documents of lengths from 1 to `longest`. */
static int64_t *make_starts(int64_t count, int64_t longest)
{
    int64_t *starts = malloc(((size_t)count + 1) * sizeof *starts);
    if (!starts) exit(1);
    starts[0] = 0;
    for (int64_t i = 0; i < count; i++)
        starts[i + 1] = starts[i] + 1 + i * i * 31 % longest;
    return starts;
}

static void check_packing(int64_t count, int64_t longest, int64_t length)
{
    int64_t *starts = make_starts(count, longest), targets = starts[count] - count, places = 0;
    struct packing p, again;
    uint8_t *seen = calloc((size_t)starts[count] + 1, 1);
    ZI_REQUIRE(seen && packing_make(starts, count, length, &p) == ZI_OK);
    ZI_REQUIRE(packing_make(starts, count, length, &again) == ZI_OK);
    for (int64_t s = 0; s < p.sequences; s++) {
        CHECK(packing_places(&p, s) > 0 && packing_places(&p, s) <= length);
        places += packing_places(&p, s);
        for (int64_t i = p.starts[s]; i < p.starts[s + 1]; i++)
            for (int64_t t = 0; t < p.pieces[i].count; t++)
                seen[p.pieces[i].first + t]++;
    }
    CHECK_INT(places, targets);
    int64_t wrong = 0;
    for (int64_t d = 0; d < count; d++)
        for (int64_t t = starts[d]; t < starts[d + 1]; t++)
            wrong += seen[t] != (t < starts[d + 1] - 1);
    CHECK_INT(wrong, 0);
    int64_t fewest = (targets + length - 1) / length;
    CHECK((double)p.sequences <= 11.0 / 9 * (double)fewest + 1);
    CHECK_INT(again.sequences, p.sequences);
    CHECK(memcmp(again.pieces, p.pieces, (size_t)p.starts[p.sequences] * sizeof *p.pieces) == 0);
    packing_free(&p);
    packing_free(&again);
    free(seen);
    free(starts);
}

static void test_packing(void)
{
    check_packing(1, 1, 8);
    check_packing(3, 1, 8); /* nothing in them */
    check_packing(1, 100, 8);
    check_packing(100, 7, 8);
    check_packing(1000, 63, 64);
    check_packing(1000, 700, 64);
    check_packing(1000, 129, 130);
    check_packing(20000, 900, 1000);
}

enum { LENGTH = 7, GLOBAL = 3, COUNTED = 3 + 7 + 0 + 2 + 3, PLACES = 4 + 11 + 0 + 1 + 3 + 4 };

/* Two files of documents, or a stream. */
static struct sampler *open_sampler(struct corpus **corpus, bool stream, int64_t packing, bool once)
{
    static char paths[2][1024];
    static struct deck_weighted items[2];
    static struct deck_sources sources;
    const char *const names[] = {stream ? "c.bin" : "a.h5", "b.h5"};
    for (int i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof paths[i], "%s", fixture_path(names[i]));
        items[i] = (struct deck_weighted){paths[i], 0};
    }
    sources = (struct deck_sources){items, stream ? 1 : 2};
    const struct corpus_wanted wanted = {.key = "data.train",
                                         .sources = &sources,
                                         .format = ZI_AUTO,
                                         .type = ZI_AUTO,
                                         .vocabulary = 27,
                                         .packing = packing};
    struct sampler *sampler = NULL;
    ZI_REQUIRE(corpus_open(&wanted, corpus) == ZI_OK);
    enum zi_status status = once ? sampler_create_once(*corpus, 1000, GLOBAL, LENGTH, &sampler)
                                 : sampler_create(*corpus, 3, GLOBAL, LENGTH, 1, &sampler);
    ZI_REQUIRE(status == ZI_OK);
    return sampler;
}

/* Letters of a document follow each other in the alphabet, so a target is its input and one, or
 * masked where that is a multiple of three; what fills up is 0. Gives the targets that count. */
static int64_t check_sequence(struct sampler *sampler, int64_t q)
{
    int32_t inputs[LENGTH], targets[LENGTH], positions[LENGTH];
    int64_t counted = 0, wrong = 0;
    CHECK_INT(sampler_read(sampler, q / GLOBAL, q % GLOBAL, 1, inputs, targets), ZI_OK);
    sampler_positions(sampler, q / GLOBAL, q % GLOBAL, 1, positions);
    for (int64_t t = 0; t < LENGTH; t++) {
        bool filler = inputs[t] == 0;
        wrong += targets[t] != (filler || (inputs[t] + 1) % 3 == 0 ? -1 : inputs[t] + 1);
        wrong += positions[t] != 0 && (t == 0 || positions[t] != positions[t - 1] + 1);
        wrong += positions[t] > 0 && inputs[t] != (filler ? 0 : inputs[t - 1] + 1);
        counted += targets[t] >= 0;
    }
    CHECK_INT(wrong, 0);
    return counted;
}

static void test_samples(void)
{
    struct corpus *corpus;
    int64_t counted = 0;
    CHECK_INT(write_lines("abCde\nghIjkLmnOpqR\nt\n", "a.h5", NULL), ZI_OK);
    CHECK_INT(write_lines("bC\neFgh\njkLmn\n", "b.h5", NULL), ZI_OK);
    struct sampler *sampler = open_sampler(&corpus, false, PACKING_DOCUMENTS, false);
    CHECK(sampler_masks(sampler) && sampler_packs(sampler));
    struct sampler_part part = sampler_part(sampler, 0);
    CHECK_INT(part.documents, 6);
    CHECK_INT(part.places, PLACES);
    CHECK_INT(part.windows, part.packed);
    for (int64_t q = 0; q < 5 * part.windows; q++)
        counted += check_sequence(sampler, q);
    CHECK_INT(counted, 5 * COUNTED);
    sampler_destroy(sampler);
    corpus_close(corpus);

    sampler = open_sampler(&corpus, false, PACKING_DOCUMENTS, true);
    counted = 0;
    for (int64_t q = 0; q < sampler_steps(sampler) * GLOBAL; q++)
        counted += check_sequence(sampler, q);
    CHECK_INT(counted, COUNTED);
    CHECK_INT(sampler_targets(sampler), PLACES);
    sampler_destroy(sampler);
    corpus_close(corpus);
}

/* What is a stream by its file, or by the deck. */
static void test_streams(void)
{
    static const uint16_t stream[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    struct corpus *corpus;
    int32_t positions[LENGTH];
    fixture_write("c.bin", stream, sizeof stream);
    struct sampler *sampler = open_sampler(&corpus, true, PACKING_DOCUMENTS, false);
    CHECK(!sampler_masks(sampler) && !sampler_packs(sampler));
    CHECK_INT(sampler_windows(sampler), 2);
    sampler_positions(sampler, 0, 1, 1, positions);
    for (int32_t t = 0; t < LENGTH; t++)
        CHECK_INT(positions[t], t);
    sampler_destroy(sampler);
    corpus_close(corpus);
    sampler = open_sampler(&corpus, false, PACKING_NONE, false);
    CHECK(sampler_masks(sampler) && !sampler_packs(sampler));
    CHECK_INT(sampler_windows(sampler), (5 + 12 + 1 - 1) / LENGTH + (2 + 4 + 5 - 1) / LENGTH);
    CHECK_INT(sampler_part(sampler, 0).documents, 0);
    sampler_destroy(sampler);
    corpus_close(corpus);
}

int main(void)
{
    h5_quiet();
    fixture_begin("data_documents");
    test_lines();
    test_refusals();
    test_packing();
    test_samples();
    test_streams();
    fixture_end();
    return test_finish("data_documents_test");
}
