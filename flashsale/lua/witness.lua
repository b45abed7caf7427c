#!lua
-- witness: tells the lines of a batch of fans, and writes, so that whoever waits for this write's replicas or disk waits
-- for all of these lines too: a read alone proves nothing of the writes before it.
-- Safe to repeat: it changes a count that only rises.
-- KEYS: counts buyers
-- ARGV: fan...
-- RETURNS: lines...
--   lines: as the bucket remembers them, "" for a fan without any
local counts, buyers = KEYS[1], KEYS[2]

local reply, known = redis.call('HMGET', buyers, unpack(ARGV, 1)), 0
for i = 1, #ARGV do
  if reply[i] then known = known + 1 else reply[i] = '' end
end
if known > 0 then redis.call('HINCRBY', counts, 'looked', known) end
return reply
