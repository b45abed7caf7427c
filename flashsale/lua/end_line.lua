#!lua flags=allow-oom
-- end_line: ends the line of an order that Postgres has refused for good, and whose unit is another order's.
-- Safe to repeat: the line's own flag says whether it was ended.
-- That unit goes nowhere. If the line has another one by now (a call of replace_unit that came late), it is free again.
-- KEYS: counts buyers free
-- ARGV: item order fan unit
--   order: 32 hex; unit: the one that is another order's
-- RETURNS: code
-- CODES: APPLIED APPLIED_BEFORE NO_SUCH_ORDER FENCED
local counts, buyers, free = KEYS[1], KEYS[2], KEYS[3]
local item, order, fan, unit = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if #order ~= 32 or not string.match(order .. ' ' .. unit, '^%x+ %d+$') then return redis.error_reply('ERR malformed order') end
if redis.call('HEXISTS', counts, 'fence') == 1 then return FENCED end
local lines = redis.call('HGET', buyers, fan)
local from = lines and string.find(lines, order, 1, true)
local flag, its_unit, its_item
if from then flag, its_unit, its_item = string.match(lines, '^(%d) (%d+) (%S+)', from + 50) end
if its_item ~= item then return NO_SUCH_ORDER end
if flag == '0' then return APPLIED_BEFORE end
redis.call('HSET', buyers, fan, string.sub(lines, 1, from + 49) .. '0' .. string.sub(lines, from + 51))
if its_unit ~= unit then
  redis.call('LPUSH', free, its_unit .. '-' .. its_unit)
  redis.call('HINCRBY', counts, 'free:' .. item, 1)
end
return APPLIED
