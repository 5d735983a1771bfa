/* Leaks from very many call paths, deep and shallow, and keeps its own list of them: what its own unwinder
 * (_Unwind_Backtrace) finds at each allocation.
 *
 * usage: paths DEPTH                       -> ready PID
 * stdin: go PATHS THREADS [PAUSE_US]       -> done BYTES
 *        report                            -> path BYTES IP IP ... (innermost first), a line each; end
 *
 * A path is a number whose digits to the base of 4 choose a function a level: three at the inner end, five at the outer;
 * between them every path has the same functions. Some functions leave most of their frame unwritten, so that return
 * addresses of earlier calls stay on the stack among the live ones. */
#define _GNU_SOURCE
#include "victim.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unwind.h>

enum { MOST_FRAMES = 127, MOST_THREADS = 64, INNER = 3, OUTER = 5 };

struct entry {
    uint64_t bytes;
    uint64_t count;
    uintptr_t frames[MOST_FRAMES];
};

struct job {
    struct entry *entries;
    size_t used;
    uint64_t first, last;
    int depth;
};

struct walk {
    uintptr_t *frames;
    size_t used;
};

static struct job jobs[MOST_THREADS];
void *volatile kept[1 << 12];
static size_t kept_at;
static uint64_t pause_us;

static _Unwind_Reason_Code note(struct _Unwind_Context *context, void *argument) {
    struct walk *walk = argument;
    uintptr_t ip = _Unwind_GetIP(context);
    if (ip == 0 || walk->used == MOST_FRAMES) return _URC_END_OF_STACK;
    walk->frames[walk->used++] = ip;
    return _URC_NO_REASON;
}

/* The block is kept alive by nothing: that is the leak. */
__attribute__((noinline)) static void leak(struct job *job, uint64_t path) {
    struct entry *entry = &job->entries[job->used++];
    struct walk walk = {entry->frames, 0};
    _Unwind_Backtrace(note, &walk);
    entry->count = walk.used;
    entry->bytes = 16 + path % 48;
    kept[__atomic_fetch_add(&kept_at, 1, __ATOMIC_RELAXED) % 4096] = malloc(entry->bytes);
}

static void descend(struct job *job, uint64_t path, int level);

/* Frames of several sizes; `words` of them are never written. */
#define STEP(name, words)                                                            \
    __attribute__((noinline)) static void name(struct job *job, uint64_t path, int level) { \
        volatile uint64_t pad[words];                                                \
        pad[0] = path;                                                               \
        descend(job, path, level - 1);                                               \
        pad[(words)-1] = pad[0];                                                     \
    }
STEP(step_a, 2)
STEP(step_b, 5)
STEP(step_c, 12)
STEP(step_d, 33)

__attribute__((always_inline)) static inline void descend(struct job *job, uint64_t path, int level) {
    if (level == 0) {
        leak(job, path);
        return;
    }
    unsigned digit = (unsigned)level % 3;
    if (level <= INNER) digit = path >> (2 * (level - 1)) & 3;
    int outer = job->depth - level;
    if (outer < OUTER) digit = path >> (2 * (INNER + outer)) & 3;
    switch (digit) {
        case 0: step_a(job, path, level); break;
        case 1: step_b(job, path, level); break;
        case 2: step_c(job, path, level); break;
        default: step_d(job, path, level); break;
    }
}

/* Leaves return addresses on the stack where later frames will lie. */
__attribute__((noinline)) static uint64_t scribble(uint64_t seed, int depth) {
    volatile uint64_t pad[3];
    pad[0] = seed;
    if (depth > 0) pad[1] = scribble(seed * 3 + 1, depth - 1 - (int)(seed & 1));
    return pad[0] + (depth > 0 ? pad[1] : 0);
}

static void *work(void *argument) {
    struct job *job = argument;
    for (uint64_t path = job->first; path < job->last; path++) {
        kept[0] = (void *)scribble(path, (int)(path % 40));
        descend(job, path, job->depth);
        if (pause_us > 0) usleep((useconds_t)pause_us);
    }
    return NULL;
}

static void go(const char *line, int depth) {
    uint64_t paths = next_number(&line, 100);
    uint64_t threads = next_number(&line, 1);
    pause_us = next_number(&line, 0);
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    size_t room = (paths / threads + 1) * sizeof(struct entry);
    for (uint64_t i = 0; i < threads; i++) {
        void *entries = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (entries == MAP_FAILED) _exit(91);
        jobs[i] = (struct job){entries, 0, paths * i / threads, paths * (i + 1) / threads, depth};
    }
    pthread_t ids[MOST_THREADS];
    for (uint64_t i = 1; i < threads; i++)
        if (pthread_create(&ids[i], NULL, work, &jobs[i])) _exit(92);
    work(&jobs[0]);
    uint64_t bytes = 0;
    for (uint64_t i = 1; i < threads; i++) pthread_join(ids[i], NULL);
    for (uint64_t i = 0; i < threads; i++)
        for (size_t at = 0; at < jobs[i].used; at++) bytes += jobs[i].entries[at].bytes;
    out_field("done", bytes);
    out_line("");
}

static void report(void) {
    for (size_t i = 0; i < MOST_THREADS; i++) {
        for (size_t at = 0; at < jobs[i].used; at++) {
            struct entry *entry = &jobs[i].entries[at];
            out_field("path", entry->bytes);
            for (uint64_t frame = 0; frame < entry->count; frame++) {
                out_text(" ");
                out_number(entry->frames[frame], 16);
            }
            out_text("\n");
        }
    }
    out_line("end");
}

int main(int argc, char **argv) {
    int depth = argc > 1 ? atoi(argv[1]) : 12;
    announce_ready();
    const char *line = wait_for_line("go");
    go(line, depth);
    wait_for_line("report");
    report();
    wait_for_line("quit");
    return 0;
}
