#!lua flags=allow-oom
-- empty_bucket: takes everything out of a fenced bucket that is about to be rebuilt, and sets from which numbers on
-- transfers come in.
-- Safe to repeat: only the owner of the fence changes anything.
-- KEYS: counts buyers transfers loads received rest...
--   rest: the free units of each item; in the bucket of the F-codes, what there is of each batch
-- ARGV: fence from_number...
--   from_number: pairs of another bucket's number and of the last transfer from there that is not to come in any more
-- RETURNS: code
-- CODES: APPLIED OTHER_FENCE
local counts, buyers, transfers, loads, received, rest = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], 5
local fence = ARGV[1]

for i = 2, #ARGV do
  if not string.match(ARGV[i], '^%d+$') then return redis.error_reply('ERR malformed number ' .. i) end
end
if redis.call('HGET', counts, 'fence') ~= fence then return OTHER_FENCE end
redis.call('UNLINK', buyers)
redis.call('UNLINK', transfers)
redis.call('UNLINK', loads)
redis.call('UNLINK', received)
for i = 1, #KEYS - rest do
  local key = KEYS[rest + i]
  redis.call('UNLINK', key)
end
if #ARGV > 1 then redis.call('HSET', received, unpack(ARGV, 2)) end
return APPLIED
