#!lua flags=no-writes
-- lines: what a bucket remembers of one fan's orders, and that it is the sale's bucket, at one instant.
-- Safe to repeat: it only reads.
-- KEYS: sale counts buyers
-- ARGV: generation fan
--   generation: the sale's; a namesake's bucket has another
-- RETURNS: known lines
--   known: 0 when the bucket is another's, lost, or being rebuilt; lines: as purchase keeps them, '' when there are none
local sale, counts, buyers = KEYS[1], KEYS[2], KEYS[3]
local generation, fan = ARGV[1], ARGV[2]

if redis.call('HGET', sale, 'generation') ~= generation then return {0, ''} end
if redis.call('HEXISTS', counts, 'fence') == 1 then return {0, ''} end
return {1, redis.call('HGET', buyers, fan) or ''}
