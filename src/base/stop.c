/* SPDX-License-Identifier: Apache-2.0 */
/* One thread waits for signals; all others block them.
 *
 * A signal that is sent to a process goes to any thread that does not block it. Threads inherit the
 * mask of their maker, so blocking in the first thread before it makes others blocks everywhere:
 * OpenMP's teams, MPI's progress threads, the lanes. The one thread here blocks the signals that it
 * waits for too, and takes them with sigwait, so that not even there a handler interrupts anything.
 * Signals that zinf has no use for (SIGTSTP of Ctrl-Z, SIGALRM, ...) are open in this thread only:
 * their default action is that of the whole process, and a handler that MPI or its transports
 * installed runs here, on a stack of its own.
 *
 * The signals that ask for a stop are blocked even before the first constructor of a library, by
 * the program's .preinit_array. What comes then waits in the kernel, also through an exec, until the
 * thread takes it. MPI_Init of MPICH 4.0.2 puts a handler for SIGUSR1 where there is none; it never
 * runs, since no thread has the signal open.
 *
 * What the process was started to ignore (nohup, a job in the background) is asked for before the
 * constructors of libraries run, since a transport of MPI puts a handler of its own there, and an
 * exec would then make the default of it.
 *
 * Faults (SIGSEGV and the like) are raised in the thread that made them and cannot be blocked there
 * with any use; SIGPIPE is blocked, so that a write to a closed pipe is an error with a message. */
#include "base/stop.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timing.h"

static const struct {
    int number;
    const char *name;
} stops[] = {
    {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"},   {SIGUSR1, "SIGUSR1"},
    {SIGHUP, "SIGHUP"},   {SIGQUIT, "SIGQUIT"},
};
enum { STOP_COUNT = (int)(sizeof stops / sizeof *stops) };

#define AGAIN_S 1.0 /* a launcher and a terminal may both pass on one Ctrl-C */

static atomic_int requested;

static bool ignored[STOP_COUNT]; /* when the process was started */

/* What a shell or nohup had the process ignore (SIGHUP, and SIGINT and SIGQUIT of a job in the
 * background) stays ignored. */
static void note_ignored(void)
{
    for (int i = 0; i < STOP_COUNT; i++) {
        struct sigaction action;
        int number = stops[i].number;
        ignored[i] = number != SIGTERM && number != SIGUSR1 &&
                     sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
    }
}

__attribute__((section(".preinit_array"),
               used)) static void (*const note_first)(void) = note_ignored;

void zi_stop_ignore(void)
{
    for (int i = 0; i < STOP_COUNT; i++) {
        if (ignored[i]) signal(stops[i].number, SIG_IGN);
    }
}

/* Of the process before zi_stop_hold. */
static sigset_t before;
static bool held;

void zi_stop_hold(void)
{
    sigset_t all;
    sigemptyset(&all);
    for (int i = 0; i < STOP_COUNT; i++)
        sigaddset(&all, stops[i].number);
    held = sigprocmask(SIG_BLOCK, &all, &before) == 0;
}

void zi_stop_release(void)
{
    if (held) (void)sigprocmask(SIG_SETMASK, &before, NULL);
    held = false;
}

static void fill_stops(sigset_t *set)
{
    sigemptyset(set);
    for (int i = 0; i < STOP_COUNT; i++) {
        if (!ignored[i]) sigaddset(set, stops[i].number);
    }
}

static void fill_blocked(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigfillset(set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(set, faults[i]);
}

/* Ends the process as the signal would have, had nobody waited for it. */
static void end_at_once(int number)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    signal(number, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    raise(number);
    _exit(128 + number);
}

static void *wait_for_signals(void *context)
{
    static char stack[1 << 16];
    const sigset_t wanted = *(const sigset_t *)context;
    sigset_t blocked;
    double interrupted_s = -1; /* when the first SIGINT came */
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    (void)sigaltstack(&own, NULL);
    blocked = wanted;
    sigaddset(&blocked, SIGPIPE);
    pthread_sigmask(SIG_SETMASK, &blocked, NULL);
    for (;;) {
        int number = 0, none = 0;
        if (sigwait(&wanted, &number) != 0) continue;
        bool begins = atomic_compare_exchange_strong(&requested, &none, number);
        if (number == SIGINT) {
            if (interrupted_s >= 0 && zi_time_s() - interrupted_s > AGAIN_S) end_at_once(number);
            begins |= interrupted_s < 0;
            if (interrupted_s < 0) interrupted_s = zi_time_s();
        }
        if (!begins) continue;
        zi_log(ZI_LOG_NOTE, "base", "%s: ending in good order%s", zi_stop_name(number),
               number == SIGINT ? "; once more ends at once" : "");
    }
    return NULL;
}

enum zi_status zi_stop_start(void)
{
    static sigset_t wanted; /* as they are here: libraries may install handlers later */
    pthread_t thread;
    sigset_t blocked;
    zi_stop_ignore();
    fill_stops(&wanted);
    fill_blocked(&blocked);
    int error = pthread_sigmask(SIG_SETMASK, &blocked, NULL);
    if (error == 0) error = pthread_create(&thread, NULL, wait_for_signals, &wanted);
    if (error != 0)
        return zi_fail(ZI_ERROR_DEVICE, "base", "no thread for signals: %s", strerror(error));
    pthread_detach(thread);
    return ZI_OK;
}

int zi_stop_signal(void)
{
    return atomic_load_explicit(&requested, memory_order_relaxed);
}

const char *zi_stop_name(int number)
{
    for (int i = 0; i < STOP_COUNT; i++) {
        if (stops[i].number == number) return stops[i].name;
    }
    return "a signal";
}

enum zi_status zi_stop_check(void)
{
    return zi_stop_signal() ? ZI_STOPPED : ZI_OK;
}

void zi_stop_child(void)
{
    sigset_t none;
    for (int i = 0; i < STOP_COUNT; i++)
        signal(stops[i].number, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}
