/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that a deck gives and cannot use are said at their place, each key of the table that has
 * such a condition; where they are of use, by default, and in the echo of a run, nothing is said. A
 * deck that names a validation file validates. */
#include "regression/unit/deck_fixture.h"

#include "deck/private.h"

/* What the small deck is given, the key first; and what is said of it. With the third it is of use,
 * and nothing is said. */
static const struct {
    const char *sets[3], *said, *cure;
} cases[] = {
    {{"run.report_every=21"},
     "run.report_every: 21 steps has no effect with run.steps: 20 steps; it is used with "
     "run.report_every at most run.steps\n",
     "run.report_every=20"},
    {{"run.nonfinite_limit=21"},
     "run.nonfinite_limit: 21 steps has no effect with run.steps: 20 steps; ",
     "run.nonfinite_limit=20"},
    {{"run.trace=5", "run.steps=2"},
     "run.trace has no effect with run.steps: 2 steps; it is used with run.steps above 2\n",
     "run.steps=3"},
    {{"adapter.alpha=16"},
     "adapter.alpha has no effect with adapter.rank: 0; it is used with adapter.rank above 0\n",
     "adapter.rank=4"},
    {{"adapter.scaling=rsqrt"},
     "adapter.scaling has no effect with adapter.rank: 0; ",
     "adapter.rank=4"},
    {{"adapter.dropout=0"},
     "adapter.dropout has no effect with adapter.rank: 0; ",
     "adapter.rank=4"},
    {{"adapter.targets=all"},
     "adapter.targets has no effect with adapter.rank: 0; ",
     "adapter.rank=4"},
    {{"model.rope_base=10000"},
     "model.rope_base has no effect with model.family: gpt2; it is used with model.family other "
     "than "
     "gpt2\n",
     "model.family=llama"},
    {{"model.window_from=1", "model.family=mistral"},
     "model.window_from has no effect with model.window: 0 tokens; it is used with model.window "
     "above 0\n",
     "model.window=5"},
    {{"model.full_every=2", "model.family=mistral"},
     "model.full_every has no effect with model.window: 0 tokens; ",
     "model.window=5"},
    {{"model.rope_window_base=10", "model.family=mistral"},
     "model.rope_window_base has no effect with model.window: 0 tokens; ",
     "model.window=5"},
    {{"model.rope_scaling=linear"},
     "model.rope_scaling has no effect with model.family: gpt2; ",
     "model.family=llama"},
    {{"model.rope_factor=2", "model.family=llama"},
     "model.rope_factor has no effect with model.rope_scaling: none; it is used with "
     "model.rope_scaling other than none\n",
     "model.rope_scaling=yarn"},
    {{"model.rope_original=5", "model.family=llama"},
     "model.rope_original has no effect with model.rope_scaling: none; it is used with "
     "model.rope_scaling other than none and model.rope_scaling other than linear\n",
     "model.rope_scaling=yarn"},
    {{"model.rope_low=2", "model.family=llama"},
     "model.rope_low has no effect with model.rope_scaling: none; it is used with "
     "model.rope_scaling: llama3\n",
     "model.rope_scaling=llama3"},
    {{"model.rope_high=2", "model.family=llama"},
     "model.rope_high has no effect with model.rope_scaling: none; ",
     "model.rope_scaling=llama3"},
    {{"model.rope_fast=2", "model.family=llama"},
     "model.rope_fast has no effect with model.rope_scaling: none; ",
     "model.rope_scaling=yarn"},
    {{"model.rope_slow=2", "model.family=llama"},
     "model.rope_slow has no effect with model.rope_scaling: none; ",
     "model.rope_scaling=yarn"},
    {{"model.rope_truncate=yes", "model.family=llama"},
     "model.rope_truncate has no effect with model.rope_scaling: none; ",
     "model.rope_scaling=yarn"},
    {{"model.rope_attention=2", "model.family=llama"},
     "model.rope_attention has no effect with model.rope_scaling: none; ",
     "model.rope_scaling=yarn"},
    {{"data.validation=v", "data.validation_every=never"},
     "data.validation has no effect with data.validation_every: never; it is used with "
     "data.validation_every other than never\n",
     "data.validation_every=3"},
    {{"data.type=uint32", "data.format=llmc"},
     "data.type has no effect with data.format: llmc; it is used with data.format: nanogpt\n",
     "data.format=nanogpt"},
    {{"data.validation_sequences=3"},
     "data.validation_sequences has no effect with data.validation: \"\"; it is used with "
     "data.validation given and data.validation_every other than never\n",
     "data.validation=v"},
    {{"optimizer.minimum_ratio=0.1", "optimizer.schedule=constant"},
     "optimizer.minimum_ratio has no effect with optimizer.schedule: constant; ",
     "optimizer.schedule=linear"},
    {{"optimizer.minimum_ratio=0.1", "optimizer.warmup=20"},
     "optimizer.minimum_ratio has no effect with optimizer.warmup: 20 steps, run.steps: 20 steps; ",
     "optimizer.warmup=19"},
    {{"optimizer.beta2=0.9", "optimizer.type=sgd"},
     "optimizer.beta2 has no effect with optimizer.type: sgd; it is used with optimizer.type other "
     "than sgd\n",
     "optimizer.type=lion"},
    {{"optimizer.epsilon=1e-9", "optimizer.type=lion"},
     "optimizer.epsilon has no effect with optimizer.type: lion; it is used with optimizer.type: "
     "adamw\n",
     "optimizer.type=adamw"},
    {{"optimizer.moments=8-bit", "optimizer.type=sgd", "optimizer.beta1=0"},
     "optimizer.moments has no effect with optimizer.type: sgd, optimizer.beta1: 0",
     "optimizer.beta1=0.5"},
    {{"zero.speculate=on", "zero.update=immediate"},
     "zero.speculate has no effect with zero.update: immediate; it is used with "
     "placement.optimizer: nvme and placement.parameters: nvme and zero.update other than "
     "immediate\n",
     "zero.update=deferred"},
    {{"device.products=onednn", "device.type=cuda"},
     "device.products has no effect with device.type: cuda; it is used with device.type: cpu\n",
     "device.type=cpu"},
    {{"optimizer.decay_embeddings=yes", "optimizer.weight_decay=0"},
     "optimizer.decay_embeddings has no effect with optimizer.weight_decay: 0.0; it is used with "
     "optimizer.weight_decay above 0\n",
     "optimizer.weight_decay=0.01"},
    {{"optimizer.decay_norms=yes", "optimizer.weight_decay=0"},
     "optimizer.decay_norms has no effect with optimizer.weight_decay: 0.0; ",
     "optimizer.weight_decay=0.01"},
    {{"optimizer.decay_biases=yes", "model.family=llama"},
     "optimizer.decay_biases has no effect with model.family: llama, "
     "model.attention_bias: no, model.mlp_bias: no; it is used with optimizer.weight_decay above 0 "
     "and model.family: gpt2 or model.family: qwen2 or model.attention_bias: yes or "
     "model.mlp_bias: "
     "yes\n",
     "model.family=gpt2"},
    {{"optimizer.schedule=linear", "optimizer.warmup=20"},
     "optimizer.schedule has no effect with optimizer.warmup: 20 steps, run.steps: 20 steps; it is "
     "used with optimizer.warmup below run.steps\n",
     "optimizer.warmup=19"},
    {{"precision.order=library"},
     "precision.order has no effect with device.type: cpu; it is used with device.type: cuda\n",
     "device.type=cuda"},
    {{"precision.loss_scale=1024", "precision.compute=bf16"},
     "precision.loss_scale has no effect with precision.compute: bf16; it is used with "
     "precision.compute: fp16\n",
     "precision.compute=fp16"},
    {{"precision.loss_scale_initial=1024"},
     "precision.loss_scale_initial has no effect with precision.compute: fp32; it is used with "
     "precision.compute: fp16 and precision.loss_scale: auto\n",
     "precision.compute=fp16"},
    {{"precision.loss_scale_growth=10", "precision.compute=fp16", "precision.loss_scale=8"},
     "precision.loss_scale_growth has no effect with precision.loss_scale: 8; ",
     "precision.loss_scale=auto"},
    {{"optimizer.decay=3", "optimizer.schedule=cosine"},
     "optimizer.decay has no effect with optimizer.schedule: cosine; it is used with "
     "optimizer.schedule: wsd\n",
     "optimizer.schedule=wsd"},
    {{"zero.order=micro-major", "batch.micro=8"},
     "zero.order has no effect with batch.micro: 8 sequences, batch.global: 8 sequences; it is "
     "used with batch.micro below batch.global\n",
     "batch.micro=4"},
    {{"zero.update_on=device", "placement.optimizer=host"},
     "zero.update_on has no effect with device.type: cpu; it is used with device.type other than "
     "cpu",
     "device.type=cuda"},
    {{"zero.update_on=host", "placement.optimizer=device", "device.type=cuda"},
     "zero.update_on has no effect with placement.optimizer: device; it is used with device.type "
     "other than cpu and placement.optimizer other than device\n",
     "placement.optimizer=host"},
    {{"zero.group=8192", "placement.optimizer=device", "placement.gradients=host"},
     "zero.group has no effect with placement.optimizer: device, placement.gradients: host, "
     "device.type: cpu; ",
     "device.type=cuda"},
    {{"activations.interval=2", "activations.recompute=never"},
     "activations.interval has no effect with activations.recompute: never; it is used with "
     "activations.recompute other than never\n",
     "activations.recompute=always"},
    {{"activations.offload=mlp", "device.type=cpu"},
     "activations.offload has no effect with device.type: cpu; it is used with device.type other "
     "than cpu and activations.recompute other than always\n",
     "device.type=cuda"},
    {{"device.isa=generic", "device.type=cuda"},
     "device.isa has no effect with device.type: cuda; it is used with device.type: cpu\n",
     "device.type=cpu"},
    {{"device.attention=own"},
     "device.attention has no effect with device.type: cpu; it is used with device.type: cuda\n",
     "device.type=cuda"},
    {{"checkpoint.keep=3"},
     "checkpoint.keep has no effect with checkpoint.every: never; it is used with "
     "checkpoint.every other than never and checkpoint.every at most run.steps\n",
     "checkpoint.every=5"},
    {{"checkpoint.keep=3", "checkpoint.every=21"},
     "checkpoint.keep has no effect with checkpoint.every: 21 steps, run.steps: 20 steps; ",
     "checkpoint.every=20"},
    {{"checkpoint.keep_every=3"},
     "checkpoint.keep_every has no effect with checkpoint.every: never; it is used with "
     "checkpoint.every other than never and checkpoint.every at most run.steps\n",
     "checkpoint.every=5"},
};
enum { CASES = (int)(sizeof cases / sizeof *cases) };

/* Keys whose condition makes an error; and those of nvme, which are alike. */
static const char *const others[] = {"checkpoint.local",
                                     "checkpoint.local_every",
                                     "data.validation_every",
                                     "checkpoint.every",
                                     "nvme.paths",
                                     "nvme.engine",
                                     "nvme.depth",
                                     "nvme.block",
                                     "nvme.deadline",
                                     "nvme.keep",
                                     "nvme.reclaim"};
static const char *const nvme_sets[] = {"nvme.paths=a",     "nvme.engine=threads", "nvme.depth=16",
                                        "nvme.block=1 MiB", "nvme.deadline=9",     "nvme.keep=yes",
                                        "nvme.reclaim=true"};

static const char *warnings_of(struct deck *deck)
{
    capture_begin(&deck_messages, stderr);
    deck_warn(deck);
    return capture_end(&deck_messages);
}

/* The same past the log, which ends after some warnings of one kind. */
static const char *remarks_of(const struct deck *deck)
{
    size_t length = 0;
    deck_messages.text[0] = 0;
    for (int i = 0; i < deck->remarks.count; i++) {
        const struct deck_error *remark = &deck->remarks.list[i];
        length += (size_t)snprintf(deck_messages.text + length, sizeof deck_messages.text - length,
                                   "%s%s\n", remark->line == DECK_PLACE_SET ? "--set " : "",
                                   remark->text);
    }
    return deck_messages.text;
}

/* Reads a text, which must work, and gives what will be warned of. */
static const char *warned(const char *text, const char *const *sets)
{
    struct deck *deck;
    enum zi_status status = deck_try(text, sets, &deck);
    CHECK_INT(status, ZI_OK);
    if (status != ZI_OK) {
        printf("%s", deck_messages.text);
        return deck_messages.text;
    }
    CHECK(deck_messages.text[0] == 0); /* deck_check does not warn: every rank calls it */
    remarks_of(deck);
    deck_destroy(deck);
    return deck_messages.text;
}

static void test_cases(void)
{
    char expected[512];
    for (int i = 0; i < CASES; i++) {
        const char *sets[5] = {cases[i].sets[0], cases[i].sets[1], cases[i].sets[2]};
        int count = 0;
        while (sets[count])
            count++;
        snprintf(expected, sizeof expected, "--set %s", cases[i].said);
        warned(DECK_SMALL, sets);
        CHECK(deck_said(expected));
        CHECK_INT(deck_message_lines(), 1);
        sets[count] = cases[i].cure;
        const char *text = warned(DECK_SMALL, sets);
        /* The cure may be a key that another one makes idle; the case's own is cured. */
        CHECK(!strstr(text, expected));
    }
}

static void test_disk(void)
{
    for (size_t i = 0; i < sizeof nvme_sets / sizeof *nvme_sets; i++) {
        const char *sets[] = {nvme_sets[i],
                              "placement.parameters=device",
                              "placement.gradients=host",
                              "placement.optimizer=host",
                              "placement.activations=host",
                              NULL};
        char expected[128];
        snprintf(expected, sizeof expected,
                 "--set %.*s has no effect with placement.parameters: "
                 "device, placement.gradients: host, ",
                 (int)strcspn(sets[0], "="), sets[0]);
        warned(DECK_SMALL, sets);
        CHECK(deck_said(expected));
        CHECK_INT(deck_message_lines(), 1);
        /* One state there, or one that auto may put there. */
        sets[4] = "placement.activations=nvme";
        CHECK(!*warned(DECK_SMALL, sets));
        sets[4] = "placement.activations=auto";
        CHECK(!*warned(DECK_SMALL, sets));
    }
}

/* What was asked for would never be done. */
static void test_errors(void)
{
    static const char *const never_saved[] = {"checkpoint.every=21", "checkpoint.final=no", NULL};
    static const char *const saved[] = {"checkpoint.every=21", NULL};
    static const char *const no_file[] = {"data.validation_every=5", NULL};
    struct deck *deck;
    CHECK_INT(deck_try(DECK_SMALL, never_saved, &deck), ZI_ERROR_USAGE);
    CHECK(deck_said("error: deck: --set checkpoint.every: 21 steps has no effect with run.steps: "
                    "20 steps, checkpoint.final: no; it is used with checkpoint.every at most "
                    "run.steps or checkpoint.final: yes; change that, or use never\n"));
    CHECK(!*warned(DECK_SMALL, saved));
    CHECK_INT(deck_try(DECK_SMALL, no_file, &deck), ZI_ERROR_USAGE);
    CHECK(deck_said("error: deck: --set data.validation_every has no effect with "));
    CHECK_INT(deck_try(DECK_SMALL "checkpoint: {final: no,\n  every: 30 steps}\n", NULL, &deck),
              ZI_ERROR_USAGE);
    CHECK(deck_said("error: deck: d.yaml:9:10: checkpoint.every: 30 steps has no effect"));
    CHECK_INT(deck_try(DECK_SMALL "checkpoint: {local: /x}\n", NULL, &deck), ZI_ERROR_USAGE);
    CHECK(deck_said("error: deck: d.yaml:8:21: checkpoint.local has no effect with "
                    "checkpoint.local_every: never; it is used with checkpoint.local_every other "
                    "than never; change that, or use \"\"\n"));
    CHECK_INT(deck_try(DECK_SMALL "checkpoint: {local_every: 5 steps}\n", NULL, &deck),
              ZI_ERROR_USAGE);
    CHECK(deck_said("checkpoint.local_every has no effect with checkpoint.local: \"\"; "));
    CHECK_INT(deck_try(DECK_SMALL "checkpoint: {local_every: 21 steps, local: /x}\n", NULL, &deck),
              ZI_ERROR_USAGE);
    CHECK(deck_said("checkpoint.local_every: 21 steps has no effect with run.steps: 20 steps; "));
    CHECK_INT(deck_try(DECK_SMALL "checkpoint: {local_every: 20 steps, local: /x}\n", NULL, &deck),
              ZI_OK);
    deck_destroy(deck);
}

/* Every condition of the table is one, and has its case here. */
static void test_table(void)
{
    int count;
    const struct deck_row *rows = deck_rows(&count);
    for (int i = 0; i < count; i++) {
        char name[64];
        int length = snprintf(name, sizeof name, "%s.%s", rows[i].section, rows[i].key);
        bool tested = !rows[i].uses;
        for (int c = 0; c < CASES; c++)
            tested = tested || (strncmp(cases[c].sets[0], name, (size_t)length) == 0 &&
                                cases[c].sets[0][length] == '=');
        for (size_t c = 0; c < sizeof others / sizeof *others; c++)
            tested = tested || strcmp(others[c], name) == 0;
        if (!tested) printf("no case for %s\n", name);
        CHECK(tested);
        for (const struct deck_term *term = rows[i].uses; term && term->key; term++)
            CHECK(deck_find(term->section, term->key) && term->value);
    }
}

/* Places; values that ask for nothing; the order of the deck. */
static void test_places(void)
{
    static const char *const neutral[] = {"data.validation=",
                                          "data.validation_every=never",
                                          "data.validation_sequences=8",
                                          "optimizer.decay=auto",
                                          "run.trace=never",
                                          "nvme.keep=no",
                                          "optimizer.decay_biases=no",
                                          NULL};
    CHECK(!*warned(DECK_SMALL, NULL));
    warned(DECK_SMALL, neutral);
    CHECK(deck_said("data.validation_sequences"));
    CHECK_INT(deck_message_lines(), 1);
    static const char *const schedule[] = {"optimizer.schedule=linear", "run.trace=1",
                                           "run.steps=2", NULL};
    static const char text[] = "run: {steps: 20}\n"
                               "model: {family: gpt2, layers: 2, hidden: 24, heads: 3,\n"
                               "    context: 16, vocabulary: 65, rope_base: 500000}\n"
                               "data: {train: t.h5}\n"
                               "batch: {global: 8}\n"
                               "optimizer: {learning_rate: 0.01,\n"
                               "    decay: 5 steps}\n";
    struct deck *deck;
    CHECK_INT(deck_try(text, schedule, &deck), ZI_OK);
    if (!deck) exit(1);
    const char *said = warnings_of(deck);
    deck_destroy(deck);
    CHECK(deck_said("warning: deck: d.yaml:3:45: model.rope_base has no effect"));
    CHECK(deck_said("warning: deck: d.yaml:7:12: optimizer.decay has no effect with "
                    "optimizer.schedule: linear;"));
    CHECK(deck_said("warning: deck: --set run.trace has no effect"));
    CHECK_INT(deck_message_lines(), 3);
    const char *first = strstr(said, "rope_base"), *second = strstr(said, "optimizer.decay");
    CHECK(first && second && first < second && second < strstr(said, "run.trace"));
}

/* An echo is silent, though it lists all keys; what is then changed by --set is looked at. */
static void test_echo(void)
{
    static const char *const sets[] = {"optimizer.decay=3", "checkpoint.keep=3", "nvme.depth=3",
                                       "placement.parameters=device", NULL};
    static const char *const more[] = {"optimizer.decay=4", NULL};
    struct deck *deck;
    char *echo = NULL;
    CHECK_INT(deck_try(DECK_SMALL "model.x: 1\n", sets, &deck), ZI_ERROR_USAGE);
    CHECK_INT(deck_try(DECK_SMALL, sets, &deck), ZI_OK);
    if (!deck || deck_echo(deck, &echo) != ZI_OK) exit(1);
    warnings_of(deck);
    CHECK_INT(deck_message_lines(), 2);
    CHECK(!*warnings_of(deck)); /* once */
    deck_destroy(deck);
    CHECK(!*warned(echo, NULL));
    warned(echo, more);
    CHECK(deck_said("--set optimizer.decay has no effect"));
    CHECK_INT(deck_message_lines(), 1);
    free(echo);
}

/* Remarks of other rooms, by the same way. */
static void test_remarks(void)
{
    static const char *const sets[] = {"batch.micro=4", NULL};
    struct deck *deck;
    CHECK_INT(deck_try(DECK_SMALL, sets, &deck), ZI_OK);
    if (!deck) exit(1);
    deck_remark(deck, "batch", "micro", "%d are too many for %s", 4, "one");
    deck_remark(deck, "batch", "global", "eight");
    deck_remark(deck, "zero", "stage", "a default");
    warnings_of(deck);
    CHECK(deck_said("warning: deck: d.yaml:6:17: batch.global: eight\n"));
    CHECK(deck_said("warning: deck: --set batch.micro: 4 are too many for one\n"));
    CHECK_INT(deck_message_lines(), 2);
    CHECK_INT(deck_check(deck), ZI_OK);
    deck_destroy(deck);
}

/* data.validation_every: auto. */
static void test_validation(void)
{
    static const struct {
        const char *sets[4];
        int64_t every;
        const char *line;
    } runs[] = {
        {{"run.steps=1000", "data.validation=v"}, 100, "validation_every: 100 steps  "},
        {{"run.steps=6", "data.validation=v"}, 1, "validation_every: 1 step  "},
        {{"run.steps=25", "data.validation=v"}, 3, "validation_every: 3 steps  "},
        {{"run.steps=1000", "data.validation="}, 0, "validation_every: never  "},
        {{"run.steps=1000"}, 0, "validation_every: never  "},
        {{"data.validation=v", "data.validation_every=never"}, 0, "validation_every: never  "},
        {{"data.validation=v", "data.validation_every=7"}, 7, "validation_every: 7 steps  "},
        {{"data.validation=v", "data.validation_every=auto"}, 2, "validation_every: 2 steps  "},
    };
    static const char *const no_file[] = {"data.validation=", NULL};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        struct deck *deck, *again;
        char *echo = NULL;
        CHECK_INT(deck_try(DECK_SMALL, runs[i].sets, &deck), ZI_OK);
        if (!deck || deck_echo(deck, &echo) != ZI_OK) exit(1);
        CHECK_INT(deck_settings(deck)->data.validation_every, runs[i].every);
        const char *line = strstr(echo, runs[i].line);
        CHECK(line);
        const char *comment = line ? strchr(line, '#') : "";
        if (i < 5) CHECK(strncmp(comment, "# default: auto\n", 16) == 0);
        if (i == 7) CHECK(strncmp(comment, "# --set: auto\n", 14) == 0);
        /* The echo of a run that validated, without its file: auto again, and no error. */
        bool resolved = i < 5 || i == 7;
        CHECK_INT(deck_try(echo, no_file, &again),
                  resolved || !runs[i].every ? ZI_OK : ZI_ERROR_USAGE);
        if (again) CHECK_INT(deck_settings(again)->data.validation_every, 0);
        deck_destroy(again);
        deck_destroy(deck);
        free(echo);
    }
}

int main(void)
{
    test_table();
    test_cases();
    test_disk();
    test_errors();
    test_places();
    test_echo();
    test_remarks();
    test_validation();
    return test_finish("deck_uses_test");
}
