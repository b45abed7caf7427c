#!lua
-- rebuild_free: adds ranges of free units of an item to a fenced bucket.
-- Safe to repeat: they are added when there are as many as the caller says. Only the owner of the fence changes anything.
-- KEYS: counts free
-- ARGV: fence length range...
--   length: how many ranges are there before; range: "lo-hi"
-- RETURNS: code
-- CODES: APPLIED APPLIED_BEFORE OTHER_FENCE
local counts, free = KEYS[1], KEYS[2]
local fence, length = ARGV[1], tonumber(ARGV[2])

for i = 3, #ARGV do
  if not string.match(ARGV[i], '^%d+%-%d+$') then return redis.error_reply('ERR malformed range ' .. (i - 2)) end
end
if redis.call('HGET', counts, 'fence') ~= fence then return OTHER_FENCE end
if redis.call('LLEN', free) ~= length then return APPLIED_BEFORE end
redis.call('RPUSH', free, unpack(ARGV, 3))
return APPLIED
