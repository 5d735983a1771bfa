/* A target that dies at a chosen moment.
 *
 * usage: early_exit MOMENT [CODE]
 *   at_go      -> ready PID, <- go, exits at once with CODE (default 7)
 *   in_malloc  -> ready PID, <- go, four threads allocate while the main thread exits with CODE
 *   by_signal  -> ready PID, <- go, allocates and kills itself with SIGKILL
 *   by_abort   -> ready PID, <- go, allocates and aborts
 */
#define _GNU_SOURCE
#include "victim.h"

#include <pthread.h>
#include <signal.h>

static _Atomic int running;

static void *allocate_for_ever(void *argument) {
    running++;
    for (;;) {
        void *volatile block = malloc(100);
        free(block);
    }
    return argument;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    int code = argc > 2 ? atoi(argv[2]) : 7;
    announce_ready();
    wait_for_line("go");
    if (strcmp(argv[1], "at_go") == 0) _exit(code);
    if (strcmp(argv[1], "in_malloc") == 0) {
        for (int i = 0; i < 4; i++) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, allocate_for_ever, NULL) != 0) return 3;
        }
        while (running < 4) sched_yield();
        _exit(code);
    }
    for (int i = 0; i < 1000; i++) {
        void *volatile block = malloc(100);
        if (!block) return 3;
    }
    if (strcmp(argv[1], "by_signal") == 0) kill(getpid(), SIGKILL);
    if (strcmp(argv[1], "by_abort") == 0) abort();
    return 2;
}
