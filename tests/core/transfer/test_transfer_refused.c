/* What the kernel refuses while a secret is handed over: it stays nowhere, and what is counted
 * of the pages is true. */
#include "check.h"

#ifdef __linux__
#include "arenas.h"
#include "linux.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { SIZE = 3000, SEED = 3, REFUSED = EPERM };

static struct sa_why why;
static struct sa_arena from, to, kept;
static int ends[2];

static struct sa_status status_now(void)
{
    struct sa_status now;
    sa_status(&now);
    return now;
}

static void test_setting(void)
{
    if (under_tool())
        SKIP("a tool's own calls would be refused, too");
    NEEDS_LOCKED(1 << 20);
    no_marker();
    make(&from, SIZE, 1, SEED);
    if (!(sa_protection_of(&from) & SA_SECRETMEM))
        SKIP("there is no secretmem here: nothing is mapped twice");
    make(&kept, SIZE, 1, 1);
    make(&to, SIZE, 1, 1);
    sa_close(&to); /* so that there are parked pages */
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

/* How often the secret is in mappings of secretmem that can be read here. */
static unsigned copies(void)
{
    char line[512], access[5];
    uintptr_t at, end;
    unsigned found = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "secretmem") &&
            sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &at, &end, access) == 3 &&
            access[0] == 'r')
            for (bool here = false; !here && at + SIZE <= end; at++) {
                here = is_content((const uint8_t *)at, SIZE, SEED);
                found += here;
            }
    fclose(maps);
    return found;
}

static void *gives(void *refused)
{
    struct sa_why mine = {0};
    if (refused)
        deny(SYS_munmap, REFUSED); /* on this thread */
    enum sa_code code = sa_hand_over(&from, ends[0], 20000, &mine);
    SAME(code, refused ? SA_OS_ERROR : SA_OK);
    CHECK(!refused || (mine.error == REFUSED && !strcmp(mine.call, "munmap")));
    return NULL;
}

/* As core/transfer.c has them. */
struct offer {
    char kind;
    char spare[7];
    uint64_t offset, bytes;
};

/* The answer to pages that are offered, and in how many places the secret is then. */
static char give(bool refused, unsigned *found)
{
    pthread_t thread;
    int fd;
    void *at;
    size_t page = os_page_size(), n;
    struct offer offer = {.kind = 'P', .offset = page - SIZE, .bytes = page};
    char answer;
    SAME(os_share_open(page, &fd, &at), 0);
    SAME(os_socket_send(ends[1], &offer, sizeof offer, fd, &n), 0);
    SAME(pthread_create(&thread, NULL, gives, refused ? &thread : NULL), 0);
    SAME(pthread_join(thread, NULL), 0);
    SAME(recv(ends[1], &answer, 1, 0), 1);
    *found = copies();
    SAME(os_release(at, page), 0);
    return answer;
}

TEST(the_giver_cannot_unmap)
{
    unsigned found;
    test_setting();
    SAME(give(false, &found), 'D');
    SAME(found, 2); /* the control */
    SAME(give(true, &found), 'W');
    SAME(found, 1);
    CHECK(is_content(raw(&from), SIZE, SEED));
}

/* From here on no page is put in another's place, and no hole that this may have left can be
 * closed: an argument with one of these bits meets with ENOMEM. */
static void deny_places(void)
{
    enum { FIXED_NOREPLACE = 0x100000 };
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, FIXED_NOREPLACE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof lines[0], lines};
    SAME(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    SAME(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

TEST(the_taker_loses_the_place)
{
    bool shared;
    test_setting();
    deny_places();
    struct sa_status before = status_now();
    SAME(sa_take_over(&to, SIZE, ends[1], 1000, &shared, &why), SA_OS_ERROR);
    CHECK(!strcmp(why.call, "mremap"));
    struct sa_status after = status_now();
    SAME(after.arenas, before.arenas);
    SAME(after.bytes, before.bytes);
    SAME(after.secretmem_bytes, before.secretmem_bytes - os_page_size());
    SAME(after.locked_bytes, before.locked_bytes - os_page_size());
    CHECK(is_content(raw(&from), SIZE, SEED) && is_content(raw(&kept), SIZE, 1));
}
#endif

int main(int argc, char **argv)
{
    check_begin("test_transfer_refused", argc, argv);
#ifdef __linux__
    RUN(the_giver_cannot_unmap);
    RUN(the_taker_loses_the_place);
#endif
    return check_end();
}
