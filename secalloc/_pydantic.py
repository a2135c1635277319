"""Arena as the type of a pydantic field; imports pydantic when it asks, and not before."""

from typing import Any

from secalloc._core import Arena, encode

HIDDEN = "**********"


def arena_of(value: object) -> Arena:
    """What a field holds: the arena itself, or a new one. ValueError tells pydantic."""
    if isinstance(value, Arena):
        return value
    if isinstance(value, str):
        return encode(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return Arena(value)
    raise ValueError("a str, bytes or an Arena is needed")


def _hide(value: object) -> str:
    return HIDDEN


def core_schema(cls: type[Arena], source: object, handler: object) -> Any:
    """The schema of a field: a str, bytes or an Arena goes in, and stars come out."""
    from pydantic_core import core_schema as schema  # noqa: PLC0415 - see above

    return schema.no_info_plain_validator_function(
        arena_of,
        serialization=schema.plain_serializer_function_ser_schema(
            _hide, return_schema=schema.str_schema()
        ),
    )


def json_schema(cls: type[Arena], schema: object, handler: object) -> dict[str, object]:
    """The JSON schema of a field."""
    return {"type": "string", "format": "password", "writeOnly": True}
