/* A target under a strict seccomp filter: whatever it does not need itself kills it.
 *
 * usage: seccomp
 *   -> ready PID        the filter is in place
 *   <- go N             allocates N blocks of 1 to 512 bytes and frees two of three
 *   -> allocs A frees F unknown 0 bytes B
 *   <- quit
 */
#define _GNU_SOURCE
#include "victim.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* A match jumps over what is left of the list and over the kill: `left` entries follow this one. */
#define ALLOW(call, left) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, (left) + 1, 0)

/* None of the system calls that probes make is here: a kernel that shows them to filters kills this process. */
static const struct sock_filter rules[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    ALLOW(read, 7),
    ALLOW(write, 6),
    ALLOW(brk, 5),
    ALLOW(mmap, 4),
    ALLOW(munmap, 3),
    ALLOW(mprotect, 2),
    ALLOW(getrandom, 1),
    ALLOW(exit_group, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static void lock_up(void) {
    const struct sock_fprog filter = {sizeof rules / sizeof *rules, (struct sock_filter *)rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(3);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) _exit(4);
}

static void go(uint64_t blocks) {
    uint64_t random = random_start(1, 0), allocs = 0, frees = 0, bytes = 0;
    for (uint64_t i = 0; i < blocks; i++) {
        size_t size = 1 + next_random(&random) % 512;
        void *volatile block = malloc(size);
        if (!block) _exit(5);
        allocs++;
        if (i % 3 != 0) {
            free(block);
            frees++;
        } else {
            bytes += size;
        }
    }
    out_field("allocs", allocs);
    out_field(" frees", frees);
    out_field(" unknown", 0);
    out_field(" bytes", bytes);
    out_line("");
}

int main(void) {
    const uint64_t pid = (uint64_t)getpid();
    lock_up();
    out_field("ready", pid);
    out_line("");
    char line[256];
    while (read_line(line, sizeof line) && strcmp(line, "quit") != 0) {
        const char *arguments = line + 2;
        if (strncmp(line, "go", 2) == 0) go(next_number(&arguments, 20000));
    }
    _exit(0);
}
