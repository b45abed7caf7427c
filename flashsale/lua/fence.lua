#!lua flags=allow-oom
-- fence: closes a bucket that is to be rebuilt. Until the fence falls nothing is sold, and no unit comes or goes.
-- Safe to repeat: a later fence takes the place of an earlier one, whose owner can write no more.
-- KEYS: counts
-- ARGV: fence
-- RETURNS: code
-- CODES: APPLIED APPLIED_BEFORE
local counts = KEYS[1]
local fence = ARGV[1]

if not string.match(fence, '^%d+$') then return redis.error_reply('ERR malformed fence') end
if redis.call('HGET', counts, 'fence') == fence then return APPLIED_BEFORE end
redis.call('HSET', counts, 'fence', fence)
return APPLIED
