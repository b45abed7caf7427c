#!lua
-- add_stock: adds one range of unit numbers to the free units of an item in one bucket.
-- Safe to repeat: a load is known by its id and applied once. A repeat counts itself, so that whoever waits for the
-- replicas behind it waits for the first write too.
-- KEYS: counts loads free
-- ARGV: item load from to
-- RETURNS: code
-- CODES: APPLIED APPLIED_BEFORE FENCED
local counts, loads, free = KEYS[1], KEYS[2], KEYS[3]
local item, load, from, to = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if not (string.match(from, '^%d+$') and string.match(to, '^%d+$')) then return redis.error_reply('ERR malformed range') end
from, to = tonumber(from), tonumber(to)
if from < 1 or to < from then return redis.error_reply('ERR malformed range') end
if redis.call('HEXISTS', counts, 'fence') == 1 then return FENCED end
if redis.call('SISMEMBER', loads, load) == 1 then
  redis.call('HINCRBY', counts, 'told', 1)
  return APPLIED_BEFORE
end
redis.call('SADD', loads, load)
redis.call('RPUSH', free, string.format('%d-%d', from, to))
redis.call('HINCRBY', counts, 'free:' .. item, to - from + 1)
redis.call('HINCRBY', counts, 'loads', 1)
return APPLIED
