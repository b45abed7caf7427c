"""A plan is read as it is written, and each fault in it is named with what to do."""

import re

import pytest

from flashsale import limits, plan
from flashsale.errors import BadInputError
from tests.support.samples import PLAN


def changed(old: str, new: str) -> str:
    """The sample plan with one thing changed."""
    assert PLAN.count(old) >= 1, old
    return PLAN.replace(old, new, 1)


def refused(text: str) -> str:
    """The sentence with which this plan is refused."""
    with pytest.raises(BadInputError) as refusal:
        plan.read(text)
    assert refusal.value.exit_status == 2
    return str(refusal.value)


def test_a_good_file() -> None:
    """Given the sample / Then it is read, and what it doesn't say has its default."""
    read = plan.read(PLAN)
    assert (read.sale, read.title.zh, read.currency, read.channels) == ("mi3", "小米手机3", "CNY", ["web", "wechat"])
    assert [(item.item, item.price_minor, item.stock) for item in read.items] == [
        ("silver", 199900, 100),
        ("black", 199900, 50),
    ]
    assert (read.entry, read.per_fan_limit, read.pay_window_s, read.buckets) == ("reservation", 1, 900, 1)
    assert read.repeat is None


def test_it_comes_back_from_json_as_it_was() -> None:
    """Given a plan that was written down as JSON / When it is read again / Then its times are the same."""
    read = plan.read(PLAN)
    again = plan.from_data(read.model_dump(mode="json"))
    assert again == read


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('currency = "CNY"', 'currency = "CNY"\nper_fan_limt = 2', "per_fan_limt: there is no such key"),
        ("stock = 100", "stok = 100", "items.0.stok: there is no such key"),
        ('opens = "-6d"', 'open = "-6d"', "reservation.open: there is no such key"),
        ('zh = "银色"', 'cn = "银色"', "items.0.title.cn: there is no such key"),
    ],
)
def test_a_typo_in_a_key_is_named(old: str, new: str, named: str) -> None:
    """Given a key with a typo, at any depth / Then it is named as no key of ours."""
    assert named in refused(changed(old, new))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("stock = 100", "stock = -1", "items.0.stock"),
        ("stock = 100", f"stock = {limits.UNITS_PER_ITEM_MAX + 1}", "items.0.stock"),
        ("stock = 100", "stock = 100000000000000000000", "items.0.stock"),
        ("stock = 100", "stock = 1.5", "items.0.stock"),
        ("stock = 100", 'stock = "100"', "items.0.stock"),
        ("stock = 100", "stock = true", "items.0.stock"),
        ("price_minor = 199900", "price_minor = -1", "items.0.price_minor"),
        ("price_minor = 199900", "price_minor = 1999.00", "items.0.price_minor"),
        ('currency = "CNY"', 'currency = "yuan"', "currency"),
        ('currency = "CNY"', 'currency = "CNY"\nper_fan_limit = 0', "per_fan_limit"),
        ('currency = "CNY"', 'currency = "CNY"\npay_window_s = 1', "pay_window_s"),
        ('currency = "CNY"', 'currency = "CNY"\nbuckets = 65', "buckets"),
        ('currency = "CNY"', 'currency = "CNY"\nrepeat = "daily"', "repeat"),
        ('currency = "CNY"', 'currency = "CNY"\nentry = "all"', "entry"),
        ('currency = "CNY"\n', "", "currency: this key is missing"),
        ('["web", "wechat"]', "[]", "channels"),
        ('["web", "wechat"]', '["web", "web"]', "channels: two channels have the same name"),
        ('["web", "wechat"]', '["We Chat"]', "channels.0"),
        ('closes = "-1h"', 'closes = "-1h"\ncapacity = 0', "reservation.capacity"),
        ('item = "black"', 'item = "silver"', "items: two items have the same name"),
        ('zh = "银色"', 'zh = ""', "items.0.title.zh"),
    ],
)
def test_a_value_that_cannot_be_is_named(old: str, new: str, named: str) -> None:
    """Given a value out of bounds, of another kind, missing or doubled / Then its key is named."""
    assert named in refused(changed(old, new))


@pytest.mark.parametrize(
    "slug", ["", "a" * (limits.SLUG_LENGTH_MAX + 1), "Mi3", "mi_3", "-mi3", "mi3-", "mi{3}", "mi3\\n"]
)
def test_a_name_that_cannot_be_a_slug(slug: str) -> None:
    """Given a name that is too long or has other characters / Then it is refused, of a sale and of an item."""
    assert "sale: " in refused(changed('sale = "mi3"', f'sale = "{slug}"'))
    assert "items.0.item: " in refused(changed('item = "silver"', f'item = "{slug}"'))


@pytest.mark.parametrize("slug", ["a", "7", "a-b", "a" * limits.SLUG_LENGTH_MAX])
def test_names_that_can(slug: str) -> None:
    """Given a name within the rule / Then it is taken."""
    assert plan.read(changed('sale = "mi3"', f'sale = "{slug}"')).sale == slug


def test_a_weekly_name_leaves_room_for_its_date() -> None:
    """Given a weekly sale whose dated name would be too long / Then it is refused beforehand."""
    weekly = changed('currency = "CNY"', 'currency = "CNY"\nrepeat = "weekly"')
    assert "too long for a weekly sale" in refused(weekly.replace('"mi3"', f'"{"a" * 30}"', 1))
    assert plan.read(weekly.replace('"mi3"', f'"{"a" * 29}"', 1)).repeat == "weekly"


@pytest.mark.parametrize("zone", ["Nowhere/Town", "", "../passwd", "UTC+8", "Asia/", "Europe", "x" * 300, "a\\u0000b"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    """Given a name that is no time zone, even a folder of zones or a very long one / Then it is named."""
    assert "time_zone" in refused(changed("Asia/Shanghai", zone))


def test_a_reservation_sale_needs_its_table() -> None:
    """Given entry by reservation without the table / Then the fix is said; entry for all does without."""
    without = re.sub(r"\[reservation\].*?\n\n", "", PLAN, flags=re.DOTALL)
    assert '[reservation] table; or set entry = "open"' in refused(without)
    assert plan.read(without.replace('currency = "CNY"', 'currency = "CNY"\nentry = "open"')).reservation is None


def test_no_items_and_too_many() -> None:
    """Given no items or more than may be / Then items is named."""
    one = '{ item = "i%d", title = { zh = "a", en = "a" }, price_minor = 1, stock = 1 }'
    head = PLAN.partition("[reservation]")[0] + 'entry = "open"\n'
    assert "items" in refused(head + "items = []")
    many = ", ".join(one % n for n in range(limits.ITEMS_PER_SALE_MAX + 1))
    assert "items" in refused(f"{head}items = [{many}]")


@pytest.mark.parametrize("text", ["sale = ", "[[", "sale = 1\nsale = 2", "\x00"])
def test_what_is_no_toml(text: str) -> None:
    """Given a text that is no TOML / Then that is said."""
    assert "not valid TOML" in refused(text)


def test_every_fault_is_named_at_once() -> None:
    """Given two faults / Then both are named, so that nobody mends a file line by line."""
    told = refused(changed("stock = 100", "stock = -1").replace('"CNY"', '"yuan"'))
    assert "items.0.stock" in told
    assert "currency" in told


@pytest.mark.parametrize("sign", ["\\u0000", "\\n", "\\t", "\\u001b", "\\u007f"])
def test_a_title_with_a_control_character_is_refused(sign: str) -> None:
    """Given a title with a character that Postgres can't hold, or that would move a terminal / Then it is refused."""
    assert "items.0.title.zh" in refused(changed('zh = "银色"', f'zh = "a{sign}b"'))
    assert "title.en" in refused(changed('en = "Mi 3"', f'en = "{sign}"'))


def test_units_for_codes() -> None:
    """Given a plan that sets units aside / Then it takes F-codes, with none too; each item has to say how many."""
    assert not plan.read(PLAN).takes_fcodes
    none = changed("stock = 100", "stock = 100\nfcode_stock = 0")
    none = none.replace("stock = 50", "stock = 50\nfcode_stock = 7")
    read = plan.read(none)
    assert (read.takes_fcodes, [item.fcode_stock for item in read.items]) == (True, [0, 7])
    assert plan.from_data(read.model_dump(mode="json")) == read
    assert "give each item its fcode_stock" in refused(changed("stock = 100", "stock = 100\nfcode_stock = 5"))
    many = none.replace("fcode_stock = 0", f"fcode_stock = {limits.UNITS_PER_ITEM_MAX}")
    assert "silver has more than" in refused(many)
    assert "fcode_stock" in refused(none.replace("fcode_stock = 7", "fcode_stock = -1"))
