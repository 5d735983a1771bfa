/* Control flow that leaves allocation calls and frames by other ways than a return.
 *
 * usage: jumps [ROUNDS]     -> ready PID   <- go   -> ok CHECKSUM CANCELLED CHILDREN EXECS   (exit code 0)
 *
 * longjmp over frames that allocate, siglongjmp out of a signal handler, deferred cancellation of threads that
 * allocate, fork, vfork + exec, all under a 1 kHz timer whose handler does not allocate. The line depends on the
 * argument alone; what the timer does is checked, not printed. */
#define _GNU_SOURCE
#include "victim.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

static volatile sig_atomic_t ticks;
static jmp_buf back;
static sigjmp_buf back_from_signal;
static volatile uint64_t checksum;

static void on_tick(int signal) {
    (void)signal;
    ticks++;
}

static void on_user_signal(int signal) {
    (void)signal;
    siglongjmp(back_from_signal, 1);
}

static void must(int condition, const char *what) {
    if (condition) return;
    out_text("failed ");
    out_line(what);
    _exit(1);
}

static void mix(uint64_t value) { checksum = checksum * 31 + value; }

__attribute__((noinline)) static void jump_from(int depth, void **kept) {
    char *block = malloc(64 + (size_t)depth * 16);
    must(block != NULL, "malloc");
    block[0] = (char)depth;
    kept[depth] = block;
    if (depth == 0) longjmp(back, 7);
    if (kept[depth]) jump_from(depth - 1, kept);
    mix((uint64_t)block[0]); /* never reached: the jump passes over this frame */
}

static void long_jumps(void) {
    static void *kept[16]; /* static: its value after longjmp is defined */
    int result = setjmp(back);
    if (result == 0) jump_from(15, kept);
    mix((uint64_t)result);
    for (int i = 0; i < 16; i++) free(kept[i]);
}

/* raise() is a safe point: the handler interrupts no allocation call, so jumping out of it is defined. */
static void signal_jumps(void) {
    static void *volatile block;
    block = malloc(100);
    if (sigsetjmp(back_from_signal, 1) == 0) {
        raise(SIGUSR2);
        must(0, "raise does not come back");
    }
    free(block);
    mix(3);
}

static void free_block(void *block) { free(*(void **)block); }

static void *allocate_until_cancelled(void *argument) {
    _Atomic int *running = argument;
    void *block = NULL;
    pthread_cleanup_push(free_block, &block);
    for (;;) {
        block = malloc(300);
        must(block != NULL, "malloc in thread");
        *running = 1;
        pthread_testcancel(); /* unwinds this frame by force */
        free(block);
        block = NULL;
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static uint64_t cancelled_threads(void) {
    pthread_t threads[4];
    _Atomic int running[4] = {0};
    uint64_t cancelled = 0;
    for (int i = 0; i < 4; i++)
        must(pthread_create(&threads[i], NULL, allocate_until_cancelled, (void *)&running[i]) == 0, "pthread_create");
    for (int i = 0; i < 4; i++) {
        while (!running[i]) sched_yield();
        void *result;
        pthread_cancel(threads[i]);
        pthread_join(threads[i], &result);
        cancelled += result == PTHREAD_CANCELED;
    }
    return cancelled;
}

static int exit_code_of(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0) must(errno == EINTR, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static uint64_t forked_child(uint64_t round) {
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        unsigned sum = 0;
        for (unsigned i = 0; i < 200; i++) {
            unsigned char *block = calloc(1, 1 + i * 8);
            if (!block) _exit(99);
            sum += block[0] + i;
            block = realloc(block, 4000);
            free(block);
        }
        exit((int)((sum + round) % 100));
    }
    return (uint64_t)exit_code_of(pid);
}

static uint64_t executed_child(void) {
    static char *const arguments[] = {"true", NULL};
    static char *const environment[] = {NULL};
    pid_t pid = vfork();
    must(pid >= 0, "vfork");
    if (pid == 0) {
        execve("/bin/true", arguments, environment);
        _exit(98);
    }
    return exit_code_of(pid) == 0;
}

int main(int argc, char **argv) {
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 50;
    struct sigaction tick = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct sigaction user = {.sa_handler = on_user_signal};
    sigaction(SIGALRM, &tick, NULL);
    sigaction(SIGUSR2, &user, NULL);
    announce_ready();
    wait_for_line("go");
    struct itimerval timer = {.it_interval = {.tv_usec = 1000}, .it_value = {.tv_usec = 1000}};
    setitimer(ITIMER_REAL, &timer, NULL);
    uint64_t cancelled = 0, children = 0, execs = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        for (int i = 0; i < 100; i++) long_jumps();
        for (int i = 0; i < 100; i++) signal_jumps();
        cancelled += cancelled_threads();
        children += forked_child(round);
        execs += executed_child();
        for (int i = 0; i < 5000; i++) { /* the load under which the timer fires */
            void *block = malloc(1 + (size_t)i % 700);
            must(block != NULL, "malloc under signals");
            free(block);
        }
    }
    while (ticks == 0) continue;
    timer = (struct itimerval){0};
    setitimer(ITIMER_REAL, &timer, NULL);
    out_text("ok ");
    out_number(checksum, 16);
    out_field("", cancelled);
    out_field("", children);
    out_field("", execs);
    out_line("");
    return 0;
}
