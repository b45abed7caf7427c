"""The mutants are those that they should be: found in the text, one change each, under a name that stays."""

import pytest

from tests.mutants import equivalents, of_lua, of_schema, of_sql
from tests.mutants.child import Told
from tests.mutants.choice import Choice, Watched
from tests.mutants.equivalents import complaints
from tests.mutants.mutant import Mutant, mutants_of, query_place, script_place
from tests.unit.test_house import ROOT

CONDITION = "state == 'closed' and\n   now >= tonumber(plan[3])"
SCRIPT = f"""#!lua
-- x: does. if this and that then nothing
local state = plan[1] or '0'
if {CONDITION} then return CLOSED end
local n = 1
if redis.call('XDEL', outbox, id) == 1 then n = n + 1 end
redis.call('HINCRBY', counts, 'free', -n)
redis.call('LPUSH', free, string.format('%d', n))
return n
"""
QUERIES = """-- name: first
-- Where nothing, and more.
update a set b = b + 1 where c = $1 and d between 1 and 2 and (e or f and h) returning g;

-- name: second
insert into a select case when d then case x when 'y' then 1 end end from b join c on b.x = c.x and b.y <= c.y
on conflict do nothing;

-- name: third
select a from b where c = $1 for update skip locked;
"""
DECISION = """
begin
    if old.a > 1 and old.b then
        raise exception 'no, if a and b';
    elsif not found then
        perform g(new.n - 1) from h where i for key share of h;
    end if;
end
"""


def changes(source: str, file: str = "x.lua") -> set[str]:
    """What each edit of a text does, in short."""
    edits = of_lua.edits("x", source) if file.endswith(".lua") else of_sql.edits("x", source)
    return {f"{source[one.start : one.end]} => {one.becomes}" for one in edits}


def test_a_script_has_a_mutant_for_each_condition_operand_bound_sign_write_and_end() -> None:
    """Given a script / Then these are its mutants; words in comments and texts are none."""
    assert changes(SCRIPT) == {
        f"{CONDITION} => false and ({CONDITION})",
        "redis.call('XDEL', outbox, id) == 1 => false and (redis.call('XDEL', outbox, id) == 1)",
        "plan[1] => (plan[1] and false)",
        "'0' => ('0' and false)",
        "state == 'closed' => (state == 'closed' or true)",
        "now >= tonumber(plan[3]) => (now >= tonumber(plan[3]) or true)",
        ">= => >",
        "+ => -",
        "- =>  ",
        "redis.call('XDEL', outbox, id) => 1",
        "redis.call('HINCRBY', counts, 'free', -n) => local _ = {'HINCRBY', counts, 'free', -n}",
        "redis.call('LPUSH', free, string.format('%d', n)) => local _ = {'LPUSH', free, string.format('%d', n)}",
        "'LPUSH' => 'RPUSH'",
    }


def test_queries_have_a_mutant_for_each_condition_bound_sign_lock_and_conflict() -> None:
    """Given queries / Then these are their mutants; a between is one condition."""
    assert changes(QUERIES, "x.sql") == {
        "c = $1 => (c = $1 or true)",
        "d between 1 and 2 => (d between 1 and 2 or true)",
        "(e or f and h) => ((e or f and h) or true)",
        "e => (e and false)",
        "f and h => (f and h and false)",
        "f => (f or true)",
        "h => (h or true)",
        "d => (d or true)",
        "+ => -",
        "b.x = c.x => (b.x = c.x or true)",
        "b.y <= c.y => (b.y <= c.y or true)",
        "<= => <",
        "on conflict do nothing => ",
        "for update skip locked => ",
        "skip locked => ",
    }


def test_a_function_of_the_schema_has_a_mutant_for_each_condition() -> None:
    """Given a function / Then no `if` comes true, each side says nothing, bounds and locks go as in queries."""
    assert changes(DECISION, "x.sql") == {
        "old.a > 1 and old.b => (false and (old.a > 1 and old.b))",
        "old.a > 1 => (old.a > 1 or true)",
        "old.b => (old.b or true)",
        "> => >=",
        "not found => (false and (not found))",
        "- => +",
        "i => (i or true)",
        "for key share of h => ",
    }


def test_a_decision_is_changed_where_it_is_made() -> None:
    """Given a check, and a trigger's function / Then a mutant makes it anew, changed, at its line; none drops it."""
    made = "alter table orders add constraint orders_place CHECK ((place > 0))"
    check = ("orders", "orders_place", "check", "drop it", made, "CHECK ((place > 0))")
    body = "\nbegin\n    if exists (a) then b; end if;\nend "
    function = ("sales", "sales_limit_holds", "function", "", f"create function x as $${body}$$", body)
    place, limit = of_schema.of_decisions(ROOT, [check, function])
    assert place.statements == ("drop it", made.replace(">", ">="))
    assert limit.statements == (f"create function x as $${body.replace('exists (a)', '(false and (exists (a)))')}$$",)
    assert (place.place, limit.place) == ("table orders", "table sales")
    lines = (ROOT / limit.file).read_text(encoding="utf-8").splitlines()
    assert "if exists" in lines[limit.line - 1]


def test_every_condition_of_every_script_has_a_mutant() -> None:
    """Given the scripts as they are / Then each `if` can come out false, and each mutant is one change of its file."""
    found = of_lua.mutants(ROOT)
    for path in (ROOT / "flashsale" / "lua").glob("*.lua"):
        source = path.read_text(encoding="utf-8")
        code = "\n".join(line.partition("--")[0] for line in source.splitlines())
        mine = [one for one in found if one.file.endswith(f"/{path.name}")]
        conditions = sum(code.count(word) for word in ("if ",))  # elseif ends in "if " too
        assert sum("=> false and (" in one.name for one in mine) == conditions, path.name
        assert all(one.text not in {source, None} for one in mine)
    assert len({one.name for one in found}) == len(found)


def test_names_stay_when_lines_move() -> None:
    """Given a line more at the top / Then every name is as before; two mutants that read alike are numbered."""
    source = "if a then b() end\nif a then b() end\n"
    names = [one.name for one in mutants_of("x.lua", source, of_lua.edits("x", source))]
    moved = "-- more\n" + source
    assert names == [one.name for one in mutants_of("x.lua", moved, of_lua.edits("x", moved))]
    assert names == ["x: if «a» then b() end => false and (a)", "x: if «a» then b() end => false and (a) #2"]


def test_what_the_schema_forbids_is_found_in_the_migrations() -> None:
    """Given rows of the catalog / Then each has a mutant, at the line that says it."""
    rows = [
        ("orders", "orders_live_unit", "index", "drop index orders_live_unit", []),
        ("sales", "sales_currency_check", "c", "alter table …", ["currency"]),
    ]
    index, check = of_schema.mutants(ROOT, rows)
    for mutant, words in ((index, "unique index orders_live_unit"), (check, "check (currency ~")):
        lines = (ROOT / mutant.file).read_text(encoding="utf-8").splitlines()
        assert words in lines[mutant.line - 1]
    assert (index.name, index.statements) == (
        "schema.orders: index orders_live_unit", ("drop index orders_live_unit",),
    )  # fmt: skip


def test_the_list_of_equivalents_may_only_shrink() -> None:
    """Given a list / Then a new survivor, an entry that is caught and one that names nothing are complained of."""
    known = {"a": "why", "b": "why", "gone": "why", "not tried": "why", "e": "why"}
    told = complaints(
        known, tried={"a", "b", "c", "d", "e"}, survived=["a", "c"], without_verdict=["e"],
        every={"a", "b", "c", "d", "e", "not tried"},
    )  # fmt: skip
    assert told == [
        "NO VERDICT: e", "SURVIVED: c", "listed, but a test catches it: b", "listed, but there is no such mutant: gone",
    ]  # fmt: skip
    assert complaints(known, tried={"a"}, survived=["a"], every=known) == []


def test_a_mutant_meets_the_tests_that_use_its_place() -> None:
    """Given what tests use / Then a mutant meets those of its kind that use its place, the quickest first.

    What caught a mutant of that place before goes before them.
    """
    script, query = script_place("x"), query_place("orders", "land")
    watched = [
        Watched("tests/lua/test_a.py::slow", 2.0, frozenset({script})),
        Watched("tests/lua/test_a.py::quick", 0.1, frozenset({script})),
        Watched("tests/lua/test_a.py::other", 0.1, frozenset({script_place("y")})),
        Watched("tests/ground/test_b.py::both", 0.1, frozenset({script, query})),
    ]
    choice = Choice(("tests/lua/", "tests/ground/"), watched)
    lua = Mutant("x: …", script, "flashsale/lua/x.lua", 1, "…", text="…")
    sql = Mutant("orders.land: …", query, "flashsale/sql/orders.sql", 1, "…", text="…")
    assert choice.tests_for(lua) == ["tests/lua/test_a.py::quick", "tests/lua/test_a.py::slow"]
    assert choice.tests_for(sql) == ["tests/ground/test_b.py::both"]
    assert Choice(("tests/lua/",), watched).tests_for(sql) == [], "another layer's"
    choice.learn(lua, "tests/lua/test_a.py::slow")
    assert choice.tests_for(lua)[0] == "tests/lua/test_a.py::slow"


def test_only_a_failed_test_is_a_failure() -> None:
    """Given what a child says / Then a test that fails is a failure, one that comes to no end or dies is trouble."""
    failed, timed_out = Told(), Told()
    for line in ({"began": "a"}, {"began": "b"}, {"failed": "assert 1 == 2"}, {"ended": True}):
        failed.take(line)
    assert (failed.began, failed.failed, failed.trouble, failed.ended) == ("b", "assert 1 == 2", "", True)
    timed_out.take({"trouble": "Timeout (>90.0s) from pytest-timeout."})
    assert (timed_out.failed, timed_out.trouble[:7]) == (None, "Timeout")


def test_an_equivalent_has_a_reason() -> None:
    """Given an entry without a reason, or twice / Then the list is refused; ours is read."""
    for text in ("[[mutant]]\nname = 'a'\n", "[[mutant]]\nname = 'a'\nreason = 'b'\n" * 2):
        with pytest.raises(ValueError, match="no reason, or is listed twice"):
            equivalents.listed(text)
    assert equivalents.listed(equivalents.FILE.read_text(encoding="utf-8"))
