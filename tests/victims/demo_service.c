/* A small service with one leak, for `cargo xtask demo`.
 *
 * usage: demo_service [SECONDS]     (default: until killed)
 *
 * It handles about 2,000 made-up requests a second. Each request takes a buffer and gives it back, looks into a
 * cache that holds at most 512 entries, and every new session is remembered: `remember_session` is the leak,
 * about 1 MB/s. The three are separate call paths, so a trace has to tell them apart. */
#include "victim.h"

#include <stdio.h>

enum { REQUESTS_PER_SECOND = 2000, CACHE_ENTRIES = 512 };

struct cache_entry {
    uint64_t key;
    char *body;
    size_t length;
};

struct session {
    struct session *next;
    uint64_t id;
    char state[1000];
};

static struct cache_entry *cache[CACHE_ENTRIES];
static struct session *sessions;
static uint64_t random_state = 42;

/* Bounded: a new entry evicts the one in its place. */
__attribute__((noinline)) static struct cache_entry *cache_lookup(uint64_t key) {
    struct cache_entry **place = &cache[key % CACHE_ENTRIES];
    if (*place && (*place)->key == key) return *place;
    if (*place) {
        free((*place)->body);
        free(*place);
    }
    struct cache_entry *entry = malloc(sizeof *entry);
    if (!entry) abort();
    entry->key = key;
    entry->length = 256 + key % 2048;
    entry->body = malloc(entry->length);
    if (!entry->body) abort();
    memset(entry->body, 'c', entry->length);
    *place = entry;
    return entry;
}

/* The leak: sessions are remembered, and never forgotten. */
__attribute__((noinline)) static struct session *remember_session(uint64_t id) {
    struct session *session = malloc(sizeof *session);
    if (!session) abort();
    memset(session->state, 's', sizeof session->state);
    session->id = id;
    session->next = sessions;
    sessions = session;
    return session;
}

/* Freed at the end of each request. */
__attribute__((noinline)) static size_t render_response(const struct cache_entry *entry) {
    size_t capacity = 64 + entry->length;
    char *response = malloc(capacity);
    if (!response) abort();
    int head = snprintf(response, 64, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", entry->length);
    memcpy(response + head, entry->body, entry->length);
    size_t sent = (size_t)head + entry->length;
    free(response);
    return sent;
}

__attribute__((noinline)) static size_t handle_request(uint64_t number) {
    if (number % 2 == 0) remember_session(number);
    const struct cache_entry *entry = cache_lookup(next_random(&random_state) % 4096);
    return render_response(entry);
}

__attribute__((noinline)) static size_t event_loop(double seconds) {
    const uint64_t start = now_ns();
    uint64_t handled = 0;
    size_t sent = 0;
    for (;;) {
        double elapsed = (double)(now_ns() - start) / 1e9;
        if (seconds > 0 && elapsed >= seconds) return sent;
        /* As many requests as are due by now: a slow machine gets the same load, later. */
        for (uint64_t due = (uint64_t)(elapsed * REQUESTS_PER_SECOND); handled < due; handled++)
            sent += handle_request(handled);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

int main(int argc, char **argv) {
    announce_ready();
    size_t sent = event_loop(argc > 1 ? strtod(argv[1], NULL) : 0);
    out_field("sent", sent);
    out_line("");
    return 0;
}
