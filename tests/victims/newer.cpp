// Blocks of operator new, for allocators that implement it themselves: what they map for it is their own.
//
// usage: newer     -> ready PID   <- go N   -> allocs N frees F unknown 0 bytes B corrupt 0   <- quit
extern "C" {
#include "victim.h"
}
#include <new>

static char *blocks[1 << 14];
static uint64_t sizes[1 << 14];

int main() {
    announce_ready();
    const char *arguments = wait_for_line("go");
    uint64_t count = next_number(&arguments, 3000), frees = 0, bytes = 0;
    if (count > sizeof sizes / sizeof *sizes) return 2;
    for (uint64_t i = 0; i < count; i++) {
        sizes[i] = 1000 + i * 37;
        blocks[i] = new char[sizes[i]];
        blocks[i][0] = 1;
        bytes += sizes[i];
        if (i % 3 || !blocks[i / 2]) continue;
        delete[] blocks[i / 2];
        blocks[i / 2] = nullptr;
        bytes -= sizes[i / 2];
        frees++;
    }
    out_field("allocs", count);
    out_field(" frees", frees);
    out_field(" unknown", 0);
    out_field(" bytes", bytes);
    out_line(" corrupt 0");
    wait_for_line("quit");
    _exit(0);
}
