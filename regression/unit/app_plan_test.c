/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf plan` and `zinf program` compile once, however long the search for what is auto, and never
 * open a device: one that cannot be opened is enough, as long as it can be described. Calls of
 * program_compile come here first (the linker's --wrap). */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "base/log.h"
#include "compiler/compiler.h"
#include "device/table.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

static struct capture output, messages;
static char path[] = "/tmp/app_plan_test_XXXXXX";
static int compilations, measurements, descriptions;

static const char deck[] =
    "run: {name: far, directory: runs/far, steps: 10}\n"
    "model: {family: gpt2, layers: 6, hidden: 512, heads: 8, context: 128, vocabulary: 1000}\n"
    "data: {train: absent.h5}\n"
    "batch: {global: 512, micro: 1}\n"
    "optimizer: {learning_rate: 1e-3}\n"
    "precision: {compute: bf16}\n"
    "zero: {stage: 3}\n"
    "device: {type: cuda}\n";

enum zi_status __real_program_compile(const struct model *model, const struct partition *partition,
                                      const struct zero_config *config, struct program **program);
enum zi_status __wrap_program_compile(const struct model *model, const struct partition *partition,
                                      const struct zero_config *config, struct program **program);
enum zi_status __wrap_program_compile(const struct model *model, const struct partition *partition,
                                      const struct zero_config *config, struct program **program)
{
    compilations++;
    return __real_program_compile(model, partition, config, program);
}
enum zi_status __real_program_measure(const struct model *model, const struct partition *partition,
                                      const struct zero_config *config, struct program **program);
enum zi_status __wrap_program_measure(const struct model *model, const struct partition *partition,
                                      const struct zero_config *config, struct program **program);
enum zi_status __wrap_program_measure(const struct model *model, const struct partition *partition,
                                      const struct zero_config *config, struct program **program)
{
    measurements++;
    return __real_program_measure(model, partition, config, program);
}

static enum zi_status describe(const struct settings_device *settings, struct device_share share,
                               struct device_properties *properties)
{
    (void)settings;
    (void)share;
    descriptions++;
    *properties = (struct device_properties){
        .name = "far away", .memory_bytes = (size_t)1 << 30, .asynchronous = true, .threads = 1};
    return ZI_OK;
}

static enum zi_status refuse(const struct settings_device *settings, struct device_share share,
                             struct device **device)
{
    (void)settings;
    (void)share;
    (void)device;
    return zi_fail(ZI_ERROR_DEVICE, "test", "a device was opened");
}

/* Runs a command; `words` ends in NULL. */
static enum zi_status run(const char *name, const char *const *words)
{
    const struct command *command = commands_find(name);
    struct options options;
    char *argv[16];
    int rows = 0, argc = 0;
    ZI_REQUIRE(command);
    while (command->options[rows].name)
        rows++;
    for (; words[argc]; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc];
    ZI_TRY(options_parse(name, command->options, rows, argc, argv, &options));
    compilations = measurements = descriptions = 0;
    capture_begin(&output, stdout);
    capture_begin(&messages, stderr);
    enum zi_status status = command->run(NULL, &options);
    capture_end(&messages);
    capture_end(&output);
    options_cleanup(&options);
    return status;
}

static void test_counts(void)
{
    const char *const plan[] = {path, "--ranks", "512", "--ranks-per-node", "8", NULL};
    CHECK_INT(run("plan", plan), ZI_OK);
    CHECK_INT(compilations, 1);
    CHECK(measurements > 10); /* the search goes on without compiling */
    CHECK_INT(descriptions, 1);
    CHECK(strstr(output.text, "gather") && strstr(output.text, "tokens a second"));
    CHECK(strstr(messages.text, "flops_bf16") && strstr(messages.text, "far away"));
    const char *const program[] = {path, "--ranks", "512", NULL};
    CHECK_INT(run("program", program), ZI_OK);
    CHECK_INT(compilations, 1);
    CHECK_INT(descriptions, 1);
    CHECK(strstr(output.text, "adam"));
    const char *const small[] = {
        path, "--ranks", "512", "--set", "memory.device=1 MiB", "--set", "memory.host=1 MiB", NULL};
    CHECK_INT(run("plan", small), ZI_ERROR_FIT);
    CHECK_INT(compilations, 0);
    CHECK(strstr(output.text, "largest model that fits"));
}

/* What can be described can be planned, not checked for a run or run. */
static void test_check(void)
{
    const char *const words[] = {path, "--ranks", "512", NULL};
    CHECK_INT(run("check", words), ZI_OK);
    device_register(DEVICE_CUDA, NULL);
    CHECK_INT(run("check", words), ZI_ERROR_DEVICE);
    CHECK(strstr(messages.text, "device.type: cuda"));
    CHECK_INT(run("plan", words), ZI_ERROR_USAGE);
    CHECK(strstr(messages.text, "memory.device: 72 GiB"));
}

int main(void)
{
    static const struct device_backend backend = {.describe = describe, .open = refuse};
    int file = mkstemp(path);
    ZI_REQUIRE(file >= 0 && write(file, deck, sizeof deck - 1) == (ssize_t)sizeof deck - 1);
    close(file);
    device_register(DEVICE_CUDA, &backend);
    test_counts();
    test_check();
    unlink(path);
    return test_finish("app_plan_test");
}
