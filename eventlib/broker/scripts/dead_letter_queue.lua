-- The state of the dead-letter queue, without the dead letters in it.
-- KEYS  dead_letters, stream
-- Returns the server's time in ms, the queue's length, its first and its last id ('' if it is empty), and the names
-- of the stream's groups.
local now = redis.call('TIME')
local first, last = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1], nil
if first then last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1] end
local groups = {}
if redis.call('EXISTS', KEYS[2]) == 1 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[2])) do groups[#groups + 1] = info[2] end
end
return {
  string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)),
  redis.call('XLEN', KEYS[1]),
  first and first[1] or '',
  last and last[1] or '',
  groups,
}
