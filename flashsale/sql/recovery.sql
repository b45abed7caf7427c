-- What a bucket is held against, and rebuilt from.

-- name: known_of_buckets
-- wins: orders that were won in the bucket, those included that were set aside. An entry that could not be read is none.
select bucket, sum(wins)::bigint as wins, sum(returned)::bigint as returned, sum(loads)::bigint as loads
from (
    select bucket, count(*) as wins, 0 as returned, 0 as loads from orders where sale = $1 group by bucket
    union all
    select bucket, count(*), 0, 0 from set_aside a where sale = $1 and win is not null
        and not exists (select from orders o where o.order_id = a.order_id) group by bucket
    union all
    select bucket, 0, count(*), 0 from returns where sale = $1 and given_back_at is not null group by bucket
    union all
    select bucket, 0, 0, count(*) from stock_loads where sale = $1 and applied_at is not null group by bucket
) as counted group by bucket;

-- name: returns_unlocked
-- Waits for whoever gives units back to these buckets just now, who notes it before letting the rows go. A statement of its
-- own: as a part of the next one it would not run when that finds nothing to change.
select order_id from returns
where sale = $1 and bucket = any($2::int[]) and given_back_at is null order by order_id for update;

-- name: returns_again
-- What the buckets did not know is tried again.
update returns set refused_at = null
where sale = $1 and bucket = any($2::int[]) and given_back_at is null and refused_at is not null;

-- name: returns_sold_again
-- A unit that another order has had since the order ended has come back already, though nobody could note it: its bucket
-- forgot, and would let it come back a second time.
update returns r set given_back_at = now(), released_at = case when r.hold then now() end
where r.sale = $1 and r.bucket = any($2::int[]) and r.given_back_at is null
  and exists (select from orders o where o.sale = r.sale and o.item = r.item and o.unit = r.unit
              and o.state <> 'refused' and o.confirmed_at > r.created_at);

-- name: loads_unlocked
select load from stock_loads where sale = $1 and bucket = any($2::int[]) and applied_at is null order by load for update;

-- name: try_lock
-- One recovery of a sale at a time; held until it is unlocked or its connection ends.
select pg_try_advisory_lock($1, hashtext($2));

-- name: unlock
select pg_advisory_unlock($1, hashtext($2));

-- name: now
select now();

-- name: moved_since
-- Units that passed from Postgres into buckets other than these.
select item, unit as unit_from, unit as unit_to from returns
where sale = $1 and given_back_at >= $2 and bucket <> all($3::int[])
union all
select item, unit_from, unit_to from stock_loads where sale = $1 and applied_at >= $2 and bucket <> all($3::int[]);

-- name: units_aside
-- Units of orders that are set aside. When an order is refused, its unit comes back unless it came back by another order
-- since; the look at live orders tells which is another's.
select win ->> 'item' as item, tried[cardinality(tried)] as unit from set_aside a
where sale = $1 and state in ('waiting', 'unreadable') and win is not null
  and not exists (select from orders o where o.order_id = a.order_id)
  and not exists (select from returns r where r.sale = a.sale and r.item = a.win ->> 'item'
                  and r.unit = a.tried[cardinality(a.tried)] and r.given_back_at >= a.tried_at);

-- name: loads_applied
select load from stock_loads where sale = $1 and bucket = $2 and applied_at is not null;

-- name: buyer_lines
-- Orders from before keys were stored have the end of their own id for one: no fan's key finds them, nor another order.
select fan, string_agg(format('%s %s %s %s %s %s', hex, coalesce(nullif(key, ''), right(hex, 16)), live::int, unit, item,
                              accepted_ms), E'\n' order by accepted_ms, order_id) as lines
from (
    select o.fan, replace(o.order_id::text, '-', '') as hex, o.key, o.unit, o.item, o.accepted_ms, o.order_id,
           case when r.order_id is null then o.state in ('confirmed', 'paid') else r.given_back_at is null end as live
    from orders o left join returns r using (order_id) where o.sale = $1 and o.bucket = $2
    union all
    -- Set aside: the order was won, and has its line until it is refused.
    select a.win ->> 'fan', a.win ->> 'order', a.win ->> 'key', a.tried[cardinality(a.tried)], a.win ->> 'item',
           (a.win ->> 'accepted_ms')::bigint, a.order_id, true
    from set_aside a where a.sale = $1 and a.bucket = $2 and a.state in ('waiting', 'unreadable') and a.win is not null
        and not exists (select from orders o where o.order_id = a.order_id)
) as known group by fan;
