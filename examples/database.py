"""A client of PostgreSQL: keeps tokens there, and fetches them.

    export PGHOST=/run/postgresql PGDATABASE=app PGUSER=app SECALLOC_CREDENTIALS=/etc/app
    python -m secalloc run examples/database.py put NAME    # asks for the token
    python -m secalloc run examples/database.py get NAME    # writes it to standard output

The password is a credential: a file `database` where systemd, Docker or Kubernetes put it, or in
the folder above. psycopg wants it as a str, and libpq copies it; so that call is sheltered, and
`secalloc run` has libpq's memory come from the shelter, too. Without `run` those copies lie on the
C heap. `pip install 'psycopg[binary]'`.
"""

import os
import sys

import psycopg

import secalloc

TABLE = "create table if not exists tokens (name text primary key, token bytea not null)"
PUT = "insert into tokens values (%s, %s) on conflict (name) do update set token = excluded.token"
GET = "select token from tokens where name = %s"


class Tokens:
    """The table of tokens, by one connection."""

    def __init__(self, password: secalloc.Arena) -> None:
        self.connection = self.connect(password)
        self.connection.execute(TABLE)

    @staticmethod
    @secalloc.sheltered
    def connect(password: secalloc.Arena) -> psycopg.Connection:
        """The connection keeps the password for as long as it lives: in the shelter."""
        return psycopg.connect(
            password=password.reveal("utf-8"), autocommit=True, connect_timeout=10
        )

    @secalloc.sheltered
    def put(self, name: str, token: secalloc.Arena) -> None:
        self.connection.execute(PUT, (name, memoryview(token)))

    @secalloc.capturing(name="token")
    def get(self, name: str) -> bytes:
        """Called, it gives an arena of that. KeyError: there is no such token."""
        row = self.connection.execute(GET, (name,), binary=True).fetchone()
        if row is None:
            raise KeyError(name)
        token: bytes = row[0]
        return token


def main() -> None:
    _, command, name = sys.argv
    with secalloc.credential("database") as password:
        tokens = Tokens(password)
    with tokens.connection:
        if command == "put":
            with secalloc.getpass("Token: ") as token:
                tokens.put(name, token)
        else:
            with tokens.get(name) as token:
                os.writev(1, [token, b"\n"])


if __name__ == "__main__":
    main()
