"""Text into arenas and out of them, against the standard library."""

import base64
import binascii
import random
import re
from collections.abc import Callable

import pytest

import secalloc
from secalloc import Arena


@pytest.mark.parametrize("size", [*range(70), 1000, 4096, 100_003])
def test_there_and_back(size: int) -> None:
    data = random.Random(size).randbytes(size)  # noqa: S311
    with Arena(data) as key, secalloc.hexlify(key) as text, secalloc.fromhex(text) as back:
        assert bytes(text) == binascii.hexlify(data)
        assert back == data
        assert secalloc.fromhex(data.hex().upper()) == data
        assert secalloc.fromhex(bytearray(data.hex(" "), "ascii")) == data
    for url, encode in ((False, base64.b64encode), (True, base64.urlsafe_b64encode)):
        with Arena(data) as key, secalloc.b64encode(key[:], urlsafe=url) as text:
            assert bytes(text) == encode(data)
            assert type(text) is Arena
            assert secalloc.b64decode(text, urlsafe=url) == data
            assert secalloc.b64decode(encode(data).decode(), urlsafe=url) == data


def agrees(ours: Callable[[str], Arena], theirs: Callable[[str], bytes], text: str) -> None:
    try:
        expected = theirs(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"position|too early"):
            ours(text)
    else:
        with ours(text) as arena:
            assert bytes(arena) == expected, ascii(text)


def b64(text: str) -> bytes:
    letters = re.sub(r"[ \t\n\v\f\r]", "", text)
    if len(letters) % 4:  # Python 3.11 lets padding follow that nothing needs
        raise ValueError
    return base64.b64decode(letters, validate=True)


def test_every_character_at_every_place() -> None:
    for code in (*range(256), 0x130, 0x141, 0x161, 0x1F41, 0x10041):
        for at in range(5):
            agrees(secalloc.fromhex, bytes.fromhex, "0aF9"[:at] + chr(code) + "0aF9"[at:])
            agrees(secalloc.fromhex, bytes.fromhex, "0aF9"[:at] + chr(code) + "0aF9"[at + 1 :])
            agrees(secalloc.b64decode, b64, "Qa9/"[:at] + chr(code) + "Qa9/"[at + 1 :])


def test_random_text() -> None:
    chance = random.Random(7)  # noqa: S311
    for _ in range(3000):
        text = "".join(chance.choices("0123abCDef \t\n\v\f\rg", k=chance.randrange(12)))
        agrees(secalloc.fromhex, bytes.fromhex, text)
        text = "".join(chance.choices("AZaz09+/", k=chance.randrange(9)))
        text += "=" * chance.randrange(4)
        agrees(secalloc.b64decode, b64, text)


@pytest.mark.parametrize(
    ("call", "text", "message"),
    [
        (secalloc.fromhex, "00z1", "position 2"),
        (secalloc.fromhex, "0\u0661", "position 1"),
        (secalloc.fromhex, b"00\xff", "position 2"),
        (secalloc.fromhex, "001", "too early, after 3"),
        (secalloc.b64decode, "QQ Q", "too early, after 4"),
        (secalloc.b64decode, "QQ;Q", "position 2"),
        (secalloc.b64decode, "QQ-Q", "position 2"),
        (secalloc.b64decode, "Q===", "position 1"),
        (secalloc.b64decode, "QQ", "too early, after 2"),
        (secalloc.encode, "ab\ud800", "position 2"),
    ],
)
def test_bad_text_is_told_by_its_position(
    call: Callable[[object], Arena], text: str, message: str
) -> None:
    before = secalloc.status().arenas
    with pytest.raises(ValueError, match=message) as caught:
        call(text)
    assert type(caught.value) is ValueError  # a UnicodeError would carry the text
    assert ascii(text)[1:-1] not in str(caught.value)
    assert caught.value.__context__ is None
    assert secalloc.status().arenas == before


def test_other_alphabets_are_refused() -> None:
    with secalloc.b64decode("-_-_", urlsafe=True) as arena:
        assert bytes(arena) == b"\xfb\xff\xbf"
    with pytest.raises(ValueError, match="position 0"):
        secalloc.b64decode("+/+/", urlsafe=True)


@pytest.mark.parametrize(
    "text", ["", "a", "\0", "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff", "\xe4" * 1000]
)
def test_encode(text: str) -> None:
    with secalloc.encode(text) as arena:
        assert bytes(arena) == text.encode()


def test_encode_of_every_character() -> None:
    text = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    with secalloc.encode(text) as arena:
        assert arena == text.encode()


def test_wrong_types() -> None:
    for call in (secalloc.fromhex, secalloc.b64decode, secalloc.hexlify, secalloc.b64encode):
        with pytest.raises(TypeError):
            call(5)  # type: ignore[arg-type]
    for call in (secalloc.hexlify, secalloc.b64encode):
        with pytest.raises(TypeError):
            call("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes a str"):
        secalloc.encode(b"bytes")  # type: ignore[arg-type]


def test_an_arena_that_cannot_be_read() -> None:
    with Arena(8) as arena:
        arena.clear()
        for call in (secalloc.fromhex, secalloc.b64decode, secalloc.hexlify, secalloc.b64encode):
            with pytest.raises(secalloc.WipedError):
                call(arena)
