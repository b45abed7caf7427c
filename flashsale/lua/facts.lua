#!lua flags=no-writes
-- facts: what one bucket says of itself, at one instant.
-- Safe to repeat: it only reads.
-- KEYS: sale counts
-- ARGV:
-- RETURNS: now_ms plan counts
--   plan, counts: field value..., empty when the bucket is not there
local sale, counts = KEYS[1], KEYS[2]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return {now, redis.call('HGETALL', sale), redis.call('HGETALL', counts)}
