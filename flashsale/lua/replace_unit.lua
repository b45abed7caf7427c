#!lua
-- replace_unit: gives an order whose unit Postgres refused another free unit, and sends it on its way again.
-- Safe to repeat: a line whose unit is not among the tried ones is told again. Nobody waits for replicas behind it: what a
-- failover forgets is asked for again.
-- It works while the sale is paused or closed: the order was won in time. It is no second win, so `wins` stays.
-- A tried unit belongs to another order: it is passed over, and stays in the free list where it is in it.
-- A line that the bucket has forgotten is made again, unless the fan has meanwhile what one fan may have, or another
-- order with the same key. A line that is over stays so: then this is a call that came late.
-- It takes, so it is refused whole above the memory limit: the order waits, and nothing is lost by that.
-- KEYS: sale counts buyers outbox free
-- ARGV: item order key fan channel lane accepted_ms tried...
--   order: 32 hex; key: 16 hex; tried: numbers of units
-- RETURNS: code unit
--   unit: that of the order now, 0 unless APPLIED or APPLIED_BEFORE. DRY: another bucket may have some
-- CODES: APPLIED APPLIED_BEFORE NO_SUCH_ORDER STALE ALREADY_BOUGHT DRY SOLD_OUT UNAVAILABLE
local sale, counts, buyers, outbox, free = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local item, order, key, fan = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local channel, lane, accepted_ms = ARGV[5], ARGV[6], ARGV[7]

local attempt = string.format('%s %s %s %s %s', order, key, fan, channel, lane)
if #order ~= 32 or #key ~= 16 or not string.match(attempt, '^%x+ %x+ %S+ %S+ %S+$')
  or not string.match(accepted_ms, '^%d+$') then
  return redis.error_reply('ERR malformed order')
end
local tried = {}
for i = 8, #ARGV do
  if not string.match(ARGV[i], '^%d+$') then return redis.error_reply('ERR malformed unit') end
  tried[tonumber(ARGV[i])] = true
end

local plan = redis.call('HMGET', sale, 'limit', 'buckets')
local fence = redis.call('HGET', counts, 'fence')
local lines = redis.call('HGET', buyers, fan)
local from = lines and string.find(lines, order, 1, true)
local flag, unit, its_item
if from then flag, unit, its_item = string.match(lines, '^(%d) (%d+) (%S+)', from + 50) end

-- Another order in its place: the fan is at the limit without it, or its key has won again.
local function has_another()
  local live = 0
  for its_key, its_flag in string.gmatch(lines or '', '%S+ (%S+) (%d) %d+ %S+ %d+') do
    if its_key == key then return true end
    if its_flag == '1' then live = live + 1 end
  end
  return live >= tonumber(plan[1])
end

local function answer_without_a_unit()
  if fence or not (plan[1] and plan[2]) then return UNAVAILABLE end
  if not from and has_another() then return ALREADY_BOUGHT end
  if not from then return nil end
  if its_item ~= item then return NO_SUCH_ORDER end
  if flag == '0' then return STALE end
  if not tried[tonumber(unit)] then return APPLIED_BEFORE end
  return nil
end

local code = answer_without_a_unit()

-- So many that there is one among them that is more than tried units, if there is one at all.
local ranges = redis.call('LRANGE', free, 0, #ARGV)
local popped, first, last, found = 0, 0, 0, nil
for i = 1, #ranges do
  local from_unit, to_unit = string.match(ranges[i], '^(%d+)-(%d+)$')
  popped, first, last = i, tonumber(from_unit), tonumber(to_unit)
  for candidate = first, last do
    if not tried[candidate] then found = candidate break end
  end
  if found then break end
end
if not code and not found then
  code = SOLD_OUT
  if tonumber(plan[2]) > 1 then code = DRY end
end

local answer = 0
if not code then
  code, answer = APPLIED, found
  redis.call('LPOP', free, popped)
  -- What stood before and behind the unit goes back to its place, the last one first.
  local back = {}
  if found < last then back[1] = string.format('%d-%d', found + 1, last) end
  if found > first then back[#back + 1] = string.format('%d-%d', first, found - 1) end
  for i = popped - 1, 1, -1 do back[#back + 1] = ranges[i] end
  if #back > 0 then redis.call('LPUSH', free, unpack(back)) end
  if from then
    lines = string.sub(lines, 1, from + 51) .. string.format('%d', found) .. string.sub(lines, from + 52 + #unit)
  else
    local line = string.format('%s %s 1 %d %s %s', order, key, found, item, accepted_ms)
    lines = lines and (lines .. '\n' .. line) or line
  end
  redis.call('HSET', buyers, fan, lines)
  redis.call('HINCRBY', counts, 'free:' .. item, -1)
  redis.call('HINCRBY', counts, 'outbox', 1)
  redis.call('XADD', outbox, '*', 'at_ms', accepted_ms, 'item', item, attempt, found)
elseif code == APPLIED_BEFORE then
  answer = tonumber(unit)
elseif code == DRY then
  redis.call('HINCRBY', counts, 'lost:' .. item, 1)
end
return {code, answer}
