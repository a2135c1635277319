/* What the extension's files share, and the only place where one Python ABI
 * differs from another. Everything else keeps to the limited API of 3.11.
 *
 * Pages are "lent" between py_span_lend and py_span_return. Meanwhile no Python
 * API is called: it could run foreign code, give up the GIL or wait, while the
 * core counts on a short look. So all of an argument's own code (__index__, its
 * getbuffer) runs before, and errors are raised after.
 */
#ifndef SECALLOC_GLUE_H
#define SECALLOC_GLUE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "secalloc.h"
#include "shard.h"

/* ---- ABI ------------------------------------------------------------------- */

/* Three: the stable ABI of 3.11, that of one free-threaded version before 3.15, and
 * the stable one that both builds share from 3.15 on, where PyObject is opaque. */
#if defined(Py_TARGET_ABI3T)
#define PY_ABI3T 1
#endif

/* Headers hide these when the oldest supported Python does not know them; which
 * slots are used is decided at run time, by Py_Version. */
#ifndef Py_mod_multiple_interpreters
#define Py_mod_multiple_interpreters 3
#endif
#ifndef Py_MOD_PER_INTERPRETER_GIL_SUPPORTED
#define Py_MOD_PER_INTERPRETER_GIL_SUPPORTED ((void *)2)
#endif
#ifndef Py_mod_gil
#define Py_mod_gil 4
#endif
#ifndef Py_MOD_GIL_NOT_USED
#define Py_MOD_GIL_NOT_USED ((void *)1)
#endif

/* What the module is made of, for PY_EXPORT_MODULE, which makes its entry point. */
#ifdef PY_ABI3T
#define PY_EXPORT_MODULE(entry, name, doc, methods, size, exec, traverse, clear, free)    \
    PyABIInfo_VAR(abi_info);                                                              \
    static PySlot module_slots[] = {                                                      \
        PySlot_DATA(Py_mod_abi, &abi_info),                                               \
        PySlot_DATA(Py_mod_name, name),                                                   \
        PySlot_DATA(Py_mod_doc, doc),                                                     \
        PySlot_STATIC_DATA(Py_mod_methods, methods),                                      \
        PySlot_SIZE(Py_mod_state_size, size),                                             \
        PySlot_FUNC(Py_mod_exec, exec),                                                   \
        PySlot_FUNC(Py_mod_state_traverse, traverse),                                     \
        PySlot_FUNC(Py_mod_state_clear, clear),                                           \
        PySlot_FUNC(Py_mod_state_free, free),                                             \
        PySlot_DATA(Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED),  \
        PySlot_DATA(Py_mod_gil, Py_MOD_GIL_NOT_USED),                                     \
        PySlot_END,                                                                       \
    };                                                                                    \
    PyMODEXPORT_FUNC PyModExport_##entry(void);                                           \
    PyMODEXPORT_FUNC PyModExport_##entry(void) { return module_slots; }
#else
/* One definition for each Python that knows more slots than the one before: an
 * unknown slot is a SystemError. */
#define PY_EXPORT_MODULE(entry, name, doc, methods, size, exec, traverse, clear, free)    \
    static PyModuleDef_Slot slots_311[] = {{Py_mod_exec, (void *)(exec)}, {0, NULL}};     \
    static PyModuleDef_Slot slots_312[] = {                                               \
        {Py_mod_exec, (void *)(exec)},                                                    \
        {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},             \
        {0, NULL},                                                                        \
    };                                                                                    \
    static PyModuleDef_Slot slots_313[] = {                                               \
        {Py_mod_exec, (void *)(exec)},                                                    \
        {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},             \
        {Py_mod_gil, Py_MOD_GIL_NOT_USED},                                                \
        {0, NULL},                                                                        \
    };                                                                                    \
    static PyModuleDef definitions[] = {                                                  \
        {PyModuleDef_HEAD_INIT, name, doc, size, methods, slots_311, traverse, clear, free}, \
        {PyModuleDef_HEAD_INIT, name, doc, size, methods, slots_312, traverse, clear, free}, \
        {PyModuleDef_HEAD_INIT, name, doc, size, methods, slots_313, traverse, clear, free}, \
    };                                                                                    \
    PyMODINIT_FUNC PyInit_##entry(void);                                                  \
    PyMODINIT_FUNC PyInit_##entry(void)                                                   \
    {                                                                                     \
        return PyModuleDef_Init(&definitions[Py_Version >= 0x030D0000   ? 2               \
                                             : Py_Version >= 0x030C0000 ? 1               \
                                                                        : 0]);            \
    }
#endif

/* Without a GIL two calls on one arena may run at once. The core keeps its own state
 * whole, but content that one of them writes the other could read half of: so each
 * goes under the lock of the arenas, or foreign objects, that it reads and writes.
 * Nothing returns or jumps from in between. */
#ifdef Py_GIL_DISABLED
#define PY_NO_GIL 1
#define PY_LOCK(object) Py_BEGIN_CRITICAL_SECTION(object)
#define PY_UNLOCK() Py_END_CRITICAL_SECTION()
#define PY_LOCK_BOTH(one, other) Py_BEGIN_CRITICAL_SECTION2(one, other)
#define PY_UNLOCK_BOTH() Py_END_CRITICAL_SECTION2()
#else
#define PY_NO_GIL 0
#define PY_LOCK(object) { (void)(object)
#define PY_UNLOCK() }
#define PY_LOCK_BOTH(one, other) { (void)(one), (void)(other)
#define PY_UNLOCK_BOTH() }
#endif

/* Threads that make and drop objects of one type would all write to the type's count,
 * which then takes longer than the rest. Without a GIL the interpreter before 3.15 makes
 * its own types immortal for that, and so do we; a count that overflows is how. The
 * types of an interpreter that ends are then not freed. */
static inline void py_uncount(PyObject *type)
{
#if defined(Py_GIL_DISABLED) && !defined(PY_ABI3T)
    Py_SET_REFCNT(type, PY_SSIZE_T_MAX);
#else
    (void)type;
#endif
}

/* Objects: the payload is reached through the functions below alone, so that an
 * ABI with an opaque PyObject changes only this part. */
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
    PyObject *target; /* strong; an Arena or a Pool */
    enum block_mode mode;
    _Atomic int phase;
    double timeout_ms;     /* of entering */
    struct sa_block core;  /* "r" and "rw" of an Arena; */
    uint64_t stamp;        /* of a Pool */
};

struct pool_data {
    PyObject *weakrefs;
    struct sa_pool *core; /* outlives all its arenas, since each holds the Pool */
    _Atomic bool closed;  /* by close(); the core calls a parent's pool closed too */
    unsigned long maker;  /* the thread that made it */
    struct {
        _Atomic uint32_t references; /* see py_pool_hold */
        char apart[60];              /* on a cache line of its own */
    } idle[SHARDS];
};

struct listener_data {
    _Atomic unsigned long holder; /* of the lock: the thread; 0: none */
    unsigned long depth;          /* how often it took it */
    /* With the lock held: */
    bool closed;
    long waiting;                 /* how many wait */
    long places;                  /* of descriptors, by their numbers: */
    PyObject **told;              /* NULL: not heard; the event of its next fatal marker, or
                                     None: that would be nothing new */
};

#ifdef PY_ABI3T
/* The types are final and have no base of ours: their payload is all there is. */
#define PY_PAYLOAD(kind, o) ((struct kind##_data *)PyObject_GetTypeData(o, Py_TYPE(o)))
#define PY_BASICSIZE(kind) (-(int)sizeof(struct kind##_data))
#define PY_WEAKREFS(kind)                                                                 \
    {"__weaklistoffset__", Py_T_PYSSIZET, (Py_ssize_t)offsetof(struct kind##_data, weakrefs), \
     Py_READONLY | Py_RELATIVE_OFFSET, NULL}
#else
struct arena_object { PyObject_HEAD struct arena_data data; };
struct view_object { PyObject_HEAD struct view_data data; };
struct block_object { PyObject_HEAD struct block_data data; };
struct pool_object { PyObject_HEAD struct pool_data data; };
struct listener_object { PyObject_HEAD struct listener_data data; };
#define PY_PAYLOAD(kind, o) (&((struct kind##_object *)(o))->data)
#define PY_BASICSIZE(kind) ((int)sizeof(struct kind##_object))
#define PY_WEAKREFS(kind)                                                                 \
    {"__weaklistoffset__", T_PYSSIZET,                                                    \
     (Py_ssize_t)offsetof(struct kind##_object, data.weakrefs), READONLY, NULL}
#endif

static inline struct arena_data *arena_data(PyObject *o) { return PY_PAYLOAD(arena, o); }
static inline struct view_data *view_data(PyObject *o) { return PY_PAYLOAD(view, o); }
static inline struct block_data *block_data(PyObject *o) { return PY_PAYLOAD(block, o); }
static inline struct pool_data *pool_data(PyObject *o) { return PY_PAYLOAD(pool, o); }
static inline struct listener_data *listener_data(PyObject *o) { return PY_PAYLOAD(listener, o); }
static inline enum block_mode py_block_mode(PyObject *block) { return block_data(block)->mode; }

#define ARENA_BASICSIZE PY_BASICSIZE(arena)
#define VIEW_BASICSIZE PY_BASICSIZE(view)
#define BLOCK_BASICSIZE PY_BASICSIZE(block)
#define POOL_BASICSIZE PY_BASICSIZE(pool)
#define LISTENER_BASICSIZE PY_BASICSIZE(listener)
#define ARENA_WEAKLIST_MEMBER PY_WEAKREFS(arena)
#define POOL_WEAKLIST_MEMBER PY_WEAKREFS(pool)

/* ---- module state ---------------------------------------------------------- */

/* What answers are made of: classes of secalloc/_values.py, and signal.Signals. */
enum py_answer { PY_PROTECTION, PY_STATUS, PY_HARDENING, PY_SIGNALS, PY_ANSWERS };

struct py_state {
    PyTypeObject *arena_type;
    PyTypeObject *view_type;
    PyTypeObject *block_type;
    PyTypeObject *pool_type;
    PyTypeObject *listener_type;
    PyTypeObject *waiter_type;
    PyObject *wiped_error;
    PyObject *sealed_error;
    PyObject *forked_error;
    PyObject *protection_error;
    PyObject *protection_warning;
    _Atomic(PyObject *) late_warning; /* strong; a str to be given at the first arena, or NULL */
    _Atomic(PyObject *) answers[PY_ANSWERS]; /* strong; NULL until _values is imported */
    _Atomic(PyObject *) import;              /* strong; see imports.c */
    _Atomic bool complete;                   /* the rest of the package is imported */
};

static inline struct py_state *py_state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

/* Of an object of ours: the types are final, so the type is the one that the
 * module made. */
static inline struct py_state *py_state_of(PyObject *ours)
{
    return PyType_GetModuleState(Py_TYPE(ours));
}

/* For a deallocator. The list may be changed even now, by a weak reference that goes. */
static inline void py_clear_weakrefs(PyObject *self, PyObject **list)
{
    if (__atomic_load_n(list, __ATOMIC_RELAXED))
        PyObject_ClearWeakRefs(self);
}

static inline struct sa_arena *py_core_of(PyObject *arena) { return &arena_data(arena)->core; }

/* ---- errors.c -------------------------------------------------------------- */

int py_errors_init(PyObject *module, struct py_state *state);

/* Raise what `code` stands for. `why` may be NULL. Always NULL. */
void *py_fail(struct py_state *state, enum sa_code code, const struct sa_why *why);

/* What a sa_why tells, as text, with a mend where it has none. New reference. */
PyObject *py_reason(const struct sa_why *why, const char *mend);

/* Warn once a process that a protection was not granted, and of what py_warn_later
 * kept. -1: the warning was turned into an exception. Runs foreign code. */
int py_warn_shortfall(struct py_state *state);

/* Keep a text to be warned of at the first arena; with one kept already, both. */
PyObject *py_warn_later(PyObject *module, PyObject *text);

/* sa_protection bits as "GUARD|LOCK"; "none". New reference. */
PyObject *py_protection_names(unsigned bits);

/* ---- imports.c ---------------------------------------------------------------- */

/* The class, borrowed: the state keeps it. NULL with an exception: it is not imported yet,
 * and cannot be. May run foreign code. */
PyObject *py_answer(struct py_state *state, enum py_answer which);

/* Before an interpreter's first arena: import what it may need when files are out of
 * reach. -1 with an exception, such as KeyboardInterrupt; where modules cannot be had it
 * goes without. Runs foreign code, once. */
SA_MUST_USE int py_import_rest(struct py_state *state);

/* For secalloc/_values.py, which hands over what answers are made of; for __init__.py,
 * which hands over how to import. */
PyObject *py_answer_with(PyObject *module, PyObject *args);
PyObject *py_import_with(PyObject *module, PyObject *function);

/* ---- buffers.c ------------------------------------------------------------- */

/* The bytes an argument names. Ours are reached through the core, anyone else's
 * are held as a Py_buffer. The caller keeps the argument alive. */
struct py_span {
    PyObject *arena;      /* the Arena concerned, borrowed; NULL: not ours */
    PyObject *block;      /* the open() block a view belongs to, or NULL */
    bool whole;           /* the Arena itself rather than a view of it */
    size_t start;         /* first byte within the arena */
    size_t size;
    const uint8_t *bytes; /* ours: only while lent */
    PyObject *lock;       /* what guards the content, borrowed; NULL: nothing has to */
    bool held;            /* foreign is to be released */
    Py_buffer foreign;
};

bool py_is_arena(PyObject *object);

/* Name the range of an Arena, of an ArenaView, or bytes of our own making.
 * span->foreign is left as it is: it is large, and read only where it is held. */
static inline void py_span_of_arena(PyObject *arena, struct py_span *span)
{
    span->arena = arena;
    span->block = NULL;
    span->whole = true;
    span->start = 0;
    span->size = py_core_of(arena)->size;
    span->bytes = NULL;
    span->lock = arena;
    span->held = false;
}

static inline void py_span_of_view(PyObject *object, struct py_span *span)
{
    const struct view_data *view = view_data(object);
    span->arena = view->arena;
    span->block = view->block;
    span->whole = false;
    span->start = view->start;
    span->size = view->size;
    span->bytes = NULL;
    span->lock = view->arena;
    span->held = false;
}

static inline void py_span_of_raw(const uint8_t *bytes, size_t size, struct py_span *span)
{
    span->arena = NULL;
    span->block = NULL;
    span->whole = false;
    span->start = 0;
    span->size = size;
    span->bytes = bytes;
    span->lock = NULL;
    span->held = false;
}

/* Name the range of an Arena or ArenaView. False: the object is neither. */
bool py_span_ours(PyObject *object, struct py_span *span);

/* The same for anything with contiguous bytes. -1 with an exception: it has none,
 * or with `writable` none that may be written. Runs foreign code. */
int py_span_open(PyObject *object, bool writable, struct py_span *span);
void py_span_close(struct py_span *span);

/* Whether the span is for the one who fills the arena / may only be read. */
static inline bool py_span_fills(const struct py_span *span)
{
    return span->block && py_block_mode(span->block) == MODE_FILL;
}
static inline bool py_span_reads(const struct py_span *span)
{
    return span->block && py_block_mode(span->block) == MODE_READ;
}

/* Between the two span->bytes may be read, and nothing of Python called. Return
 * tells whether what was read was whole. */
SA_MUST_USE enum sa_code py_span_lend(struct py_span *span);
SA_MUST_USE enum sa_code py_span_return(struct py_span *span);

/* Copy a span, whose lock is held, into an arena that is usable or being filled.
 * Where the source was wiped meanwhile, the copy is noise that must not pass for a
 * key: the destination is wiped as well. */
SA_MUST_USE enum sa_code py_span_store(struct sa_arena *to, size_t offset,
                                       struct py_span *from);

/* SA_OK unless the arena is closed, of another process, or the view's block has
 * ended: what even naming a range of it needs. */
SA_MUST_USE enum sa_code py_span_reachable(const struct py_span *span);

/* Copy `from` over `to`, a range of an arena and as long. Whatever covers the
 * whole arena revives a wiped one. -1 with an exception. */
int py_span_write(struct py_state *state, struct py_span *to, struct py_span *from);

/* Overwrite with noise; a whole arena becomes wiped. The second one, which raises
 * nothing, is called with the span's lock held. -1 with an exception. */
int py_span_clear(struct py_state *state, struct py_span *span);
SA_MUST_USE enum sa_code py_span_clear_locked(struct py_span *span, struct sa_why *why);

/* 1 or 0 whether the object's memory lies in a live arena; -1 with an exception. */
int py_is_secure(PyObject *object);

/* ---- make.c ----------------------------------------------------------------- */

/* Where a new arena is to lie. */
struct home {
    PyObject *pool; /* the Pool, borrowed; NULL: on pages of its own, */
    size_t align;   /* its start aligned to this */
    unsigned required; /* protections it must have, beyond sa_required() */
};

extern const struct home py_own_pages;

/* A new Arena inside its first fill: store to it, then py_arena_end, which ends the fill
 * and returns `self`, or drops it and raises `code`. */
PyObject *py_arena_begin(struct py_state *state, size_t size, struct home home);
PyObject *py_arena_end(struct py_state *state, PyObject *self, enum sa_code code);

PyObject *py_arena_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* A new Arena: of a size or bytes-like object, as Arena(source) takes it; of that many
 * random bytes; of a writable buffer's content, which is cleared. */
PyObject *py_arena_of(struct py_state *state, PyObject *source, struct home home);
PyObject *py_arena_of_random(struct py_state *state, PyObject *number, struct home home);
PyObject *py_arena_of_taken(struct py_state *state, PyObject *source, struct home home);

/* A new Arena of `count` arguments' bytes, one after the other. */
PyObject *py_arena_of_arguments(struct py_state *state, PyObject *const *args, size_t count);

/* _take_over(size, socket, timeout): what another process hands over. */
PyObject *py_take_over(PyObject *module, PyObject *args);

/* sa_protection bits of a Protection or int; -1 with an exception. */
int py_protection_of(PyObject *object, unsigned *bits);

PyObject *py_random(PyObject *module, PyObject *size);
PyObject *py_take(PyObject *module, PyObject *source);
PyObject *py_concat(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* ---- codecs.c --------------------------------------------------------------- */

PyObject *py_fromhex(PyObject *module, PyObject *text);
PyObject *py_b64decode(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *py_encode(PyObject *module, PyObject *text);
PyObject *py_hexlify(PyObject *module, PyObject *source);
PyObject *py_b64encode(PyObject *module, PyObject *args, PyObject *kwargs);

/* ---- arena_type.c, view_type.c, block_type.c, pool_type.c ------------------- */

extern PyType_Spec py_arena_spec;
extern PyType_Spec py_view_spec;
extern PyType_Spec py_block_spec;
extern PyType_Spec py_pool_spec;

/* A reference to the pool for an arena that lies in it, and its end. */
PyObject *py_pool_hold(PyObject *pool);
void py_pool_release(PyObject *pool);

void py_arena_dealloc(PyObject *self);
void py_view_dealloc(PyObject *self);

PyObject *py_view_new(struct py_state *state, PyObject *arena, PyObject *block, size_t start,
                      size_t size);
/* One open(mode) of an Arena or a Pool, not entered yet. */
PyObject *py_block_new(struct py_state *state, PyObject *target, PyObject *mode,
                       double timeout_ms);
bool py_block_is_open(PyObject *block);

/* py_fail for what a Pool was asked. */
void *py_pool_fail(struct py_state *state, enum sa_code code, const struct sa_why *why);

/* ---- move.c ----------------------------------------------------------------- */

/* A timeout in seconds. -1 with an exception. */
int py_milliseconds_of(PyObject *seconds, double *ms);

/* Try, and while exports or blocks forbid it wait for them up to `ms`. -1 with an exception:
 * a signal's handler raised it. Lets the GIL go, and runs foreign code, only with ms > 0. */
struct py_move {
    enum { MOVE_ROTATE, MOVE_SEAL, MOVE_FILL, MOVE_REPLACE } what;
    struct sa_arena *arena, *fresh;
};
int py_move(const struct py_move *move, double ms, enum sa_code *code, struct sa_why *why);

/* Before an export or a block begins: let those who wait go first. -1 with an exception.
 * Lets the GIL go where somebody waits, and runs foreign code then. */
int py_stand_by(struct sa_arena *core);

/* rotate(timeout) of method and function alike; `timeout` NULL: none. */
PyObject *py_arena_rotate(PyObject *self, PyObject *timeout);

/* ---- items.c, operators.c: slots that both types have ------------------------ */

Py_ssize_t py_arena_length(PyObject *self);
Py_ssize_t py_view_length(PyObject *self);
PyObject *py_subscript(PyObject *self, PyObject *key);
int py_ass_subscript(PyObject *self, PyObject *key, PyObject *value);
int py_arena_getbuffer(PyObject *self, Py_buffer *buffer, int flags);
int py_view_getbuffer(PyObject *self, Py_buffer *buffer, int flags);
void py_arena_releasebuffer(PyObject *self, Py_buffer *buffer);
void py_view_releasebuffer(PyObject *self, Py_buffer *buffer);

PyObject *py_richcompare(PyObject *self, PyObject *other, int op);
PyObject *py_add(PyObject *left, PyObject *right);
PyObject *py_compare_digest(PyObject *module, PyObject *const *args, Py_ssize_t count);

PyObject *py_refuse_text(PyObject *self);
PyObject *py_refuse_number(PyObject *self);
int py_refuse_contains(PyObject *self, PyObject *item);
#define PY_REFUSED_METHODS                                                                \
    {"__format__", py_refuse_format, METH_O, NULL},                                       \
    {"__copy__", py_refuse_copy, METH_NOARGS, NULL},                                      \
    {"__deepcopy__", py_refuse_copy, METH_O, NULL},                                       \
    {"__reduce__", py_refuse_pickle, METH_NOARGS, NULL},                                  \
    {"__reduce_ex__", py_refuse_pickle, METH_O, NULL}
PyObject *py_refuse_format(PyObject *self, PyObject *spec);
PyObject *py_refuse_copy(PyObject *self, PyObject *memo);
PyObject *py_refuse_pickle(PyObject *self, PyObject *protocol);

/* ---- environ.c: for getenv() and getpass() of the package -------------------- */

PyObject *py_environ_copy(PyObject *module, PyObject *name);
PyObject *py_read_by_page(PyObject *module, PyObject *args);
PyObject *py_environ_wipe(PyObject *module, PyObject *name);
PyObject *py_scrub(PyObject *module, PyObject *args);
PyObject *py_echo_off(PyObject *module, PyObject *fd);
PyObject *py_echo_back(PyObject *module, PyObject *fd);
PyObject *py_echo_before(PyObject *module, PyObject *none);

/* ---- survey.c: status(), what secalloc/doctor.py, map.py and run.py ask, harden() ---- */

PyObject *py_status(PyObject *module, PyObject *none);
PyObject *py_harden(PyObject *module, PyObject *none);
PyObject *py_census(PyObject *module, PyObject *none);
PyObject *py_dumpable(PyObject *module, PyObject *none);
PyObject *py_frees_are_overwritten(PyObject *module, PyObject *none);

/* ---- scan.c: for find() of secalloc/residue.py ---------------------------------- */

PyObject *py_find(PyObject *module, PyObject *args);

/* ---- listen.c: for secalloc/channel.py -------------------------------------------- */

extern PyType_Spec py_listener_spec;
extern PyType_Spec py_waiter_spec;

/* ---- process.c -------------------------------------------------------------- */

extern PyMethodDef py_module_methods[];

#endif
