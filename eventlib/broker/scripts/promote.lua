-- Move entries whose wait is over to the group's retry stream. If the group's time is not as expected, nothing is
-- moved.
-- KEYS  delayed, retry, key_queue_heads, sweep
-- ARGV  limit (0: only look), the group's time that is expected in ms ('' at first), ms that this script may run late
-- Returns how many were moved, the ms until the next one is due (-1: none waits), 1 if the group is paused or else 0,
-- the group's time in ms, its offset, by how many ms the time is not as expected (0, unless the server's clock jumped
-- or the script ran late), and the time of the group that a consumer saw last (0: none).
local limit, paused = tonumber(ARGV[1]), redis.call('HGET', KEYS[4], 'paused') and 1 or 0
local now, offset, unexpected, seen = group_time(KEYS[4], ARGV[2], ARGV[3])
local times = {}
for i, ms in ipairs({now, offset, unexpected, seen}) do times[i] = string.format('%.3f', ms) end
if unexpected ~= 0 then
  return {0, -1, paused, unpack(times)}
end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', times[1], 'LIMIT', 0, limit)
for _, member in ipairs(due) do
  local fields = cmsgpack.unpack(member)
  local id = redis.call('XADD', KEYS[2], '*', unpack(fields))
  redis.call('ZREM', KEYS[1], member)
  local _, added = split_fields(fields, true)
  if added.origin then -- the message that ends a saga's time has none
    local at, queue = find_head(KEYS[3], added.origin)
    if at and at:match('^delayed/') then put_head(KEYS[3], queue, added.origin, where(true, id)) end
  end
end
if limit > 0 and now - seen > TOLERANCE then
  redis.pcall('HSET', KEYS[4], 'seen', times[1]) -- a full server refuses that, and it can wait
end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local next_ms = head[2] and math.max(0, math.ceil(head[2] - now)) or -1
return {#due, next_ms, paused, unpack(times)}
