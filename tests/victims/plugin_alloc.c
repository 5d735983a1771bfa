/* A shared object with an allocator of its own under jemalloc's prefix: what a dlopened plugin brings along.
 *
 * A bump allocator over one mmap'd arena with size classes' free lists, just enough to be a malloc family that a
 * tracer must find by its exported names. It is not thread-safe. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { ARENA = 64 << 20, CLASSES = 32 };

struct header {
    size_t class;
    struct header *next_free;
};

static unsigned char *arena;
static size_t used;
static struct header *free_lists[CLASSES];

static size_t class_of(size_t size) {
    size_t class = 4;
    while (class < CLASSES - 1 && ((size_t)1 << class) < size) class++;
    return class;
}

__attribute__((noinline)) static void *take(size_t size) {
    if (!arena) {
        void *p = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return NULL;
        arena = p;
    }
    if (size > ARENA) return NULL;
    size_t class = class_of(size);
    struct header *block = free_lists[class];
    if (block) {
        free_lists[class] = block->next_free;
    } else {
        size_t need = sizeof *block + ((size_t)1 << class);
        if (need > ARENA - used) return NULL;
        block = (struct header *)(arena + used);
        used += need;
    }
    block->class = class;
    return block + 1;
}

void je_free(void *pointer) {
    if (!pointer) return;
    struct header *block = (struct header *)pointer - 1;
    block->next_free = free_lists[block->class];
    free_lists[block->class] = block;
}

void *je_malloc(size_t size) { return take(size); }

void *je_calloc(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    void *p = take(bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

void *je_realloc(void *pointer, size_t size) {
    void *p = take(size);
    if (p && pointer) {
        size_t old = (size_t)1 << ((struct header *)pointer - 1)->class;
        memcpy(p, pointer, old < size ? old : size);
        je_free(pointer);
    }
    return p;
}

void *je_mallocx(size_t size, int flags) {
    (void)flags;
    return take(size);
}

void je_dallocx(void *pointer, int flags) {
    (void)flags;
    je_free(pointer);
}
