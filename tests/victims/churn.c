/* The load generator of the bench: threads that do nothing but malloc and free.
 *
 * usage: churn [--threads T] [--seconds S | --pairs N] [--size BYTES] [--depth D] [--live L] [--leak] [--wait]
 *   --live L   blocks that each thread holds at any time (default 1: each is freed at once)
 *   --leak     `remember` leaks a block after every 256 pairs, by an allocating function of the program's own; and the
 *              program stays, once it has printed its figures, until `quit`
 *   --wait     print `ready PID` and wait for `go`
 *   -> pairs N ns_per_pair X cpu_ns_per_pair Y threads A B C… [leaked BYTES]
 *      (A B C: ns per pair of each thread; Y: CPU time of the process)
 *
 * The calls come from D non-inlined frames with frame pointers, about as deep as a small service calls. */
#include "victim.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

enum { MAX_THREADS = 256, BATCH = 256 };

static struct {
    uint64_t threads, pairs, size, depth, live, leak;
    double seconds;
} options = {.threads = 1, .size = 48, .depth = 8, .live = 1, .seconds = 1};

struct thread {
    pthread_t handle;
    uint64_t pairs, elapsed_ns, next;
    uint64_t leaked;
    void **held;
};

static struct thread *threads;
static pthread_barrier_t start_line;

void *volatile remembered;

__attribute__((noinline)) static void *checked_malloc(uint64_t size) {
    void *block = malloc(size);
    if (!block) abort();
    return block;
}

/* What it remembered before is lost: the leak. */
__attribute__((noinline)) static void remember(struct thread *t) {
    remembered = checked_malloc(options.size);
    t->leaked += options.size;
}

/* The recursion must not become a loop: its frames are the point. */
__attribute__((noinline)) static uint64_t descend(struct thread *t, uint64_t depth) {
    if (depth > 1) {
        uint64_t done = descend(t, depth - 1);
        __asm__ volatile("" ::: "memory");
        return done;
    }
    for (int i = 0; i < BATCH; i++) {
        void **place = &t->held[t->next++ % options.live];
        free(*place);
        char *block = malloc(options.size);
        if (!block) abort();
        *(volatile char *)block = 1;
        *place = block;
    }
    if (options.leak) remember(t);
    return BATCH;
}

static void *run(void *argument) {
    struct thread *t = argument;
    free(malloc(options.size));
    pthread_barrier_wait(&start_line);
    const uint64_t start = now_ns();
    const uint64_t limit = options.pairs ? UINT64_MAX : start + (uint64_t)(options.seconds * 1e9);
    uint64_t now = start;
    while (now < limit && (options.pairs == 0 || t->pairs < options.pairs)) {
        t->pairs += descend(t, options.depth);
        now = now_ns();
    }
    t->elapsed_ns = now_ns() - start;
    for (uint64_t i = 0; i < options.live; i++) free(t->held[i]);
    return NULL;
}

static int usage(void) {
    fputs("usage: churn [--threads T] [--seconds S | --pairs N] [--size B] [--depth D] [--live L] [--leak] [--wait]\n",
          stderr);
    return 2;
}

int main(int argc, char **argv) {
    int wait = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--wait") == 0) {
            wait = 1;
            continue;
        }
        if (strcmp(argv[i], "--leak") == 0) {
            options.leak = 1;
            continue;
        }
        if (i + 1 == argc) return usage();
        const char *name = argv[i], *value = argv[++i];
        if (strcmp(name, "--seconds") == 0)
            options.seconds = strtod(value, NULL);
        else if (strcmp(name, "--threads") == 0)
            options.threads = strtoull(value, NULL, 10);
        else if (strcmp(name, "--pairs") == 0)
            options.pairs = strtoull(value, NULL, 10);
        else if (strcmp(name, "--size") == 0)
            options.size = strtoull(value, NULL, 10);
        else if (strcmp(name, "--depth") == 0)
            options.depth = strtoull(value, NULL, 10);
        else if (strcmp(name, "--live") == 0)
            options.live = strtoull(value, NULL, 10);
        else
            return usage();
    }
    if (options.threads == 0 || options.threads > MAX_THREADS || options.live == 0 || options.depth == 0) return usage();
    size_t bytes = options.threads * (sizeof *threads + options.live * sizeof(void *));
    threads = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (threads == MAP_FAILED) return 1;
    void **held = (void **)(threads + options.threads);
    if (wait) {
        announce_ready();
        wait_for_line("go");
    }
    pthread_barrier_init(&start_line, NULL, (unsigned)options.threads);
    for (uint64_t i = 0; i < options.threads; i++) {
        threads[i].held = held + i * options.live;
        if (pthread_create(&threads[i].handle, NULL, run, &threads[i]) != 0) return 1;
    }
    uint64_t pairs = 0, leaked = 0;
    double sum = 0;
    for (uint64_t i = 0; i < options.threads; i++) {
        pthread_join(threads[i].handle, NULL);
        pairs += threads[i].pairs;
        leaked += threads[i].leaked;
        sum += (double)threads[i].elapsed_ns / (double)threads[i].pairs;
    }
    struct timespec cpu;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) != 0) return 1;
    const double cpu_ns = (double)cpu.tv_sec * 1e9 + (double)cpu.tv_nsec;
    printf("pairs %llu ns_per_pair %.2f cpu_ns_per_pair %.2f threads", (unsigned long long)pairs,
           sum / (double)options.threads, cpu_ns / (double)pairs);
    for (uint64_t i = 0; i < options.threads; i++)
        printf(" %.2f", (double)threads[i].elapsed_ns / (double)threads[i].pairs);
    if (options.leak) printf(" leaked %llu", (unsigned long long)leaked);
    printf("\n");
    fflush(stdout);
    if (options.leak) wait_for_line("quit");
    return 0;
}
