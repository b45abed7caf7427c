"""The mutants of the schema: what the migrations forbid, each thing dropped by its name from a database they made; and
what they decide, each condition of a function, a trigger or a check changed in it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.mutants.mutant import Mutant, mutants_of, numbered, table_place
from tests.mutants.of_sql import edits

# table, name, kind, statement, columns. Kinds: as in pg_constraint, and "index", "trigger", "not null".
READ_SCHEMA: Final = """
select r.relname::text, c.conname::text, c.contype::text,
       format('alter table %I drop constraint %I cascade', r.relname, c.conname),
       array(select a.attname::text from pg_attribute a where a.attrelid = r.oid and a.attnum = any(c.conkey))
from pg_constraint c join pg_class r on r.oid = c.conrelid join pg_namespace n on n.oid = r.relnamespace
where n.nspname = 'public' and r.relname <> 'schema_steps' and c.contype in ('c', 'f', 'p', 'u', 'x')
union all
select r.relname::text, i.relname::text, 'index', format('drop index %I', i.relname), '{}'
from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class r on r.oid = x.indrelid
     join pg_namespace n on n.oid = r.relnamespace
where n.nspname = 'public' and r.relname <> 'schema_steps' and x.indisunique
      and not exists (select from pg_constraint c where c.conindid = x.indexrelid)
union all
select r.relname::text, t.tgname::text, 'trigger', format('drop trigger %I on %I', t.tgname, r.relname), '{}'
from pg_trigger t join pg_class r on r.oid = t.tgrelid join pg_namespace n on n.oid = r.relnamespace
where n.nspname = 'public' and not t.tgisinternal
union all
select r.relname::text, a.attname::text, 'not null',
       format('alter table %I alter column %I drop not null', r.relname, a.attname), array[a.attname::text]
from pg_attribute a join pg_class r on r.oid = a.attrelid join pg_namespace n on n.oid = r.relnamespace
where n.nspname = 'public' and r.relname <> 'schema_steps' and r.relkind in ('r', 'p') and a.attnum > 0
      and a.attnotnull and not exists (
          select from pg_constraint c where c.conrelid = r.oid and c.contype = 'p' and a.attnum = any(c.conkey))
order by 1, 3, 2
"""
# table, name, kind, what takes the old one away, what makes it, and the part of that which decides.
READ_DECISIONS: Final = """
select coalesce((select r.relname::text from pg_trigger t join pg_class r on r.oid = t.tgrelid
                 where t.tgfoid = p.oid order by 1 limit 1), 'orders'),
       p.proname::text, 'function', '', pg_get_functiondef(p.oid), p.prosrc
from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'public'
union all
select r.relname::text, t.tgname::text, 'trigger', format('drop trigger %I on %I', t.tgname, r.relname),
       pg_get_triggerdef(t.oid), substring(pg_get_triggerdef(t.oid) from 'WHEN \\(.*\\)(?= EXECUTE)')
from pg_trigger t join pg_class r on r.oid = t.tgrelid join pg_namespace n on n.oid = r.relnamespace
where n.nspname = 'public' and not t.tgisinternal and t.tgqual is not null
union all
select r.relname::text, c.conname::text, 'check', format('alter table %I drop constraint %I', r.relname, c.conname),
       format('alter table %I add constraint %I %s', r.relname, c.conname, pg_get_constraintdef(c.oid)),
       pg_get_constraintdef(c.oid)
from pg_constraint c join pg_class r on r.oid = c.conrelid join pg_namespace n on n.oid = r.relnamespace
where n.nspname = 'public' and c.contype = 'c'
order by 1, 3, 2
"""
_KINDS: Final = {"c": "check", "f": "foreign key", "p": "primary key", "u": "unique", "x": "exclude"}


def mutants(root: Path, schema: Iterable[Sequence[Any]]) -> list[Mutant]:
    """A mutant for each row of READ_SCHEMA."""
    texts = _texts(root)
    found = []
    for table, name, kind, statement, columns in schema:
        file, line = _place(texts, table, name, columns)
        what = f"{_KINDS.get(kind, kind)} {name}"
        found.append(
            Mutant(
                f"schema.{table}: {what}", table_place(table), file, line, f"{table}: {what}", statements=(statement,)
            )
        )
    return numbered(found)


def of_decisions(root: Path, decisions: Iterable[Sequence[str]]) -> list[Mutant]:
    """The mutants of each row of READ_DECISIONS."""
    texts = _texts(root)
    found = []
    for table, name, kind, drop, definition, body in decisions:
        before, _, after = definition.partition(body)
        file, line = _place(texts, table, name, ())
        whole = f"CHECK ({body.removeprefix('CHECK ')} or true)"  # it is dropped already
        for changed in mutants_of(file, body, edits(f"decision schema.{table}: {kind} {name}", body)):
            if changed.text == whole:
                continue
            statements = (*([drop] if drop else []), f"{before}{changed.text}{after}")
            at = line + changed.line - 1 if kind == "function" else line
            found.append(replace(changed, place=table_place(table), line=at, text=None, statements=statements))
    return numbered(found)


def _texts(root: Path) -> dict[str, list[str]]:
    steps = sorted((root / "flashsale" / "sql" / "migrations").glob("*.sql"))
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8").splitlines() for path in steps}


def _place(texts: dict[str, list[str]], table: str, name: str, columns: Sequence[str]) -> tuple[str, int]:
    """The line that says so, as far as it can be found: by the name, else by the first column in its table."""
    by_name = re.compile(rf"\b{re.escape(name)}\b")
    head = re.compile(rf"\b(table|on) {re.escape(table)}\b")
    column = re.compile(rf"^\s+{re.escape(columns[0])}\s") if columns else None
    fallback = ("", 0)
    for file, lines in texts.items():
        inside = False
        for number, line in enumerate(lines, start=1):
            inside = bool(head.search(line)) or (inside and not line.startswith(")"))
            if name not in columns and by_name.search(line):
                return file, number
            if inside and column and column.search(line):
                return file, number
            if inside and not fallback[1]:
                fallback = (file, number)
    return fallback
