#!lua
-- purchase: decides a batch of attempts for one item in one bucket; the only place that says yes.
-- Safe to repeat: an attempt whose key won before is told the same win. Order: attempts are decided as they stand.
-- A win takes a numbered unit, writes the fan's line and the outbox entry in this one step.
-- KEYS: sale counts buyers outbox free
-- ARGV: item attempt...
--   attempt: "<order: 32 hex> <key: 16 hex> <fan> <channel> <lane>"
-- RETURNS: now_ms (code detail)...
--   WON unit | WON_BEFORE "order unit accepted_ms" | ALREADY_BOUGHT order | any other code ""
--   DRY: this bucket of several has no unit; another may have some
-- CODES: WON WON_BEFORE DRY SOLD_OUT ALREADY_BOUGHT NOT_OPEN CLOSED PAUSED WAIT UNAVAILABLE KEY_REUSED RETURNED_TOO_OFTEN
local sale, counts, buyers, outbox, free = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local item, attempts = ARGV[1], #ARGV - 1

local plan = redis.call('HMGET', sale, 'state', 'opens_ms', 'closes_ms', 'limit', 'returned_max', 'outbox_max', 'buckets')
local counted = redis.call('HMGET', counts, 'outbox', 'fence', 'memory_short')
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Missing state means "not open", never "unlimited"; so does a fence, behind which the bucket is being rebuilt.
local function refusal_of_all()
  local state = plan[1]
  if not (state and plan[2] and plan[3] and plan[4] and plan[5] and plan[6]) then return UNAVAILABLE end
  if counted[2] then return UNAVAILABLE end
  if state == 'closed' or now >= tonumber(plan[3]) then return CLOSED end
  if state == 'paused' then return PAUSED end
  if state == 'loaded' and now < tonumber(plan[2]) then return NOT_OPEN end
  if state ~= 'open' and state ~= 'loaded' then return UNAVAILABLE end
  if tonumber(counted[1] or '0') + attempts > tonumber(plan[6]) then return WAIT end
  if counted[3] == '1' then return WAIT end
  return nil
end

local refusal = refusal_of_all()
local limit, returned_max = tonumber(plan[4] or '0'), tonumber(plan[5] or '0')

local fans = {}
for i = 1, attempts do fans[i] = string.match(ARGV[i + 1], '^(%S+)', 51) end
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

local LINE = '(%S+) (%S+) (%d) (%d+) (%S+) (%d+)'

-- A fan with orders in this sale: is this key one of them, are they at the limit?
local function answer_from(lines, key)
  local live, returned, order_live = 0, 0, ''
  for order, its_key, flag, its_unit, its_item, at in string.gmatch(lines, LINE) do
    if its_key == key then
      if its_item == item then return WON_BEFORE, string.format('%s %s %s', order, its_unit, at) end
      return KEY_REUSED, ''
    end
    if flag == '1' then live, order_live = live + 1, order else returned = returned + 1 end
  end
  if refusal then return refusal, '' end
  if live >= limit then return ALREADY_BOUGHT, order_live end
  if returned > returned_max then return RETURNED_TOO_OFTEN, '' end
  return nil, ''
end

local without_unit = (tonumber(plan[7] or '1') > 1) and DRY or SOLD_OUT
local reply, bought, entry, wins, dry, told = {now}, {}, {'item', item}, 0, 0, 0
for i = 1, attempts do
  local attempt, fan, code, detail = ARGV[i + 1], fans[i], refusal, ''
  local lines = lines_of[fan]
  if lines then code, detail = answer_from(lines, string.sub(attempt, 34, 49)) end
  if not code then
    local won = next_unit()
    if won then
      code, detail, wins = WON, won, wins + 1
      local line = string.format('%s 1 %d %s %d', string.sub(attempt, 1, 49), won, item, now)
      lines_of[fan] = lines and (lines .. '\n' .. line) or line
      bought[wins] = fan
      entry[2 * wins + 1], entry[2 * wins + 2] = attempt, won
    else
      code, dry = without_unit, dry + 1
    end
  elseif code == WON_BEFORE then
    told = told + 1
  end
  reply[2 * i], reply[2 * i + 1] = code, detail
end

if wins > 0 then
  redis.call('LPOP', free, range)
  if unit <= last then redis.call('LPUSH', free, string.format('%d-%d', unit, last)) end
  local pairs_of_buyers = {}
  for i = 1, wins do
    pairs_of_buyers[2 * i - 1], pairs_of_buyers[2 * i] = bought[i], lines_of[bought[i]]
  end
  redis.call('HSET', buyers, unpack(pairs_of_buyers))
  redis.call('HINCRBY', counts, 'free:' .. item, -wins)
  redis.call('HINCRBY', counts, 'outbox', wins)
  redis.call('HINCRBY', counts, 'wins', wins)
  redis.call('XADD', outbox, '*', 'at_ms', now, unpack(entry))
elseif told > 0 then
  -- A win that is told again is followed by a write, so that whoever waits for this write's replicas waits for that win's.
  redis.call('HINCRBY', counts, 'told', told)
end
-- The balancer sees where units are asked for.
if dry > 0 and without_unit == DRY then redis.call('HINCRBY', counts, 'lost:' .. item, dry) end
return reply
