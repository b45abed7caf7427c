-- F-codes: units set aside for them, batches of codes, and the ledger of what became of each. docs/decisions/0026.

-- Whether the sale has a bucket for F-codes behind its public ones. Units in stock loads of that bucket are their pool.
alter table sales add column takes_fcodes boolean not null default false;

-- An order by a code takes none of its fan's places: the code is the right to it. Each code has one order, whatever became
-- of that, beside those that were refused, because a bucket had forgotten the first. The order's key is its code: batch
-- and serial, eight hex digits each.
drop trigger orders_changed_in_bounds on orders;
alter table orders drop column live_place;
alter table orders add column live_place int
    generated always as (case when state in ('confirmed', 'paid') and lane <> 'fcode' then place end) stored;
alter table orders add constraint orders_live_place unique (fan, sale, live_place);
create unique index orders_fcode on orders (sale, key) where lane = 'fcode' and state <> 'refused';
alter table orders add constraint orders_fcode_key check (lane <> 'fcode' or length(key) = 16);

create or replace function orders_landed_in_bounds() returns trigger language plpgsql as $$
declare again record;
begin
    perform refuse_beyond_bounds(l.sale, l.item, l.unit, l.place)
    from (select sale, item, max(unit) filter (where state in ('confirmed', 'paid')) as unit, max(live_place) as place
          from landed group by sale, item order by sale, item) l;
    if exists (select from set_aside where state = 'waiting') then
        select l.order_id, l.unit into again from landed l join set_aside a on a.order_id = l.order_id
        where a.state = 'waiting' and l.state in ('confirmed', 'paid') and l.unit = any (a.tried) limit 1;
        if found then
            raise exception 'order % waits for another unit than %', again.order_id, again.unit
                using errcode = 'check_violation', constraint = 'orders_unit_not_tried', table = 'orders';
        end if;
    end if;
    return null;
end $$;

create or replace function orders_changed_in_bounds() returns trigger language plpgsql as $$
begin
    perform refuse_beyond_bounds(new.sale, new.item, case when new.state in ('confirmed', 'paid') then new.unit end,
                                 new.live_place);
    return null;
end $$;
create trigger orders_changed_in_bounds after update on orders for each row
    when (old.sale <> new.sale or old.item <> new.item
          or (new.state in ('confirmed', 'paid')
              and (old.state not in ('confirmed', 'paid') or old.unit <> new.unit
                   or old.live_place is distinct from new.live_place)))
    execute function orders_changed_in_bounds();

-- A batch of codes. issued: serials below were given out or exported. release_ms: when what is unused goes on sale to everybody; released_at: when that was decided.
create table fcode_batches (
    batch       int generated always as identity (maxvalue 1048575) primary key,
    version     bigint not null default 1,
    sale        text not null references sales,
    codes       int not null check (codes between 1 and 1048576),
    issued      int not null default 0,
    tag         text not null,
    channel     text not null,
    key_id      text not null,
    valid_ms    bigint not null,
    expires_ms  bigint not null,
    release_ms  bigint,
    released_at timestamptz,
    created_at  timestamptz not null default now(),
    constraint fcode_batches_issued check (issued between 0 and codes),
    constraint fcode_batches_expires check (expires_ms > valid_ms)
);
create index fcode_batches_of_sale on fcode_batches (sale);

-- Which item a code is for: serials serial_from to serial_to, both ends included.
create table fcode_items (
    batch       int not null references fcode_batches,
    sale        text not null,
    item        text not null,
    serial_from int not null check (serial_from >= 0),
    serial_to   int not null,
    primary key (batch, item),
    constraint fcode_items_range check (serial_to >= serial_from),
    foreign key (sale, item) references items
);
create index fcode_items_of_item on fcode_items (sale, item);

-- No code without a unit: an item's codes, all batches together, are no more than the units that were set aside for them.
-- What is released is not set aside any more, so it is not promised again.
create function fcodes_have_units() returns trigger language plpgsql as $$
declare promised bigint; aside bigint;
begin
    perform from items where sale = new.sale and item = new.item for update;
    select coalesce(sum(serial_to - serial_from + 1), 0) into promised
    from fcode_items where sale = new.sale and item = new.item;
    select coalesce(sum(l.unit_to - l.unit_from + 1), 0) into aside
    from stock_loads l join sales s using (sale)
    where l.sale = new.sale and l.item = new.item and s.takes_fcodes and l.bucket = s.buckets;
    if promised > aside then
        raise exception '% codes of % in % for % units', promised, new.item, new.sale, aside
            using errcode = 'check_violation', constraint = 'fcodes_have_units', table = 'fcode_items';
    end if;
    return null;
end $$;
create trigger fcodes_have_units after insert or update on fcode_items for each row execute function fcodes_have_units();

-- Codes that were written to a file: serials serial_from to serial_to, both ends included.
create table fcode_exports (
    batch       int not null references fcode_batches,
    serial_from int not null,
    serial_to   int not null check (serial_to >= serial_from),
    actor       text not null,
    exported_at timestamptz not null default now(),
    primary key (batch, serial_from)
);
