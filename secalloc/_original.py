"""What the standard library had before gevent or eventlet put their own in its place.

Theirs wait by running other tasks of the same thread, which is nothing for a thread that
serves a child, and know nothing of epoll.
"""

import sys
from importlib import import_module
from typing import Any


def original(module: str, name: str) -> Any:
    """What a module of the standard library calls by that name, but for any patch."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None:
        return gevent.get_original(module, name)
    eventlet = sys.modules.get("eventlet.patcher")
    return getattr(eventlet.original(module) if eventlet else import_module(module), name)
