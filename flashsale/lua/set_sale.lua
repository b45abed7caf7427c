#!lua flags=allow-oom
-- set_sale: writes what the scripts need of the plan into one bucket.
-- Safe to repeat, in any order: only a higher version of the same generation changes anything, so a late or
-- repeated call can't bring an old state back. Allowed without memory, so that a sale can be paused and closed. A repeat
-- that may make the bucket writes the version again, so that whoever waits for the replicas behind it waits for the
-- first write too.
-- KEYS: sale
-- ARGV: create generation version field_value...
--   create: 1 when the bucket may be made by this call; else a bucket that is not there stays so
-- RETURNS: code
-- CODES: APPLIED APPLIED_BEFORE OTHER_GENERATION STALE NOT_LOADED
local sale = KEYS[1]
local create, generation, version = ARGV[1] == '1', ARGV[2], tonumber(ARGV[3])

local known = redis.call('HMGET', sale, 'generation', 'version')
if not known[1] and not create then return NOT_LOADED end
if known[1] and known[1] ~= generation then return OTHER_GENERATION end
if known[1] and tonumber(known[2]) > version then return STALE end
local code = APPLIED
if tonumber(known[2]) == version then
  if not create then return APPLIED_BEFORE end
  code = APPLIED_BEFORE
  redis.call('HSET', sale, 'version', version)
else
  redis.call('HSET', sale, 'generation', generation, 'version', version, unpack(ARGV, 4))
end
return code
