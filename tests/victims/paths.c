/* Leaks from very many call paths (see paths.h), in C: some functions leave most of their frame unwritten, so that
 * return addresses of earlier calls stay on the stack among the live ones. */
#define _GNU_SOURCE
#include "paths.h"

void *volatile kept;

/* The block is kept alive by nothing: that is the leak. */
__attribute__((noinline)) static void leak(struct job *job, uint64_t path) {
    uint64_t bytes = 16 + path % 48;
    note_path(job, bytes);
    kept = malloc(bytes);
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
    switch (digit_at(job, path, level)) {
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

static void go_path(struct job *job, uint64_t path) {
    kept = (void *)scribble(path, (int)(path % 40));
    descend(job, path, job->depth);
}

int main(int argc, char **argv) { return serve_paths(argc, argv, 1); }
