/* Programs that leak from very many call paths, deep and shallow, and keep a list of them: what their own unwinder
 * (_Unwind_Backtrace) finds at each allocation. What is common to those in C and C++.
 *
 * usage: paths DEPTH [edge]                -> ready PID
 *   edge: the first thread's stack is one of its own, and no memory lies behind its outermost frame
 * stdin: go PATHS THREADS [PAUSE_US]       -> done BYTES
 *        report                            -> path BYTES IP IP ... (innermost first), a line each; end
 *
 * A path is a number whose digits to the base of 4 choose a function a level: three at the inner end, five at the outer;
 * between them every path has the same functions. */
#ifndef PATHS_H
#define PATHS_H

#include "victim.h"

#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unwind.h>

enum { MOST_FRAMES = 127, MOST_THREADS = 64, INNER = 3, OUTER = 5 };

struct entry {
    uint64_t bytes;
    uint64_t count;
    uintptr_t frames[MOST_FRAMES];
};

/* The share of a thread. */
struct job {
    struct entry *entries;
    size_t used, room;
    uint64_t first, last;
    int depth;
};

/* Goes one path, and leaks at its end. */
static void go_path(struct job *job, uint64_t path);

static struct job jobs[MOST_THREADS];
static uint64_t pause_us;
static int is_on_edge;

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *argument) {
    struct entry *entry = (struct entry *)argument;
    uintptr_t ip = _Unwind_GetIP(context);
    if (ip == 0 || entry->count == MOST_FRAMES) return _URC_END_OF_STACK;
    entry->frames[entry->count++] = ip;
    return _URC_NO_REASON;
}

/* Notes the path to the function that this is inlined into, and that `bytes` are allocated there. */
__attribute__((always_inline)) static inline void note_path(struct job *job, uint64_t bytes) {
    if (job->used == job->room) _exit(93);
    struct entry *entry = &job->entries[job->used++];
    entry->bytes = bytes;
    _Unwind_Backtrace(note_frame, entry);
}

/* Which of the four functions a path takes at a level; the innermost level is 1. */
static inline unsigned digit_at(const struct job *job, uint64_t path, int level) {
    int outer = job->depth - level;
    if (outer < OUTER) return path >> (2 * (INNER + outer)) & 3;
    if (level <= INNER) return path >> (2 * (level - 1)) & 3;
    return (unsigned)level % 3;
}

static void *go_paths(void *argument) {
    struct job *job = (struct job *)argument;
    for (uint64_t path = job->first; path < job->last; path++) {
        go_path(job, path);
        if (pause_us > 0) usleep((useconds_t)pause_us);
    }
    return NULL;
}

static void go_first(void) { go_paths(&jobs[0]); }

static void go_on_edge(void) {
    const size_t bytes = 64 * 4096, guard = 4096;
    char *stack = (char *)mmap(NULL, bytes + guard, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack + bytes, guard, PROT_NONE)) _exit(94);
    static ucontext_t here, there;
    if (getcontext(&there)) _exit(95);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = bytes;
    there.uc_link = &here;
    makecontext(&there, go_first, 0);
    if (swapcontext(&here, &there)) _exit(96);
}

/* Notes `most` allocations a path. */
static void go(const char *line, int depth, uint64_t most) {
    uint64_t paths = next_number(&line, 100);
    uint64_t threads = next_number(&line, 1);
    pause_us = next_number(&line, 0);
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    size_t room = (paths / threads + 1) * most;
    for (uint64_t i = 0; i < threads; i++) {
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void *entries = mmap(NULL, room * sizeof(struct entry), PROT_READ | PROT_WRITE, flags, -1, 0);
        if (entries == MAP_FAILED) _exit(91);
        struct job *job = &jobs[i];
        job->entries = (struct entry *)entries;
        job->room = room;
        job->first = paths * i / threads;
        job->last = paths * (i + 1) / threads;
        job->depth = depth;
    }
    pthread_t ids[MOST_THREADS];
    for (uint64_t i = 1; i < threads; i++)
        if (pthread_create(&ids[i], NULL, go_paths, &jobs[i])) _exit(92);
    if (is_on_edge) go_on_edge();
    else go_first();
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

/* The whole program: a path notes at most `most` allocations. */
static inline int serve_paths(int argc, char **argv, uint64_t most) {
    int depth = argc > 1 ? atoi(argv[1]) : 12;
    is_on_edge = argc > 2 && strcmp(argv[2], "edge") == 0;
    announce_ready();
    const char *line = wait_for_line("go");
    go(line, depth, most);
    wait_for_line("report");
    report();
    wait_for_line("quit");
    return 0;
}

#endif
