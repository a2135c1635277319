/* Names of arenas: set, told, and looked at by a census while another thread changes them. */
#include "arenas.h"

#include <pthread.h>
#include <string.h>

TEST(a_name_is_told_until_it_is_taken_away)
{
    struct sa_why why = {0};
    struct sa_arena a = {0};
    char name[SA_NAME_ROOM];
    OK(sa_arena_make(&a, 10, 1, &why));
    sa_name(&a, name);
    CHECK(!*name);
    OK(sa_set_name(&a, "called", 6, &why));
    sa_name(&a, name);
    CHECK(!strcmp(name, "called"));
    char longest[SA_NAME_ROOM + 1];
    memset(longest, 'n', sizeof longest);
    SAME(sa_set_name(&a, longest, SA_NAME_ROOM, &why), SA_BAD_RANGE);
    OK(sa_set_name(&a, longest, SA_NAME_ROOM - 1, &why));
    sa_name(&a, name);
    SAME(strlen(name), SA_NAME_ROOM - 1);
    sa_close(&a);
    sa_name(&a, name);
    SAME(strlen(name), SA_NAME_ROOM - 1);
    OK(sa_set_name(&a, NULL, 0, &why));
    sa_name(&a, name);
    CHECK(!*name);
}

static void *rename_it(void *arena)
{
    struct sa_why why = {0};
    for (unsigned i = 0; i < 20000; i++) {
        enum sa_code code = i % 3 ? sa_set_name(arena, i % 2 ? "odd" : "even one", i % 2 ? 3 : 8,
                                                &why)
                                  : sa_set_name(arena, NULL, 0, &why);
        if (code)
            return arena;
    }
    return NULL;
}

TEST(a_census_sees_a_whole_name)
{
    struct sa_why why = {0};
    struct sa_arena a = {0};
    OK(sa_arena_make(&a, 10, 1, &why));
    pthread_t thread;
    OK(pthread_create(&thread, NULL, rename_it, &a));
    struct sa_live live[64];
    unsigned seen = 0;
    for (unsigned i = 0; i < 2000; i++) {
        size_t n = sa_census(live, 64);
        for (size_t k = 0; k < n && k < 64; k++) {
            if (live[k].address != sa_address_of(&a))
                continue; /* kept for the next arena */
            const char *name = live[k].name;
            CHECK(!*name || !strcmp(name, "odd") || !strcmp(name, "even one"));
            seen++;
        }
    }
    SAME(seen, 2000);
    void *failed;
    OK(pthread_join(thread, &failed));
    CHECK(!failed);
    sa_close(&a);
    OK(sa_set_name(&a, NULL, 0, &why));
}

int main(int argc, char **argv)
{
    check_begin("test_name", argc, argv);
    RUN(a_name_is_told_until_it_is_taken_away);
    RUN(a_census_sees_a_whole_name);
    return check_end();
}
