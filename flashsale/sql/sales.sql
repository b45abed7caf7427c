-- Sales, their items and stock loads, and the log of who did what.

-- name: create_sale
insert into sales (sale, generation, title, entry, opens_ms, closes_ms, reserve_opens_ms, reserve_closes_ms,
                   reserve_capacity, per_fan_limit, pay_window_s, currency, channels, buckets, plan, weekly_from, ack,
                   returned, takes_fcodes)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
on conflict (sale) do nothing
returning sale;

-- name: create_item
insert into items (sale, item, place, title, price_minor) values ($1, $2, $3, $4, $5);

-- name: all_sales
select s.*, (select json_agg(json_build_object('item', i.item, 'title', i.title, 'price_minor', i.price_minor,
                                               'loaded', i.loaded) order by i.place)
             from items i where i.sale = s.sale) as items
from sales s
where ($1::text is null or s.sale = $1) and ($2 or s.state <> 'draft')
order by s.opens_ms, s.sale;

-- name: lock_sale
select state, version from sales where sale = $1 for update;

-- name: move_sale
update sales set state = $2, version = version + 1 where sale = $1 returning version;

-- name: challenge
update sales set challenged = $2 where sale = $1;

-- name: settle_state
-- What the clock has already decided in the buckets, written down.
update sales set state = $2, version = version + 1 where sale = $1 and state = $3 returning version;

-- name: raise_loaded
-- Units n+1 .. n+$3 are made; gives the number of the last one before them.
update items set loaded = loaded + $3 where sale = $1 and item = $2 returning loaded - $3;

-- name: create_stock_load
insert into stock_loads (load, sale, item, bucket, unit_from, unit_to) values ($1, $2, $3, $4, $5, $6);

-- name: stock_loads_waiting
select load, item, bucket, unit_from, unit_to from stock_loads where sale = $1 and applied_at is null order by created_at, load;

-- name: stock_loads
select load, item, bucket, unit_from, unit_to from stock_loads where sale = $1 order by created_at, load;

-- name: in_buckets
select in_buckets_at is not null from sales where sale = $1;

-- name: now_in_buckets
update sales set in_buckets_at = now() where sale = $1 and in_buckets_at is null;

-- name: lock_load
select true from stock_loads where load = $1 for update skip locked;

-- name: stock_load_applied
update stock_loads set applied_at = now() where load = $1 and applied_at is null;

-- name: newer_occurrence
select exists (select from sales where weekly_from ->> 'sale' = $1 and opens_ms > $2);

-- name: log
insert into ops_log (actor, verb, sale, detail) values ($1, $2, $3, $4);

-- name: log_of_sale
select at, actor, verb, detail from ops_log where sale = $1 order by id;
