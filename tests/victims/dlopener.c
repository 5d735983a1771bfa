/* Loads an object with an allocator of its own while it is being traced.
 *
 * usage: dlopener PLUGIN.so
 *   -> ready PID   <- load -> loaded
 *   <- go N        N je_malloc, of which every fourth block is kept   -> allocs A frees F unknown 0 bytes B
 *   <- quit
 *
 * The totals are of the plugin's allocator alone. `load` and `go` are separate lines, so that a test can wait until
 * the tracer has told that it found the new object. */
#define _GNU_SOURCE
#include "victim.h"

#include <dlfcn.h>

static void *(*plugin_malloc)(size_t);
static void (*plugin_free)(void *);

static void load(const char *path) {
    void *object = dlopen(path, RTLD_NOW);
    if (!object) _exit(4);
    *(void **)&plugin_malloc = dlsym(object, "je_malloc");
    *(void **)&plugin_free = dlsym(object, "je_free");
    if (!plugin_malloc || !plugin_free) _exit(5);
    out_line("loaded");
}

__attribute__((noinline)) static void use(uint64_t count) {
    uint64_t allocs = 0, frees = 0, bytes = 0;
    for (uint64_t i = 0; i < count; i++) {
        size_t size = 16 + i % 200;
        void *block = plugin_malloc(size);
        if (!block) _exit(6);
        allocs++;
        if (i % 4 == 0) {
            bytes += size;
        } else {
            plugin_free(block);
            frees++;
        }
    }
    out_field("allocs", allocs);
    out_field(" frees", frees);
    out_field(" unknown", 0);
    out_field(" bytes", bytes);
    out_line("");
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    announce_ready();
    wait_for_line("load");
    load(argv[1]);
    const char *arguments = wait_for_line("go");
    use(next_number(&arguments, 10000));
    wait_for_line("quit");
    return 0;
}
