-- Let due tasks wait for a worker, and forget tasks whose results were kept for long enough. If the group's time is not
-- as expected, nothing is done.
-- KEYS  the keys of the queue, in their order
-- ARGV  limit (0: only look), the group's time that is expected in ms ('' at first), ms that this script may run late
-- Returns what promote returns.
local limit, paused = tonumber(ARGV[1]), redis.call('HGET', sweep, 'paused') and 1 or 0
local now, offset, unexpected, seen = group_time(sweep, ARGV[2], ARGV[3])
local times = {}
for i, ms in ipairs({now, offset, unexpected, seen}) do times[i] = string.format('%.3f', ms) end
if unexpected ~= 0 then
  return {0, -1, paused, unpack(times)}
end
local moved, next_ms = 0, -1
if limit > 0 then
  moved, next_ms = promote(limit, now)
  forget(limit, now)
  if now - seen > TOLERANCE then
    redis.pcall('HSET', sweep, 'seen', times[1]) -- a full server refuses that, and it can wait
  end
end
tell()
return {moved, next_ms, paused, unpack(times)}
