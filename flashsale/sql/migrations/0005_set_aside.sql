-- What Postgres refuses becomes a known state: an order that is set aside gets another unit, or is refused and its fan is
-- told. docs/decisions/0021.

alter table set_aside add column state text not null default 'unreadable' constraint set_aside_state
    check (state in ('waiting', 'replaced', 'refused', 'compensated', 'replayed', 'unreadable'));
alter table set_aside alter column state drop default;
-- win: the order as it was won, key included, so that its line in the bucket can be made again. tried: the units that
-- were refused, the newest last; an order that waits never lands with one of them. fields: an entry that could not be
-- read, as pairs of hex, so that a newer version may read it.
alter table set_aside add column win jsonb;
alter table set_aside add column tried int[] not null default '{}';
alter table set_aside add column fields jsonb;
-- tried_at: when the newest one was refused. asked_at, offered: when the bucket was last asked for a unit, and which one it
-- gave. bucket_told_at: when the bucket was told that the order is over.
alter table set_aside add column tried_at timestamptz not null default now();
alter table set_aside add column asked_at timestamptz;
alter table set_aside add column offered int;
alter table set_aside add column settled_at timestamptz;
alter table set_aside add column bucket_told_at timestamptz;
alter table set_aside add column note text;
alter table set_aside add constraint set_aside_waits_with_win check (state <> 'waiting' or (win is not null and tried <> '{}'));
alter table set_aside add constraint set_aside_note check (state <> 'compensated' or note is not null);

-- Rows from before this step keep their text and need a person, who may replay them; the win is read out of the text.
update set_aside set tried_at = created_at;
update set_aside a set tried = array[m.found[3]::int],
       win = jsonb_build_object('order', m.found[1], 'item', m.found[2], 'unit', m.found[3]::int, 'fan', m.found[4],
                                'channel', m.found[5], 'lane', m.found[6], 'accepted_ms', m.found[7]::bigint,
                                'key', coalesce(nullif(m.found[8], ''), right(m.found[1], 16)))
from (select order_id, regexp_match(content, '^Win\(order=''([0-9a-f]{32})'', item=''([^'']+)'', unit=([0-9]{1,7}), '
             || 'fan=''([^'']+)'', channel=''([^'']+)'', lane=''([^'']+)'', accepted_ms=([0-9]{1,15})'
             || '(?:, key=''([0-9a-f]{16})?'')?\)$') as found from set_aside) m
where a.order_id = m.order_id and m.found is not null;

create index set_aside_waiting on set_aside (order_id) where state = 'waiting';
create index set_aside_of_sale on set_aside (sale, created_at);
create index set_aside_of_fan on set_aside ((win ->> 'fan')) where state = 'waiting';
create index set_aside_to_tell on set_aside (order_id) where state in ('refused', 'compensated') and bucket_told_at is null;

alter table returns drop constraint returns_reason_check;
alter table returns add constraint returns_reason_check check (reason in ('expired', 'cancelled', 'refunded', 'refused'));
create index returns_of_unit on returns (sale, item, unit);

-- As before; and an order that waits for another unit does not land with one that was refused, which an old entry would
-- bring back once that unit is free. The look comes after the item's row is locked, which setting aside locks for itself:
-- so either this landing sees the row that waits, or setting aside sees this order.
create or replace function orders_landed_in_bounds() returns trigger language plpgsql as $$
declare again record;
begin
    perform refuse_beyond_bounds(l.sale, l.item, l.unit, l.place)
    from (select sale, item, max(unit) filter (where live_place is not null) as unit, max(live_place) as place
          from landed group by sale, item order by sale, item) l;
    if exists (select from set_aside where state = 'waiting') then
        select l.order_id, l.unit into again from landed l join set_aside a on a.order_id = l.order_id
        where a.state = 'waiting' and l.live_place is not null and l.unit = any (a.tried) limit 1;
        if found then
            raise exception 'order % waits for another unit than %', again.order_id, again.unit
                using errcode = 'check_violation', constraint = 'orders_unit_not_tried', table = 'orders';
        end if;
    end if;
    return null;
end $$;
