#!lua flags=no-writes
-- free: the free ranges of an item in one bucket and how many units are counted as free, at one instant.
-- Safe to repeat: it only reads.
-- KEYS: counts free
-- ARGV: item
-- RETURNS: count ranges
--   ranges: "lo-hi"..., in the order in which they are sold
local counts, free = KEYS[1], KEYS[2]
local item = ARGV[1]

return {tonumber(redis.call('HGET', counts, 'free:' .. item) or '0'), redis.call('LRANGE', free, 0, -1)}
