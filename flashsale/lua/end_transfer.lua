#!lua flags=allow-oom
-- end_transfer: forgets a transfer whose units have come in at the other bucket.
-- Safe to repeat: only the transfer of that number is forgotten.
-- KEYS: counts transfers
-- ARGV: number
-- RETURNS: code
-- CODES: APPLIED APPLIED_BEFORE
local counts, transfers = KEYS[1], KEYS[2]
local number = ARGV[1]

local open = redis.call('HMGET', transfers, 'number', 'item', 'ranges')
if open[1] ~= number then return APPLIED_BEFORE end
local units = 0
for first, last in string.gmatch(open[3], '(%d+)-(%d+)') do units = units + tonumber(last) - tonumber(first) + 1 end
redis.call('DEL', transfers)
redis.call('HINCRBY', counts, 'moving:' .. open[2], -units)
return APPLIED
