"""Statements of the busy path: written in SQLAlchemy, compiled once, run by the driver itself.

What SQLAlchemy does around each execution costs ten times what SQLite takes for a row by its key
(20 us against 1 to 3 us), and the gateway's writer shares its interpreter with everything else.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table, exc, insert
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement


class Prepared:
    """One statement with named values, each given at every call unless the statement itself has it.

    Values pass as they are: whole numbers, text and None. Rows have the columns' names; a boolean is 0 or 1.
    Errors are SQLAlchemy's, without the values: a failing row is no reason to show what is in it.
    """

    def __init__(self, statement: Executable, columns: Sequence[str] | None = None) -> None:
        assert isinstance(statement, ClauseElement)
        self._statement, self._columns = statement, columns
        self._ready: dict[type[Dialect], _Compiled] = {}

    @classmethod
    def insert(cls, table: Table) -> Prepared:
        """The insertion of a row: all columns are given but a number that the database counts itself."""
        counted = table.autoincrement_column
        columns = [c.key for c in table.columns if c is not counted or not c.primary_key]
        return cls(insert(table), columns)

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Execute it; returns the number of rows that it changed."""
        return int(self._execute(connection, values)[0].rowcount)

    def first(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """The first row, or None."""
        rows = self.all(connection, values)
        return rows[0] if rows else None

    def all(self, connection: Connection, values: Mapping[str, Any]) -> list[Any]:
        """Every row."""
        cursor, ready = self._execute(connection, values)
        if ready.row is None:
            names = [column[0] for column in cursor.description]
            ready.row = namedtuple("row", names)._make  # type: ignore[attr-defined]
        return [ready.row(row) for row in cursor.fetchall()]

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> tuple[Any, _Compiled]:
        dialect = connection.dialect
        ready = self._ready.get(type(dialect))
        if ready is None:
            ready = self._ready[type(dialect)] = _Compiled(self._statement, self._columns, dialect)
        given = ready.given(values)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(ready.text, given)
        except Exception as error:
            driver = dialect.loaded_dbapi.Error
            if not isinstance(error, driver):
                raise
            raise exc.DBAPIError.instance(
                ready.text, None, error, driver, hide_parameters=True, dialect=dialect
            ) from error
        return cursor, ready


class _Compiled:
    def __init__(self, statement: ClauseElement, columns: Sequence[str] | None, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        self.text = str(compiled)
        self.row: Callable[[Sequence[Any]], Any] | None = None
        self._own = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._order = compiled.positiontup
        self._names = tuple(compiled.binds)

    def given(self, values: Mapping[str, Any]) -> Any:
        """The values as the driver wants them: in order, or by name. Raises KeyError for a missing one."""
        own = self._own
        if self._order is not None:
            return [values[name] if name in values else own[name] for name in self._order]
        return {name: values[name] if name in values else own[name] for name in self._names}
