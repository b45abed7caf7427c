-- What could not land: it gets another unit, or is refused and its fan is told, or needs a person.

-- name: lock_items
-- Before setting aside: no landing of these items is between its insert and its commit, or begins its last look, meanwhile.
select item from items where sale = $1 and item = any($2::text[]) order by item for update;

-- name: store
-- Again for one that waits: the unit that it was to land with is one more that was tried. An order that has landed
-- meanwhile is not set aside.
insert into set_aside (order_id, sale, bucket, entry, content, reason, state, win, tried, fields)
select a.order_id, $1, $2, a.entry, a.content, a.reason, a.state, a.win,
       case when a.win is null then '{}' else array[(a.win ->> 'unit')::int] end, a.fields
from unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::jsonb[])
     as a (order_id, entry, content, reason, state, win, fields)
where not exists (select from orders o where o.order_id = a.order_id)
on conflict (order_id) do update set tried = set_aside.tried || excluded.tried, tried_at = now(), entry = excluded.entry,
    content = excluded.content, reason = excluded.reason
where set_aside.state = 'waiting' and not set_aside.tried @> excluded.tried;

-- name: tell_again
-- An order that is refused has been given a unit all the same, by a call that came late: its line is ended once more.
update set_aside a set bucket_told_at = null
from unnest($1::uuid[], $2::int[]) as w (order_id, unit)
where a.order_id = w.order_id and not w.unit = any(a.tried);

-- name: sales_open
-- The sales that have something for the worker to do.
select sale from set_aside where state = 'waiting'
union
select sale from set_aside where state in ('refused', 'compensated') and bucket_told_at is null;

-- name: replaced
-- Those that have landed, with whatever unit.
update set_aside a set state = 'replaced', settled_at = now()
from orders o where o.order_id = a.order_id and a.sale = $1 and a.state = 'waiting'
returning a.order_id;

-- name: to_ask
-- Oldest first. One that was offered a unit is on its way with it, and is asked for again only after a while.
select order_id, win ->> 'item' as item from set_aside
where sale = $1 and state = 'waiting'
  and (offered is null or offered = any(tried) or asked_at < now() - make_interval(secs => $2))
order by created_at, order_id limit $3;

-- name: lock_item
select item from items where sale = $1 and item = $2 for key share;

-- name: lock_waiting
-- Another worker that has it is not waited for.
select a.order_id, a.bucket, a.win, a.tried, a.reason, extract(epoch from now() - a.created_at)::float8 as waited_s
from set_aside a where a.order_id = $1 and a.state = 'waiting'
  and not exists (select from orders o where o.order_id = a.order_id)
for update skip locked;

-- name: offered
update set_aside set offered = $2, asked_at = now() where order_id = $1;

-- name: units_to_come
-- loads and returns are on their way now; unpaid orders may be over before long.
select exists (select from stock_loads where sale = $1 and item = $2 and applied_at is null) as loads,
       exists (select from returns where sale = $1 and item = $2 and given_back_at is null and refused_at is null
               and not hold) as returns,
       exists (select from orders where sale = $1 and item = $2 and state = 'confirmed') as unpaid;

-- name: unit_coming_back
-- Whether the unit of an order is on its way back from another one: then it is not yet known whose it is.
select exists (select from returns where sale = $1 and item = $2 and unit = $3 and given_back_at is null
               and refused_at is null);

-- name: refuse
-- The fan sees it among their orders. It is live nowhere, so that no constraint bites.
insert into orders (order_id, sale, item, unit, fan, state, bucket, channel, lane, key, price_minor, currency,
                    accepted_ms, pay_before_ms, ended_at)
select a.order_id, a.sale, i.item, a.tried[cardinality(a.tried)], a.win ->> 'fan', 'refused', a.bucket,
       a.win ->> 'channel', a.win ->> 'lane', a.win ->> 'key', i.price_minor, s.currency,
       (a.win ->> 'accepted_ms')::bigint, (a.win ->> 'accepted_ms')::bigint + s.pay_window_s * 1000::bigint, now()
from set_aside a join sales s using (sale) join items i on i.sale = a.sale and i.item = a.win ->> 'item'
where a.order_id = $1 and a.state = 'waiting'
on conflict (order_id) do nothing
returning order_id;

-- name: return_of_refused
-- The unit comes back when it is this order's alone: loaded, in no live order, and not come back by another order since.
insert into returns (order_id, sale, item, bucket, unit, fan, reason, hold)
select o.order_id, o.sale, o.item, o.bucket, o.unit, o.fan, 'refused', s.returned <> 'public'
from orders o join sales s using (sale) join items i using (sale, item) join set_aside a using (order_id)
where o.order_id = $1 and o.unit <= i.loaded
  and not exists (select from orders x where x.sale = o.sale and x.item = o.item and x.unit = o.unit
                  and x.state in ('confirmed', 'paid'))
  and not exists (select from returns r where r.sale = o.sale and r.item = o.item and r.unit = o.unit
                  and r.given_back_at >= a.tried_at)
returning order_id;

-- name: refused
-- $2: the return tells the bucket.
update set_aside set state = 'refused', settled_at = now(), bucket_told_at = case when $2 then now() end, reason = $3
where order_id = $1 and state = 'waiting';

-- name: to_tell
select order_id, bucket, win, tried from set_aside
where sale = $1 and state in ('refused', 'compensated') and bucket_told_at is null and win is not null
order by settled_at limit $2;

-- name: bucket_told
update set_aside set bucket_told_at = now() where order_id = $1;

-- name: open_units
-- Orders that are neither landed nor over.
select a.order_id, a.win ->> 'item' as item, a.tried[cardinality(a.tried)] as unit from set_aside a
where a.sale = $1 and a.state in ('waiting', 'unreadable') and not exists (select from orders o where o.order_id = a.order_id);

-- name: waiting_by_id
-- As the fan sees them: accepted, and being checked.
select a.order_id, a.sale, a.win, a.tried, i.price_minor, s.currency, s.pay_window_s
from set_aside a join sales s using (sale) join items i on i.sale = a.sale and i.item = a.win ->> 'item'
where a.state = 'waiting' and a.order_id = any($1::uuid[])
  and not exists (select from orders o where o.order_id = a.order_id);

-- name: waiting_of_fan
select a.order_id, a.sale, a.win, a.tried, i.price_minor, s.currency, s.pay_window_s
from set_aside a join sales s using (sale) join items i on i.sale = a.sale and i.item = a.win ->> 'item'
where a.state = 'waiting' and a.win ->> 'fan' = $1 and ($2::text is null or a.sale = $2)
  and not exists (select from orders o where o.order_id = a.order_id)
order by a.created_at desc limit $3;

-- name: counts
select sale, state, count(*) as orders from set_aside group by sale, state;

-- name: listed
select a.*, o.state as order_state, o.unit as order_unit from set_aside a left join orders o using (order_id)
where a.sale = $1 and ($2::text is null or a.state = $2) order by a.created_at, a.order_id;

-- name: by_id
select a.*, o.state as order_state, o.unit as order_unit from set_aside a left join orders o using (order_id)
where a.order_id = $1;

-- name: lock
select order_id, sale, bucket, entry, state, reason, win, tried, fields, note from set_aside where order_id = $1 for update;

-- name: compensated
update set_aside set state = 'compensated', note = $2, settled_at = now() where order_id = $1;

-- name: wait_again
update set_aside set state = 'waiting', settled_at = null, reason = $2 where order_id = $1;

-- name: replayed
update set_aside set state = 'replayed', settled_at = now() where order_id = $1;
