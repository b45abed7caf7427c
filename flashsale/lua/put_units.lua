#!lua
-- put_units: adds units that were taken out of another bucket to the free units of this one.
-- Safe to repeat: transfers from a bucket come in by rising number, and one that came in before only counts itself, so
-- that whoever waits for the replicas behind it waits for the first write too.
-- KEYS: sale counts received free
-- ARGV: from number item ranges
--   from: number of the bucket that they left; ranges: "lo-hi" with commas between
-- RETURNS: code
-- CODES: APPLIED APPLIED_BEFORE NOT_LOADED FENCED
local sale, counts, received, free = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local from, number, item, ranges = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

local units, texts = 0, {}
for first, last in string.gmatch(ranges, '(%d+)-(%d+)') do
  texts[#texts + 1], units = first .. '-' .. last, units + tonumber(last) - tonumber(first) + 1
end
if not number or units < 1 or table.concat(texts, ',') ~= ranges then return redis.error_reply('ERR malformed transfer') end
if redis.call('EXISTS', sale) == 0 then return NOT_LOADED end
if redis.call('HEXISTS', counts, 'fence') == 1 then return FENCED end
if tonumber(redis.call('HGET', received, from) or '0') >= number then
  redis.call('HINCRBY', counts, 'told', 1)
  return APPLIED_BEFORE
end
redis.call('HSET', received, from, number)
redis.call('RPUSH', free, unpack(texts))
redis.call('HINCRBY', counts, 'free:' .. item, units)
return APPLIED
