-- The first whole: sales with their items, stock loads, orders, returns, payments, and who did what.

create table sales (
    sale          text primary key check (sale ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    generation    uuid not null unique,
    version       bigint not null default 1 check (version > 0),
    state         text not null default 'draft' check (state in ('draft', 'loaded', 'open', 'paused', 'closed')),
    title         jsonb not null,
    entry         text not null check (entry in ('reservation', 'open')),
    opens_ms      bigint not null,
    closes_ms     bigint not null check (closes_ms > opens_ms),
    reserve_opens_ms  bigint,
    reserve_closes_ms bigint check (reserve_closes_ms > reserve_opens_ms),
    reserve_capacity  int check (reserve_capacity > 0),
    per_fan_limit int not null check (per_fan_limit > 0),
    pay_window_s  int not null check (pay_window_s > 0),
    currency      text not null check (currency ~ '^[A-Z]{3}$'),
    channels      text[] not null,
    buckets       int not null check (buckets > 0),
    plan          jsonb not null,
    weekly_from   jsonb,
    in_buckets_at timestamptz,
    created_at    timestamptz not null default now()
);

create table items (
    sale        text not null references sales,
    item        text not null,
    place       int not null,
    title       jsonb not null,
    price_minor bigint not null check (price_minor >= 0),
    loaded      int not null default 0 check (loaded between 0 and 9999999),
    primary key (sale, item)
);

-- A range of units on its way into a bucket. Not applied means: on the move.
create table stock_loads (
    load       uuid primary key,
    sale       text not null,
    item       text not null,
    bucket     int not null check (bucket >= 0),
    unit_from  int not null check (unit_from > 0),
    unit_to    int not null check (unit_to >= unit_from),
    created_at timestamptz not null default now(),
    applied_at timestamptz,
    foreign key (sale, item) references items
);
create index stock_loads_waiting on stock_loads (sale) where applied_at is null;

create table orders (
    order_id     uuid primary key,
    sale         text not null,
    item         text not null,
    unit         int not null check (unit > 0),
    fan          text not null,
    state        text not null default 'confirmed' check (state in ('confirmed', 'paid', 'expired', 'cancelled')),
    bucket       int not null,
    channel      text not null,
    lane         text not null,
    price_minor  bigint not null,
    currency     text not null,
    accepted_ms  bigint not null,
    pay_before_ms bigint not null,
    confirmed_at timestamptz not null default now(),
    paid_at      timestamptz,
    ended_at     timestamptz
);

-- The last word: a unit can't be in two live orders, whatever the cache says.
create unique index orders_live_unit on orders (sale, item, unit) where state in ('confirmed', 'paid');
create index orders_of_fan on orders (fan);
create index orders_unpaid on orders (pay_before_ms) where state = 'confirmed';

-- A unit coming back to its bucket, written in the transaction that ended the order.
create table returns (
    order_id      uuid primary key references orders,
    sale          text not null,
    item          text not null,
    bucket        int not null,
    unit          int not null,
    fan           text not null,
    reason        text not null check (reason in ('expired', 'cancelled')),
    created_at    timestamptz not null default now(),
    given_back_at timestamptz,
    refused_at    timestamptz
);
create index returns_waiting on returns (sale, bucket, item) where given_back_at is null and refused_at is null;

create table payments (
    payment      uuid primary key,
    order_id     uuid not null references orders,
    amount_minor bigint not null,
    currency     text not null,
    state        text not null default 'pending' check (state in ('pending', 'succeeded', 'refund_due')),
    created_at   timestamptz not null default now(),
    settled_at   timestamptz
);
create unique index payments_of_order on payments (order_id) where state = 'pending';

-- What could not be stored, with its reason; never dropped, never in the way of the rest.
create table set_aside (
    order_id   uuid primary key,
    sale       text not null,
    bucket     int not null,
    entry      text not null,
    content    text not null,
    reason     text not null,
    created_at timestamptz not null default now()
);

-- Who did what, and when.
create table ops_log (
    id     bigint generated always as identity primary key,
    at     timestamptz not null default now(),
    actor  text not null,
    verb   text not null,
    sale   text,
    detail jsonb not null default '{}'
);
create index ops_log_of_sale on ops_log (sale, id);
