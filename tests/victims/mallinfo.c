/* A target whose allocator tells how much of its heap is in use: glibc's mallinfo2.
 *
 * usage: mallinfo       with GLIBC_TUNABLES=glibc.malloc.tcache_count=0: blocks in thread caches count as in use
 *   -> ready PID
 *   <- used             -> used BYTES       bytes of chunks in use (uordblks)
 *   <- go N             allocates N blocks of 1 to 4096 bytes, and frees one of two in another order
 *   -> allocs A frees F unknown 0 bytes B
 *   <- quit
 */
#define _GNU_SOURCE
#include "victim.h"

#include <malloc.h>

enum { MAX_BLOCKS = 1 << 20 };

static struct {
    void *address;
    size_t size;
} blocks[MAX_BLOCKS];

static void go(uint64_t count) {
    if (count > MAX_BLOCKS) count = MAX_BLOCKS;
    uint64_t random = random_start(1, 0), frees = 0, bytes = 0;
    for (uint64_t i = 0; i < count; i++) {
        blocks[i].size = 1 + next_random(&random) % 4096;
        blocks[i].address = malloc(blocks[i].size);
        if (!blocks[i].address) _exit(5);
        bytes += blocks[i].size;
    }
    for (uint64_t i = 0; i < count / 2; i++) {
        uint64_t chosen = next_random(&random) % count;
        if (!blocks[chosen].address) continue;
        free(blocks[chosen].address);
        blocks[chosen].address = NULL;
        bytes -= blocks[chosen].size;
        frees++;
    }
    out_field("allocs", count);
    out_field(" frees", frees);
    out_field(" unknown", 0);
    out_field(" bytes", bytes);
    out_line("");
}

int main(void) {
    announce_ready();
    char line[256];
    while (read_line(line, sizeof line) && strcmp(line, "quit") != 0) {
        const char *arguments = line + 2;
        if (strcmp(line, "used") == 0) {
            out_field("used", mallinfo2().uordblks);
            out_line("");
        } else if (strncmp(line, "go", 2) == 0) {
            go(next_number(&arguments, 20000));
        }
    }
    _exit(0);
}
