-- What a rehearsal's verdict reads.

-- name: orders_of_sale
select order_id, item, unit, fan, state, accepted_ms, (extract(epoch from confirmed_at) * 1000)::bigint as confirmed_ms
from orders where sale = $1;

-- name: returned
select count(*) from returns where sale = $1;

-- name: server_version
select current_setting('server_version');
