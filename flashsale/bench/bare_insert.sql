-- The reference of the suite writer: the same columns into a bare table with the same two unique indexes.
insert into bench_bare (order_id, sale, item, unit, fan, channel, lane, accepted_ms)
select order_id, $1, item, unit, fan, channel, lane, accepted_ms
from unnest($2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], $8::bigint[])
     as a (order_id, item, unit, fan, channel, lane, accepted_ms)
