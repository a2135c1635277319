/* What counts as a use of an arena that is watched. */
#include "arenas.h"

static struct sa_why why;

static bool was_used(struct sa_arena *a) { return atomic_exchange(&a->used, 0) != 0; }

/* An export is a use when it is taken, and again when it is given back: it may have been long. */
TEST(coming_and_going_are_uses)
{
    struct sa_arena a = {0};
    const uint8_t *bytes;
    uint8_t *lent;
    struct sa_block block;
    make(&a, 32, 1, 3);
    sa_watch(&a, true);
    CHECK(was_used(&a));
    OK(sa_export(&a, false, &lent));
    CHECK(was_used(&a));
    sa_unexport(&a);
    CHECK(was_used(&a));
    OK(sa_borrow(&a, &bytes));
    CHECK(was_used(&a));
    OK(sa_return(&a));
    OK(sa_open(&a, false, &block, &why));
    CHECK(was_used(&a));
    OK(sa_open_end(&block, &why));
    sa_watch(&a, false);
    (void)was_used(&a);
    OK(sa_export(&a, false, &lent));
    sa_unexport(&a);
    CHECK(!was_used(&a)); /* the control: it is not watched */
    sa_close(&a);
}

int main(int argc, char **argv)
{
    check_begin("test_watch", argc, argv);
    RUN(coming_and_going_are_uses);
    return check_end();
}
