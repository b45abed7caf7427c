#!lua
-- rebuild_buyers: writes the lines of some fans into a fenced bucket.
-- Safe to repeat: the same lines are the same. Only the owner of the fence changes anything.
-- KEYS: counts buyers
-- ARGV: fence fan_lines...
--   fan_lines: pairs of a fan and the lines of that fan's orders
-- RETURNS: code
-- CODES: APPLIED OTHER_FENCE
local counts, buyers = KEYS[1], KEYS[2]
local fence = ARGV[1]

if redis.call('HGET', counts, 'fence') ~= fence then return OTHER_FENCE end
redis.call('HSET', buyers, unpack(ARGV, 2))
return APPLIED
