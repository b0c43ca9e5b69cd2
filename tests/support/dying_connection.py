"""A connection to SQLite whose process "dies" at its nth statement."""


class Killed(Exception):
    """Raised where a process dies."""


class DyingConnection:
    """A connection that raises `Killed` at its nth statement, before or after the statement is run."""

    def __init__(self, connection, statement, after):
        self._connection, self._left, self._after = connection, statement, after
        self.statements = 0

    def __getattr__(self, name):
        real = getattr(self._connection, name)
        if name not in ("execute", "executemany"):
            return real

        def run(*arguments):
            self.statements += 1
            if self._left == self.statements and not self._after:
                raise Killed
            result = real(*arguments)
            if self._left == self.statements:
                raise Killed
            return result

        return run
