#!lua flags=allow-oom
-- give_back: puts the units of ended orders back among the free units of their item, first to be sold again.
-- Safe to repeat: the order's own line in the bucket says whether it was given back, so that each comes back once.
-- The line stays (not live any more): its key still finds its first outcome, and it counts against hoarding.
-- Unit and item are those of the line: a caller who is wrong about them moves nothing.
-- KEYS: counts buyers free
-- ARGV: item return...
--   return: "<order: 32 hex> <fan>"
-- RETURNS: code...
-- CODES: APPLIED APPLIED_BEFORE NO_SUCH_ORDER
local counts, buyers, free = KEYS[1], KEYS[2], KEYS[3]
local item = ARGV[1]

-- All are read before the first is applied, so that a malformed one is refused with nothing written.
local returns = {}
for i = 2, #ARGV do
  local order, fan = string.match(ARGV[i], '^(%x+) (%S+)$')
  if not order or #order ~= 32 then return redis.error_reply('ERR malformed return ' .. (i - 1)) end
  returns[i - 1] = {order, fan}
end

local reply = {}
for i, back in ipairs(returns) do
  local order, fan = back[1], back[2]
  local lines = redis.call('HGET', buyers, fan)
  local from = lines and string.find(lines, order, 1, true)
  local flag, unit, its_item
  if from then flag, unit, its_item = string.match(lines, '^(%d) (%d+) (%S+)', from + 50) end
  if its_item ~= item then
    reply[i] = NO_SUCH_ORDER
  elseif flag == '0' then
    reply[i] = APPLIED_BEFORE
  else
    redis.call('HSET', buyers, fan, string.sub(lines, 1, from + 49) .. '0' .. string.sub(lines, from + 51))
    redis.call('LPUSH', free, unit .. '-' .. unit)
    redis.call('HINCRBY', counts, 'free:' .. item, 1)
    reply[i] = APPLIED
  end
end
return reply
