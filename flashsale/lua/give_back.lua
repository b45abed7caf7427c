#!lua flags=allow-oom
-- give_back: puts the units of ended orders back among the free units of their item, first to be sold again.
-- Safe to repeat: the order's own line in the bucket says whether it was given back, so that each comes back once.
-- The line stays (not live any more): its key still finds its first outcome, and it counts against hoarding.
-- KEYS: counts buyers free
-- ARGV: item return...
--   return: "<order: 32 hex> <unit> <fan>"
-- RETURNS: code...
-- CODES: APPLIED APPLIED_BEFORE NO_SUCH_ORDER
local counts, buyers, free = KEYS[1], KEYS[2], KEYS[3]
local item = ARGV[1]

local reply = {}
for i = 2, #ARGV do
  local order, unit, fan = string.match(ARGV[i], '^(%x+) (%d+) (%S+)$')
  local lines = redis.call('HGET', buyers, fan)
  local from = lines and string.find(lines, order, 1, true)
  if not from then
    reply[i - 1] = NO_SUCH_ORDER
  elseif string.sub(lines, from + 50, from + 50) == '0' then
    reply[i - 1] = APPLIED_BEFORE
  else
    lines = string.sub(lines, 1, from + 49) .. '0' .. string.sub(lines, from + 51)
    redis.call('HSET', buyers, fan, lines)
    redis.call('LPUSH', free, unit .. '-' .. unit)
    redis.call('HINCRBY', counts, 'free:' .. item, 1)
    reply[i - 1] = APPLIED
  end
end
return reply
