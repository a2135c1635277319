/* The protocol of the slot word (csrc/core/vault/slot.c), as its users follow it.
 *
 * Threads: an owner that makes an arena, seals, opens, stores, wipes, rotates and
 * closes it in any order; a lockdown; fatal handlers that interrupt the owner's
 * thread, the lockdown's, or run on one that does nothing else. With COPY instead of
 * the owner: two threads that copy between two arenas in opposite directions.
 *
 * Checked: no wiper touches pages that are unmapped or inaccessible; when a pass over
 * all slots ends, every secret that was there when it began, or was copied by our own
 * code meanwhile, is gone; an arena that reads as whole holds its content; nothing is
 * left after a close; nobody waits for ever. A handler returns here and everything goes
 * on, as after a survived signal; what it must have done by then is the same.
 *
 * A statement is one atomic operation of the C code, one system call, or one access to
 * a slot's pages; atomics there are sequentially consistent. A compare-and-swap that
 * is tried until it succeeds is one test and one change here, and a loop around
 * os_wait() waits for what ends it, so that waiting for ever shows as a deadlock.
 *
 * Threads and what may fail are chosen with -D, and so are the mutants. Each
 * mutant leaves one rule out and must be found out: tests/checks/model/check.py knows all. */

#ifndef OPS
#define OPS 2 /* what the owner does between make and close */
#endif
#define SLOTS 2

mtype = { PARKED, OWNED, LIVE };         /* slot.h: enum slot_state */
#define NONE 0                           /* os.h: enum os_access */
#define READ 1
#define WRITE 2
#define UNKNOWN 3                        /* slot.h: all bits of WORD_ACCESS */
#define NOTHING 0                        /* what is on a slot's pages */
#define NOISE 1
#define SECRET 2

/* slot.h: the slot word */
mtype state[SLOTS] = PARKED;
bit busy[SLOTS];
byte holder[SLOTS];                      /* of a busy one that may be let go of, the thread + 1 */
bit touched[SLOTS];                      /* it was, and is held again */
byte access[SLOTS];                      /* what the pages have */
byte wanted[SLOTS];                      /* what the owner chose; a wiper lifts the other */
bit dropped[SLOTS];
byte pins[SLOTS];
byte generation[SLOTS];

/* The pages themselves. */
bit mapped[SLOTS] = 1;
byte prot[SLOTS];
byte content[SLOTS];

byte wipers;                             /* slot.c: wipers */

/* Of each pass: it runs; the secrets that came from outside since it began. */
byte passing;
byte late[SLOTS];

/* Threads. */
#define OWNER 0
#define LOCKDOWN 1
#define ELSEWHERE 2
#define OTHER 3
bit masked[4], interrupted[4];

#ifdef NO_PIN_CHECK
#define CLEAR(s) (state[s] == LIVE && !busy[s])
#else
#define CLEAR(s) (state[s] == LIVE && !busy[s] && pins[s] == 0) /* slot.h: word_is_quiet */
#endif
#ifdef NO_BUSY
#define SET_BUSY(s) skip
#else
#define SET_BUSY(s) busy[s] = 1
#endif
#ifdef NO_MASK
#define MASK(t, value) skip
#else
#define MASK(t, value) masked[t] = value /* slot.c: mask_all, pthread_sigmask */
#endif
#ifdef GIVES_UP /* slot.c: pin, after a second */
#define GIVEN_UP(s) (busy[s] && holder[s])
#else
#define GIVEN_UP(s) false
#endif

/* ---- wipers ------------------------------------------------------------------- */

/* slot.c: pin, force_writable, overwrite, wipe */
inline wipe(s)
{
    atomic {
        if
        :: state[s] != LIVE -> pinned = 0
        :: state[s] == LIVE && !busy[s] ->
            pins[s]++;
            pinned = 1;
            writable = access[s] == WRITE && !dropped[s]
        :: state[s] == LIVE && GIVEN_UP(s) ->
            busy[s] = 0; holder[s] = 0; dropped[s] = 1;
            pins[s]++;
            pinned = 1
        fi
    }
    if
    :: !pinned -> skip
    :: else ->
        generation[s]++;
        do
        :: writable -> break
        :: else ->
            d_step { w_access = access[s]; w_dropped = dropped[s]; w_pins = pins[s] }
            if
            :: w_dropped ->
#ifndef DROP_ONCE
                drop_pages(s);
#endif
                break
            :: !w_dropped && w_access == WRITE -> writable = 1
            :: else ->
                if
                :: atomic { assert(mapped[s]); prot[s] = WRITE; failed = 0 } /* os_protect */
#ifdef FAILS
                :: failed = 1
#endif
                fi;
                atomic {
                    if
                    :: access[s] == w_access && dropped[s] == w_dropped && pins[s] == w_pins ->
                        if
                        :: failed -> dropped[s] = 1
                        :: else -> access[s] = WRITE; writable = 1
                        fi
                    :: else -> failed = 0 /* try again */
                    fi
                }
                if
                :: failed -> drop_pages(s); break
                :: else
                fi
            fi
        od;
        if
        :: writable ->
            assert(mapped[s] && prot[s] == WRITE);
            atomic { assert(mapped[s] && prot[s] == WRITE); content[s] = NOISE; late[s] = 0 }
        :: else
        fi;
        generation[s]++;
        atomic { pins[s]--; failed = 0; writable = 0 }
    fi
}

/* os/linux/memory.c: os_drop_pages */
inline drop_pages(s)
{
    atomic { assert(mapped[s]); prot[s] = NONE; content[s] = NOTHING; late[s] = 0 }
}

/* slot.c: wipers_enter; from here on a pass must be whole */
inline enter(w)
{
    d_step {
        wipers++; passing = passing | (1 << w);
        late[0] = late[0] & ~(1 << w); late[1] = late[1] & ~(1 << w)
    }
}

/* slot.c: wipers_leave */
inline leave(w)
{
    atomic {
        assert(content[0] != SECRET || late[0] & (1 << w));
        assert(content[1] != SECRET || late[1] & (1 << w));
        passing = passing & ~(1 << w)
    }
    wipers--
}

/* ---- owners ------------------------------------------------------------------- */

#define HELD(t, s) (busy[s] && holder[s] == t + 1)

/* slot.c: slot_let_go, slot_hold_again: around the pass of a handler */
inline let_go(t, s)
{
    atomic {
        if
        :: HELD(t, s) ->
            busy[s] = 0; holder[s] = 0; mine = s + 1;
#ifndef KNOWN_STILL
            access[s] = UNKNOWN
#endif
        :: else
        fi
    }
}
inline hold_again(t)
{
    if
    :: mine ->
#ifndef LET_GO_FOR_GOOD
        atomic {
            CLEAR(mine - 1) ->
            SET_BUSY(mine - 1);
            holder[mine - 1] = t + 1; access[mine - 1] = UNKNOWN;
#ifndef UNTOUCHED
            touched[mine - 1] = 1
#endif
        };
#endif
        mine = 0
    :: else
    fi
}

/* slot.h: slot_set_access, and slot.c: slot_set_access_slowly */
inline set_access(t, s, chosen)
{
    do
    :: skip;
        atomic {
            CLEAR(s) ->
            SET_BUSY(s);
            holder[s] = t + 1;
            a_has = access[s]; a_dropped = dropped[s]
        }
        do
        :: got = 1;
            if
            :: !a_dropped && a_has != chosen ->
                if
                :: atomic { assert(mapped[s]); prot[s] = chosen } /* os_protect */
#ifdef FAILS
                :: got = 0
#endif
                fi
            :: else
            fi;
#ifdef NO_BUSY
            access[s] = chosen; wanted[s] = chosen; over = 1; break
#else
            atomic {
                if
                :: HELD(t, s) && !touched[s] ->
                    assert(!got || dropped[s] || prot[s] == chosen);
                    if
                    :: got -> access[s] = (a_dropped -> a_has : chosen); wanted[s] = chosen
                    :: else
                    fi;
                    busy[s] = 0; holder[s] = 0; over = 1
                :: HELD(t, s) && touched[s] ->
                    touched[s] = 0; a_has = access[s]; a_dropped = dropped[s]
                :: else -> over = 2 /* a wiper gave us up */
                fi
            }
            if
            :: over -> break
            :: else
            fi
#endif
        od;
        if
        :: over == 1 -> break
        :: else -> over = 0
        fi
    od;
    atomic { got = 0; over = 0; a_has = 0; a_dropped = 0 }
}

/* slot.c: restore_access: what a wiper lifted; its owner may retire the slot as soon as nobody
 * holds it */
inline restore(t, s)
{
    do
    :: MASK(t, 1);
        atomic {
            if
            :: state[s] != LIVE -> got = 0; over = 1
            :: state[s] == LIVE && CLEAR(s) ->
                SET_BUSY(s);
                a_access = wanted[s];
                got = 1; over = 1
            :: else -> got = 0; over = 0
            fi
        }
        if
        :: got ->
            if
            :: !dropped[s] && access[s] != a_access ->
                if
                :: atomic { assert(mapped[s]); prot[s] = a_access } /* os_protect */
#ifdef FAILS
                :: got = 0
#endif
                fi
            :: else
            fi;
#ifdef NO_BUSY
            access[s] = a_access
#else
            atomic {
                if
                :: got && !dropped[s] -> access[s] = a_access
                :: else
                fi;
                busy[s] = 0
            }
#endif
        :: else
        fi;
        MASK(t, 0);
        if
        :: over -> break
        :: else -> (CLEAR(s) || state[s] != LIVE)
        fi
    od;
    atomic { got = 0; over = 0; a_access = 0 }
}

/* arena/place.h: arena_whole */
#define WHOLE (generation[cur] == good)

/* vault.c: vault_take, pages_take; then slot.c: slot_publish unless it is for a rotation */
inline take(s)
{
    atomic { /* with the vault's lock */
        if
        :: state[0] == PARKED -> s = 0
        :: state[1] == PARKED -> s = 1
        fi;
        state[s] = OWNED; dropped[s] = 0; mapped[s] = 1
    }
    prot[s] = WRITE;
    atomic { access[s] = WRITE; wanted[s] = WRITE }
}

/* vault.c: vault_put; pages.c: parked_put, park or give_back */
inline put(s)
{
    if
    :: dropped[s] -> skip
    :: else -> prot[s] = NONE
    fi;
    atomic {
        access[s] = NONE; wanted[s] = NONE; state[s] = PARKED;
        if
        :: true -> mapped[s] = 0; content[s] = NOTHING /* given back: mapped anew when taken */
        :: !dropped[s] -> skip
        fi;
        dropped[s] = 0; generation[s] = 0; late[s] = 0
    }
}

/* slot.c: slot_retire */
inline retire(s)
{
    atomic { CLEAR(s) -> state[s] = OWNED }
}

/* fill.c: begin_writing, sa_store, end_writing */
inline store()
{
    wipers == 0; /* wipers_wait */
    if
    :: WHOLE ->
        atomic { assert(prot[cur] == WRITE || dropped[cur]);
                 if
                 :: dropped[cur] -> skip /* faults, and dies of it */
                 :: else -> content[cur] = SECRET; late[cur] = passing
                 fi }
        if
        :: WHOLE -> skip
        :: else -> wipe(cur)
        fi
    :: else
    fi
}

/* slot.c: slot_lock_pair with a fresh `to`; rotate.c: move_content */
inline move()
{
    moved = 0;
    do
    :: !WHOLE -> break
    :: else ->
        MASK(OWNER, 1);
        atomic { /* take_busy */
            if
            :: CLEAR(cur) && (access[cur] == READ || access[cur] == WRITE) && !dropped[cur] ->
                SET_BUSY(cur); got = 1
            :: else -> got = 0
            fi
        }
        if
        :: got ->
            atomic { state[to] = LIVE; SET_BUSY(to) }
#ifdef BUSY_WAITS
            wipers == 0;
#endif
#ifdef NO_LOOK
            if
            :: true ->
#else
            if
            :: wipers == 0 ->
#endif
                if
                :: WHOLE ->
                    assert(prot[cur] != NONE);
                    d_step { carried = content[cur]; carried_late = late[cur] }
                    atomic { assert(prot[to] == WRITE); content[to] = carried; late[to] = carried_late }
                    atomic { good = generation[to]; moved = 1 }
                    busy[to] = 0 /* slot_unlock_pair, keep */
                :: else ->
                    atomic { state[to] = OWNED; busy[to] = 0 }
                fi;
                busy[cur] = 0;
                MASK(OWNER, 0);
                break
#ifndef NO_LOOK
            :: else -> /* slot_unlock_pair, not keep; slot_wait_clear */
                atomic { state[to] = OWNED; busy[to] = 0 }
                busy[cur] = 0;
                MASK(OWNER, 0);
                wipers == 0
#endif
            fi
        :: else ->
            MASK(OWNER, 0);
            wipers == 0; /* slot_wait_clear */
            (CLEAR(cur) || !WHOLE)
        fi
    od;
    atomic { got = 0; carried = 0; carried_late = 0 }
}

#define WIPER_LOCALS                                                                  \
    bit pinned, writable, w_dropped, failed; byte w_access, w_pins
#define ACCESS_LOCALS bit got, a_dropped; byte over, a_access, a_has

/* arena/make.c, arena.c, fill.c, rotate.c: one thread that uses one arena */
proctype owner() provided (!interrupted[OWNER])
{
    WIPER_LOCALS; ACCESS_LOCALS;
    byte cur, to, good, old, carried, carried_late, ops;
    bit moved;

    /* sa_arena_make */
    wipers == 0;
    take(cur);
    good = generation[cur];
#ifdef UNPUBLISHED
    atomic { content[cur] = SECRET; late[cur] = passing }
#endif
    state[cur] = LIVE; /* slot_publish */
    atomic { content[cur] = SECRET; late[cur] = passing } /* the first bytes from outside */
    if
    :: WHOLE -> skip
    :: else -> wipe(cur)
    fi;
    do
    :: ops < OPS ->
        ops++;
        /* A reader that takes it for whole reads all of it. */
        assert(!WHOLE || content[cur] == SECRET);
        if
        :: wanted[cur] == WRITE -> store()
        :: set_access(OWNER, cur, NONE)  /* sa_seal */
        :: set_access(OWNER, cur, READ)  /* sa_open, to read */
        :: set_access(OWNER, cur, WRITE) /* sa_open, to write */
        :: wipe(cur)                           /* sa_wipe */
        :: wanted[cur] != NONE && WHOLE ->     /* sa_rotate; sealed, it opens first */
            take(to);
            move();
            if
            :: moved ->
                old = cur; cur = to;
                wipe(old);
                retire(old)
            :: else -> old = to
            fi;
            put(old);
            d_step { to = 0; old = 0; moved = 0 }
        fi
    :: break
    od;
    /* sa_close */
    wipe(cur);
    retire(cur);
    assert(content[cur] != SECRET);
    put(cur);
    assert(content[0] != SECRET && content[1] != SECRET)
}

/* fill.c: copy_inside; two live arenas, so nobody retires */
proctype copier(byte t; byte from; byte into) provided (!interrupted[t])
{
    WIPER_LOCALS;
    byte carried, carried_late, good;
    bit got, over, same;

    wipers == 0; /* begin_writing */
    good = generation[into];
    do
    :: over || generation[into] != good || dropped[from] -> break
    :: else ->
        MASK(t, 1);
        atomic {
            if
            :: CLEAR(from) && access[from] >= READ && !dropped[from] -> SET_BUSY(from); got = 1
            :: else -> got = 0
            fi
        }
        if
        :: got ->
            atomic {
                if
                :: CLEAR(into) && access[into] == WRITE && !dropped[into] -> SET_BUSY(into)
                :: else -> got = 0
                fi
            }
            if
            :: got ->
#ifdef BUSY_WAITS
                wipers == 0;
#endif
                if
#ifdef NO_LOOK
                :: true ->
#else
                :: wipers == 0 ->
#endif
                    if
                    :: generation[into] == good ->
                        assert(prot[from] != NONE);
                        d_step { carried = content[from]; carried_late = late[from] }
                        atomic { assert(prot[into] == WRITE); content[into] = carried; late[into] = carried_late }
                    :: else
                    fi;
                    over = 1
#ifndef NO_LOOK
                :: else
#endif
                fi;
                busy[into] = 0
            :: else
            fi;
            busy[from] = 0
        :: else
        fi;
        MASK(t, 0);
        if
        :: over
        :: else -> wipers == 0; (CLEAR(from) && CLEAR(into) || generation[into] != good || dropped[from])
        fi
    od;
    if /* end_writing */
    :: generation[into] == good
    :: else -> wipe(into)
    fi
}

/* ---- passes over all slots ----------------------------------------------------- */

/* fatal.c: on_fatal, first pass; walk.c: vault_wipe_all */
proctype handler(byte t; byte w)
{
    WIPER_LOCALS;
    byte i, mine; /* the slot that was let go of, + 1: there is one at most */
    atomic { !masked[t] && !interrupted[t] -> interrupted[t] = 1 }
    enter(w);
#ifndef NO_LET_GO
    let_go(t, 0);
    let_go(t, 1);
#endif
    do
    :: i < SLOTS ->
        if
        :: state[i] == LIVE -> wipe(i)
        :: else
        fi;
        i++
    :: else -> break
    od;
    hold_again(t);
    leave(w);
    interrupted[t] = 0
}

/* process.c: sa_lockdown; slot.c: slot_wipe_and_restore */
proctype lockdown(byte w) provided (!interrupted[LOCKDOWN])
{
    WIPER_LOCALS; ACCESS_LOCALS;
    byte i;
    enter(w);
    do
    :: i < SLOTS ->
        if
        :: state[i] == LIVE ->
            wipe(i);
            if
            :: pinned && access[i] != wanted[i] -> restore(LOCKDOWN, i)
            :: else
            fi
        :: else
        fi;
        i++
    :: else -> break
    od;
    leave(w)
}

init {
    atomic {
#ifdef COPY
        byte i;
        for (i : 0 .. 1) {
            state[i] = LIVE; access[i] = WRITE; wanted[i] = WRITE; prot[i] = WRITE; content[i] = SECRET
        }
        run copier(OWNER, 0, 1);
        run copier(OTHER, 1, 0);
#else
        run owner();
#endif
#ifdef LOCKS_DOWN
        run lockdown(0);
#endif
#ifdef ON_OWNER
        run handler(OWNER, 1);
#endif
#ifdef ON_LOCKDOWN
        run handler(LOCKDOWN, 2);
#endif
#ifdef ON_ANOTHER
        run handler(ELSEWHERE, 3);
#endif
    }
}
