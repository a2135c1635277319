/* What the macOS files of the core ask of Darwin, answered by Linux in XNU's manner: so
 * that they run where there is no Mac. Numbers are Darwin's where Linux has none. */
#ifndef XNU_H
#define XNU_H

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

/* ---- memory of Mach -------------------------------------------------------------------- */

typedef int kern_return_t;
typedef unsigned mach_port_t, vm_inherit_t, natural_t, mach_msg_type_number_t;
typedef uintptr_t vm_address_t, vm_size_t;
typedef int vm_prot_t;
enum { KERN_SUCCESS = 0, KERN_INVALID_ADDRESS = 1, KERN_NO_SPACE = 3, KERN_INVALID_ARGUMENT = 4 };
enum { VM_FLAGS_FIXED = 0, VM_FLAGS_ANYWHERE = 1, VM_FLAGS_OVERWRITE = 0x4000 };
enum { VM_PROT_NONE = 0, VM_PROT_READ = 1, VM_PROT_WRITE = 2 };
enum { VM_INHERIT_COPY = 1, VM_INHERIT_NONE = 2, FALSE = 0, MACH_PORT_NULL = 0 };
enum {
    VM_MEMORY_MALLOC = 1,
    VM_MEMORY_MALLOC_HUGE = 4,
    VM_MEMORY_MALLOC_LARGE_REUSABLE = 8,
    VM_MEMORY_MALLOC_NANO = 11,
    VM_MEMORY_STACK = 30
};
enum { SM_SHARED = 4, SM_TRUESHARED = 5 };
#define VM_REGION_SUBMAP_INFO_COUNT_64 1
#define MACH_TASK_BASIC_INFO_COUNT 1
enum { MACH_TASK_BASIC_INFO = 20 };
struct mach_task_basic_info {
    uint64_t virtual_size;
};
struct vm_region_submap_info_64 {
    vm_prot_t protection;
    unsigned user_tag, user_wired_count;
    int share_mode, is_submap;
};
typedef struct vm_region_submap_info_64 vm_region_submap_info_data_64_t;
typedef void *vm_region_recurse_info_t, *task_info_t;

#define mach_task_self() 1u
kern_return_t vm_map(mach_port_t task, vm_address_t *at, vm_size_t bytes, vm_address_t mask,
                     int flags, mach_port_t object, vm_address_t offset, int copy, vm_prot_t now,
                     vm_prot_t most, vm_inherit_t inherit);
kern_return_t vm_region_recurse_64(mach_port_t task, vm_address_t *at, vm_size_t *bytes,
                                   natural_t *depth, vm_region_recurse_info_t info,
                                   mach_msg_type_number_t *count);
kern_return_t vm_read_overwrite(mach_port_t task, vm_address_t from, vm_size_t bytes,
                                vm_address_t to, vm_size_t *got);
kern_return_t task_info(mach_port_t task, int flavor, task_info_t info,
                        mach_msg_type_number_t *count);

/* ---- memory of BSD ----------------------------------------------------------------------- */

enum { MADV_ZERO_WIRED_PAGES = 6 };
enum { MINCORE_INCORE = 1, MINCORE_PAGED_OUT = 0x20 };
int minherit(void *at, size_t bytes, int inherit);
int xnu_mincore(const void *at, size_t bytes, char *vec);
int xnu_madvise(void *at, size_t bytes, int advice);
#define mincore xnu_mincore
#define madvise xnu_madvise

/* ---- what a process and its threads began with ------------------------------------------------ */

#include <pthread.h>

char ***_NSGetArgv(void);
int *_NSGetArgc(void);
void *pthread_get_stackaddr_np(pthread_t thread);
size_t pthread_get_stacksize_np(pthread_t thread);

/* ---- processes and signals ------------------------------------------------------------------ */

enum { MAXPATHLEN = 1024, PROC_PIDREGIONPATHINFO = 8 };
struct proc_regionwithpathinfo {
    struct {
        uint64_t pri_address, pri_size;
    } prp_prinfo;
    struct {
        char vip_path[MAXPATHLEN];
    } prp_vip;
};
int proc_pidinfo(int pid, int flavor, uint64_t at, void *out, int bytes);
int proc_regionfilename(int pid, uint64_t at, void *name, uint32_t room);

enum { SIGINFO = 50 }; /* no number of Linux's that is looked at */
#undef NSIG
#define NSIG 32
struct kinfo_proc {
    struct {
        int p_flag;
    } kp_proc;
};
enum { CTL_KERN = 1, KERN_PROC = 14, KERN_PROC_PID = 1, P_TRACED = 0x800, PT_DENIED = 31 };
int sysctl(int *name, unsigned names, void *out, size_t *bytes, void *in, size_t more);
int sysctlbyname(const char *name, void *out, size_t *bytes, void *in, size_t more);
int xnu_ptrace(int request, pid_t pid, char *at, int data);
int xnu_sigprocmask(int how, const sigset_t *set, sigset_t *before);
#define ptrace xnu_ptrace
#define sigprocmask xnu_sigprocmask

int issetugid(void);

/* ---- descriptors ------------------------------------------------------------------------------ */

struct kevent {
    uintptr_t ident;
};
int kevent(int set, const struct kevent *in, int ins, struct kevent *out, int outs,
           const struct timespec *limit);
ssize_t xnu_sendmsg(int sock, const struct msghdr *message, int flags);
ssize_t xnu_send(int sock, const void *bytes, size_t n, int flags);
int xnu_getsockopt(int sock, int level, int option, void *out, socklen_t *bytes);
#define sendmsg xnu_sendmsg
#define send xnu_send
#define getsockopt xnu_getsockopt

#endif
