/* SPDX-License-Identifier: Apache-2.0 */
/* Each check of the emulated runtime fires on a program with the fault that it is for, under every
 * schedule, and does not on the same program without it, whatever the seed.
 *
 * Programs run in processes of their own: this one, started again as `runtime_test NAME
 * right|faulty`, where `all` is all that need no setting, one after the other. Linked with
 * the real libcudart, it is run with LD_LIBRARY_PATH of the emulation's. */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "regression/emulator/tests/faults.h"
#include "regression/unit/test.h"

enum { SEEDS = 25, SKIPPED = 77, OUTPUT = 65536 };

static const struct fault *const tables[] = {faults_order,  faults_life,    faults_kernel,
                                             faults_random, faults_answers, faults_cublaslt,
                                             faults_nccl};

/* All right programs that need no setting, in one process: test.h counts their checks. */
static void run_all(bool faulty)
{
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct fault *fault = tables[i]; fault->name; fault++)
            if (fault->words && !fault->setting) fault->run(faulty);
}

static const struct fault all = {.name = "all", .run = run_all};

static const struct fault *find(const char *name)
{
    if (strcmp(name, all.name) == 0) return &all;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct fault *fault = tables[i]; fault->name; fault++)
            if (strcmp(fault->name, name) == 0) return fault;
    return NULL;
}

/* In the child: does not come back. */
static void become(const struct fault *fault, bool faulty, const char *schedule, int seed)
{
    enum { ROOM = 128 };
    char text[ROOM];
    snprintf(text, sizeof text, "%d", seed);
    setenv("EMULATOR_SEED", text, 1);
    setenv("EMULATOR_SCHEDULE", schedule, 1);
    if (fault->setting) {
        snprintf(text, sizeof text, "%s", fault->setting);
        char *value = strchr(text, '=');
        *value++ = '\0';
        setenv(text, value, 1);
    }
    execl("/proc/self/exe", "runtime_test", fault->name, faulty ? "faulty" : "right", (char *)NULL);
    _exit(1);
}

/* Runs a program; gives its exit code, and what it said in output[0..OUTPUT). */
static int run(const struct fault *fault, bool faulty, const char *schedule, int seed, char *output)
{
    int pipes[2], status = 0;
    size_t length = 0;
    CHECK_INT(pipe(pipes), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        dup2(pipes[1], STDERR_FILENO);
        close(pipes[0]);
        become(fault, faulty, schedule, seed);
    }
    close(pipes[1]);
    for (ssize_t got = 1; got > 0 && length < OUTPUT - 1; length += (size_t)(got > 0 ? got : 0))
        got = read(pipes[0], output + length, OUTPUT - 1 - length);
    output[length] = '\0';
    close(pipes[0]);
    CHECK_INT(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Runs a program and compares how it ends. */
static void expect(const struct fault *fault, bool faulty, const char *schedule, int seed)
{
    static char output[OUTPUT];
    int wanted = faulty || !fault->words ? fault->code : 0;
    int code = run(fault, faulty, schedule, seed, output);
    bool said = !faulty || !fault->words || strstr(output, fault->words);
    CHECK_INT(code, wanted);
    CHECK(said);
    if (code != wanted || !said)
        fprintf(stderr, "%s, %s, schedule %s, seed %d:\n%s\n", fault->name,
                faulty ? "faulty" : "right", schedule, seed, output);
}

static void expect_all(const struct fault *fault)
{
    static const char *const schedules[] = {"eager", "random", "late"};
    for (int i = 0; i < 3; i++) {
        expect(fault, false, schedules[i], 0);
        if (fault->words) expect(fault, true, schedules[i], 0);
    }
}

int main(int count, char **arguments)
{
    if (!dlsym(RTLD_DEFAULT, "emulator_seed")) {
        printf("skipped: the runtime that is loaded is not the emulated one\n");
        return SKIPPED;
    }
    if (count == 3) {
        const struct fault *fault = find(arguments[1]);
        if (!fault) return 1;
        fault->run(strcmp(arguments[2], "faulty") == 0);
        return test_failures() > 0;
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct fault *fault = tables[i]; fault->name; fault++)
            expect_all(fault);
    for (int seed = 1; seed <= SEEDS; seed++)
        expect(&all, false, "random", seed);
    for (int seed = 1; seed <= SEEDS; seed++)
        expect(&faults_random[0], true, "random", seed);
    return test_finish("emulator runtime");
}
