#!lua
-- redeem: decides a batch of attempts by F-codes of one batch of codes for one item, in the sale's bucket for F-codes.
-- Safe to repeat: the code is its order's key, so that whoever redeemed it is told the same win again, and nobody else.
-- A win spends the code, takes a numbered unit, writes the fan's line and the outbox entry in this one step.
-- Codes may be redeemed from their own time on, before the sale opens too; not while it is paused or when it is over.
-- KEYS: sale counts buyers outbox free spent
-- ARGV: item batch attempt...
--   attempt: "<order: 32 hex> <key: batch and serial, 8 hex each> <fan> <channel> <lane>"
-- RETURNS: now_ms (code detail)...
--   WON unit | WON_BEFORE "order unit accepted_ms" | any other code ""
-- CODES: WON WON_BEFORE CLOSED PAUSED WAIT UNAVAILABLE CODE_SPENT CODE_NOT_YET CODE_EXPIRED
local sale, counts, buyers, outbox, free, spent = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local item, batch, attempts = ARGV[1], ARGV[2], #ARGV - 2

local plan = redis.call('HMGET', sale, 'state', 'closes_ms', 'outbox_max', 'batch:' .. batch)
local counted = redis.call('HMGET', counts, 'outbox', 'fence', 'memory_short')
local valid_ms, expires_ms, is_released = string.match(plan[4] or '', '^%d+ (%d+) (%d+) (%d)$')
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Missing state means "no", never "unlimited"; so does a fence, behind which the bucket is being rebuilt.
local function refusal_of_all()
  if not (plan[2] and plan[3] and valid_ms) then return UNAVAILABLE end
  if counted[2] then return UNAVAILABLE end
  if plan[1] == 'closed' or now >= tonumber(plan[2]) then return CLOSED end
  if plan[1] == 'paused' then return PAUSED end
  if plan[1] ~= 'open' and plan[1] ~= 'loaded' then return UNAVAILABLE end
  if now < tonumber(valid_ms) then return CODE_NOT_YET end
  if now >= tonumber(expires_ms) or is_released == '1' then return CODE_EXPIRED end
  if tonumber(counted[1] or '0') + attempts > tonumber(plan[3]) then return WAIT end
  if counted[3] == '1' then return WAIT end
  return nil
end

local refusal = refusal_of_all()

local fans, serials = {}, {}
for i = 1, attempts do
  fans[i] = string.match(ARGV[i + 2], '^(%S+)', 51)
  serials[i] = tonumber(string.sub(ARGV[i + 2], 42, 49), 16)
end
local lines_of, held = {}, redis.call('HMGET', buyers, unpack(fans))
for i = 1, attempts do if held[i] then lines_of[fans[i]] = held[i] end end

-- Units are only looked at here and taken at the end, so that nothing is written before all is decided.
local ranges = refusal and {} or redis.call('LRANGE', free, 0, attempts - 1)
local range, unit, last = 0, 1, 0
local function next_unit()
  if unit > last then
    range = range + 1
    if not ranges[range] then return nil end
    local from, to = string.match(ranges[range], '^(%d+)-(%d+)$')
    unit, last = tonumber(from), tonumber(to)
  end
  unit = unit + 1
  return unit - 1
end

local function win_before(fan, key)
  for order, its_key, its_unit, at in string.gmatch(lines_of[fan] or '', '(%S+) (%S+) %d (%d+) %S+ (%d+)') do
    if its_key == key then return string.format('%s %s %s', order, its_unit, at) end
  end
  return nil
end

local spent_now = {}
local function refusal_of(i)
  if refusal then return refusal end
  if spent_now[serials[i]] or redis.call('GETBIT', spent, serials[i]) == 1 then return CODE_SPENT end
  return nil
end

local reply, bought, entry, won_serials, told = {now}, {}, {'item', item}, {}, 0
for i = 1, attempts do
  local attempt, fan = ARGV[i + 2], fans[i]
  local before = win_before(fan, string.sub(attempt, 34, 49))
  local code, detail = before and WON_BEFORE or refusal_of(i), before or ''
  if before then told = told + 1 end
  if not code then
    -- Each code has a unit set aside; should there be none, nothing is decided and the code is not spent.
    code = WAIT
    local won = next_unit()
    if won then
      code, detail = WON, won
      local line = string.format('%s 1 %d %s %d', string.sub(attempt, 1, 49), won, item, now)
      lines_of[fan] = lines_of[fan] and (lines_of[fan] .. '\n' .. line) or line
      won_serials[#won_serials + 1], spent_now[serials[i]] = serials[i], true
      bought[#won_serials] = fan
      entry[#entry + 1], entry[#entry + 2] = attempt, won
    end
  end
  reply[2 * i], reply[2 * i + 1] = code, detail
end

local wins = #won_serials
if wins > 0 then
  redis.call('LPOP', free, range)
  if unit <= last then redis.call('LPUSH', free, string.format('%d-%d', unit, last)) end
  local pairs_of_buyers = {}
  for i = 1, wins do
    redis.call('SETBIT', spent, won_serials[i], 1)
    pairs_of_buyers[2 * i - 1], pairs_of_buyers[2 * i] = bought[i], lines_of[bought[i]]
  end
  redis.call('HSET', buyers, unpack(pairs_of_buyers))
  redis.call('HINCRBY', counts, 'free:' .. item, -wins)
  redis.call('HINCRBY', counts, 'used:' .. item .. ':' .. batch, wins)
  redis.call('HINCRBY', counts, 'outbox', wins)
  redis.call('HINCRBY', counts, 'wins', wins)
  redis.call('XADD', outbox, '*', 'at_ms', now, unpack(entry))
elseif told > 0 then
  -- A win that is told again is followed by a write, so that whoever waits for this write's replicas waits for that win's.
  redis.call('HINCRBY', counts, 'told', told)
end
return reply
