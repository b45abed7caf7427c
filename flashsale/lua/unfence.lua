#!lua flags=allow-oom
-- unfence: opens a bucket that has been rebuilt: its counts are set and its fence falls, in one step.
-- Safe to repeat: only the owner of the fence changes anything.
-- KEYS: counts
-- ARGV: fence field_value...
-- RETURNS: code
-- CODES: APPLIED OTHER_FENCE
local counts = KEYS[1]
local fence = ARGV[1]

if redis.call('HGET', counts, 'fence') ~= fence then return OTHER_FENCE end
redis.call('HSET', counts, unpack(ARGV, 2))
redis.call('HDEL', counts, 'fence')
return APPLIED
