-- Orders: landing, looking up, ending, and the returns that ending writes.

-- name: land
-- For orders that are new, as nearly all are. An order that lands late, by more than five seconds, has its whole payment
-- window from then on: it could not be paid before. Each order takes the smallest free place of its fan; nth counts a
-- fan's orders in this statement, and may be left out where each fan has one. Nothing is passed over: what may not be is
-- refused by its constraint, and then nothing is inserted.
with clock as materialized (select (extract(epoch from now()) * 1000)::bigint - 5000 as late_ms),
goods as materialized (select i.item, i.price_minor, s.currency, s.pay_window_s, s.per_fan_limit
                       from items i join sales s using (sale) where i.sale = $1)
insert into orders (order_id, sale, item, unit, fan, bucket, channel, lane, key, place, price_minor, currency, accepted_ms, pay_before_ms)
select a.order_id, $1, a.item, a.unit, a.fan, $2, a.channel, a.lane, a.key,
       case when g.per_fan_limit = 1 then 1 else free_place($1, a.fan, coalesce(a.nth, 1), g.per_fan_limit) end,
       g.price_minor, g.currency, a.accepted_ms, greatest(a.accepted_ms, c.late_ms) + g.pay_window_s * 1000::bigint
from unnest($3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[], $11::int[])
     with ordinality as a (order_id, item, unit, fan, channel, lane, accepted_ms, key, nth, n)
left join goods g on g.item = a.item
cross join clock c
order by a.n;

-- name: land_again
-- Safe to repeat: passes over orders that are there already or clash with a live order for the same unit or place;
-- known_orders tells which. Costs Postgres a third more.
with clock as materialized (select (extract(epoch from now()) * 1000)::bigint - 5000 as late_ms),
goods as materialized (select i.item, i.price_minor, s.currency, s.pay_window_s, s.per_fan_limit
                       from items i join sales s using (sale) where i.sale = $1)
insert into orders (order_id, sale, item, unit, fan, bucket, channel, lane, key, place, price_minor, currency, accepted_ms, pay_before_ms)
select a.order_id, $1, a.item, a.unit, a.fan, $2, a.channel, a.lane, a.key,
       case when g.per_fan_limit = 1 then 1 else free_place($1, a.fan, coalesce(a.nth, 1), g.per_fan_limit) end,
       g.price_minor, g.currency, a.accepted_ms, greatest(a.accepted_ms, c.late_ms) + g.pay_window_s * 1000::bigint
from unnest($3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[], $11::int[])
     with ordinality as a (order_id, item, unit, fan, channel, lane, accepted_ms, key, nth, n)
left join goods g on g.item = a.item
cross join clock c
order by a.n
on conflict do nothing;

-- name: known_orders
select order_id from orders where order_id = any($1::uuid[]);

-- name: committed_among
select order_id from orders where order_id = any($1::uuid[]) and state <> 'refused';

-- name: orders_of_fan
select o.*, (extract(epoch from confirmed_at) * 1000)::bigint as confirmed_ms,
       (extract(epoch from paid_at) * 1000)::bigint as paid_ms, (extract(epoch from ended_at) * 1000)::bigint as ended_ms,
       money.payment_state, money.late_order
from orders o left join lateral (
    -- The newest payment that has to do with the order: asked for it, or come late and about to pay it, or paid it.
    select p.state as payment_state, nullif(p.paid_order, o.order_id) as late_order, p.created_at from payments p
    where p.order_id = o.order_id or p.paid_order = o.order_id or (p.late_order = o.order_id and p.state = 'late')
    order by p.created_at desc limit 1
) money on true
where fan = $1 and ($2::text is null or sale = $2)
order by accepted_ms desc, order_id desc limit $3;

-- name: orders_by_id
select o.*, (extract(epoch from confirmed_at) * 1000)::bigint as confirmed_ms,
       (extract(epoch from paid_at) * 1000)::bigint as paid_ms, (extract(epoch from ended_at) * 1000)::bigint as ended_ms,
       money.payment_state, money.late_order
from orders o left join lateral (
    -- The newest payment that has to do with the order: asked for it, or come late and about to pay it, or paid it.
    select p.state as payment_state, nullif(p.paid_order, o.order_id) as late_order, p.created_at from payments p
    where p.order_id = o.order_id or p.paid_order = o.order_id or (p.late_order = o.order_id and p.state = 'late')
    order by p.created_at desc limit 1
) money on true
where order_id = any($1::uuid[]);

-- name: expire
-- Expired or paid is decided here, by one conditional update; the return is written in the same statement.
with due as (
    select order_id from orders where state = 'confirmed' and pay_before_ms <= $1
    order by pay_before_ms limit $2 for update skip locked
), ended as (
    update orders o set state = 'expired', ended_at = now() from due where o.order_id = due.order_id
    returning o.order_id, o.sale, o.item, o.bucket, o.unit, o.fan
)
insert into returns (order_id, sale, item, bucket, unit, fan, reason, hold)
select e.order_id, e.sale, e.item, e.bucket, e.unit, e.fan, 'expired', s.returned <> 'public'
from ended e join sales s using (sale)
returning order_id;

-- name: cancel
with ended as (
    update orders set state = 'cancelled', ended_at = now()
    where order_id = $1 and fan = $2 and state = 'confirmed'
    returning order_id, sale, item, bucket, unit, fan
)
insert into returns (order_id, sale, item, bucket, unit, fan, reason, hold)
select e.order_id, e.sale, e.item, e.bucket, e.unit, e.fan, 'cancelled', s.returned <> 'public'
from ended e join sales s using (sale)
returning order_id;

-- name: returns_waiting
-- Locked until they are noted: a recovery waits for whoever is about to note what a bucket did.
select order_id, sale, item, bucket, unit, fan, hold
from (select * from returns where sale = $1 and given_back_at is null and refused_at is null
      order by created_at limit $2 for update skip locked) as waiting
order by bucket, item, hold, created_at;

-- name: returns_refused
-- The bucket does not know these orders: it has lost a part of its memory. They wait for a person.
update returns set refused_at = now() where order_id = any($1::uuid[]) and refused_at is null;

-- name: returns_given_back
update returns set given_back_at = now() where order_id = any($1::uuid[]) and given_back_at is null returning order_id;

-- name: live_units
select item, unit, order_id, bucket from orders where sale = $1 and state in ('confirmed', 'paid') order by item, unit;

-- name: returning_units
select item, unit, order_id, bucket from returns where sale = $1 and given_back_at is null order by item, unit;

-- name: ended_orders
select item, order_id from orders where order_id = any($1::uuid[]) and state in ('expired', 'cancelled', 'refunded', 'refused');

-- name: totals
select item, state, count(*) as orders, sum(price_minor)::bigint as amount_minor, count(distinct fan) as fans,
       max(accepted_ms) as last_accepted_ms
from orders where sale = $1 group by item, state order by item, state;

-- name: by_channel
select channel, lane, count(*) filter (where state in ('confirmed', 'paid')) as live,
       count(*) filter (where state = 'paid') as paid
from orders where sale = $1 group by channel, lane order by live desc, channel;

-- name: progress
select count(*) as landed, count(*) filter (where state in ('confirmed', 'paid')) as live,
       count(*) filter (where state = 'paid') as paid,
       count(*) filter (where state = 'expired') as expired,
       count(*) filter (where state = 'cancelled') as cancelled
from orders where sale = $1;
