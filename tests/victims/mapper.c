/* The exactness victim of mappings: random mmap, munmap, mremap and mprotect, with a ledger of each page.
 *
 * usage: mapper [WORKERS]        (default 4)
 *   -> ready PID                 workers parked, mappings from "before the trace" made
 *   <- go N SEED THREADS         N operations on each of THREADS workers; may be repeated
 *   -> done
 *   <- report
 *   -> range ADDRHEX SIZE        one a stretch of accessible pages of one mapping, in mappings made since `go`
 *   -> maps A unmaps B unknown C live D reserved E mapped F unmapped G count H
 *   -> ops MAPS PARTIAL PROTECT RESIZE MOVE FIXED FAILED
 *   -> end
 *   <- stacks N                  N threads that wait for ever, each with a stack of 256 KiB
 *   -> parked
 *   <- pools N SIZE              N blocks of malloc and N mappings of SIZE bytes by turns, from one place each
 *   -> pooled
 *   <- quit
 *
 * How calls are counted: a mapping lives until its last page is unmapped, replaced or moved away; live bytes are those
 * of accessible pages; a remap that succeeds ends the pages it was given and makes a mapping. Mappings of files and
 * those from before `go` are in nobody's account: unmapping or remapping them is `unknown`. What fails changes nothing.
 * The workers never allocate. */
#define _GNU_SOURCE
#include "victim.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum { MAX_WORKERS = 16, SLOTS = 96, OLD_SLOTS = 16, MAX_PAGES = 64, PAGE = 4096 };

/* What is known of a page. */
enum { GONE, USED, RESERVED };

struct mapping {
    unsigned char *base;
    uint32_t pages;   /* 0: the slot is empty */
    int counted;      /* memory that was mapped since `go` */
    int whole;        /* nothing was cut out or changed, so that the kernel has it in one area */
    unsigned char state[MAX_PAGES];
};

struct worker {
    pthread_t thread;
    uint32_t number;
    uint64_t random;
    uint64_t maps, unmaps, unknown, mapped, unmapped;
    uint64_t ops[7];
    struct mapping slots[SLOTS];
};

enum { OP_MAP, OP_PARTIAL, OP_PROTECT, OP_RESIZE, OP_MOVE, OP_FIXED, OP_FAILED };

static struct worker workers[MAX_WORKERS];
static uint32_t worker_count;
static int file;
static int is_tracing; /* set by the first `go`, while the workers wait */

static _Atomic uint32_t round_number; /* futex: a new value starts a round */
static _Atomic uint32_t finished;     /* futex: workers that are through with their operations */
static uint64_t round_operations, round_threads;

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static struct mapping *empty_slot(struct worker *w) {
    for (uint32_t i = 0; i < SLOTS; i++)
        if (w->slots[i].pages == 0) return &w->slots[i];
    return NULL;
}

/* Pages `first` to `first + count` of a mapping are there no more. */
static void lose(struct worker *w, struct mapping *m, uint32_t first, uint32_t count) {
    uint32_t left = 0;
    m->whole = 0;
    for (uint32_t i = 0; i < m->pages; i++) {
        if (i >= first && i < first + count) {
            if (m->counted && m->state[i] == USED) w->unmapped++;
            m->state[i] = GONE;
        }
        left += m->state[i] != GONE;
    }
    if (left == 0) {
        if (m->counted) w->unmaps++;
        m->pages = 0;
    }
}

static void gain(struct worker *w, struct mapping *m, void *base, uint32_t pages, int counted, int state) {
    m->base = base;
    m->pages = pages;
    m->counted = counted;
    m->whole = 1;
    memset(m->state, state, pages);
    if (!counted) return;
    w->maps++;
    if (state == USED) w->mapped += pages;
}

/* A stretch of pages that are all of the same state. */
static uint32_t stretch(struct worker *w, const struct mapping *m, uint32_t *first) {
    uint32_t at = next_random(&w->random) % m->pages;
    while (m->state[at] == GONE) at = (at + 1) % m->pages;
    uint32_t from = at, to = at + 1;
    while (from > 0 && m->state[from - 1] == m->state[at]) from--;
    while (to < m->pages && m->state[to] == m->state[at]) to++;
    *first = from;
    return to - from;
}

/* Some of it, or all. */
static void part(struct worker *w, uint32_t *first, uint32_t *count) {
    uint64_t r = next_random(&w->random);
    if (r % 4 == 0) return;
    uint32_t skip = (r >> 8) % *count;
    *first += skip;
    *count = 1 + (r >> 24) % (*count - skip);
}

static int random_protection(uint64_t r) {
    static const int protections[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_NONE, PROT_READ};
    return protections[r % 4];
}

static int state_of(int protection) { return protection == PROT_NONE ? RESERVED : USED; }

/* The functions stand in frames of their own, so that the trace has call sites to tell apart. */
__attribute__((noinline)) static void map(struct worker *w, struct mapping *m) {
    uint64_t r = next_random(&w->random);
    uint32_t pages = 1 + (r >> 8) % 24;
    size_t length = (size_t)pages * PAGE - (r >> 16) % PAGE; /* the kernel rounds it up */
    int protection = random_protection(r >> 32);
    if (r % 12 == 0) {
        void *p = mmap(NULL, length, PROT_READ, MAP_PRIVATE, file, 0);
        if (p == MAP_FAILED) _exit(91);
        gain(w, m, p, pages, 0, USED);
        return;
    }
    int sharing = r % 12 == 1 ? MAP_SHARED : MAP_PRIVATE;
    void *p = mmap(NULL, length, protection, sharing | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) _exit(92);
    gain(w, m, p, pages, is_tracing, state_of(protection));
    w->ops[OP_MAP]++;
}

__attribute__((noinline)) static void unmap(struct worker *w, struct mapping *m, uint32_t first, uint32_t count) {
    if (munmap(m->base + (size_t)first * PAGE, (size_t)count * PAGE - next_random(&w->random) % PAGE)) _exit(93);
    if (!m->counted) w->unknown++;
    lose(w, m, first, count);
    if (m->pages) w->ops[OP_PARTIAL]++;
}

__attribute__((noinline)) static void protect(struct worker *w, struct mapping *m, uint32_t first, uint32_t count) {
    int protection = random_protection(next_random(&w->random));
    m->whole = 0;
    if (mprotect(m->base + (size_t)first * PAGE, (size_t)count * PAGE, protection)) {
        w->ops[OP_FAILED]++;
        return;
    }
    for (uint32_t i = first; i < first + count; i++) {
        int state = state_of(protection);
        if (m->counted && state != m->state[i]) (*(state == USED ? &w->mapped : &w->unmapped))++;
        m->state[i] = state;
    }
    w->ops[OP_PROTECT]++;
}

/* Resizes or moves pages by mremap: in place, to anywhere, or onto another mapping. */
__attribute__((noinline)) static void remap(struct worker *w, struct mapping *m, uint32_t first, uint32_t count) {
    struct mapping *to = empty_slot(w);
    if (!to) return;
    uint64_t r = next_random(&w->random);
    int counted = m->counted, state = m->state[first];
    uint32_t pages = 1 + (r >> 8) % 32;
    int flags = r % 8 == 3 ? 0 : MREMAP_MAYMOVE;
    void *place = NULL;
    struct mapping *under = &w->slots[(r >> 16) % SLOTS];
    uint32_t under_first = 0, under_count = 0;
    /* One that fails may have unmapped what it was to replace: so only what cannot fail. */
    if (r % 4 == 1 && m->whole && under->pages && under != m) {
        under_count = stretch(w, under, &under_first);
        pages = under_count;
        place = under->base + (size_t)under_first * PAGE;
        flags |= MREMAP_FIXED;
    } else if (r % 8 == 2) {
        pages = count;
        flags |= MREMAP_DONTUNMAP;
    }
    void *old = m->base + (size_t)first * PAGE;
    void *p = mremap(old, (size_t)count * PAGE, (size_t)pages * PAGE - (r >> 32) % 100, flags, place);
    if (p == MAP_FAILED) {
        /* No room in place, or the pages are several areas for the kernel. */
        w->ops[OP_FAILED]++;
        return;
    }
    if (!counted) w->unknown++;
    if (!(flags & MREMAP_DONTUNMAP)) lose(w, m, first, count);
    if (flags & MREMAP_FIXED) {
        lose(w, under, under_first, under_count);
        w->ops[OP_FIXED]++;
    }
    gain(w, to, p, pages, counted, state);
    w->ops[p == old ? OP_RESIZE : OP_MOVE]++;
}

/* Maps memory, or a file, over pages that are mapped. */
__attribute__((noinline)) static void map_over(struct worker *w, struct mapping *m, uint32_t first, uint32_t count) {
    struct mapping *to = empty_slot(w);
    if (!to) return;
    uint64_t r = next_random(&w->random);
    void *place = m->base + (size_t)first * PAGE;
    int protection = random_protection(r >> 8), of_file = r % 4 == 0;
    int flags = MAP_PRIVATE | MAP_FIXED | (of_file ? 0 : MAP_ANONYMOUS);
    if (mmap(place, (size_t)count * PAGE, protection, flags, of_file ? file : -1, 0) != place) _exit(94);
    lose(w, m, first, count);
    gain(w, to, place, count, !of_file && is_tracing, state_of(protection));
    w->ops[OP_FIXED]++;
}

__attribute__((noinline)) static void fail(struct worker *w, struct mapping *m) {
    static volatile size_t huge = (size_t)1 << 56;
    uint64_t r = next_random(&w->random);
    /* Only what is there: the holes may be another thread's by now, and it must find them as it left them. */
    uint32_t first = 0, count = m->pages ? stretch(w, m, &first) : 1;
    size_t length = (size_t)count * PAGE;
    void *base = m->pages ? m->base + (size_t)first * PAGE : (void *)PAGE;
    int failed;
    switch (r % 6) {
    case 0: failed = mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED; break;
    case 1: failed = mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED; break;
    case 2: failed = munmap((char *)base + 1, length - 1) != 0; break;
    case 3: failed = munmap(base, 0) != 0; break;
    case 4: failed = mremap(base, length, huge, MREMAP_MAYMOVE) == MAP_FAILED; break;
    /* musl rounds an address that is none of a page; nothing is ever mapped at the first ones. */
    default: failed = mprotect((void *)PAGE, length, PROT_READ) != 0; break;
    }
    if (!failed) _exit(95);
    w->ops[OP_FAILED]++;
}

static void operate(struct worker *w) {
    uint64_t r = next_random(&w->random);
    struct mapping *m = &w->slots[r % SLOTS];
    unsigned choice = (r >> 32) % 32;
    if (choice == 0) return fail(w, m);
    if (m->pages == 0) return map(w, m);
    uint32_t first, count = stretch(w, m, &first);
    part(w, &first, &count);
    if (choice < 6)
        protect(w, m, first, count);
    else if (choice < 12)
        remap(w, m, first, count);
    else if (choice < 16)
        map_over(w, m, first, count);
    else
        unmap(w, m, first, count);
}

static void *work(void *argument) {
    struct worker *w = argument;
    for (uint32_t i = 0; i < OLD_SLOTS; i++) map(w, &w->slots[i * (SLOTS / OLD_SLOTS)]);
    uint32_t seen = 0;
    for (;;) {
        atomic_fetch_add(&finished, 1);
        futex_wake(&finished);
        uint32_t now;
        while ((now = atomic_load(&round_number)) == seen) futex_wait(&round_number, seen);
        seen = now;
        if (w->number >= round_threads) continue;
        for (uint64_t i = 0; i < round_operations; i++) operate(w);
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
    for (uint32_t i = 0; i < worker_count; i++) {
        workers[i].random = random_start(seed, i);
        if (!is_tracing) memset(workers[i].ops, 0, sizeof workers[i].ops);
    }
    is_tracing = 1;
    atomic_store(&finished, 0);
    atomic_fetch_add(&round_number, 1);
    futex_wake(&round_number);
    wait_finished();
    out_line("done");
}

static uint64_t report_mapping(const struct mapping *m, uint64_t *reserved) {
    uint64_t used = 0;
    for (uint32_t i = 0; i < m->pages; i++) {
        *reserved += m->state[i] == RESERVED;
        if (m->state[i] != USED) continue;
        uint32_t to = i;
        while (to < m->pages && m->state[to] == USED) to++;
        out_text("range ");
        out_number((uintptr_t)m->base + (uint64_t)i * PAGE, 16);
        out_text(" ");
        out_number((uint64_t)(to - i) * PAGE, 10);
        out_text("\n");
        used += to - i;
        i = to - 1;
    }
    return used;
}

static void report(void) {
    struct worker sum = {0};
    uint64_t used = 0, reserved = 0, count = 0;
    for (uint32_t i = 0; i < worker_count; i++) {
        const struct worker *w = &workers[i];
        for (uint32_t k = 0; k < SLOTS; k++) {
            if (!w->slots[k].pages || !w->slots[k].counted) continue;
            used += report_mapping(&w->slots[k], &reserved);
            count++;
        }
        sum.maps += w->maps;
        sum.unmaps += w->unmaps;
        sum.unknown += w->unknown;
        sum.mapped += w->mapped;
        sum.unmapped += w->unmapped;
        for (uint32_t k = 0; k < 7; k++) sum.ops[k] += w->ops[k];
    }
    out_field("maps", sum.maps);
    out_field(" unmaps", sum.unmaps);
    out_field(" unknown", sum.unknown);
    out_field(" live", used * PAGE);
    out_field(" reserved", reserved * PAGE);
    out_field(" mapped", sum.mapped * PAGE);
    out_field(" unmapped", sum.unmapped * PAGE);
    out_field(" count", count);
    out_text("\nops");
    for (uint32_t k = 0; k < 7; k++) {
        out_text(" ");
        out_number(sum.ops[k], 10);
    }
    out_line("\nend");
}

static void *park(void *argument) {
    for (;;) pause();
    return argument;
}

static void stacks(const char *arguments) {
    uint64_t count = next_number(&arguments, 1);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, 256 << 10)) _exit(96);
    for (uint64_t i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, park, NULL)) _exit(97);
    }
    out_line("parked");
}

__attribute__((noinline)) static void pools(const char *arguments) {
    uint64_t count = next_number(&arguments, 1), size = next_number(&arguments, PAGE);
    for (uint64_t i = 0; i < count; i++) {
        volatile char *block = malloc(size);
        volatile char *pool = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (!block || pool == MAP_FAILED) _exit(98);
        *block = *pool = 1;
    }
    out_line("pooled");
}

int main(int argc, char **argv) {
    const char *count = argc > 1 ? argv[1] : "4";
    worker_count = (uint32_t)next_number(&count, 4);
    if (worker_count == 0 || worker_count > MAX_WORKERS) return 2;
    file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 2;
    for (uint32_t i = 0; i < worker_count; i++) {
        workers[i].number = i;
        workers[i].random = random_start(0, i);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) return 2;
    }
    wait_finished();
    announce_ready();
    char line[256];
    while (read_line(line, sizeof line)) {
        if (strncmp(line, "go", 2) == 0)
            go(line + 2);
        else if (strcmp(line, "report") == 0)
            report();
        else if (strncmp(line, "stacks", 6) == 0)
            stacks(line + 6);
        else if (strncmp(line, "pools", 5) == 0)
            pools(line + 5);
        else if (strcmp(line, "quit") == 0)
            break;
        else
            out_line("what?");
    }
    _exit(0);
}
