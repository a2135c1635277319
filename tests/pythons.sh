#!/bin/sh
# Prints a path for each CPython that the package is for: the command on the path
# if it answers, else the newest of pyenv's.
for version in 3.11 3.12 3.13 3.14; do
    for threads in '' t; do
        found=
        for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/$version.*[0-9]$threads/bin/python \
            "$(command -v python$version$threads)"; do
            "$python" -c '' 2>/dev/null && found=$python
        done
        [ -z "$found" ] || echo "$found"
    done
done
