/* Questions about the bytes of an Arena or ArenaView: asked while both sides are lent. */
#include "objects/query.h"

#include "objects/errors.h"

#include "base/ct.h"

static void answer(struct py_query *q, struct search_text text, struct search_text what)
{
    bool fits = what.size <= text.size;
    switch (q->question) {
    case FIRST: q->answer = search_first(text, what); break;
    case LAST: q->answer = search_last(text, what); break;
    case COUNT: q->answer = search_count(text, what); break;
    case STRIP: q->part = search_strip(text, what, q->left, q->right); break;
    case STARTS: q->answer = fits && ct_equal(text.at, what.size, what.at, what.size); break;
    case ENDS:
        q->answer = fits &&
                    ct_equal(text.at + text.size - what.size, what.size, what.at, what.size);
        break;
    case SPLIT:
        q->answer = search_split(text, what, q->most, q->backwards, q->parts, q->room);
        break;
    case SPLIT_BLANKS:
        q->answer = search_split_blanks(text, what, q->most, q->backwards, q->parts, q->room);
        break;
    }
}

static enum sa_code ask_locked(struct py_span *text, struct py_span *what, struct py_query *q)
{
    enum sa_code code = py_span_lend(text);
    if (code != SA_OK)
        return code;
    code = py_span_lend(what);
    if (code == SA_OK) {
        answer(q, (struct search_text){text->bytes, text->size},
               (struct search_text){what->bytes, what->size});
        code = py_span_return(what);
    }
    enum sa_code back = py_span_return(text);
    return code != SA_OK ? code : back;
}

int py_ask(struct py_span *text, struct py_span *what, struct py_query *q)
{
    enum sa_code code;
    PY_LOCK_BOTH(text->lock, what->lock ? what->lock : text->lock);
    code = ask_locked(text, what, q);
    PY_UNLOCK_BOTH();
    if (code == SA_OK)
        return 0;
    if (what->arena && what->arena != text->arena)
        py_fail(py_state_of(text->arena), code, NULL); /* of either */
    else
        py_fail_of(text->arena, code, NULL);
    return -1;
}

PyObject *py_view_of_part(PyObject *self, const struct py_span *text, size_t start, size_t end)
{
    return py_view_new(py_state_of(self), text->arena, text->block, text->start + start,
                       end - start);
}
