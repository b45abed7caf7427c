-- Orders: landing, looking up, ending, and the returns that ending writes.

-- name: land
-- For orders that are new, as nearly all are. An order that lands late, by more than five seconds, has its whole payment
-- window from then on: it could not be paid before. A unit beyond what was loaded is passed over; anything that is there
-- already is a unique violation, and nothing is inserted.
with clock as materialized (select (extract(epoch from now()) * 1000)::bigint - 5000 as late_ms)
insert into orders (order_id, sale, item, unit, fan, bucket, channel, lane, price_minor, currency, accepted_ms, pay_before_ms)
select a.order_id, s.sale, i.item, a.unit, a.fan, $2, a.channel, a.lane, i.price_minor, s.currency, a.accepted_ms,
       greatest(a.accepted_ms, c.late_ms) + s.pay_window_s * 1000::bigint
from unnest($3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::bigint[])
     as a (order_id, item, unit, fan, channel, lane, accepted_ms)
join sales s on s.sale = $1
join items i on i.sale = s.sale and i.item = a.item and a.unit <= i.loaded
cross join clock c;

-- name: land_again
-- Safe to repeat: also passes over orders that are there already or clash with a live order for the same unit;
-- known_orders tells which. Costs Postgres a third more.
with clock as materialized (select (extract(epoch from now()) * 1000)::bigint - 5000 as late_ms)
insert into orders (order_id, sale, item, unit, fan, bucket, channel, lane, price_minor, currency, accepted_ms, pay_before_ms)
select a.order_id, s.sale, i.item, a.unit, a.fan, $2, a.channel, a.lane, i.price_minor, s.currency, a.accepted_ms,
       greatest(a.accepted_ms, c.late_ms) + s.pay_window_s * 1000::bigint
from unnest($3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::bigint[])
     as a (order_id, item, unit, fan, channel, lane, accepted_ms)
join sales s on s.sale = $1
join items i on i.sale = s.sale and i.item = a.item and a.unit <= i.loaded
cross join clock c
on conflict do nothing;

-- name: known_orders
select order_id from orders where order_id = any($1::uuid[]);

-- name: set_aside
insert into set_aside (order_id, sale, bucket, entry, content, reason)
select * from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[])
on conflict (order_id) do nothing;

-- name: orders_of_fan
select o.*, (extract(epoch from confirmed_at) * 1000)::bigint as confirmed_ms,
       (extract(epoch from paid_at) * 1000)::bigint as paid_ms, (extract(epoch from ended_at) * 1000)::bigint as ended_ms
from orders o where fan = $1 and ($2::text is null or sale = $2)
order by accepted_ms desc, order_id desc limit $3;

-- name: orders_by_id
select o.*, (extract(epoch from confirmed_at) * 1000)::bigint as confirmed_ms,
       (extract(epoch from paid_at) * 1000)::bigint as paid_ms, (extract(epoch from ended_at) * 1000)::bigint as ended_ms
from orders o where order_id = any($1::uuid[]);

-- name: expire
-- Expired or paid is decided here, by one conditional update; the return is written in the same statement.
with due as (
    select order_id from orders where state = 'confirmed' and pay_before_ms <= $1
    order by pay_before_ms limit $2 for update skip locked
), ended as (
    update orders o set state = 'expired', ended_at = now() from due where o.order_id = due.order_id
    returning o.order_id, o.sale, o.item, o.bucket, o.unit, o.fan
)
insert into returns (order_id, sale, item, bucket, unit, fan, reason)
select order_id, sale, item, bucket, unit, fan, 'expired' from ended
returning order_id;

-- name: cancel
with ended as (
    update orders set state = 'cancelled', ended_at = now()
    where order_id = $1 and fan = $2 and state = 'confirmed'
    returning order_id, sale, item, bucket, unit, fan
)
insert into returns (order_id, sale, item, bucket, unit, fan, reason)
select order_id, sale, item, bucket, unit, fan, 'cancelled' from ended
returning order_id;

-- name: returns_waiting
select order_id, sale, item, bucket, unit, fan from (select * from returns where sale = $1 and given_back_at is null and refused_at is null
      order by created_at limit $2) as waiting
order by bucket, item, created_at;

-- name: returns_refused
-- The bucket does not know these orders: it has lost a part of its memory. They wait for a person.
update returns set refused_at = now() where order_id = any($1::uuid[]) and refused_at is null;

-- name: returns_given_back
update returns set given_back_at = now() where order_id = any($1::uuid[]) and given_back_at is null;

-- name: live_units
select item, unit, order_id from orders where sale = $1 and state in ('confirmed', 'paid') order by item, unit;

-- name: returning_units
select item, unit, order_id from returns where sale = $1 and given_back_at is null order by item, unit;

-- name: ended_orders
select item, order_id from orders where order_id = any($1::uuid[]) and state in ('expired', 'cancelled');

-- name: set_aside_units
select content from set_aside where sale = $1;

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

-- name: loaded_units
select loaded from items where sale = $1 and item = $2;
