#!lua
-- rebuild_codes: writes into a fenced bucket which codes of a batch are spent.
-- Safe to repeat: a code is spent or not. Only the owner of the fence changes anything.
-- KEYS: counts spent
-- ARGV: fence serial...
-- RETURNS: code
-- CODES: APPLIED OTHER_FENCE
local counts, spent = KEYS[1], KEYS[2]
local fence = ARGV[1]

for i = 2, #ARGV do
  if not string.match(ARGV[i], '^%d+$') then return redis.error_reply('ERR malformed serial ' .. (i - 1)) end
end
if redis.call('HGET', counts, 'fence') ~= fence then return OTHER_FENCE end
for i = 2, #ARGV do redis.call('SETBIT', spent, ARGV[i], 1) end
return APPLIED
