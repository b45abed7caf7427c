#!lua
-- set_batch: writes the terms of a batch of F-codes beside the plan, in the sale's bucket for them.
-- Safe to repeat, in any order: only a higher version changes anything. A repeat writes the version again, so that whoever
-- waits for the replicas behind it waits for the first write too. A fence does not matter: who rebuilds the bucket tells
-- the terms before it falls.
-- KEYS: sale
-- ARGV: generation batch version valid_ms expires_ms is_released
--   is_released: 1 when no code is taken any more
-- RETURNS: code
-- CODES: APPLIED APPLIED_BEFORE STALE NOT_LOADED OTHER_GENERATION
local sale = KEYS[1]
local generation, batch, version = ARGV[1], ARGV[2], ARGV[3]
local valid_ms, expires_ms, is_released = ARGV[4], ARGV[5], ARGV[6]

local terms = string.format('%s %s %s %s', version, valid_ms, expires_ms, is_released)
if not string.match(terms, '^%d+ %d+ %d+ [01]$') then return redis.error_reply('ERR malformed terms') end
local plan = redis.call('HMGET', sale, 'generation', 'batch:' .. batch)
if not plan[1] then return NOT_LOADED end
if plan[1] ~= generation then return OTHER_GENERATION end
local known = plan[2] or '0'
local known_version = tonumber(string.match(known, '^(%d+)'))
if known_version > tonumber(version) then return STALE end
local code = APPLIED
if known_version == tonumber(version) then code = APPLIED_BEFORE end
redis.call('HSET', sale, 'batch:' .. batch, terms)
return code
