/* What all C victims share: the line protocol on stdin/stdout, without a single call into the allocator.
 *
 * stdio allocates its buffers, so victims that count their own allocations must not touch it. Everything here is
 * read(2), write(2) and static storage. */
#ifndef VICTIM_H
#define VICTIM_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char out_buffer[1 << 16];
static size_t out_used;

static inline void out_flush(void) {
    size_t done = 0;
    while (done < out_used) {
        ssize_t n = write(1, out_buffer + done, out_used - done);
        if (n < 0) {
            if (errno == EINTR) continue;
            _exit(90);
        }
        done += (size_t)n;
    }
    out_used = 0;
}

static inline void out_text(const char *text) {
    for (; *text; text++) {
        if (out_used == sizeof out_buffer) out_flush();
        out_buffer[out_used++] = *text;
    }
}

static inline void out_number(uint64_t value, unsigned base) {
    char digits[65];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    out_text(digits + at);
}

static inline void out_field(const char *name, uint64_t value) {
    out_text(name);
    out_text(" ");
    out_number(value, 10);
}

static inline void out_line(const char *text) {
    out_text(text);
    out_text("\n");
    out_flush();
}

static inline void announce_ready(void) {
    out_field("ready", (uint64_t)getpid());
    out_line("");
}

/* Reads one line without its newline; 0 at the end of input. */
static inline int read_line(char *line, size_t size) {
    size_t used = 0;
    for (;;) {
        char c;
        ssize_t n = read(0, &c, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        if (c == '\n') {
            line[used] = 0;
            return 1;
        }
        if (used + 1 < size) line[used++] = c;
    }
}

/* Waits for a line that begins with `word`; ends the process when the input ends. Returns what follows the word. */
static inline const char *wait_for_line(const char *word) {
    static char line[256];
    while (read_line(line, sizeof line)) {
        size_t n = strlen(word);
        if (strncmp(line, word, n) == 0 && (line[n] == 0 || line[n] == ' ')) return line + n;
        out_text("what? ");
        out_line(line);
    }
    _exit(0);
}

/* The next number of a line, or `fallback` where there is none. */
static inline uint64_t next_number(const char **text, uint64_t fallback) {
    while (**text == ' ') (*text)++;
    if (**text < '0' || **text > '9') return fallback;
    uint64_t value = 0;
    while (**text >= '0' && **text <= '9') value = value * 10 + (uint64_t)(*(*text)++ - '0');
    return value;
}

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* xorshift64*: the same sequence everywhere for the same seed. */
static inline uint64_t next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 2685821657736338717u;
}

/* A start state that differs for each (seed, stream) and is never zero. */
static inline uint64_t random_start(uint64_t seed, uint64_t stream) {
    uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15u + (stream + 1) * 0xbf58476d1ce4e5b9u;
    x ^= x >> 31;
    return x ? x : 1;
}

#endif
