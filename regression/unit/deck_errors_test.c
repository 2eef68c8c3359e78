/* SPDX-License-Identifier: Apache-2.0 */
/* Decks that are wrong: each class of error is found at its line and column, says what was found,
 * what was expected and the nearest name; all are reported at once; nothing absurd takes long or
 * breaks the reader (run this under the sanitizers too). */
#include "regression/unit/deck_fixture.h"

#include "base/timing.h"

#include <sys/stat.h>

/* One line added to the small deck (it becomes line 8), and what must be said about it. */
static const char *const line_cases[][2] = {
    /* unknown names */
    {"modle: {a: 1}", "d.yaml:8:1: modle: unknown section; nearest is model"},
    {"hidden: 4", "d.yaml:8:1: hidden: unknown section; the key hidden belongs to section "
                  "model"},
    {"qqqq: 4", "d.yaml:8:1: qqqq: unknown section; sections are run, model, adapter, data, "},
    {"zero: {stge: 3}", "d.yaml:8:8: zero.stge: unknown key; nearest is stage"},
    {"zero: {predetch: 3}", "zero.predetch: unknown key; nearest is prefetch"},
    {"zero: {pre: 3}", "zero.pre: unknown key; nearest is prefetch"},
    {"device: {ias: avx2}", "device.ias: unknown key; nearest is isa"},
    {"zero: {Stage: 3}", "zero.Stage: unknown key; nearest is stage"},
    {"checkpoint: {eveyr: 3}", "checkpoint.eveyr: unknown key; nearest is every"},
    {"zero: {layers: 3}", "d.yaml:8:8: zero.layers: unknown key; the key of that name is "
                          "model.layers"},
    {"zero: {qqqqqq: 3}", "zero.qqqqqq: unknown key; keys of zero are stage, order, prefetch, "
                          "update"},
    /* wrong types */
    {"zero: {stage: 4}", "d.yaml:8:15: zero.stage: found '4', expected 0, 1, 2 or 3\n"},
    {"zero: {order: major}", "zero.order: found 'major', expected layer-major, micro-major, or "
                             "auto"},
    {"zero: {order: layer_major}", "nearest is layer-major"},
    {"zero: {prefetch: -1}", "zero.prefetch: found '-1' (too small), expected a whole number "
                             "from 0 to 16, or auto"},
    {"zero: {prefetch: atuo}", "zero.prefetch: found 'atuo' (no number), expected a whole "
                               "number from 0 to 16, or auto; nearest is auto"},
    {"zero: {prefetch: 1001}", "(too large)"},
    {"device: {threads: 1025}", "(too large)"},
    {"zero: {prefetch: 1.5}", "(no whole number)"},
    {"zero: {prefetch: 99999999999999999999}", "(too large)"},
    {"zero: {prefetch: 0x10}", "(no unit works here)"},
    {"zero: {prefetch: [1]}", "d.yaml:8:18: zero.prefetch: found a list, expected a whole "},
    {"zero: {prefetch: {a: 1}}", "zero.prefetch: found a mapping, expected a whole number"},
    {"zero: {prefetch: }", "zero.prefetch: found no value, expected"},
    {"zero: {prefetch: ~}", "zero.prefetch: found '~' (nothing), expected"},
    {"zero: {prefetch: never}", "zero.prefetch: found 'never'"},
    {"checkpoint: {every: auto}", "checkpoint.every: found 'auto' (no number), expected a whole "
                                  "number of steps of at least 0, or never"},
    {"checkpoint: {every: -5}", "(too small)"},
    {"checkpoint: {final: 1}", "checkpoint.final: found '1', expected yes or no"},
    {"checkpoint: {keep: 2e15}", "the largest is 1e9"},
    {"model.layers: 3", "model.layers: unknown section"},
    {"zero: 3", "d.yaml:8:7: zero: found a single value, expected keys with values"},
    {"zero: [stage, 3]", "d.yaml:8:7: zero: found a list, expected keys with values"},
    /* units */
    {"memory: {host: 64}", "d.yaml:8:16: memory.host: found '64' (no unit), expected a size of "
                           "at least 1 B with a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), "
                           "as in 64 GiB, or auto"},
    {"memory: {host: 64 gib}", "(an unknown unit)"},
    {"memory: {host: 64 gib}", "nearest is GiB"},
    {"memory: {host: 64 G}", "(an unknown unit)"},
    {"memory: {host: 64 steps}", "(an unknown unit)"},
    {"memory: {host: 64 GiB GiB}", "(an unknown unit)"},
    {"memory: {host: GiB}", "(no number)"},
    {"memory: {host: 0 B}", "(too small)"},
    {"memory: {host: -1 GiB}", "(too small)"},
    {"memory: {host: 9e30 TiB}", "(too large)"},
    {"memory: {host: 99999999 TiB}", "(too large)"},
    {"checkpoint: {every: 20 minutes}", "checkpoint.every: found '20 minutes' (an unknown "
                                        "unit), expected a whole number of steps of at least "
                                        "0, or never, alone or with k, M, G, Ki, Mi, Gi or "
                                        "steps"},
    {"checkpoint: {every: 20 tokens}", "(an unknown unit)"},
    {"checkpoint: {every: 4 K}", "(an unknown unit)"},
    {"checkpoint: {every: 4 steps k}", "(an unknown unit)"},
    {"checkpoint: {keep: 4 steps}", "(no unit works here)"},
    {"x-a: &a 1.2.3\ncheckpoint: {keep: *a}", "d.yaml:8:6: checkpoint.keep: found '1.2.3' (no "
                                              "number)"},
    /* merges, anchors, tags, documents */
    {"zero: {<<: 3}", "d.yaml:8:8: <<: merges mappings"},
    {"zero: {<<: [3]}", "<<: merges mappings"},
    {"zero: {<<: *none}", "d.yaml:8:12: *none names no anchor &none before it"},
    {"zero: &z {<<: *z}", "d.yaml:8:15: *z names a value that it is a part of"},
    {"zero: {<<: {stge: 1}}", "d.yaml:8:13: zero.stge: unknown key; nearest is stage"},
    {"x-a: &a {stage: 1}\nzero: {<<: *a, <<: *a}", "d.yaml:9:16: zero.<<: duplicate key"},
    {"zero: {stage: !!int 3}", "decks have no tags"},
    {"zero: !mine {stage: 3}", "d.yaml:8:7: decks have no tags like !mine"},
    {"---\nrun: {steps: 3}", "d.yaml:8:1: a second document starts here"},
    /* duplicates */
    {"zero: {stage: 1, stage: 2}", "d.yaml:8:18: zero.stage: duplicate key; the first is in "
                                   "line 8"},
    {"run: {steps: 30}", "d.yaml:8:1: run: duplicate key; the first is in line 2"},
    /* keys that are no words */
    {"? [a, b]\n: c", "d.yaml:8:3: a key must be a word, found a list"},
    {"zero: {\"stage\\0\": 3}", "a key must be a word, found text with a zero character"},
    {"x-a: \"\\0\"\nzero: {order: \"auto\\0\"}", "zero.order: found text with a zero "
                                                 "character"},
    /* lists of paths */
    {"nvme: {paths: []}", "d.yaml:8:15: nvme.paths: found an empty list, expected at least one "
                          "path"},
    {"nvme:\n  paths:\n  - a\n  - {b: c}", "d.yaml:11:5: nvme.paths: path 2 of the list: found a "
                                           "mapping, expected the path"},
    {"nvme: {paths: [a, [b]]}", "d.yaml:8:19: nvme.paths: path 2 of the list: found a list in a "
                                "list"},
    {"nvme: {paths: [a, ~]}", "d.yaml:8:19: nvme.paths: path 2 of the list: found nothing"},
    {"nvme: {paths: [a, '']}", "d.yaml:8:19: nvme.paths: path 2 of the list: found an empty path"},
    {"nvme: {paths: [\"a\\nb\"]}", "d.yaml:8:16: nvme.paths: path 1 of the list: found a path "
                                   "with a line break"},
    {"nvme: {paths: [\"a\\0b\"]}", "d.yaml:8:16: nvme.paths: path 1 of the list: found text with "
                                   "a zero character"},
    {"nvme: {paths: [a, b, ./a//]}", "d.yaml:8:22: nvme.paths: path 3 of the list: found the "
                                     "folder of path 1 of the list once more"},
    {"nvme: {paths: [/a/b, //a//b/]}", "d.yaml:8:22: nvme.paths: path 2 of the list: found the "},
    {"nvme: {paths: [/, //]}", "d.yaml:8:19: nvme.paths: path 2 of the list: found the "},
    {"nvme: {paths: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]}",
     "d.yaml:8:71: nvme.paths: path 17 of the list: found more than 16 paths"},
    {"nvme: {paths: {a: b}}", "d.yaml:8:15: nvme.paths: found a mapping, expected a path, or a "
                              "list of at most 16 paths, as in [/mnt/a, /mnt/b]"},
    {"nvme: {paths: }", "d.yaml:8:15: nvme.paths: found no value, expected a path, or"},
    {"nvme: {paths: ''}", "d.yaml:8:15: nvme.paths: found no value, expected a path, or"},
    {"nvme: {paths: 'a,,b'}", "d.yaml:8:15: nvme.paths: found 'a,,b' (an empty path), expected "},
    {"nvme: {paths: 'a,b,'}", "d.yaml:8:15: nvme.paths: found 'a,b,' (an empty path), expected "},
    {"nvme: {paths: 'a,b,a/'}", "nvme.paths: found 'a,b,a/' (the folder of path 1 of the list once "
                                "more), expected "},
    {"device: {type: [cpu]}", "device.type: found a list, expected cpu or cuda\n"},
    /* not YAML */
    {"zero: {stage: 3", "not YAML: "},
    {"zero:\n\tstage: 3", "indent with spaces, not tabs"},
    {"zero: 'a", "not YAML: "},
    {"  zero: {stage: 1}", "d.yaml:8:"},
};

static void test_lines(void)
{
    for (size_t i = 0; i < sizeof line_cases / sizeof *line_cases; i++) {
        char text[1024];
        struct deck *deck;
        snprintf(text, sizeof text, "%s%s\n", DECK_SMALL, line_cases[i][0]);
        CHECK_INT(deck_try(text, NULL, &deck), ZI_ERROR_USAGE);
        CHECK(!deck);
        CHECK(deck_said(line_cases[i][1]));
        /* One error and the summary: nothing follows from it. */
        CHECK_INT(deck_message_lines(), 2);
        CHECK(deck_said("d.yaml: 1 error; "));
    }
}

static void test_whole(void)
{
    static const char *const cases[][2] = {
        {"", "d.yaml: the deck is empty"},
        {"\n\n# nothing\n", "d.yaml: the deck is empty"},
        {"---\n", "d.yaml: the deck is empty"},
        {"~\n", "d.yaml: the deck is empty"},
        {"{}\n", "d.yaml: the deck is empty"},
        {"hello\n", "d.yaml:1:1: found a single value, expected sections with keys"},
        {"- a\n- b\n", "d.yaml:1:1: found a list, expected sections with keys"},
        {"\x89HDF\r\n\x1a\n and more", "d.yaml: this is an HDF5 file, not a deck"},
        {"\xff\xfer\x01u\x01", "d.yaml: this is UTF-16"},
        {"run:\n  name: caf\xe9\n", "d.yaml:2:12: byte 0xe9 is not UTF-8"},
        {"run:\n  name: \xc0\xaf\n", "d.yaml:2:9: byte 0xc0 is not UTF-8"},
        {"run:\n  name: \xed\xa0\x80\n", "d.yaml:2:9: byte 0xed is not UTF-8"},
        {"run:\n  name: \xf0\x9f\x98", "d.yaml:2:9: byte 0xf0 is not UTF-8"},
        {"run:\n  name: a\x01z\n", "d.yaml:2:10: byte 0x01 is a control character"},
        {"\177ELF\x02", "d.yaml:1:1: byte 0x7f is a control character; is this a binary file?"},
        {"\xc2\x80: 1\n", "not YAML: control characters are not allowed"},
    };
    struct deck *deck;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(deck_try(cases[i][0], NULL, &deck), ZI_ERROR_USAGE);
        CHECK(deck_said(cases[i][1]));
        CHECK_INT(deck_message_lines(), 2);
    }
    CHECK_INT(deck_try_bytes("run:\n  name: a\0b\n", 17, NULL, &deck), ZI_ERROR_USAGE);
    CHECK(deck_said("d.yaml:2:10: byte 0x00 is a control character; is this a binary file?"));
}

/* Everything at once, in the order of the file, overrides last. */
static void test_together(void)
{
    static const char text[] = "run: {steps: x, sed: 3}\n"
                               "model:\n"
                               "    family: gtp2\n"
                               "    layers: 2\n"
                               "    layers: 3\n"
                               "batch: [1]\n"
                               "memory: {host: 3}\n";
    static const char *const sets[] = {
        "zero.stge=4", "zero.stage=4",  "zero",           "zero.stage",
        "a=b",         "run.name=\xff", "run.directory=", NULL};
    static const char *const order[] = {
        /* A section that is not there has no line. */
        "error: deck: d.yaml: data.train: missing, and has no default: ",
        "error: deck: d.yaml: optimizer.learning_rate: missing",
        "error: deck: d.yaml:1:14: run.steps: found 'x' (no number)",
        "error: deck: d.yaml:1:17: run.sed: unknown key; nearest is seed",
        "error: deck: d.yaml:2:1: model.hidden: missing, and has no default: ",
        "error: deck: d.yaml:2:1: model.heads: missing",
        "error: deck: d.yaml:2:1: model.context: missing",
        "error: deck: d.yaml:2:1: model.vocabulary: missing, and has no default: number of "
        "different tokens: ids are 0 to vocabulary - 1; for example vocabulary: 256 tokens",
        "error: deck: d.yaml:3:13: model.family: found 'gtp2', expected gpt2, llama, mistral, "
        "qwen2, "
        "qwen3, smollm3, olmo2, gemma2 or gemma3; nearest is gpt2",
        "error: deck: d.yaml:5:5: model.layers: duplicate key; the first is in line 4",
        "error: deck: d.yaml:6:8: batch: found a list",
        "error: deck: d.yaml:7:16: memory.host: found '3' (no unit)",
        "error: deck: --set zero.stge: unknown key; nearest is stage",
        "error: deck: --set zero.stage: found '4', expected 0, 1, 2 or 3",
        "error: deck: --set 'zero': expected section.key=value, as in run.steps=500",
        "error: deck: --set 'zero.stage': expected section.key=value",
        "error: deck: --set 'a=b': expected section.key=value",
        "error: deck: --set run.name: the value is not UTF-8",
        "error: deck: --set run.directory: found no value, expected a path",
        "error: deck: d.yaml: 19 errors; `zinf help deck` describes every key",
    };
    struct deck *deck;
    CHECK_INT(deck_try(text, sets, &deck), ZI_ERROR_USAGE);
    const char *at = deck_messages.text;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const char *found = strstr(at, order[i]);
        if (!found) printf("not said in this place: %s\n", order[i]);
        CHECK(found);
        if (found) at = found;
    }
    CHECK_INT(deck_message_lines(), 20);
}

static void test_rules(void)
{
    static const char *const cases[][2] = {
        {"batch.tokens=17", "--set batch.tokens: 17 tokens in a sequence, but model.context is 16; "
                            "use at most 16, or auto"},
        {"batch.micro=9", "--set batch.micro: 9 sequences at once, but a step has 8"},
        {"data.validation_every=5", "--set data.validation_every has no effect with "
                                    "data.validation: \"\"; it is used with data.validation "
                                    "given; change that, or use never\n"},
        {"nvme.paths=a,a", "--set nvme.paths: found 'a,a' (the folder of path 1"},
        {"nvme.paths=[a, b/, b]", "--set nvme.paths: path 3 of the list: found the folder of path "
                                  "2 of the list once more"},
        {"nvme.paths=[a", "--set nvme.paths: a value that begins with [ is a list, as in [a, \"b "
                          "c\"]: not YAML: "},
        {"nvme.paths=[]", "--set nvme.paths: found an empty list"},
        {"nvme.block=6 KiB", "--set nvme.block: 6144 B is not a multiple of 4 KiB, as direct I/O "
                             "needs; nearest are 4 KiB and 8 KiB"},
        {"zero.group=5000", "--set zero.group: 5000 elements are not a multiple of 4096, "},
        {"zero.group=10000", "nearest are 8192 and 12288"},
        {"precision.loss_scale_initial=1000", "--set precision.loss_scale_initial: 1000 is not a "
                                              "power of two; nearest are 512 and 1024"},
        {"precision.loss_scale=3", "--set precision.loss_scale: 3 is not a power of two; nearest "
                                   "are 2 and 4"},
        {"precision.loss_scale=16777217", "found '16777217' (too large)"},
        {"optimizer.warmup=21", "--set optimizer.warmup: 21 steps of warm-up in a run of 20"},
        {"model.norm_epsilon=1e-400", "found '1e-400' (too small), expected a number"},
        {"optimizer.minimum_ratio=1.1", "--set optimizer.minimum_ratio: found '1.1' (too large), "
                                        "expected a number from 0 to 1"},
    };
    struct deck *deck;
    const char *sets[3] = {NULL};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sets[0] = cases[i][0];
        CHECK_INT(deck_try(DECK_SMALL, sets, &deck), ZI_ERROR_USAGE);
        CHECK(deck_said(cases[i][1]));
        CHECK_INT(deck_message_lines(), 2);
    }
    static const char *const edges[] = {"batch.tokens=16",
                                        "batch.micro=8",
                                        "optimizer.warmup=20",
                                        "nvme.block=12 KiB",
                                        "zero.group=12288",
                                        "precision.loss_scale_initial=16 Mi",
                                        "precision.loss_scale_initial=1"};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        sets[0] = edges[i];
        CHECK_INT(deck_try(DECK_SMALL, sets, &deck), ZI_OK);
        deck_destroy(deck);
    }
    sets[0] = "data.validation_every=5";
    sets[1] = "data.validation=v.h5";
    CHECK_INT(deck_try(DECK_SMALL, sets, &deck), ZI_OK);
    deck_destroy(deck);
}

/* Complaints of other rooms stand at the line of the key, beside those of the deck, once. */
static void test_complaints(void)
{
    struct deck *deck;
    static const char *const sets[] = {"model.heads=5", NULL};
    const char *text = DECK_SMALL "zero: {stage: 1}\nbatch_x: 1\n";
    CHECK_INT(deck_parse(text, strlen(DECK_SMALL) + 17, "d.yaml", sets, 1, &deck), ZI_OK);
    deck_settings(deck)->batch.micro = 100;
    deck_complain(deck, "model", "heads", "%d do not divide %d", 5, 24);
    deck_complain(deck, "zero", "stage", "one");
    deck_complain(deck, "zero", "prefetch", "a default");
    capture_begin(&deck_messages, stderr);
    CHECK_INT(deck_check(deck), ZI_ERROR_USAGE);
    capture_end(&deck_messages);
    CHECK(deck_said("--set model.heads: 5 do not divide 24\n"));
    CHECK(deck_said("d.yaml:8:15: zero.stage: one\n"));
    CHECK(deck_said("d.yaml: zero.prefetch (default): a default\n"));
    CHECK(deck_said("d.yaml: batch.micro (default): 100 sequences at once"));
    CHECK_INT(deck_message_lines(), 5);
    capture_begin(&deck_messages, stderr);
    CHECK_INT(deck_check(deck), ZI_ERROR_USAGE); /* still wrong, but said before */
    CHECK(capture_end(&deck_messages)[0] == 0);
    deck_destroy(deck);
}

static char big[3 << 20];

static size_t repeat(size_t at, const char *text, int count)
{
    size_t length = strlen(text);
    for (int i = 0; i < count; i++, at += length)
        memcpy(big + at, text, length);
    return at;
}

static void refused(size_t bytes, const char *said)
{
    struct deck *deck;
    double start = zi_time_s();
    CHECK_INT(deck_try_bytes(big, bytes, NULL, &deck), ZI_ERROR_USAGE);
    CHECK(deck_said(said));
    /* Milliseconds; the bound is for a busy machine under sanitizers, and still far below what
     * anything exponential or quadratic in a megabyte would take. */
    CHECK(zi_time_s() - start < 10);
    for (const char *line = deck_messages.text; *line; line = strchr(line, '\n') + 1)
        CHECK(strchr(line, '\n') - line < 1000);
}

static void test_absurd(void)
{
    /* deep nesting */
    refused(repeat(0, "[", 500000), "nested more than 16 deep");
    refused(repeat(0, "{a: ", 100000), "nested more than 16 deep");
    refused(repeat(0, "- ", 100000), "nested more than 16 deep");
    refused(repeat(0, "? ", 100000), "a key must be a word");
    /* long keys and values */
    size_t at = repeat(repeat(0, "? ", 1), "k", 1 << 19);
    refused(repeat(at, "\n: 1\n", 1), "kkk...: unknown section");
    refused(repeat(repeat(0, "k", 1 << 19), ": 1\n", 1), "not YAML: ");
    at = repeat(repeat(0, "zero: {? ", 1), "k", 1 << 19);
    refused(repeat(at, " : 1}\n", 1), "zero.kkkkkkkk");
    at = repeat(repeat(0, "zero: {stage: ", 1), "v", 1 << 19);
    refused(repeat(at, "}\n", 1), "zero.stage: found 'vvvvv");
    at = repeat(repeat(0, "zero: {prefetch: ", 1), "9", 1 << 19);
    refused(repeat(at, "}\n", 1), "zero.prefetch: found '99999");
    at = repeat(repeat(0, "zero: {prefetch: \"", 1), "\xe2\x82\xac", 1 << 17);
    refused(repeat(at, "\"}\n", 1), "zero.prefetch: found '\xe2\x82\xac");
    /* too much of anything */
    refused(repeat(0, "x", 2 << 20), "so this is some other file");
    at = repeat(0, "x-list: [", 1);
    refused(repeat(at, "1,", 400000), "more than 10000 values");
    at = 0;
    for (int i = 0; i < 5000; i++)
        at += (size_t)sprintf(big + at, "key%d: 1\n", i);
    refused(at, "more than 200 keys in one mapping");
    at = repeat(0, "zero: {stage: 9}\n", 1);
    at = repeat(at, "zero: {stage: 9}\n", 3000);
    refused(at, "of which the first 50 are shown");
    /* bombs: values that double, merges that double */
    at = (size_t)sprintf(big, "x-0: &a0 [1, 1]\n");
    for (int i = 1; i < 100; i++)
        at += (size_t)sprintf(big + at, "x-%d: &a%d [*a%d, *a%d]\n", i, i, i - 1, i - 1);
    at += (size_t)sprintf(big + at, "zero: {stage: *a99}\n");
    refused(at, "zero.stage: found a list");
    at = (size_t)sprintf(big, "x-0: &a0 {k: 1}\n");
    for (int i = 1; i < 100; i++)
        at += (size_t)sprintf(big + at, "x-%d: &a%d {<<: [*a%d, *a%d], k%d: 1}\n", i, i, i - 1,
                              i - 1, i);
    at += (size_t)sprintf(big + at, "zero: {<<: *a99}\n");
    refused(at, "zero.k30: unknown key");
    at = repeat(repeat(0, "x-a: &a {a: 1}\nzero: {<<: [", 1), "*a,", 300000);
    refused(repeat(at, "]}\n", 1), "zero.a: unknown key");
}

static void test_files(void)
{
    struct deck *deck;
    char name[] = "deck-errors-XXXXXX", text[64];
    if (!mkdtemp(name)) exit(1);
    capture_begin(&deck_messages, stderr);
    CHECK_INT(deck_read(name, NULL, 0, &deck), ZI_ERROR_USAGE);
    capture_end(&deck_messages);
    CHECK(deck_said("Is a directory"));
    rmdir(name);
    snprintf(text, sizeof text, "%s: cannot be opened: No such file", name);
    capture_begin(&deck_messages, stderr);
    CHECK_INT(deck_read(name, NULL, 0, &deck), ZI_ERROR_USAGE);
    capture_end(&deck_messages);
    CHECK(deck_said(text) && !deck);
}

int main(void)
{
    test_lines();
    test_whole();
    test_together();
    test_rules();
    test_complaints();
    test_absurd();
    test_files();
    return test_finish("deck_errors_test");
}
