/* What sa_harden() reports is what holds. */
#include "check.h"

#include <sys/resource.h>

TEST(holds)
{
    struct sa_hardening done;
    for (int i = 0; i < 2; i++) { /* harmless when repeated */
        sa_harden(&done);
        struct rlimit limit;
        SAME(getrlimit(RLIMIT_CORE, &limit), 0);
        SAME(limit.rlim_cur, 0);
        SAME(limit.rlim_max, 0);
        CHECK(done.no_core_files);
        SAME(done.not_dumpable, sa_dumpable() == 0);
        if (!under_tool()) /* one that traces us is told of */
            SAME(done.refusals, 0);
        for (unsigned r = 0; r < done.refusals; r++)
            CHECK(done.refused[r].call);
    }
    struct sa_status status;
    sa_status(&status);
    CHECK(!status.started); /* nothing was mapped for it */
}

int main(int argc, char **argv)
{
    check_begin("test_harden", argc, argv);
    RUN(holds);
    return check_end();
}
