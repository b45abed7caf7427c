"""flashsale fcode: batches are made, listed, exported, extended and released by typed commands."""

import csv
import stat
from pathlib import Path

import pytest

from flashsale.identity import code_keys_of
from tests.integration.cli_process import Cli
from tests.integration.codes import redeem
from tests.integration.conftest import Shops
from tests.integration.test_cli_errors import assert_refused

pytestmark = pytest.mark.servers


async def test_from_a_batch_to_a_file(cli: Cli, shops: Shops, tmp_path: Path) -> None:
    """Given a sale with units aside / When ops make a batch and export it in two files / Then each code is in one of
    them, is read back, buys, and is told as used."""
    shop = await shops(fcodes=5)
    await shop.work()
    assert "has no F-codes" in cli("fcode", "list", shop.sale).out
    assert cli("sale", "show", shop.sale, "--json").json["aside"] == {"silver": 5, "black": 0}
    assert "aside" in cli("sale", "show", shop.sale).out
    made = cli("fcode", "create", shop.sale, "--item", "silver=5", "--tag", "vips", "--json").json
    assert (made["codes"], made["given"], made["released"], made["tag"]) == ({"silver": 5}, 0, False, "vips")
    number = str(made["batch"])
    assert "2 codes" in cli("fcode", "export", number, "one.csv", "--codes", "2").out
    assert "3 codes" in cli("fcode", "export", number, "two.csv").out
    codes = []
    for name in ("one.csv", "two.csv"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        assert head == ["code", "item"]
        codes += [code for code, item in rows if item == "silver"]
    keys = code_keys_of(shop.settings)
    assert [keys.read(code) for code in codes] == [(keys.first, (made["batch"], serial)) for serial in range(5)]
    assert (await redeem(shop, "alice", codes[4])).status_code == 201
    await shop.landed(1)
    (row,) = cli("fcode", "list", shop.sale, "--json").json
    assert (row["given"], row["redeemed"]) == (5, 1)
    assert "vips" in cli("fcode", "list", shop.sale).out
    assert "5 codes" in cli("fcode", "export", number, "again.csv", "--again").out
    whole = (tmp_path / "one.csv").read_text() + "".join((tmp_path / "two.csv").read_text().splitlines(True)[1:])
    assert (tmp_path / "again.csv").read_text() == whole


async def test_extended_and_released(cli: Cli, shops: Shops) -> None:
    """Given a batch / When it is extended and released / Then it says so, and its codes are over."""
    shop = await shops(fcodes=1, closes="+2h")
    await shop.work()
    made = cli("fcode", "create", shop.sale, "--item", "silver=1", "--expires", "+30m", "--json").json
    number = str(made["batch"])
    cli("fcode", "export", number, "codes.csv")
    later = cli("fcode", "extend", number, "+1h", "--json").json
    assert later["expires_ms"] - made["expires_ms"] == 30 * 60_000
    assert "unused units on sale" in cli("fcode", "release", number).out
    assert "released" in cli("fcode", "list", shop.sale).out
    assert_refused(cli("fcode", "extend", number, "+1h"), "is released")
    assert_refused(cli("fcode", "export", number, "more.csv"), "is released")


async def test_what_can_t_be(cli: Cli, shops: Shops, tmp_path: Path) -> None:
    """Given commands that make no sense / Then each is refused with what to do, and leaves no file."""
    shop = await shops(fcodes=2)
    for arguments, words in (
        (("create", shop.sale, "--item", "silver"), "silver=1000"),
        (("create", shop.sale, "--item", "silver=1", "--item", "silver=1"), "the same item twice"),
        (("create", shop.sale, "--item", "silver=3"), "sale add-stock"),
        (("create", shop.sale, "--item", "gold=1"), "no item gold"),
        (("create", shop.sale, "--item", "silver=1", "--expires", "soon"), "--expires: 'soon' is not a time"),
        (("create", "nowhere", "--item", "silver=1"), "no sale nowhere"),
        (("export", "1048575", "x.csv"), "no batch 1048575"),
        (("extend", "1048575", "+1h"), "no batch 1048575"),
        (("release", "1048575"), "no batch 1048575"),
    ):
        assert_refused(cli("fcode", *arguments), words)
    assert not (tmp_path / "x.csv").exists()
    made = str(cli("fcode", "create", shop.sale, "--item", "silver=2", "--json").json["batch"])
    (tmp_path / "there.csv").write_text("mine")
    assert_refused(cli("fcode", "export", made, "there.csv"), "is there already")
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert_refused(cli("fcode", "export", made, "x.csv", "--codes", "3"), "must be 1 to 2")
    assert_refused(cli("fcode", "export", made, "x.csv", "--codes", "1", "--again"), "leave --codes out")
    assert not (tmp_path / "x.csv").exists()
    assert cli("fcode", "list", shop.sale, "--json").json[0]["given"] == 0
    cli("fcode", "export", made, "x.csv")
    assert_refused(cli("fcode", "export", made, "y.csv"), "--again")
