/* A parent whose workers do the allocating: for --children.
 *
 * usage: forker [--exec] [WORKERS]     (default 3)
 *   -> ready PID
 *   <- go N        each worker w (from 1) allocates w * N blocks of w * 100 bytes and frees two of three
 *   -> worker PID allocs A frees F unknown 0 bytes B     one a worker, when its work is done
 *   -> done
 *   <- quit        the workers end, then the parent
 *
 * The workers are forked after `go`. With --exec each executes the program anew before it works. They do not begin
 * before the parent sends them a byte, which it does on the line `work`, so that a tracer can have found them:
 *   -> forked PID…   <- work
 */
#define _GNU_SOURCE
#include "victim.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { MAX_WORKERS = 32 };

struct worker {
    pid_t pid;
    int to, from;
};

static void read_byte(int fd) {
    char c;
    while (read(fd, &c, 1) < 0 && errno == EINTR) continue;
}

__attribute__((noinline)) static void *grow(size_t size) {
    void *volatile block = malloc(size);
    if (!block) _exit(5);
    return block;
}

static void work(uint64_t number, uint64_t blocks, int from_parent, int to_parent) {
    if (write(to_parent, "r", 1) != 1) _exit(7);
    read_byte(from_parent);
    uint64_t allocs = 0, frees = 0;
    for (uint64_t i = 0; i < number * blocks; i++) {
        void *block = grow(number * 100);
        allocs++;
        if (i % 3 != 0) {
            free(block);
            frees++;
        }
    }
    out_field("worker", (uint64_t)getpid());
    out_field(" allocs", allocs);
    out_field(" frees", frees);
    out_field(" unknown", 0);
    out_field(" bytes", (allocs - frees) * number * 100);
    out_line("");
    if (write(to_parent, "d", 1) != 1) _exit(8);
    read_byte(from_parent); /* lives until the parent ends it: its live map can be looked at */
    _exit(0);
}

static void start(struct worker *w, uint64_t number, uint64_t blocks, const char *self) {
    int down[2], up[2];
    if (pipe(down) != 0 || pipe(up) != 0) _exit(3);
    w->pid = fork();
    if (w->pid < 0) _exit(4);
    if (w->pid > 0) {
        close(down[0]);
        close(up[1]);
        w->to = down[1];
        w->from = up[0];
        return;
    }
    /* A parent that is killed must not leave workers behind. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(down[1]);
    close(up[0]);
    if (self) {
        static char words[4][24];
        const uint64_t numbers[4] = {number, blocks, (uint64_t)down[0], (uint64_t)up[1]};
        for (int i = 0; i < 4; i++) snprintf(words[i], sizeof words[i], "%llu", (unsigned long long)numbers[i]);
        char *const arguments[] = {(char *)self, "--worker", words[0], words[1], words[2], words[3], NULL};
        execv("/proc/self/exe", arguments);
        _exit(6);
    }
    work(number, blocks, down[0], up[1]);
}

int main(int argc, char **argv) {
    if (argc == 6 && strcmp(argv[1], "--worker") == 0)
        work(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), atoi(argv[4]), atoi(argv[5]));
    int executes = argc > 1 && strcmp(argv[1], "--exec") == 0;
    const char *count = argc > 1 + executes ? argv[1 + executes] : "3";
    uint64_t workers = next_number(&count, 3);
    if (workers == 0 || workers > MAX_WORKERS) return 2;
    static struct worker all[MAX_WORKERS];
    announce_ready();
    const char *arguments = wait_for_line("go");
    uint64_t blocks = next_number(&arguments, 10000);
    for (uint64_t i = 0; i < workers; i++) start(&all[i], i + 1, blocks, executes ? argv[0] : NULL);
    for (uint64_t i = 0; i < workers; i++) read_byte(all[i].from);
    out_text("forked");
    for (uint64_t i = 0; i < workers; i++) out_field("", (uint64_t)all[i].pid);
    out_line("");
    wait_for_line("work");
    for (uint64_t i = 0; i < workers; i++) {
        /* One after the other, so that their lines do not mix. */
        if (write(all[i].to, "w", 1) != 1) return 7;
        read_byte(all[i].from);
    }
    out_line("done");
    wait_for_line("quit");
    int bad = 0;
    for (uint64_t i = 0; i < workers; i++) {
        int status;
        if (write(all[i].to, "q", 1) != 1) bad = 1;
        if (waitpid(all[i].pid, &status, 0) != all[i].pid || status != 0) bad = 1;
    }
    return bad;
}
