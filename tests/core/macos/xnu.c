/* Linux that answers in XNU's manner, in all that the core asks. The names after each function are
 * those of XNU's files that it follows (xnu-7195 of macOS 11 to xnu-11417 of macOS 15). */
#include "xnu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#undef mincore
#undef madvise
#undef sigprocmask
#undef sendmsg
#undef send
#undef getsockopt

static size_t page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* ---- memory ---------------------------------------------------------------------------- */

static _Atomic uintptr_t latest, latest_end; /* what was mapped last, wherever there was room */

/* One lock of the map over all of it: what is refused leaves all as it was (vm_map.c). */
kern_return_t vm_map(mach_port_t task, vm_address_t *at, vm_size_t bytes, vm_address_t mask,
                     int flags, mach_port_t object, vm_address_t offset, int copy, vm_prot_t now,
                     vm_prot_t most, vm_inherit_t inherit)
{
    (void)task, (void)mask, (void)object, (void)offset, (void)copy, (void)now, (void)most;
    int fixed = flags & VM_FLAGS_ANYWHERE    ? 0
                : flags & VM_FLAGS_OVERWRITE ? MAP_FIXED
                                             : MAP_FIXED_NOREPLACE;
    void *want = flags & VM_FLAGS_ANYWHERE ? NULL : (void *)*at;
    void *got = mmap(want, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE | fixed, -1, 0);
    if (got == MAP_FAILED)
        return KERN_NO_SPACE;
    if (inherit == VM_INHERIT_NONE && madvise(got, bytes, MADV_DONTFORK))
        abort();
    *at = (vm_address_t)got;
    if (!fixed) {
        latest = 0;
        latest_end = *at + bytes;
        latest = *at;
    }
    return KERN_SUCCESS;
}

struct region {
    uintptr_t start, end;
    char access[8], path[512];
};

/* The region of `at`, or the next one. */
static int region_at(uintptr_t at, struct region *out)
{
    char line[1024];
    FILE *file = fopen("/proc/self/maps", "r");
    int found = 0;
    if (!file)
        abort();
    while (!found && fgets(line, sizeof line, file)) {
        char *rest;
        out->start = strtoul(line, &rest, 16);
        out->end = strtoul(rest + 1, &rest, 16);
        found = out->end > at;
        out->path[0] = 0;
        if (found && sscanf(rest, "%7s %*s %*s %*s %511[^\n]", out->access, out->path) < 1)
            abort();
    }
    fclose(file);
    return found;
}

/* What is locked cannot be paged out (5.4), nor is asking for that an order. */
static unsigned is_wired(const struct region *r)
{
    return madvise((void *)r->start, page(), MADV_COLD) && errno == EINVAL;
}

kern_return_t vm_region_recurse_64(mach_port_t task, vm_address_t *at, vm_size_t *bytes,
                                   natural_t *depth, vm_region_recurse_info_t info,
                                   mach_msg_type_number_t *count)
{
    struct region r;
    struct vm_region_submap_info_64 *out = info;
    uintptr_t here = (uintptr_t)&r; /* of this thread's stack */
    (void)task, (void)depth, (void)count;
    uintptr_t last = latest;
    if (last && last <= *at && *at < latest_end) { /* asked at once: a list of all is long */
        r = (struct region){.start = *at, .end = *at + page()};
    } else if (!region_at(*at, &r)) {
        return KERN_INVALID_ADDRESS;
    }
    *at = r.start;
    *bytes = r.end - r.start;
    *out = (struct vm_region_submap_info_64){
        .protection = (r.access[0] == 'r' ? VM_PROT_READ : 0) |
                      (r.access[1] == 'w' ? VM_PROT_WRITE : 0),
        .user_tag = r.start <= here && here < r.end ? VM_MEMORY_STACK
                    : strstr(r.path, "[heap]")      ? VM_MEMORY_MALLOC
                                                    : 0,
        .user_wired_count = is_wired(&r),
        .share_mode = r.access[3] == 's' ? SM_SHARED : 0,
    };
    return KERN_SUCCESS;
}

/* What is small goes through a buffer of the kernel's. Of the rest pages are put over those of
 * the destination where both lie alike in theirs: vm_map_copyin and vm_map_copy_overwrite. */
kern_return_t vm_read_overwrite(mach_port_t task, vm_address_t from, vm_size_t bytes,
                                vm_address_t to, vm_size_t *got)
{
    (void)task;
    struct iovec here = {(void *)to, bytes}, there = {(void *)from, bytes};
    size_t small = page() == 4096 ? 8191 : 16384;
    uintptr_t first = (to + page() - 1) / page() * page(), end = (to + bytes) / page() * page();
    if (bytes > small && from % page() == to % page() && first < end &&
        mmap((void *)first, end - first, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_FIXED,
             -1, 0) == MAP_FAILED)
        abort();
    if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != (ssize_t)bytes)
        return KERN_INVALID_ADDRESS;
    *got = bytes;
    return KERN_SUCCESS;
}

kern_return_t task_info(mach_port_t task, int flavor, task_info_t info,
                        mach_msg_type_number_t *count)
{
    (void)task, (void)flavor, (void)count;
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu", &pages) != 1)
        abort();
    fclose(file);
    ((struct mach_task_basic_info *)info)->virtual_size = pages * page();
    return KERN_SUCCESS;
}

int minherit(void *at, size_t bytes, int inherit)
{
    return madvise(at, bytes, inherit == VM_INHERIT_NONE ? MADV_DONTFORK : MADV_DOFORK);
}

/* By the kernel, or EFAULT. */
static int may_copy(const void *at, int writing)
{
    uint64_t word;
    struct iovec here = {&word, sizeof word}, there = {(void *)(uintptr_t)at, sizeof word};
    if (!writing)
        return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof word;
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof word &&
           process_vm_writev(getpid(), &here, 1, &there, 1, 0) == sizeof word;
}

/* Nothing is wrong with what is not mapped: it is only not there. kern_mman.c. */
int xnu_mincore(const void *at, size_t bytes, char *vec)
{
    for (size_t i = 0; i * page() < bytes; i++) {
        unsigned char in = 0;
        if (mincore((char *)(uintptr_t)at + i * page(), page(), &in))
            in = 0;
        if (!may_copy((void *)((uintptr_t)(vec + i) / 8 * 8), 1)) {
            errno = EFAULT;
            return -1;
        }
        vec[i] = in & 1 ? MINCORE_INCORE : 0;
    }
    return 0;
}

int xnu_madvise(void *at, size_t bytes, int advice)
{
    return advice == MADV_ZERO_WIRED_PAGES ? 0 : madvise(at, bytes, advice);
}

/* ---- what a process and its threads began with --------------------------------------------------- */

static int arguments;
static char **argument;

__attribute__((constructor)) static void keep(int count, char **values)
{
    arguments = count;
    argument = values;
}

char ***_NSGetArgv(void) { return &argument; }
int *_NSGetArgc(void) { return &arguments; }

static void *stack_of(pthread_t thread, size_t *bytes)
{
    pthread_attr_t attributes;
    void *low;
    if (pthread_getattr_np(thread, &attributes) || pthread_attr_getstack(&attributes, &low, bytes))
        abort();
    pthread_attr_destroy(&attributes);
    return (char *)low + *bytes;
}

void *pthread_get_stackaddr_np(pthread_t thread)
{
    size_t unused;
    return stack_of(thread, &unused);
}

size_t pthread_get_stacksize_np(pthread_t thread)
{
    size_t bytes;
    (void)stack_of(thread, &bytes);
    return bytes;
}

/* What brought the thread into the kernel, of a frame of Linux's. */
uintptr_t fault_address(const void *context)
{
    const mcontext_t *machine = &((const ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
    return machine->gregs[REG_TRAPNO] < 32 && machine->gregs[REG_TRAPNO]
               ? (uintptr_t)machine->gregs[REG_RIP]
               : 0;
#else
    return (uintptr_t)machine->pc;
#endif
}

/* ---- processes and signals -------------------------------------------------------------------- */

int proc_pidinfo(int pid, int flavor, uint64_t at, void *out, int bytes)
{
    struct region r;
    struct proc_regionwithpathinfo *info = out;
    if (pid != getpid() || flavor != PROC_PIDREGIONPATHINFO || bytes < (int)sizeof *info ||
        !region_at((uintptr_t)at, &r)) {
        errno = EINVAL;
        return 0;
    }
    memset(info, 0, sizeof *info);
    info->prp_prinfo.pri_address = r.start;
    info->prp_prinfo.pri_size = r.end - r.start;
    if (r.path[0] == '/')
        snprintf(info->prp_vip.vip_path, MAXPATHLEN, "%s", r.path);
    return (int)sizeof *info;
}

/* Of the region of `at`, or of the next one that is a file's: libproc.c, bsd_vm.c. */
int proc_regionfilename(int pid, uint64_t at, void *name, uint32_t room)
{
    struct region r;
    if (pid != getpid() || room < MAXPATHLEN) {
        errno = ENOMEM;
        return 0;
    }
    while (region_at((uintptr_t)at, &r)) {
        if (r.path[0] == '/')
            return snprintf(name, room, "%s", r.path);
        at = r.end;
    }
    return 0;
}

int sysctl(int *name, unsigned names, void *out, size_t *bytes, void *in, size_t more)
{
    (void)name, (void)names, (void)bytes, (void)in, (void)more;
    char line[256];
    int tracer = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "TracerPid: %d", &tracer) != 1) {
    }
    if (file)
        fclose(file);
    ((struct kinfo_proc *)out)->kp_proc.p_flag = tracer ? P_TRACED : 0;
    return 0;
}

int sysctlbyname(const char *name, void *out, size_t *bytes, void *in, size_t more)
{
    (void)name, (void)out, (void)bytes, (void)in, (void)more;
    errno = ENOENT;
    return -1;
}

int xnu_ptrace(int request, pid_t pid, char *at, int data)
{
    (void)pid, (void)at, (void)data;
    errno = EINVAL;
    return request == PT_DENIED ? 0 : -1;
}

/* The new mask is fetched first, the old one put back without a look at whether it could
 * be: kern_sig.c. */
int xnu_sigprocmask(int how, const sigset_t *set, sigset_t *before)
{
    sigset_t old;
    if (set && !may_copy(set, 0)) {
        errno = EFAULT;
        return -1;
    }
    if (sigprocmask(how, set, &old))
        return -1;
    if (before && may_copy(before, 1))
        memcpy(before, &old, 4); /* all of Darwin's sigset_t */
    return 0;
}

/* ---- descriptors ---------------------------------------------------------------------------------- */

int kevent(int set, const struct kevent *in, int ins, struct kevent *out, int outs,
           const struct timespec *limit)
{
    (void)in, (void)ins, (void)outs;
    struct epoll_event event;
    int ms = limit ? (int)(limit->tv_sec * 1000 + limit->tv_nsec / 1000000) : -1;
    int count = epoll_wait(set, &event, 1, ms);
    if (count == 1)
        out->ident = (uintptr_t)event.data.fd;
    return count;
}

/* MSG_DONTWAIT is not looked at by a send: sosendcheck in uipc_socket.c. */
ssize_t xnu_sendmsg(int sock, const struct msghdr *message, int flags)
{
    return sendmsg(sock, message, flags & ~MSG_DONTWAIT);
}

ssize_t xnu_send(int sock, const void *bytes, size_t n, int flags)
{
    return send(sock, bytes, n, flags & ~MSG_DONTWAIT);
}

/* MCLBYTES, which soreserve sets: uipc_socket2.c. */
int xnu_getsockopt(int sock, int level, int option, void *out, socklen_t *bytes)
{
    int result = getsockopt(sock, level, option, out, bytes);
    if (result == 0 && level == SOL_SOCKET && option == SO_SNDLOWAT)
        *(int *)out = 2048;
    return result;
}

int issetugid(void) { return getauxval(AT_SECURE) != 0; }
