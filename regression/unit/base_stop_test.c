/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to stop, in children that are told how to end: a second SIGINT ends a process at once
 * whatever asked first, a second one of the others never; what came before there was a thread for
 * it is not lost; and what a process was started to ignore stays ignored, though a library has put
 * a handler there before main. */
#include "base/stop.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "regression/unit/test.h"

static void take(int number)
{
    (void)number;
}

/* The started program: a handler where the parent ignored, as a transport of MPI does it. */
static int child_ignores(void)
{
    struct sigaction hangup, interrupt;
    signal(SIGHUP, take);
    signal(SIGINT, take);
    zi_stop_ignore();
    sigaction(SIGHUP, NULL, &hangup);
    sigaction(SIGINT, NULL, &interrupt);
    return hangup.sa_handler == SIG_IGN && interrupt.sa_handler == take ? 0 : 1;
}

static void check_ignored(char *self)
{
    int state = -1;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGHUP, SIG_IGN);
        signal(SIGINT, SIG_DFL);
        char *words[] = {self, "ignores", NULL};
        execv("/proc/self/exe", words);
        _exit(127);
    }
    CHECK(waitpid(child, &state, 0) == child);
    CHECK(WIFEXITED(state));
    CHECK_INT(WEXITSTATUS(state), 0);
}

/* `first`, when it is one, and then SIGINT again and again: the process ends of a SIGINT. */
static void check_second(int first)
{
    int state = 0, ready[2];
    char byte = 0;
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        if (zi_stop_start() < 0 || write(ready[1], &byte, 1) != 1) _exit(1);
        for (;;)
            pause();
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    if (first) kill(child, first);
    pid_t ended = 0;
    for (int i = 0; i < 100 && ended == 0; i++) {
        kill(child, SIGINT);
        usleep(400000);
        ended = waitpid(child, &state, WNOHANG);
    }
    CHECK(ended == child);
    if (ended == 0) {
        kill(child, SIGKILL);
        waitpid(child, &state, 0);
    }
    CHECK(WIFSIGNALED(state) && WTERMSIG(state) == SIGINT);
    close(ready[0]);
    close(ready[1]);
}

/* Runs in a child, which it ends; gives how. */
static int state_of(void (*child_main)(void))
{
    int state = -1;
    pid_t child = fork();
    if (child == 0) {
        child_main();
        _exit(1);
    }
    CHECK(waitpid(child, &state, 0) == child);
    return state;
}

/* SIGUSR1 before anybody waits for signals, and then SIGTERM again and again. */
static void held_and_taken(void)
{
    zi_stop_hold();
    kill(getpid(), SIGUSR1);
    if (zi_stop_start() < 0) _exit(2);
    for (int i = 0; i < 2000 && !zi_stop_signal(); i++)
        usleep(5000);
    for (int i = 0; i < 5; i++) {
        kill(getpid(), SIGTERM);
        usleep(300000);
    }
    _exit(zi_stop_signal() == SIGUSR1 ? 0 : 3);
}

static void held_and_released(void)
{
    zi_stop_hold();
    kill(getpid(), SIGUSR1);
    zi_stop_release();
}

static void check_held(void)
{
    int taken = state_of(held_and_taken), released = state_of(held_and_released);
    CHECK(WIFEXITED(taken));
    CHECK_INT(WEXITSTATUS(taken), 0);
    CHECK(WIFSIGNALED(released) && WTERMSIG(released) == SIGUSR1);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "ignores") == 0) return child_ignores();
    signal(SIGINT, SIG_DFL); /* as in a terminal; noted before main, so started once more */
    if (argc == 1) {
        char *words[] = {argv[0], "again", NULL};
        execv("/proc/self/exe", words);
    }
    check_ignored(argv[0]);
    check_second(0);
    check_second(SIGTERM);
    check_held();
    return test_finish("base_stop_test");
}
