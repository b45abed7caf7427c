#!lua flags=allow-oom
-- mark_memory: marks that the memory of this server is nearly used up, so that nothing more is taken in, or that there
-- is room again.
-- Safe to repeat: the mark is there or not. Allowed without memory: it is how the taking stops before there is none.
-- KEYS: sale counts
-- ARGV: short
--   short: 1 or 0
-- RETURNS: code
-- CODES: APPLIED APPLIED_BEFORE NOT_LOADED
local sale, counts = KEYS[1], KEYS[2]
local short = ARGV[1]

if short ~= '0' and short ~= '1' then return redis.error_reply('ERR malformed mark') end
if redis.call('EXISTS', sale) == 0 then return NOT_LOADED end
if (redis.call('HGET', counts, 'memory_short') or '0') == short then return APPLIED_BEFORE end
redis.call('HSET', counts, 'memory_short', short)
return APPLIED
