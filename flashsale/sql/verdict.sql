-- What a rehearsal's verdict reads.

-- name: orders_of_sale
select order_id, item, unit, fan, state, accepted_ms, (extract(epoch from confirmed_at) * 1000)::bigint as confirmed_ms
from orders where sale = $1;

-- name: returned
select count(*) from returns where sale = $1;

-- name: server_version
select current_setting('server_version');

-- name: landed
select count(*) from orders where sale = $1;

-- name: confirmed_now
-- Newest first: of the oldest the payment window may be nearly over.
select order_id, fan, item, unit from orders where sale = $1 and state = 'confirmed' order by order_id desc limit $2;

-- name: states_of
select order_id, state from orders where order_id = any($1::uuid[]);

-- name: effects_of_payments
-- What became of payments and of the orders that they were asked for. moved: its money has paid another order.
select p.payment, p.state, o.state as of_order, coalesce(p.paid_order <> p.order_id, false) as moved
from payments p join orders o using (order_id) where p.payment = any($1::uuid[]);

-- name: set_aside_orders
select order_id from set_aside where sale = $1;

-- name: set_aside_contents
select content, reason, state from set_aside where sale = $1;

-- name: waiting
select count(*) from set_aside where sale = $1 and state = 'waiting';

-- name: accepted_between
select count(*) from orders where sale = $1 and accepted_ms > $2 and accepted_ms < $3;

-- name: returns_given_back
select count(*) from returns where sale = $1 and given_back_at is not null;

-- name: returns_waiting
-- Those included that the bucket did not know: it is rebuilt, and then knows them.
select count(*) from returns where sale = $1 and given_back_at is null;

-- name: story_of_unit
-- What Postgres knows of one unit, for who has to find out where it went.
select o.order_id, o.state, (extract(epoch from o.confirmed_at) * 1000)::bigint as confirmed_ms,
       (extract(epoch from r.given_back_at) * 1000)::bigint as given_back_ms
from orders o left join returns r using (order_id)
where o.sale = $1 and o.item = $2 and o.unit = $3 order by o.confirmed_at;
