#!lua flags=allow-oom
-- take_units: takes free units of an item out of a bucket that has many, on their way to one that has none.
-- Safe to repeat: one transfer at a time leaves a bucket; while it is open, it is told again, whatever is asked for. That
-- counts itself, so that whoever waits for the replicas behind it waits for the first write too.
-- The units wait under the transfer's number, which rises, until they are known to have come in.
-- KEYS: counts transfers free
-- ARGV: item to units ranges_max moves
--   to: number of the bucket that gets them; units: how many at the most; moves: how many transfers had left when that was
--   reckoned, and nothing is taken when others have left since; -1 where that does not matter
-- RETURNS: number item to ranges
--   number: 0 when there was nothing to take, or the bucket is fenced; ranges: "lo-hi" with commas between
local counts, transfers, free = KEYS[1], KEYS[2], KEYS[3]
local item, to, units, ranges_max, moves = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

if not (string.match(to, '^%d+$') and units and units >= 1 and moves) then return redis.error_reply('ERR malformed transfer') end
if redis.call('HEXISTS', counts, 'fence') == 1 then return {'0', item, to, ''} end
local open = redis.call('HMGET', transfers, 'number', 'item', 'to', 'ranges')
if open[1] then
  redis.call('HINCRBY', counts, 'told', 1)
  return open
end

local left = tonumber(redis.call('HGET', counts, 'moves') or '0')
if moves >= 0 and moves ~= left then return {'0', item, to, ''} end
-- From the end of the list: what was given back stands at its beginning and is to be sold first.
local found = redis.call('LRANGE', free, -ranges_max, -1)
local ranges, taken, popped, rest = {}, 0, 0, nil
for i = #found, 1, -1 do
  if taken >= units then break end
  local first, last = string.match(found[i], '^(%d+)-(%d+)$')
  first, last = tonumber(first), tonumber(last)
  local from = math.max(first, last - (units - taken) + 1)
  if from > first then rest = string.format('%d-%d', first, from - 1) end
  ranges[#ranges + 1], taken, popped = string.format('%d-%d', from, last), taken + last - from + 1, popped + 1
end
if taken == 0 then return {'0', item, to, ''} end

redis.call('RPOP', free, popped)
if rest then redis.call('RPUSH', free, rest) end
local number = redis.call('HINCRBY', counts, 'moves', 1)
redis.call('HINCRBY', counts, 'free:' .. item, -taken)
redis.call('HINCRBY', counts, 'moving:' .. item, taken)
redis.call('HSET', transfers, 'number', number, 'item', item, 'to', to, 'ranges', table.concat(ranges, ','))
return redis.call('HMGET', transfers, 'number', 'item', 'to', 'ranges')
