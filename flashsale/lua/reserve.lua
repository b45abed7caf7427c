#!lua
-- reserve: puts a batch of fans into the reservation list of one bucket, each at most once.
-- Safe to repeat: a fan who is in the list already is told the channel they first came through.
-- A member is the decimal string of the fan's keyed hash followed by two digits of channel, small enough for an
-- integer set, which costs eight bytes a fan.
-- KEYS: sale counts slice...
-- ARGV: channels request...
--   channels: how many the sale has; request: "<hash> <channel number>", one for each slice key
-- RETURNS: (code channel)...
-- CODES: RESERVED RESERVATION_NOT_OPEN RESERVATION_CLOSED RESERVATION_FULL UNAVAILABLE WAIT
local sale, counts, slice = KEYS[1], KEYS[2], 2
local channels, requests = tonumber(ARGV[1]), #ARGV - 1

local plan = redis.call('HMGET', sale, 'state', 'reserve_opens_ms', 'reserve_closes_ms', 'reservations_max')
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function refusal_of_all()
  if not (plan[1] and plan[2] and plan[3] and plan[4]) then return UNAVAILABLE end
  if plan[1] == 'closed' or now >= tonumber(plan[3]) then return RESERVATION_CLOSED end
  if now < tonumber(plan[2]) then return RESERVATION_NOT_OPEN end
  if redis.call('HGET', counts, 'memory_short') == '1' then return WAIT end
  return nil
end

local refusal = refusal_of_all()
local room = tonumber(plan[4] or '0') - tonumber(redis.call('HGET', counts, 'reserved') or '0')

-- The channel that a fan is listed under, or nil. One question for all channels at once.
local function listed_under(key, hash)
  local members = {}
  for channel = 0, channels - 1 do members[channel + 1] = string.format('%s%02d', hash, channel) end
  local found = redis.call('SMISMEMBER', key, unpack(members))
  for channel = 0, channels - 1 do if found[channel + 1] == 1 then return channel end end
  return nil
end

-- All are read before the first is written, so that a malformed one is refused with nothing written.
local hashes, wanted = {}, {}
for i = 1, requests do
  local hash, channel = string.match(ARGV[i + 1], '^(%d+) (%d+)$')
  if not hash or tonumber(channel) >= channels or not KEYS[slice + i] then
    return redis.error_reply('ERR malformed request ' .. i)
  end
  hashes[i], wanted[i] = hash, tonumber(channel)
end

local reply, added, added_by_channel = {}, 0, {}
for i = 1, requests do
  local key, hash, channel = KEYS[slice + i], hashes[i], wanted[i]
  local code, before = RESERVED, listed_under(key, hash)
  if before then channel = before
  elseif refusal then code = refusal
  elseif room <= 0 then code = RESERVATION_FULL
  else
    redis.call('SADD', key, string.format('%s%02d', hash, channel))
    room, added = room - 1, added + 1
    added_by_channel[channel] = (added_by_channel[channel] or 0) + 1
  end
  reply[2 * i - 1], reply[2 * i] = code, channel
end

if added > 0 then
  redis.call('HINCRBY', counts, 'reserved', added)
  for channel, n in pairs(added_by_channel) do redis.call('HINCRBY', counts, 'reserved:' .. channel, n) end
end
return reply
