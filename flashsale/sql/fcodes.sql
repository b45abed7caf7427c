-- Batches of F-codes, and the ledger of what became of each code.

-- name: create_batch
insert into fcode_batches (sale, codes, tag, channel, key_id, valid_ms, expires_ms, release_ms)
values ($1, $2, $3, $4, $5, $6, $7, $8) returning batch;

-- name: create_batch_item
insert into fcode_items (batch, sale, item, serial_from, serial_to) values ($1, $2, $3, $4, $5);

-- name: codes_free
-- Of an item: units set aside for F-codes for which there is no code yet.
select coalesce((select sum(l.unit_to - l.unit_from + 1) from stock_loads l join sales s using (sale)
                 where l.sale = $1 and l.item = $2 and s.takes_fcodes and l.bucket = s.buckets), 0)
     - coalesce((select sum(serial_to - serial_from + 1) from fcode_items where sale = $1 and item = $2), 0);

-- name: batches
-- Those of some sales, or one.
select b.*, (select json_agg(json_build_object('item', i.item, 'serial_from', i.serial_from, 'serial_to', i.serial_to)
                             order by i.serial_from) from fcode_items i where i.batch = b.batch) as items
from fcode_batches b
where b.sale = any($1::text[]) or b.batch = $2 order by b.batch;

-- name: lock_batch
select sale from fcode_batches where batch = $1 for update;

-- name: extend_batch
update fcode_batches set expires_ms = $2, version = version + 1 where batch = $1;

-- name: release_batch
update fcode_batches set released_at = now(), version = version + 1 where batch = $1 and released_at is null
returning version;

-- name: batches_due
-- Those whose time to be released has come.
select batch from fcode_batches where sale = $1 and released_at is null and release_ms <= $2 order by batch;

-- name: units_aside
-- By item, how many units were ever loaded for F-codes.
select l.item, sum(l.unit_to - l.unit_from + 1)::bigint as units from stock_loads l join sales s using (sale)
where l.sale = $1 and s.takes_fcodes and l.bucket = s.buckets group by l.item;

-- name: take_serials
-- The next $2 serials are given out.
update fcode_batches set issued = issued + $2 where batch = $1;

-- name: export
insert into fcode_exports (batch, serial_from, serial_to, actor) values ($1, $2, $3, $4);

-- name: exports
select serial_from, serial_to, actor, exported_at from fcode_exports where batch = $1 order by serial_from;

-- name: redeemed_by_batch
-- How many codes of each batch, told in hex, were redeemed.
select substr(key, 1, 8) as batch, count(*) as redeemed from orders
where sale = $1 and lane = 'fcode' and state <> 'refused' group by substr(key, 1, 8);

-- name: codes_spent
-- The keys of codes that were redeemed; of orders that are set aside too: they were won, and wait for another unit, or for
-- a person. One that was refused stays spent.
select key from orders where sale = $1 and lane = 'fcode'
union
select win ->> 'key' from set_aside where sale = $1 and win ->> 'lane' = 'fcode';
