#!lua
-- usual: decides one attempt as it is usually done, with a counter for stock and a set of buyers. Only for the bench.
-- Not safe to repeat: the same fan asking again is told that they have one.
-- KEYS: stock buyers outbox
-- ARGV: fan order item
-- RETURNS: left
--   left: units left after this win; -1 the fan has one already, -2 sold out
local stock, buyers, outbox = KEYS[1], KEYS[2], KEYS[3]
local fan, order, item = ARGV[1], ARGV[2], ARGV[3]

if redis.call('SISMEMBER', buyers, fan) == 1 then return -1 end
if tonumber(redis.call('GET', stock) or '0') < 1 then return -2 end
local left = redis.call('DECR', stock)
redis.call('SADD', buyers, fan)
redis.call('XADD', outbox, '*', 'order', order, 'fan', fan, 'item', item)
return left
