/* Replaces its own image while it is being traced.
 *
 * usage: execer
 *   -> ready PID
 *   <- go N        allocates N blocks of 1000 bytes and keeps them, then executes itself
 *   -> again PID   the new image; waits, so that the tracer can come along
 *   <- go N        allocates N blocks of 100 bytes, frees every second one
 *   -> allocs A frees F unknown 0 bytes B        totals of the new image since `again`
 *   <- quit
 */
#define _GNU_SOURCE
#include "victim.h"

__attribute__((noinline)) static void *keep(size_t size) {
    void *volatile block = malloc(size);
    if (!block) _exit(5);
    return block;
}

static int first_image(char *self) {
    announce_ready();
    const char *arguments = wait_for_line("go");
    for (uint64_t n = next_number(&arguments, 1000); n > 0; n--) keep(1000);
    char *const new_arguments[] = {self, "again", NULL};
    execv("/proc/self/exe", new_arguments);
    return 4;
}

static int second_image(void) {
    out_field("again", (uint64_t)getpid());
    out_line("");
    const char *arguments = wait_for_line("go");
    uint64_t allocs = 0, frees = 0;
    for (uint64_t n = next_number(&arguments, 10000); n > 0; n--) {
        void *block = keep(100);
        allocs++;
        if (n % 2 == 0) {
            free(block);
            frees++;
        }
    }
    out_field("allocs", allocs);
    out_field(" frees", frees);
    out_field(" unknown", 0);
    out_field(" bytes", (allocs - frees) * 100);
    out_line("");
    wait_for_line("quit");
    return 0;
}

int main(int argc, char **argv) { return argc > 1 ? second_image() : first_image(argv[0]); }
