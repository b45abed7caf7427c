#!lua flags=allow-oom
-- lease: takes or renews the right to land one bucket. Two holders would do no harm (landing is repeatable), only
-- double work; so the lease needs no fencing.
-- Safe to repeat: the holder renews. Allowed without memory: landing is what frees it.
-- KEYS: lease
-- ARGV: holder lease_ms
-- RETURNS: held
--   held: 1 when the caller holds it now
local lease = KEYS[1]
local holder, lease_ms = ARGV[1], tonumber(ARGV[2])

local held_by = redis.call('GET', lease)
if held_by and held_by ~= holder then return 0 end
redis.call('SET', lease, holder, 'PX', lease_ms)
return 1
