-- Put a failed entry aside until its next attempt, if this consumer still owns it.
-- KEYS  source (stream or retry), stream, retry, delayed, heads, lanes
-- ARGV  group, consumer, id, origin id, attempts used up, delay in ms
-- Returns 1; 0 where the claim was lost; -1 where the entry itself is gone (trimmed or deleted).
local source, group, id = KEYS[1], ARGV[1], ARGV[3]
local owner = redis.call('XPENDING', source, group, id, id, 1)[1]
if not owner or owner[2] ~= ARGV[2] then
  return 0
end
local entry = redis.call('XRANGE', source, id, id)[1]
local event, moved_to
for i = 1, entry and #entry[2] or 0, 2 do
  if entry[2][i] == 'event' then event = entry[2][i + 1] end
end
if event then
  if tonumber(ARGV[6]) <= 0 then
    moved_to = where(true, redis.call('XADD', KEYS[3], '*', 'event', event, 'attempts', ARGV[5], 'origin', ARGV[4]))
  else
    local now = redis.call('TIME') -- the server's clock: consumers' clocks differ
    local due = string.format('%.3f', now[1] * 1000 + now[2] / 1000 + ARGV[6])
    moved_to = 'delayed/' .. due
    redis.call('ZADD', KEYS[4], due, cmsgpack.pack({ARGV[4], ARGV[5], event}))
  end
end
redis.call('XACK', source, group, id)
if source == KEYS[3] then
  redis.call('XDEL', source, id)
end
local here = where(source == KEYS[3], id)
if event then
  move_head(KEYS[5], ARGV[4], here, moved_to)
else
  release(KEYS[5], KEYS[6], KEYS[3], ARGV[4], here)
end
return event and 1 or -1
