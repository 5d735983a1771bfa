/* A 32-bit process, which leaktrace refuses: built with -m32. Allocates a little and waits. */
#include "victim.h"

int main(void) {
    void *volatile block = malloc(100);
    announce_ready();
    wait_for_line("quit");
    free(block);
    return 0;
}
