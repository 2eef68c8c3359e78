/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint whose text of its model says other sizes than its tensors have: `zinf generate` must
 * refuse it by comparing, not by allocating what the text asks for. The test's memory is bounded,
 * so that an absurd allocation fails, with another status. */
#include "app/commands.h"
#include "app/setup.h"
#include "checkpoint/checkpoint.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define GPT2                                                                                       \
    "layers: 2, hidden: 32, heads: 2, context: 16, vocabulary: 300, key_heads: 2, inner: 128, "    \
    "tied: yes"
#define LLAMA                                                                                      \
    "layers: 2, hidden: 32, heads: 2, context: 16, vocabulary: 300, key_heads: 2, inner: 128, "    \
    "tied: no"

static struct capture capture, output;
static char path[4200], folder[4096];
/* NULL: none is given. */
static char *tokenizer;

/* Values of a tensor: zeros, but so that the likeliest next token is 299, after it all are alike.
 */
static void fill(const struct model_tensor *tensor, float *values)
{
    memset(values, 0, (size_t)tensor->elements * sizeof *values);
    if (strcmp(tensor->name, "norm.bias") == 0) values[0] = 1;
    if (strcmp(tensor->name, "embedding.token.weight") == 0) values[299 * tensor->shape[1]] = 1;
}

/* Writes a checkpoint of the tensors of one model under the text of another. */
static void write_checkpoint(const char *model, const char *text)
{
    struct setup setup = {0};
    struct comm *self;
    struct checkpoint *made;
    struct checkpoint_tensor tensors[64];
    float *values = calloc(1 << 20, sizeof *values);
    CHECK(setup_parse_part(&setup, model, "model", setup_model_sections, NULL, 0) == ZI_OK);
    model_check(setup.deck);
    CHECK(setup_open(&setup, DEVICE_ALONE) == ZI_OK && comm_self(&self) == ZI_OK);
    for (int i = 0; i < setup.model->tensor_count; i++) {
        const struct model_tensor *t = &setup.model->tensors[i];
        tensors[i] =
            (struct checkpoint_tensor){t->name, t->dimensions, {t->shape[0], t->shape[1]}, false};
    }
    const struct checkpoint_header header = {
        .step = 1, .deck = "", .type = ZI_FP32, .model_text = text};
    int count = setup.model->tensor_count;
    CHECK(checkpoint_create(self, folder, &header, tensors, count, &made) == ZI_OK);
    for (int s = 0; s < TIER_KIND_COUNT; s++)
        for (int i = 0; i < count && s != TIER_MASTER && tier_kind_row(s)->saved; i++) {
            fill(&setup.model->tensors[i], values);
            checkpoint_write(made, s, i, 0, setup.model->tensors[i].elements, values);
        }
    CHECK(checkpoint_commit(made, (struct checkpoint_retention){0, 0}) == ZI_OK);
    checkpoint_close(made);
    comm_destroy(self);
    setup_cleanup(&setup);
    free(values);
}

static enum zi_status generate(const char *kind, const char *what, const char **text)
{
    const struct command *command = commands_find("generate");
    char *words[] = {path,          (char *)kind,  (char *)what, "--tokens=3", "--temperature=0",
                     "--threads=1", "--tokenizer", tokenizer};
    struct options options;
    int rows = 0;
    while (rows < OPTIONS_MAX && command->options[rows].name)
        rows++;
    CHECK(options_parse("generate", command->options, rows, tokenizer ? 8 : 6, words, &options) ==
          ZI_OK);
    capture_begin(&output, stdout);
    capture_begin(&capture, stderr);
    enum zi_status status = generate_command(NULL, &options);
    *text = capture_end(&capture);
    (void)capture_end(&output);
    options_cleanup(&options);
    return status;
}

/* The tensors of `model`, and a text that says something else of them. */
static void check_refused(const char *model, const char *said_of_it, const char *said)
{
    const char *text;
    write_checkpoint(model, said_of_it);
    enum zi_status status = generate("--ids", "1", &text);
    CHECK(status == ZI_ERROR_IO || status == ZI_ERROR_USAGE || status == ZI_ERROR_FIT);
    CHECK(strstr(text, said));
    if (!strstr(text, said)) printf("%d, not \"%s\": %s\n", status, said, text);
}

static void test_absurd(void)
{
    const char *gpt2 = "{model: {family: gpt2, " GPT2 "}}";
    const char *llama = "{model: {family: llama, " LLAMA "}}";
    check_refused(gpt2,
                  "{model: {family: gpt2, layers: 9999, hidden: 32, heads: 2, context: 16, "
                  "vocabulary: 300}}",
                  "says 9999 layers, but it has 36");
    check_refused(gpt2,
                  "{model: {family: gpt2, layers: 2, hidden: 1000000, heads: 5000, context: 16, "
                  "vocabulary: 300}}",
                  "more elements than one tensor may have");
    check_refused(gpt2,
                  "{model: {family: gpt2, layers: 2, hidden: 32, heads: 2, context: 16, "
                  "vocabulary: 2147483647}}",
                  "says 68719476704 elements of embedding.token.weight, but it has 9600");
    check_refused(gpt2,
                  "{model: {family: gpt2, layers: 2, hidden: 32, heads: 2, context: 1000000000, "
                  "vocabulary: 300}}",
                  "elements of embedding.position.weight, but it has 512");
    check_refused(gpt2, "{model: {family: llama, " LLAMA "}}", "the file is damaged");
    check_refused(gpt2, "{model: {family: gpt2, " GPT2 ", layers: 1}}", "layers");
    check_refused(gpt2,
                  "{model: {family: gpt2, layers: 1, hidden: 32, heads: 2, context: 16, "
                  "vocabulary: 300}}",
                  "says 20 tensors, but it has 36");
    check_refused(gpt2, "{model: {family: gpt2, layers: 1e30}}", "layers");
    check_refused(gpt2, "not a deck", "model of the checkpoint");
    check_refused(gpt2, "", "model of the checkpoint");
    /* A context that no tensor has costs nothing. */
    const char *text;
    write_checkpoint(llama, "{model: {family: llama, layers: 2, hidden: 32, heads: 2, context: "
                            "1000000000, vocabulary: 300, key_heads: 2, inner: 128, tied: no}}");
    CHECK_INT(generate("--ids", "1", &text), ZI_OK);
}

/* Ids from 256 on have no text: where text is written they are not drawn, however likely. */
static void test_padding(void)
{
    const char *text;
    write_checkpoint("{model: {family: gpt2, " GPT2 "}}", "{model: {family: gpt2, " GPT2 "}}");
    CHECK_INT(generate("--ids", "120", &text), ZI_OK);
    CHECK(strcmp(output.text, "120,299,299,299\n") == 0);
    CHECK_INT(generate("--prompt", "x", &text), ZI_OK);
    CHECK(memcmp(output.text, "x\0\0\0\n", 6) == 0);
    CHECK(strstr(text, "300 tokens; they are taken for the 256 bytes and padding"));
    const char *large = "{model: {family: gpt2, layers: 1, hidden: 32, heads: 2, context: 16, "
                        "vocabulary: 1025}}";
    write_checkpoint(large, large);
    CHECK_INT(generate("--prompt", "x", &text), ZI_ERROR_USAGE);
    CHECK(strstr(text, "--ids 1,2,3"));
    CHECK_INT(generate("--ids", "1024", &text), ZI_OK);
}

static void write_text(const char *name, const char *text)
{
    char full[4200];
    snprintf(full, sizeof full, "%s/%s", folder, name);
    FILE *file = fopen(full, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void remove_text(const char *name)
{
    char full[4200];
    snprintf(full, sizeof full, "%s/%s", folder, name);
    CHECK(unlink(full) == 0);
}

/* The likeliest token is 299: text of the tokenizer, the end of the text, or not of the tokenizer. */
static void test_tokenizer(void)
{
    const char *text;
    write_checkpoint("{model: {family: gpt2, " GPT2 "}}", "{model: {family: gpt2, " GPT2 "}}");
    tokenizer = folder;
    CHECK_INT(generate("--prompt", "a", &text), ZI_ERROR_USAGE);
    CHECK(strstr(text, "has no tokenizer.json"));
    write_text("tokenizer.json", "{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"a\", "
                                 "\"vocab\": {\"a\": 7, \"end\": 299}}}");
    CHECK_INT(generate("--prompt", "a", &text), ZI_OK);
    CHECK(strcmp(output.text, "a end end end\n") == 0);
    CHECK_INT(generate("--ids", "7", &text), ZI_ERROR_USAGE);
    CHECK(strstr(text, "--tokenizer has no effect with --ids"));
    CHECK_INT(generate("--prompt", "", &text), ZI_ERROR_USAGE);
    write_text("tokenizer_config.json", "{\"eos_token\": {\"content\": \"end\"}}");
    CHECK_INT(generate("--prompt", "a", &text), ZI_OK);
    CHECK(strcmp(output.text, "a\n") == 0);
    remove_text("tokenizer_config.json");
    write_text("tokenizer.json", "{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"a\", "
                                 "\"vocab\": {\"a\": 0, \"b\": 1}}}");
    CHECK_INT(generate("--prompt", "b", &text), ZI_OK);
    CHECK(strcmp(output.text, "b a a a\n") == 0);
    write_text("tokenizer.json", "{\"model\": {\"type\": \"WordLevel\", "
                                 "\"vocab\": {\"a\": 300}}}");
    CHECK_INT(generate("--prompt", "a", &text), ZI_ERROR_USAGE);
    CHECK(strstr(text, "the tokenizer's token 300 is not in the model's vocabulary (0 to 299)"));
    remove_text("tokenizer.json");
    tokenizer = NULL;
}

/* The text of a model is of the model: with paths in other sections of it nothing is made. */
static void test_other_sections(void)
{
    const char *model = "{model: {family: gpt2, " GPT2 "}}", *text;
    char with[9000], made[4200];
    struct stat is;
    snprintf(made, sizeof made, "%s/made", folder);
    snprintf(with, sizeof with,
             "{model: {family: gpt2, " GPT2 "}, placement: {parameters: nvme}, "
             "nvme: {paths: %s, keep: yes}}",
             made);
    write_checkpoint(model, with);
    CHECK_INT(generate("--ids", "120", &text), ZI_OK);
    CHECK(stat(made, &is) != 0);
}

int main(void)
{
    const char *parent = getenv("TMPDIR");
    struct rlimit bound = {(rlim_t)3 << 30, (rlim_t)3 << 30};
    snprintf(folder, sizeof folder, "%s/app-generate-XXXXXX", parent ? parent : ".");
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/step-00000001.h5", folder);
#ifndef __SANITIZE_ADDRESS__
    setrlimit(RLIMIT_AS, &bound);
#endif
    (void)bound;
    test_absurd();
    test_padding();
    test_tokenizer();
    test_other_sections();
    unlink(path);
    snprintf(path, sizeof path, "%s/latest", folder);
    unlink(path);
    rmdir(folder);
    return test_finish("app_generate_test");
}
