/* The exactness victim: random churn over every allocation function, with a ledger of its own.
 *
 * usage: ledger [WORKERS [plain]]  (default 8; plain: without reallocarray, on whose entry some builds have an
 *                              instruction that a probe makes many times as dear as the others)
 *   -> ready PID                 workers parked, blocks from "before the trace" allocated
 *   <- go N SEED THREADS         N operations on each of THREADS workers; may be repeated
 *   -> done
 *   <- report
 *   -> live ADDRHEX SIZE         one a live block that was allocated since the first `go`
 *   -> reallocs GROW SHRINK NULL OLD ZERO FAILED
 *   -> allocs A frees F unknown U bytes B alloc_bytes AB corrupt C
 *   -> end
 *   <- quit                      exit code 0 (3 if a block's contents were damaged)
 *
 * How calls are counted: a successful realloc of a block is one free and one allocation; of a block from before
 * `go`, one unknown free and one allocation; realloc(NULL, n) is an allocation; realloc(p, 0) that returns NULL is
 * a free, and one that returns a block is a free and an allocation of size 0; what fails changes nothing.
 * The ledger lives in mmap'd tables, so it never shows up in its own accounts. */
#define _GNU_SOURCE
#include "victim.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { MAX_WORKERS = 64, SLOTS = 2048, OLD_SLOTS = 512, INBOX = 256 };

struct block {
    unsigned char *address;
    uint64_t size;
    int old; /* allocated before `go`: its free is unknown to a tracer that came later */
};

/* One writer (the neighbour), one reader (the owner). */
struct inbox {
    _Atomic uint32_t head, tail;
    struct block blocks[INBOX];
};

struct worker {
    pthread_t thread;
    uint32_t number;
    uint64_t random;
    uint64_t allocs, frees, unknown, alloc_bytes, corrupt;
    uint64_t grow, shrink, from_null, of_old, to_zero, failed;
    struct inbox inbox;
    struct block slots[SLOTS];
};

static struct worker *workers;
static uint32_t worker_count;

static _Atomic uint32_t round_number; /* futex: a new value starts a round */
static _Atomic uint32_t finished;     /* futex: workers that are through with their operations */
static _Atomic uint32_t drained;      /* futex: workers that have emptied their inboxes */
static uint64_t round_operations, round_threads;

/* More than any address space holds, yet below PTRDIFF_MAX: fails in the allocator, not in its argument check. */
static volatile size_t huge = (size_t)1 << 56;
static volatile size_t half_of_all = ((size_t)1 << 63) + 16;

static int is_plain;

__attribute__((always_inline)) static inline void *array(void *block, size_t count, size_t size) {
    if (!is_plain) return reallocarray(block, count, size);
    size_t bytes;
    return realloc(block, __builtin_mul_overflow(count, size, &bytes) ? huge : bytes);
}

/* jemalloc has no pvalloc: glibc's own would then hand out blocks that jemalloc's free cannot take. */
#ifdef __GLIBC__
static int pvalloc_belongs_to_malloc;

static int same_object(const char *one, const char *other) {
    Dl_info a, b;
    return dladdr(dlsym(RTLD_DEFAULT, one), &a) && dladdr(dlsym(RTLD_DEFAULT, other), &b) &&
           a.dli_fbase == b.dli_fbase;
}
#endif

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static unsigned char mark(const void *address, uint64_t size) {
    return (unsigned char)(((uintptr_t)address >> 4) * 31 + size * 7 + 1);
}

static void fill(struct block *b) {
    if (b->size == 0) return;
    b->address[0] = b->address[b->size - 1] = mark(b->address, b->size);
}

static void check(struct worker *w, const struct block *b) {
    if (b->size == 0) return;
    unsigned char expected = mark(b->address, b->size);
    if (b->address[0] != expected || b->address[b->size - 1] != expected) w->corrupt++;
}

static uint64_t random_size(struct worker *w) {
    uint64_t r = next_random(&w->random);
    unsigned class = r & 127;
    r >>= 8;
    if (class < 2) return 0;
    if (class < 100) return 1 + r % 512;
    if (class < 125) return 1 + r % 8192;
    return 1 + r % 262144; /* crosses glibc's mmap threshold */
}

static void allocated(struct worker *w, struct block *b, void *address, uint64_t size) {
    b->address = address;
    b->size = size;
    b->old = 0;
    w->allocs++;
    w->alloc_bytes += size;
    fill(b);
}

static void released(struct worker *w, const struct block *b) {
    if (b->old)
        w->unknown++;
    else
        w->frees++;
}

/* The functions stand in frames of their own, so that the trace has call sites to tell apart. */
__attribute__((noinline)) static void allocate(struct worker *w, struct block *b) {
    uint64_t r = next_random(&w->random);
    uint64_t size = random_size(w);
    size_t alignment = (size_t)16 << (r >> 8) % 8;
    void *p = NULL;
    switch (r % 16) {
    case 0:
    case 1: {
        size_t count = 1 + (r >> 16) % 8;
        size = size / count * count;
        p = calloc(count, size / count);
        break;
    }
    case 2: p = realloc(NULL, size); w->from_null++; break;
    case 3: {
        size_t count = 1 + (r >> 16) % 8;
        size = size / count * count;
        p = array(NULL, count, size / count);
        w->from_null++;
        break;
    }
    case 4:
        if (posix_memalign(&p, alignment, size) != 0) p = NULL;
        break;
    case 5:
        size = (size + alignment - 1) / alignment * alignment;
        p = aligned_alloc(alignment, size);
        break;
    case 6: p = memalign(alignment, size); break;
    case 7:
        if ((r >> 16) % 8 == 0) {
            p = valloc(size);
            break;
        }
#ifdef __GLIBC__
        if (pvalloc_belongs_to_malloc && (r >> 16) % 8 == 1) {
            p = pvalloc(size);
            break;
        }
#endif
        p = malloc(size);
        break;
    default: p = malloc(size); break;
    }
    if (p) allocated(w, b, p, size);
}

__attribute__((noinline)) static void release(struct worker *w, struct block *b) {
    check(w, b);
    released(w, b);
    free(b->address);
    b->address = NULL;
}

__attribute__((noinline)) static void resize(struct worker *w, struct block *b) {
    uint64_t r = next_random(&w->random);
    check(w, b);
    struct block before = *b;
    uint64_t size = random_size(w);
    if (r % 16 == 0) size = 0;
    if (r % 16 == 1) { /* fails: the block lives on */
        void *p = (r >> 8) & 1 ? realloc(b->address, huge) : array(b->address, half_of_all, 4);
        if (p) _exit(91);
        w->failed++;
        check(w, b);
        return;
    }
    void *p;
    if ((r >> 9) & 1 && size % 2 == 0)
        p = array(b->address, size / 2, 2);
    else
        p = realloc(b->address, size);
    if (!p && size != 0) _exit(92);
    released(w, &before);
    if (before.old) w->of_old++;
    if (size == 0)
        w->to_zero++;
    else if (size > before.size)
        w->grow++;
    else
        w->shrink++;
    b->address = NULL;
    if (p) allocated(w, b, p, size);
}

__attribute__((noinline)) static void fail(struct worker *w) {
    uint64_t r = next_random(&w->random);
    void *p = NULL;
    switch (r % 6) {
    case 0: p = malloc(huge); break;
    case 1: p = calloc(huge, 1); break;
    case 2: p = calloc(half_of_all, 4); break;
    case 3: p = array(NULL, half_of_all, 4); break;
    case 4:
        if (posix_memalign(&p, 64, huge) == 0) _exit(93);
        p = NULL;
        break;
    default: p = realloc(NULL, huge); break;
    }
    if (p) _exit(94);
    free(NULL);
}

static void drain(struct worker *w) {
    struct inbox *in = &w->inbox;
    uint32_t tail = atomic_load_explicit(&in->tail, memory_order_relaxed);
    while (tail != atomic_load_explicit(&in->head, memory_order_acquire)) {
        struct block b = in->blocks[tail % INBOX];
        atomic_store_explicit(&in->tail, ++tail, memory_order_release);
        release(w, &b);
    }
}

/* Another thread frees the block. Where its inbox is full, this one does: the totals are the same either way, so
 * they depend on the seed alone. */
static void hand_over(struct worker *w, struct block *b) {
    struct worker *to = &workers[(w->number + 1) % round_threads];
    struct inbox *in = &to->inbox;
    uint32_t head = atomic_load_explicit(&in->head, memory_order_relaxed);
    if (to == w || head - atomic_load_explicit(&in->tail, memory_order_acquire) == INBOX) {
        release(w, b);
        return;
    }
    in->blocks[head % INBOX] = *b;
    atomic_store_explicit(&in->head, head + 1, memory_order_release);
    b->address = NULL;
}

static void operate(struct worker *w) {
    uint64_t r = next_random(&w->random);
    struct block *b = &w->slots[r % SLOTS];
    unsigned choice = (r >> 32) % 64;
    if (choice == 0)
        fail(w);
    else if (!b->address)
        allocate(w, b);
    else if (choice < 20)
        resize(w, b);
    else if (choice < 28)
        hand_over(w, b);
    else
        release(w, b);
}

static void *work(void *argument) {
    struct worker *w = argument;
    for (uint32_t i = 0; i < OLD_SLOTS; i++) {
        struct block *b = &w->slots[i * (SLOTS / OLD_SLOTS)];
        b->size = 1 + next_random(&w->random) % 2048;
        b->address = malloc(b->size);
        b->old = 1;
        if (!b->address) _exit(95);
        fill(b);
    }
    uint32_t seen = 0;
    for (;;) {
        atomic_fetch_add(&finished, 1);
        futex_wake(&finished);
        uint32_t now;
        while ((now = atomic_load(&round_number)) == seen) futex_wait(&round_number, seen);
        seen = now;
        if (w->number >= round_threads) continue;
        for (uint64_t i = 0; i < round_operations; i++) {
            drain(w);
            operate(w);
        }
        /* Nobody hands over any more once all are through; only then is an empty inbox final. */
        uint32_t through = atomic_fetch_add(&drained, 1) + 1;
        futex_wake(&drained);
        while (through < round_threads) {
            futex_wait(&drained, through);
            through = atomic_load(&drained);
        }
        drain(w);
    }
    return NULL;
}

static void wait_finished(void) {
    uint32_t now;
    while ((now = atomic_load(&finished)) < worker_count) futex_wait(&finished, now);
}

static void go(const char *arguments) {
    round_operations = next_number(&arguments, 1000);
    uint64_t seed = next_number(&arguments, 1);
    round_threads = next_number(&arguments, 1);
    if (round_threads == 0 || round_threads > worker_count) round_threads = worker_count;
    for (uint32_t i = 0; i < worker_count; i++) workers[i].random = random_start(seed, i);
    atomic_store(&drained, 0);
    atomic_store(&finished, 0);
    atomic_fetch_add(&round_number, 1);
    futex_wake(&round_number);
    wait_finished();
    out_line("done");
}

static uint64_t report(void) {
    struct worker sum = {0};
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < worker_count; i++) {
        const struct worker *w = &workers[i];
        for (uint32_t k = 0; k < SLOTS; k++) {
            const struct block *b = &w->slots[k];
            if (!b->address || b->old) continue;
            bytes += b->size;
            out_text("live ");
            out_number((uintptr_t)b->address, 16);
            out_text(" ");
            out_number(b->size, 10);
            out_text("\n");
        }
        sum.allocs += w->allocs;
        sum.frees += w->frees;
        sum.unknown += w->unknown;
        sum.alloc_bytes += w->alloc_bytes;
        sum.corrupt += w->corrupt;
        sum.grow += w->grow;
        sum.shrink += w->shrink;
        sum.from_null += w->from_null;
        sum.of_old += w->of_old;
        sum.to_zero += w->to_zero;
        sum.failed += w->failed;
    }
    const uint64_t kinds[] = {sum.grow, sum.shrink, sum.from_null, sum.of_old, sum.to_zero, sum.failed};
    out_text("reallocs");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        out_text(" ");
        out_number(kinds[i], 10);
    }
    out_text("\n");
    out_field("allocs", sum.allocs);
    out_field(" frees", sum.frees);
    out_field(" unknown", sum.unknown);
    out_field(" bytes", bytes);
    out_field(" alloc_bytes", sum.alloc_bytes);
    out_field(" corrupt", sum.corrupt);
    out_line("\nend");
    return sum.corrupt;
}

int main(int argc, char **argv) {
    const char *count = argc > 1 ? argv[1] : "8";
    is_plain = argc > 2 && strcmp(argv[2], "plain") == 0;
    worker_count = (uint32_t)next_number(&count, 8);
    if (worker_count == 0 || worker_count > MAX_WORKERS) return 2;
    workers = mmap(NULL, sizeof *workers * worker_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (workers == MAP_FAILED) return 2;
#ifdef __GLIBC__
    pvalloc_belongs_to_malloc = same_object("malloc", "pvalloc");
#endif
    for (uint32_t i = 0; i < worker_count; i++) {
        workers[i].number = i;
        workers[i].random = random_start(0, i);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) return 2;
    }
    wait_finished();
    announce_ready();
    char line[256];
    uint64_t corrupt = 0;
    while (read_line(line, sizeof line)) {
        if (strncmp(line, "go", 2) == 0)
            go(line + 2);
        else if (strcmp(line, "report") == 0)
            corrupt = report();
        else if (strcmp(line, "quit") == 0)
            break;
        else
            out_line("what?");
    }
    _exit(corrupt ? 3 : 0);
}
