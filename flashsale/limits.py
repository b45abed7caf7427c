"""Every bound of the engine in one place, so that those which belong together can be checked together.

Names go from big to small with the unit last. Nothing in the engine grows without one of these.
"""

from typing import Final

# What a fan may send.
FAN_LENGTH_MAX: Final = 64
SLUG_LENGTH_MAX: Final = 40
CHANNEL_LENGTH_MAX: Final = 16
IDEMPOTENCY_KEY_LENGTH_MAX: Final = 64
RIGHT_LENGTH_MAX: Final = 320
BODY_BYTES_MAX: Final = 16_384

# What a sale may be.
ITEMS_PER_SALE_MAX: Final = 50
CHANNELS_PER_SALE_MAX: Final = 100  # the last two decimal digits of a reservation's number (reservation.py)
UNITS_PER_ITEM_MAX: Final = 9_999_999  # a unit's number has seven digits where it is stored
PER_FAN_LIMIT_MAX: Final = 20
RETURNED_PER_FAN_MAX: Final = 3  # orders that a fan may let go in one sale; after one more they are refused
PRICE_MINOR_MAX: Final = 10**12
PAY_WINDOW_S_MIN: Final = 30
PAY_WINDOW_S_MAX: Final = 7 * 86_400
BUCKETS_PER_SALE_MAX: Final = 1  # more than one needs the balancer between buckets, which does not exist yet
RESERVATIONS_MAX: Final = 50_000_000
FANS_PER_SLICE: Final = 200  # below set-max-intset-entries (512) with room for an uneven spread

# The coalescer between a process and a bucket.
ATTEMPTS_PER_CALL_MAX: Final = 512
CALLS_IN_FLIGHT_MAX: Final = 1  # measured: more calls at once only make the batches smaller
ATTEMPTS_WAITING_MAX: Final = 20_000
CALL_TIMEOUT_S: Final = 5.0
LUA_UNPACK_MAX: Final = 7_000  # Lua's own limit on values that unpack() may return is a little under 8,000

# The outbox and the worker.
OUTBOX_ORDERS_MAX: Final = 1_000_000
OUTBOX_ENTRIES_PER_READ: Final = 64
LANDINGS_IN_FLIGHT_MAX: Final = 2  # one is being sent while Postgres works on the other
OUTBOX_BLOCK_MS: Final = 500
LEASE_MS: Final = 5_000
EXPIRED_PER_TRANSACTION: Final = 1_000
RETURNS_PER_CALL: Final = 500
RETURNS_PER_READ: Final = 5_000

# What a process keeps of the sales, and how it answers.
PICTURE_REFRESH_S: Final = 0.2
PLAN_REFRESH_S: Final = 1.0
EARLY_REFUSAL_MARGIN_MS: Final = 250  # before opening, how far a picture's clock must be away to refuse by it
WATCHERS_MAX: Final = 10_000
WATCH_POLL_S: Final = 0.5
WATCH_HEARTBEAT_S: Final = 15.0
ORDERS_PER_PAGE: Final = 100

assert ATTEMPTS_PER_CALL_MAX * 2 + 8 < LUA_UNPACK_MAX, "a full batch must fit one XADD"
assert RETURNS_PER_CALL * 3 < LUA_UNPACK_MAX
assert RETURNS_PER_CALL <= RETURNS_PER_READ
assert LEASE_MS > 2 * OUTBOX_BLOCK_MS, "a lease must outlive the wait for an empty outbox"
assert CALL_TIMEOUT_S * 1000 <= LEASE_MS
assert len(str(UNITS_PER_ITEM_MAX)) == 7
assert FANS_PER_SLICE * 2 < 512
