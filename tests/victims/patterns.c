/* One small program for every pattern that a verdict can name. The memory of each is taken by a function of its own.
 *
 * usage: patterns PATTERN [NAME=VALUE]...     -> ready PID, then until killed
 *
 *   linear        rate size                     remember_forever     grows for ever
 *   accelerating  rate doubling                 remember_more        the rate doubles every `doubling` seconds' worth
 *   staircase     step every                    run_batch_job        a jump every so often, nothing in between
 *   rising        peak kept every               collect_rows         cycles, each of which keeps a little
 *   flat          peak every                    queue_work           cycles that keep nothing
 *   spike         bytes after                   load_table           one jump that stays, beside a small table
 *   warmup        rate seconds                  fill_cache           fills, then only hits
 *   cache         bytes rate                    cache_insert         evicts the oldest for each new entry
 *   steady        bytes rate                    replace_buffer       replaces random ones
 *   shrinking     bytes rate                    load_backlog         worked off bit by bit
 *   late          rate seconds leak             admit_entry          a warm-up, then slower for ever
 *
 * Bytes, bytes a second, and seconds. In each:
 *   size=1000   bytes of a block
 *   churn=0     bytes a second that are allocated and soon freed beside it, by three other functions
 *   wait=0      1: nothing happens before the line `go`
 *
 * -> mark NAME NUMBER at MILLISECONDS bytes HELD    whenever a step, a cycle or a phase is over: its own ledger, on the
 *    kernel's monotonic clock, so that on a late machine the ledger is late too. */
#include "victim.h"

static struct {
    double rate, size, doubling, step, every, peak, kept, bytes, after, seconds, leak, churn, wait;
} options = {.rate = 1e6, .size = 1000, .doubling = 20, .step = 2e6, .every = 10, .peak = 4e6, .kept = 4e5,
             .bytes = 2e7, .after = 20, .seconds = 60, .leak = 1e5, .churn = 0, .wait = 0};

static const struct {
    const char *name;
    double *value;
} names[] = {{"rate", &options.rate},   {"size", &options.size},     {"doubling", &options.doubling},
             {"step", &options.step},   {"every", &options.every},   {"peak", &options.peak},
             {"kept", &options.kept},   {"bytes", &options.bytes},   {"after", &options.after},
             {"leak", &options.leak},   {"seconds", &options.seconds}, {"churn", &options.churn},
             {"wait", &options.wait}};

/* What the pattern holds: the oldest first. */
struct block {
    struct block *next;
    size_t size;
};

static struct block *oldest, *newest;
static double held;
static uint64_t random_state = 42;

static void keep(struct block *block, size_t size) {
    if (!block) abort();
    memset(block, 'k', size);
    *block = (struct block){.size = size};
    if (newest) newest->next = block;
    else oldest = block;
    newest = block;
    held += (double)size;
}

static void drop_oldest(void) {
    struct block *block = oldest;
    oldest = block->next;
    if (!oldest) newest = NULL;
    held -= (double)block->size;
    free(block);
}

static void drop_down_to(double bytes) {
    while (oldest && held > bytes) drop_oldest();
}

static void mark(const char *name, uint64_t number) {
    out_text("mark ");
    out_field(name, number);
    out_field(" at", now_ns() / 1000000);
    out_field(" bytes", (uint64_t)held);
    out_line("");
}

/* Marks each value of a count once. */
static void mark_new(const char *name, uint64_t number) {
    static uint64_t last;
    if (number > last) mark(name, last = number);
}

/* In what follows, each function takes its memory itself, and its steps are due by the time, so that a slow machine
 * gets the same growth, later. */

__attribute__((noinline)) static void remember_forever(double due) {
    const size_t size = (size_t)options.size;
    while (held < due) keep(malloc(size), size);
}

static void linear(double t) {
    remember_forever(options.rate * t);
}

__attribute__((noinline)) static void remember_more(double due) {
    const size_t size = (size_t)options.size;
    while (held < due) keep(malloc(size), size);
}

static void accelerating(double t) {
    /* The integral of rate·(1 + t/doubling). */
    remember_more(options.rate * t * (1 + t / (2 * options.doubling)));
}

__attribute__((noinline)) static void run_batch_job(double due) {
    const size_t size = (size_t)options.size;
    while (held < due) keep(malloc(size), size);
}

static void staircase(double t) {
    const uint64_t steps = (uint64_t)(t / options.every);
    run_batch_job(options.step * (double)steps);
    mark_new("step", steps);
}

/* How full a cycle is at `t`, 0..1: it fills over four fifths of its time and is empty for the rest. */
static double cycle_fill(double t) {
    const double phase = t / options.every - (double)(uint64_t)(t / options.every);
    return phase < 0.8 ? phase / 0.8 : 0;
}

__attribute__((noinline)) static void collect_rows(double due) {
    const size_t size = (size_t)options.size;
    while (held < due) keep(malloc(size), size);
}

static void rising(double t) {
    const uint64_t cycles = (uint64_t)(t / options.every + 0.2);
    const double floor = options.kept * (double)cycles;
    if (cycle_fill(t) > 0) collect_rows(floor + options.peak * cycle_fill(t));
    else drop_down_to(floor);
    mark_new("cycle", cycles);
}

__attribute__((noinline)) static void queue_work(double due) {
    const size_t size = (size_t)options.size;
    while (held < due) keep(malloc(size), size);
}

static void flat(double t) {
    if (cycle_fill(t) > 0) queue_work(options.peak * cycle_fill(t));
    else drop_down_to(0);
    mark_new("cycle", (uint64_t)(t / options.every + 0.2));
}

__attribute__((noinline)) static char *load_table(size_t bytes) {
    char *table = malloc(bytes);
    if (!table) abort();
    memset(table, 't', bytes);
    return table;
}

static void spike(double t) {
    static char *small, *large;
    static uint64_t loaded;
    for (; loaded < (uint64_t)t; loaded++) {
        free(small);
        small = load_table((size_t)(options.bytes / 100));
    }
    if (!large && t >= options.after) {
        large = load_table((size_t)options.bytes);
        held = options.bytes;
        mark("jump", 1);
    }
}

__attribute__((noinline)) static void fill_cache(double due) {
    const size_t size = (size_t)options.size;
    while (held < due) keep(malloc(size), size);
}

static void warmup(double t) {
    fill_cache(options.rate * (t < options.seconds ? t : options.seconds));
    mark_new("full", t >= options.seconds);
}

static double inserted;

__attribute__((noinline)) static void cache_insert(double due) {
    const size_t size = (size_t)options.size;
    while (inserted < due) {
        keep(malloc(size), size);
        inserted += options.size;
        drop_down_to(options.bytes);
    }
}

static void cache(double t) {
    cache_insert(options.rate * t);
}

__attribute__((noinline)) static void replace_buffer(double due) {
    enum { MOST = 1 << 16 };
    static void *buffers[MOST];
    const size_t size = (size_t)options.size, wanted = (size_t)(options.bytes / options.size);
    const size_t count = wanted > MOST ? MOST : wanted ? wanted : 1;
    for (; inserted < due; inserted += options.size) {
        void **place = &buffers[next_random(&random_state) % count];
        if (*place) held -= options.size;
        free(*place);
        *place = malloc(size);
        if (!*place) abort();
        memset(*place, 'b', size);
        held += options.size;
    }
}

static void steady(double t) {
    replace_buffer(options.rate * t);
}

__attribute__((noinline)) static void load_backlog(double bytes) {
    const size_t size = (size_t)options.size;
    while (held < bytes) keep(malloc(size), size);
}

static void shrinking(double t) {
    static int loaded;
    if (!loaded) load_backlog(options.bytes);
    loaded = 1;
    const double left = options.bytes - options.rate * t;
    drop_down_to(left > 0 ? left : 0);
}

__attribute__((noinline)) static void admit_entry(double due) {
    const size_t size = (size_t)options.size;
    while (held < due) keep(malloc(size), size);
}

static void late(double t) {
    const double warm = t < options.seconds ? t : options.seconds;
    admit_entry(options.rate * warm + options.leak * (t - warm));
    mark_new("warm", t >= options.seconds);
}

/* The churn: three call paths, and blocks of 100 to 8,000 bytes that live for the time of 64 others. */

static void *passing[64];
static double churned;

static void pass(void *block, size_t size) {
    static size_t next;
    if (!block) abort();
    *(volatile char *)block = 'p';
    void **place = &passing[next++ % 64];
    free(*place);
    *place = block;
    churned += (double)size;
}

__attribute__((noinline)) static void parse_request(void) {
    const size_t size = 4000 + next_random(&random_state) % 4000;
    pass(malloc(size), size);
}

__attribute__((noinline)) static void render_response(void) {
    const size_t size = 1000 + next_random(&random_state) % 7000;
    pass(malloc(size), size);
}

__attribute__((noinline)) static void write_log_line(void) {
    const size_t size = 100 + next_random(&random_state) % 400;
    pass(malloc(size), size);
}

static void churn(double t) {
    while (churned < options.churn * t) {
        parse_request();
        render_response();
        write_log_line();
    }
}

static const struct {
    const char *name;
    void (*step)(double t);
} patterns[] = {{"linear", linear},       {"accelerating", accelerating}, {"staircase", staircase},
                {"rising", rising},       {"flat", flat},                 {"spike", spike},
                {"warmup", warmup},       {"cache", cache},               {"steady", steady},
                {"shrinking", shrinking}, {"late", late}};

static void (*find_pattern(const char *name))(double) {
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (strcmp(patterns[i].name, name) == 0) return patterns[i].step;
    return NULL;
}

static int take_option(const char *argument) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t length = strlen(names[i].name);
        if (strncmp(argument, names[i].name, length) != 0 || argument[length] != '=') continue;
        char *end;
        *names[i].value = strtod(argument + length + 1, &end);
        return *end == 0 && *names[i].value >= 0;
    }
    return 0;
}

int main(int argc, char **argv) {
    void (*step)(double) = argc > 1 ? find_pattern(argv[1]) : NULL;
    int understood = step != NULL;
    for (int i = 2; i < argc; i++) understood = understood && take_option(argv[i]);
    if (!understood || options.size < sizeof(struct block) || options.every <= 0 || options.doubling <= 0) {
        out_line("usage: patterns PATTERN [NAME=VALUE]...   (see the head of patterns.c)");
        return 2;
    }
    announce_ready();
    if (options.wait > 0) wait_for_line("go");
    mark("start", 0);
    const uint64_t start = now_ns();
    for (;;) {
        const double t = (double)(now_ns() - start) / 1e9;
        step(t);
        churn(t);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}
