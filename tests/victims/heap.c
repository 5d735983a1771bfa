/* A heap whose every part is known: the C library's own figures, and a ledger.
 *
 * usage: heap [WORKERS]        (default 8)
 *   -> ready PID
 *   <- fill                    each worker allocates blocks of many sizes and frees some: into its cache, into fastbins, into bins
 *   -> done
 *   <- churn                   the workers allocate and free without a pause from now on, each in a heap of some 8 MiB
 *   -> done
 *   <- rest                    they stop
 *   -> done
 *   <- fragment N              N blocks of 1000 bytes and one large one behind each eighth; frees every second block
 *   -> done
 *   <- reserve N               N blocks of 1000 bytes for `scatter`
 *   -> done
 *   <- scatter N               frees N of them that are no neighbours, and allocates as many bytes in blocks of 2000
 *   -> done
 *   <- keep N                  N blocks of 1000 bytes that stay
 *   -> done
 *   <- large N                 N blocks of 1 KiB, 10 to a free one of their size: a heap for the bench
 *   -> done
 *   <- scribble                writes over headers of its own chunks; it must not allocate afterwards
 *   -> done
 *   <- page_out               gives the pages of these blocks to swap (MADV_PAGEOUT), where there is any
 *   -> done
 *   <- trim                    malloc_trim(0)
 *   -> done
 *   <- report
 *   -> ledger blocks N bytes B cached N cached_bytes B     handed out by `fill`, usable bytes; caches, with headers
 *   -> mallinfo uordblks N fordblks N fsmblks N smblks N hblks N hblkhd N arena N
 *   -> malloc_info, as the library prints it, up to </malloc>
 *   <- quit
 *
 * Nothing here allocates but what is said: stdout has a buffer of its own. */
#define _GNU_SOURCE
#include "victim.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

enum { MAX_WORKERS = 64, SIZES = 60, EACH = 40, CACHE = 7, LARGE = 3, CHURNED = 4096 };

struct worker {
    pthread_t thread;
    uint64_t random;
    uint64_t blocks, bytes, cached, cached_bytes;
    void *held[SIZES][EACH];
    void *large[LARGE];
    void *churned[CHURNED];
};

static struct worker *workers;
static uint32_t worker_count;
static pthread_barrier_t begin, end;
static enum { FILL, CHURN } task;
static _Atomic int resting;
static _Atomic uint32_t started;

static size_t size_of(int class) { return 24 + 16 * (size_t)class; }

static void hold(struct worker *w, void **slot, size_t size) {
    *slot = malloc(size);
    if (!*slot) _exit(5);
    w->blocks++;
    w->bytes += malloc_usable_size(*slot);
}

static void give_back(struct worker *w, void **slot) {
    w->blocks--;
    w->bytes -= malloc_usable_size(*slot);
    free(*slot);
    *slot = NULL;
}

/* Forty of each size come from a fresh heap, so all caches are empty then. What is freed goes to the cache, up to seven
 * of a size; what is more, to fastbins or bins. */
static void fill(struct worker *w) {
    /* First, as a large request empties the fastbins. */
    for (int i = 0; i < LARGE; i++) hold(w, &w->large[i], 300000 + 5000 * (size_t)i);
    for (int i = 0; i < EACH; i++)
        for (int class = 0; class < SIZES; class++) hold(w, &w->held[class][i], size_of(class));
    for (int class = 0; class < SIZES; class++) {
        int freed = class * 5 % 12;
        for (int i = 0; i < freed; i++) give_back(w, &w->held[class][2 * i]);
        int cached = freed < CACHE ? freed : CACHE;
        w->cached += (uint64_t)cached;
        w->cached_bytes += (uint64_t)cached * (size_of(class) + 8);
    }
}

/* As many blocks as there are slots, each of nearly its slot's own size: what is in use hardly changes, and all of it moves. */
static void churn(struct worker *w) {
    while (!atomic_load_explicit(&resting, memory_order_relaxed)) {
        uint64_t r = next_random(&w->random), slot = r % CHURNED;
        uint64_t size = slot % 64 ? 16 + slot * 37 % 2000 : 20000;
        free(w->churned[slot]);
        w->churned[slot] = malloc(size + (r >> 40) % 32);
        if (!w->churned[slot]) _exit(6);
        memset(w->churned[slot], (int)r, size < 64 ? size : 64);
    }
}

static void *work(void *argument) {
    struct worker *w = argument;
    /* Its cache and its arena are there before anybody looks. */
    free(malloc(24));
    atomic_fetch_add(&started, 1);
    for (;;) {
        pthread_barrier_wait(&begin);
        if (task == FILL)
            fill(w);
        else
            churn(w);
        pthread_barrier_wait(&end);
    }
    return NULL;
}

static void **pieces;
static uint64_t piece_count;

static void allocate_pieces(uint64_t count, size_t size) {
    if (!pieces) {
        pieces = mmap(NULL, sizeof *pieces * (64u << 20), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (pieces == MAP_FAILED) _exit(7);
    }
    for (uint64_t i = 0; i < count; i++) {
        void *piece = malloc(size);
        if (!piece) _exit(8);
        memset(piece, 1, size);
        pieces[piece_count++] = piece;
    }
}

static void fragment(uint64_t count) {
    uint64_t first = piece_count;
    allocate_pieces(count, 1000);
    for (uint64_t i = first; i < piece_count; i += 2) {
        free(pieces[i]);
        /* Larger ones, which fit nowhere. */
        pieces[i] = i % 16 == first % 16 ? malloc(9000) : NULL;
        if (pieces[i]) memset(pieces[i], 2, 9000);
    }
    /* And a long stretch that can be given back. */
    for (uint64_t i = first; i < first + count / 10; i++) {
        free(pieces[i]);
        pieces[i] = NULL;
    }
}

/* What is in use stays as large as it is, and fits nowhere any more. */
static void scatter(uint64_t count) {
    static uint64_t next;
    uint64_t reserved = piece_count;
    for (uint64_t i = 0; i < count && next < reserved; i++, next += 2) {
        free(pieces[next]);
        pieces[next] = NULL;
    }
    for (uint64_t i = 0; i < count / 2; i++) memset(malloc(2000), 3, 2000);
}

static void large(uint64_t count) {
    allocate_pieces(count, 200);
    for (uint64_t i = 0; i < piece_count; i += 10) {
        free(pieces[i]);
        pieces[i] = NULL;
    }
}

static void scribble(void) {
    allocate_pieces(20000, 1000);
    for (uint64_t i = 100; i < piece_count; i += 1000) memset((char *)pieces[i] - 16, (int)(i / 7), 24);
}

/* The heap from the first piece to the last. */
static void page_out(void) {
    if (piece_count == 0) return;
    uintptr_t first = (uintptr_t)pieces[0] & ~(uintptr_t)4095;
    uintptr_t last = (uintptr_t)pieces[piece_count - 1] & ~(uintptr_t)4095;
    madvise((void *)first, last - first, MADV_PAGEOUT);
}

static void report(void) {
    struct worker sum = {0};
    for (uint32_t i = 0; i < worker_count; i++) {
        sum.blocks += workers[i].blocks;
        sum.bytes += workers[i].bytes;
        sum.cached += workers[i].cached;
        sum.cached_bytes += workers[i].cached_bytes;
    }
    out_field("ledger blocks", sum.blocks);
    out_field(" bytes", sum.bytes);
    out_field(" cached", sum.cached);
    out_field(" cached_bytes", sum.cached_bytes);
    struct mallinfo2 info = mallinfo2();
    out_field("\nmallinfo uordblks", info.uordblks);
    out_field(" fordblks", info.fordblks);
    out_field(" fsmblks", info.fsmblks);
    out_field(" smblks", info.smblks);
    out_field(" hblks", info.hblks);
    out_field(" hblkhd", info.hblkhd);
    out_field(" arena", info.arena);
    out_line("");
    malloc_info(0, stdout);
    fflush(stdout);
}

static void run(int what) {
    task = what;
    pthread_barrier_wait(&begin);
    if (what == FILL) pthread_barrier_wait(&end);
}

int main(int argc, char **argv) {
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    const char *count = argc > 1 ? argv[1] : "8";
    worker_count = (uint32_t)next_number(&count, 8);
    if (worker_count == 0 || worker_count > MAX_WORKERS) return 2;
    workers = mmap(NULL, sizeof *workers * worker_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (workers == MAP_FAILED) return 2;
    pthread_barrier_init(&begin, NULL, worker_count + 1);
    pthread_barrier_init(&end, NULL, worker_count + 1);
    for (uint32_t i = 0; i < worker_count; i++) {
        workers[i].random = random_start(1, i);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) return 2;
    }
    while (atomic_load(&started) < worker_count) usleep(1000);
    announce_ready();
    char line[256];
    while (read_line(line, sizeof line) && strcmp(line, "quit") != 0) {
        const char *number = strchr(line, ' ');
        number = number ? number : "";
        if (strcmp(line, "fill") == 0) {
            run(FILL);
        } else if (strcmp(line, "churn") == 0) {
            run(CHURN);
        } else if (strcmp(line, "rest") == 0) {
            atomic_store(&resting, 1);
            pthread_barrier_wait(&end);
            atomic_store(&resting, 0);
        } else if (strncmp(line, "fragment", 8) == 0) {
            fragment(next_number(&number, 100000));
        } else if (strncmp(line, "scatter", 7) == 0) {
            scatter(next_number(&number, 1000));
        } else if (strncmp(line, "keep", 4) == 0 || strncmp(line, "reserve", 7) == 0) {
            allocate_pieces(next_number(&number, 100000), 1000);
        } else if (strncmp(line, "large", 5) == 0) {
            large(next_number(&number, 1000000));
        } else if (strcmp(line, "scribble") == 0) {
            scribble();
        } else if (strcmp(line, "page_out") == 0) {
            page_out();
        } else if (strcmp(line, "trim") == 0) {
            malloc_trim(0);
        } else if (strcmp(line, "report") == 0) {
            report();
            continue;
        }
        out_line("done");
    }
    _exit(0);
}
