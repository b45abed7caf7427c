#!lua flags=allow-oom
-- skip_transfers: from now on, transfers from one bucket come in only above a number. What that bucket sent before it
-- was rebuilt, and somebody may still hold, is not to come in twice.
-- Safe to repeat: the number only rises.
-- KEYS: received
-- ARGV: from number
-- RETURNS: code
-- CODES: APPLIED APPLIED_BEFORE
local received = KEYS[1]
local from, number = ARGV[1], ARGV[2]

if not (string.match(from, '^%d+$') and string.match(number, '^%d+$')) then return redis.error_reply('ERR malformed transfer') end
if tonumber(redis.call('HGET', received, from) or '0') >= tonumber(number) then return APPLIED_BEFORE end
redis.call('HSET', received, from, number)
return APPLIED
