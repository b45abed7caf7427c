#!lua flags=allow-oom
-- give_back: takes the units of ended orders back: to the free units of their item, first to be sold again, or to be
-- held, which means free nowhere here (Postgres keeps the list of those).
-- Safe to repeat: the order's own line in the bucket says whether it was given back, so that each comes back once. A call
-- that only repeats counts itself, so that whoever waits for the replicas behind it waits for the first write too.
-- The line stays (not live any more): its key still finds its first outcome, and it counts against hoarding.
-- Unit and item are those of the line: a caller who is wrong about them moves nothing.
-- KEYS: counts buyers free
-- ARGV: item place return...
--   place: "free" or "hold"
--   return: "<order: 32 hex> <fan>"
-- RETURNS: code...
-- CODES: APPLIED APPLIED_BEFORE NO_SUCH_ORDER FENCED
local counts, buyers, free = KEYS[1], KEYS[2], KEYS[3]
local item, place = ARGV[1], ARGV[2]

if place ~= 'free' and place ~= 'hold' then return redis.error_reply('ERR malformed place') end

-- All are read before the first is applied, so that a malformed one is refused with nothing written.
local returns = {}
for i = 3, #ARGV do
  local order, fan = string.match(ARGV[i], '^(%x+) (%S+)$')
  if not order or #order ~= 32 then return redis.error_reply('ERR malformed return ' .. (i - 2)) end
  returns[i - 2] = {order, fan}
end

local reply, applied, before = {}, 0, 0
if redis.call('HEXISTS', counts, 'fence') == 1 then
  for i = 1, #returns do reply[i] = FENCED end
  return reply
end
for i, back in ipairs(returns) do
  local order, fan = back[1], back[2]
  local lines = redis.call('HGET', buyers, fan)
  local from = lines and string.find(lines, order, 1, true)
  local flag, unit, its_item
  if from then flag, unit, its_item = string.match(lines, '^(%d) (%d+) (%S+)', from + 50) end
  if its_item ~= item then
    reply[i] = NO_SUCH_ORDER
  elseif flag == '0' then
    reply[i], before = APPLIED_BEFORE, before + 1
  else
    redis.call('HSET', buyers, fan, string.sub(lines, 1, from + 49) .. '0' .. string.sub(lines, from + 51))
    if place == 'free' then
      redis.call('LPUSH', free, unit .. '-' .. unit)
      redis.call('HINCRBY', counts, 'free:' .. item, 1)
    end
    reply[i], applied = APPLIED, applied + 1
  end
end
if applied > 0 then redis.call('HINCRBY', counts, 'returned', applied)
elseif before > 0 then redis.call('HINCRBY', counts, 'told', before) end
return reply
