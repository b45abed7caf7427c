#!lua
-- rebuild_loads: writes the ids of stock loads into a fenced bucket that are not to be applied again.
-- Safe to repeat: an id is there or not. Only the owner of the fence changes anything.
-- KEYS: counts loads
-- ARGV: fence load...
-- RETURNS: code
-- CODES: APPLIED OTHER_FENCE
local counts, loads = KEYS[1], KEYS[2]
local fence = ARGV[1]

if redis.call('HGET', counts, 'fence') ~= fence then return OTHER_FENCE end
redis.call('SADD', loads, unpack(ARGV, 2))
return APPLIED
