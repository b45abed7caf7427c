#!lua flags=allow-oom
-- trim: takes entries that are committed in Postgres out of the outbox.
-- Safe to repeat: an entry is counted down only when it was still there.
-- KEYS: counts outbox
-- ARGV: id_orders...
--   id_orders: pairs of an entry's id and the number of orders in it
-- RETURNS: trimmed
local counts, outbox = KEYS[1], KEYS[2]

for i = 1, #ARGV, 2 do
  if not (string.match(ARGV[i], '^%d+%-%d+$') and string.match(ARGV[i + 1] or '', '^%d+$')) then
    return redis.error_reply('ERR malformed entry ' .. (i + 1) / 2)
  end
end

local trimmed = 0
for i = 1, #ARGV, 2 do
  if redis.call('XDEL', outbox, ARGV[i]) == 1 then trimmed = trimmed + tonumber(ARGV[i + 1]) end
end
if trimmed > 0 then redis.call('HINCRBY', counts, 'outbox', -trimmed) end
return trimmed
