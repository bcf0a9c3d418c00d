-- Pause a group, or let it go on, and keep who did it. If it is so already, nothing is done.
-- KEYS  sweep, pauses, and retention where the stream has one: a group that is paused does not count as dead
-- ARGV  1 to pause or 0 to go on, who does it, why, how many records are kept, group
-- Returns 1 if that changed anything, else 0.
local paused = redis.call('HGET', KEYS[1], 'paused')
if (paused and '1' or '0') == ARGV[1] then return 0 end
local now = redis.call('TIME')
local record = cjson.encode({act = ARGV[1] == '1' and 'pause' or 'resume', by = ARGV[2], reason = ARGV[3],
  at = now[1] * 1000 + math.floor(now[2] / 1000)})
local kept = redis.pcall('LPUSH', KEYS[2], record) -- first: a user who may not do this changes nothing
if type(kept) == 'table' and kept.err and (ARGV[1] == '1' or not kept.err:find('OOM', 1, true)) then
  return kept -- a full server takes no record; a group goes on all the same
end
redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
if ARGV[1] == '1' then
  if KEYS[3] then redis.call('HSET', KEYS[3], 'paused:' .. ARGV[5], 1) end
  redis.call('HSET', KEYS[1], 'paused', record)
else
  if KEYS[3] then redis.call('HDEL', KEYS[3], 'paused:' .. ARGV[5]) end
  redis.call('HDEL', KEYS[1], 'paused')
end
return 1
