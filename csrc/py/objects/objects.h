/* Objects of the types: what each holds, and how it is told, made and ended. */
#ifndef SECALLOC_PY_OBJECTS_H
#define SECALLOC_PY_OBJECTS_H

#include "objects/abi.h"
#include "objects/state.h"
#include "secalloc.h"
#include "base/shard.h"

/* A payload is reached through the functions below alone, so that an ABI with an opaque
 * PyObject changes only this part. */
struct arena_data {
    PyObject *weakrefs;
    PyObject *pool; /* strong; the Pool it lies in, or NULL */
    struct sa_arena core;
};

struct view_data {
    PyObject *arena; /* strong */
    PyObject *block; /* strong; the open() block it dies with, or NULL */
    size_t start;
    size_t size;
};

enum block_phase { BLOCK_NEW, BLOCK_ENTERING, BLOCK_OPEN, BLOCK_ENDED };
enum block_mode { MODE_READ, MODE_CHANGE, MODE_FILL }; /* "r", "rw", "w" */
struct block_data {
    struct py_state *state; /* kept by the type, which no collector clears under a block */
    PyObject *target; /* strong; an Arena or a Pool: */
    bool of_arena;    /* which is asked at each step */
    enum block_mode mode;
    _Atomic int phase;
    double timeout_ms;     /* of entering */
    struct sa_block core;  /* "r" and "rw" of an Arena; */
    uint64_t generation;        /* of a Pool */
};

struct pool_data {
    PyObject *weakrefs;
    PyObject *module;     /* strong; it keeps the state: */
    struct py_state *state;
    struct sa_pool *core; /* outlives all its arenas, since each holds the Pool */
    _Atomic bool closed;  /* by close(); the core calls a parent's pool closed too */
    unsigned long maker;  /* the thread that made it */
    struct {
        _Atomic uint32_t references; /* see pool_refs.h */
        char apart[60];              /* on a cache line of its own */
    } idle[SHARDS];
};

enum outlet_phase { OUTLET_NEW, OUTLET_BUSY, OUTLET_OPEN, OUTLET_ENDED };
struct outlet_data {
    PyObject *source; /* strong; an Arena or an ArenaView */
    bool seekable;
    _Atomic int phase;
    struct sa_outlet core; /* reads from the arena, which `source` holds */
};

#ifdef PY_ABI3T
/* The types are final and have no base of ours: their payload is all there is. */
#define PY_PAYLOAD(kind, o) ((struct kind##_data *)PyObject_GetTypeData(o, Py_TYPE(o)))
#define PY_BASICSIZE(kind) (-(int)sizeof(struct kind##_data))
#define PY_WEAKREFS(kind) \
    { \
        "__weaklistoffset__", Py_T_PYSSIZET, (Py_ssize_t)offsetof(struct kind##_data, weakrefs), \
            Py_READONLY | Py_RELATIVE_OFFSET, NULL \
    }
#else
struct arena_object {
    PyObject_HEAD struct arena_data data;
};
struct view_object {
    PyObject_HEAD struct view_data data;
};
struct block_object {
    PyObject_HEAD struct block_data data;
};
struct pool_object {
    PyObject_HEAD struct pool_data data;
};
struct outlet_object {
    PyObject_HEAD struct outlet_data data;
};
#define PY_PAYLOAD(kind, o) (&((struct kind##_object *)(o))->data)
#define PY_BASICSIZE(kind) ((int)sizeof(struct kind##_object))
#define PY_WEAKREFS(kind) \
    { \
        "__weaklistoffset__", T_PYSSIZET, \
            (Py_ssize_t)offsetof(struct kind##_object, data.weakrefs), READONLY, NULL \
    }
#endif

static inline struct arena_data *arena_data(PyObject *o) { return PY_PAYLOAD(arena, o); }
static inline struct view_data *view_data(PyObject *o) { return PY_PAYLOAD(view, o); }
static inline struct block_data *block_data(PyObject *o) { return PY_PAYLOAD(block, o); }
static inline struct pool_data *pool_data(PyObject *o) { return PY_PAYLOAD(pool, o); }
static inline struct outlet_data *outlet_data(PyObject *o) { return PY_PAYLOAD(outlet, o); }

static inline struct sa_arena *py_core_of(PyObject *arena) { return &arena_data(arena)->core; }

static inline bool py_block_is_open(PyObject *block)
{
    return atomic_load(&block_data(block)->phase) == BLOCK_OPEN;
}

/* The types are final, so an object's deallocator tells its type, in any interpreter and where
 * no module state is at hand. */
void py_arena_dealloc(PyObject *self);
void py_view_dealloc(PyObject *self);

enum py_kind { PY_OTHER, PY_ARENA, PY_VIEW };

static inline enum py_kind py_kind_of(PyObject *object)
{
    destructor dealloc = (destructor)PyType_GetSlot(Py_TYPE(object), Py_tp_dealloc);
    return dealloc == py_arena_dealloc ? PY_ARENA : dealloc == py_view_dealloc ? PY_VIEW : PY_OTHER;
}

static inline bool py_is_arena(PyObject *object) { return py_kind_of(object) == PY_ARENA; }

/* A new Arena that is closed yet. NULL with an exception. */
PyObject *py_arena_new(struct py_state *state);

/* A view of `size` bytes from `start` on, which holds the arena, and the block or NULL. NULL
 * with an exception. */
PyObject *py_view_new(struct py_state *state, PyObject *arena, PyObject *block, size_t start,
                      size_t size);

/* For a deallocator. The list may be changed even now, by a weak reference that goes. */
static inline void py_clear_weakrefs(PyObject *self, PyObject **list)
{
    if (__atomic_load_n(list, __ATOMIC_RELAXED))
        PyObject_ClearWeakRefs(self);
}

#endif
