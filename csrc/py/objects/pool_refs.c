/* References to a Pool, counted apart where threads would meet at its one count. */
#include "objects/pool_refs.h"

/* Without a GIL all threads but the pool's maker, which has a count of its own, would
 * write to the pool's one count, and wait for each other there. So an arena that ends in
 * such a thread leaves its reference with the pool, a few for each shard of threads, and
 * the next arena takes it from there. They are the pool's own: the cyclic collector frees
 * a pool that has no others. */
enum { IDLE_MOST = 64 };

static bool counts_idle(PyObject *pool)
{
    return PY_NO_GIL && pool_data(pool)->maker != PyThread_get_thread_ident();
}

static _Atomic uint32_t *idle_here(PyObject *pool)
{
    return &pool_data(pool)->idle[shard_here()].references;
}

PyObject *py_pool_hold(PyObject *pool)
{
    uint32_t n = counts_idle(pool) ? atomic_load(idle_here(pool)) : 0;
    while (n)
        if (atomic_compare_exchange_weak(idle_here(pool), &n, n - 1))
            return pool;
    return Py_NewRef(pool);
}

void py_pool_release(PyObject *pool)
{
    bool keep = counts_idle(pool) && !atomic_load(&pool_data(pool)->closed);
    uint32_t n = keep ? atomic_load(idle_here(pool)) : IDLE_MOST;
    while (n < IDLE_MOST)
        if (atomic_compare_exchange_weak(idle_here(pool), &n, n + 1))
            return;
    Py_DECREF(pool);
}

int py_pool_drop_idle(PyObject *pool)
{
    for (unsigned i = 0; i < SHARDS; i++)
        for (uint32_t n = atomic_exchange(&pool_data(pool)->idle[i].references, 0); n; n--)
            Py_DECREF(pool);
    return 0;
}

int py_pool_visit_idle(PyObject *pool, visitproc visit, void *arg)
{
    for (unsigned i = 0; i < SHARDS; i++)
        for (uint32_t n = atomic_load(&pool_data(pool)->idle[i].references); n; n--)
            Py_VISIT(pool);
    return 0;
}
