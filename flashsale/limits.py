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
BUCKETS_PER_SALE_MAX: Final = 64
RESERVATIONS_MAX: Final = 50_000_000
INTSET_ENTRIES_MIN: Final = 512  # what set-max-intset-entries must be, or a reservation takes several times its memory
FANS_PER_SLICE: Final = 200  # below that with room for an uneven spread

# What a batch of F-codes may be.
FCODE_BATCHES_MAX: Final = 1_048_575  # of one installation: a batch's number has 20 bits in its codes
CODES_PER_BATCH_MAX: Final = 1_048_576
FCODE_LENGTH_MAX: Final = 64  # as it may be typed
FCODE_GUESSES_BURST: Final = 20  # codes of one fan that are none, at once
FCODE_GUESSES_PER_S: Final = 1 / 30  # and in the long run

# The coalescer between a process and a bucket.
ATTEMPTS_PER_CALL_MAX: Final = 512
CALLS_IN_FLIGHT_MAX: Final = 2  # one is on its way while the server works on the other
WAITING_CALLS_IN_FLIGHT_MAX: Final = 1  # of calls that wait for servers: a second would wait for the first as well
ATTEMPTS_FOR_ANOTHER_CALL: Final = 32  # fewer wait for the call in flight, or the batches would only be smaller
ATTEMPTS_WAITING_MAX: Final = 20_000
ATTEMPTS_LAST_MAX: Final = 2_000  # of fans who press more often than their rate
ATTEMPT_WAIT_S_MAX: Final = 3.0  # who waited longer for a call is told so, and nothing was done
CALL_TIMEOUT_S: Final = 5.0
LUA_UNPACK_MAX: Final = 7_000  # Lua's own limit on values that unpack() may return is a little under 8,000

# How often one may ask, and how long a client is waited for.
FAN_BURST: Final = 10
FAN_FAR_S: Final = 10.0  # a press that comes too soon by less is decided last; by more, not at all
ADDRESS_BURST_S: Final = 5.0  # an address may send so many seconds' requests at once
SUSPECT_TIMES: Final = 4  # an address over its rate may go up to so many times it, where a challenge is asked instead
CHALLENGE_ROUNDS: Final = 200  # of PBKDF2 for each key: what a challenge costs us is one key
CHALLENGE_S: Final = 300  # for a device to solve it
SOLVED_S: Final = 600  # how long a solution lets its fan press
HEAD_BYTES_MAX: Final = 16_384
CONNECTIONS_MAX: Final = 20_000  # of one process
FILES_FOR_ITSELF: Final = 200  # what a process opens beside its clients' connections
HEAD_S_MAX: Final = 10
BODY_S_MAX: Final = 10
READ_S_MAX: Final = 20  # for a client to read what it was answered
IDLE_S_MAX: Final = 75  # longer than the edge keeps a connection, or it would send a press into one that closes
IDLE_CROWDED_S_MAX: Final = 5  # with most places taken

# How long a level above accepted is waited for before the lower one is told.
REPLICATED_WAIT_MS: Final = 500
BEHIND_WAIT_MS: Final = 5  # the worker's wait for replicas that were behind a moment ago
BEHIND_S: Final = 2.0  # for so long after the whole wait was in vain
FSYNCED_WAIT_MS: Final = 2_000  # a replica tells of its disk once a second, when it is not asked at the right moment
CONFIRM_WAIT_S: Final = 3.0
CONFIRM_LOOK_S: Final = 0.02

# A fan whose bucket has no unit while another may have some.
DRY_ASKED_AGAIN_S: Final = 0.15
DRY_ASKED_AGAIN_MAX: Final = 10

# The balance between buckets.
BALANCE_EVERY_S: Final = 0.1
LAST_UNITS_EVERY_S: Final = 0.5
LAST_UNITS_STAY_S: Final = 3.0  # the fans a unit came for ask again before it may leave
UNITS_PER_BUCKET_LOW: Final = 4  # below this mean, units go only where they are asked for
RANGES_PER_TRANSFER_MAX: Final = 100
ALONE_S: Final = 176.0  # how long a replica that lost its primary may take over, by Valkey's defaults (settled.py)
ALONE_UNSEEN_S: Final = 2.5  # not looked at for so long, and it may have been another server meanwhile

# The router to the primaries of a cluster.
REDIRECTIONS_MAX: Final = 5
SLOTS_ASKED_EVERY_S: Final = 0.1
KEYS_REMEMBERED_MAX: Final = 10_000

# The outbox and the worker.
OUTBOX_ORDERS_MAX: Final = 1_000_000
OUTBOX_ENTRIES_PER_READ: Final = 64
LANDINGS_IN_FLIGHT_MAX: Final = 2  # one is being sent while Postgres works on the other
OUTBOX_BLOCK_MS: Final = 500
LEASE_MS: Final = 5_000
AUDIT_EVERY_S: Final = 30.0
AUDIT_REST: Final = 20.0  # so many times its own length an audit is followed by none: at most a twentieth of one core
AUDIT_AGE_S: Final = 300.0  # rests are shorter where a sale would wait longer than this for its next audit
AUDIT_S_MAX: Final = 300.0
AUDIT_AFTER_CLOSE_S: Final = 86_400
EXPIRED_PER_TRANSACTION: Final = 1_000
FANS_PER_REBUILD: Final = 1_000
WATCH_BUCKETS_EVERY_S: Final = 2.0
WATCH_BUCKETS_EVERY_S_MAX: Final = 10.0
NOTES_WAIT_S: Final = 10  # how long a recovery waits for whoever notes what a bucket did
RETURNS_PER_CALL: Final = 500
RETURNS_PER_READ: Final = 5_000

# Orders that are set aside.
ASIDE_EVERY_S: Final = 0.5
ASIDE_PER_READ: Final = 500
ASIDE_ASK_AGAIN_S: Final = 2.0  # one that was offered a unit is on its way with it
ASIDE_TRIED_MAX: Final = 100  # a bucket that offers so many units that are taken is not to be asked for more
ASIDE_DRY_S: Final = 30  # how long an order without a unit waits for unpaid ones to run out
ASIDE_WAIT_S: Final = 600  # and for units that are said to come

# Payments that come late, and money that goes back.
LATE_PER_READ: Final = 500
LATE_DRY_S: Final = 30  # how long it waits for units from other buckets
LATE_WAIT_S: Final = 600  # how long a late payment waits for a sale that is paused or not to be had
REFUNDS_PER_READ: Final = 100
REFUND_ASK_AGAIN_S: Final = 60  # a provider that has not said "refunded" by then is asked again
NOTE_LENGTH_MAX: Final = 500

# What a process keeps of the sales, and how it answers.
PICTURE_REFRESH_S: Final = 0.2
PLAN_REFRESH_S: Final = 1.0
EDGE_BEAT_S: Final = 0.5  # how long the edge keeps an answer at the most (deploy/nginx)
EARLY_REFUSAL_MARGIN_MS: Final = 250  # before opening, how far a picture's clock must be away to refuse by it
WATCHERS_MAX: Final = 10_000
WATCH_POLL_S: Final = 0.5
WATCH_HEARTBEAT_S: Final = 15.0
ORDERS_PER_PAGE: Final = 100

# What the doctor asks of the servers.
REPLICAS_MIN: Final = 1
FAILOVER_S: Final = 5.0  # how long a start waits for a cluster that is in the middle of one
MEMORY_USED_SHARE_MAX: Final = 0.8
MEMORY_PAUSE_SHARE: Final = 0.9  # from here on a server takes nothing in, so that what gives back has room
MEMORY_RESUME_SHARE: Final = 0.85
CLOCK_OFF_MS_MAX: Final = 1_000
POSTGRES_CONNECTIONS_MIN: Final = 30  # two api processes and a worker
POSTGRES_DISK_FREE_BYTES_MIN: Final = 2**30

assert ATTEMPTS_PER_CALL_MAX * 2 + 8 < LUA_UNPACK_MAX, "a full batch must fit one XADD"
assert FANS_PER_REBUILD * 2 + 8 < LUA_UNPACK_MAX
assert RETURNS_PER_CALL * 3 < LUA_UNPACK_MAX
assert RETURNS_PER_CALL <= RETURNS_PER_READ
assert MEMORY_USED_SHARE_MAX <= MEMORY_RESUME_SHARE < MEMORY_PAUSE_SHARE < 1
assert LEASE_MS > 2 * OUTBOX_BLOCK_MS, "a lease must outlive the wait for an empty outbox"
assert PICTURE_REFRESH_S + EDGE_BEAT_S < 1, "so long a fan may be told SOLD_OUT after a unit is back"
assert CALL_TIMEOUT_S * 1000 <= LEASE_MS
assert len(str(UNITS_PER_ITEM_MAX)) == 7
assert (REPLICATED_WAIT_MS + FSYNCED_WAIT_MS) / 1000 < CALL_TIMEOUT_S, (
    "on a cluster both are asked, one after the other"
)
assert BEHIND_WAIT_MS < REPLICATED_WAIT_MS < BEHIND_S * 1000 < ALONE_S * 1000
assert ALONE_UNSEEN_S < ALONE_S
assert CONFIRM_WAIT_S < CALL_TIMEOUT_S
assert LAST_UNITS_STAY_S > DRY_ASKED_AGAIN_MAX * DRY_ASKED_AGAIN_S
assert RANGES_PER_TRANSFER_MAX < LUA_UNPACK_MAX
assert ASIDE_DRY_S < ASIDE_WAIT_S
assert ASIDE_TRIED_MAX < LUA_UNPACK_MAX, "the ranges that are put back must fit one LPUSH"
assert FANS_PER_SLICE * 2 < INTSET_ENTRIES_MIN
