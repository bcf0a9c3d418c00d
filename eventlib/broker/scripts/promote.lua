-- Move entries whose wait is over to the group's retry stream. If the group's time is not as expected, nothing is
-- moved.
-- KEYS  delayed, retry, key_queue_heads, sweep
-- ARGV  limit, the group's time that is expected in ms ('' at first)
-- Returns how many were moved, the ms until the next one is due (-1: none waits), the group's time in ms, its offset,
-- and by how many ms the time is not as expected: 0, unless the server's clock jumped or the script ran late.
local now, offset, unexpected = group_time(KEYS[4], ARGV[2])
if unexpected ~= 0 then
  return {0, -1, string.format('%.3f', now), string.format('%.3f', offset), string.format('%.3f', unexpected)}
end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.3f', now), 'LIMIT', 0, ARGV[1])
for _, member in ipairs(due) do
  local fields = cmsgpack.unpack(member)
  local id = redis.call('XADD', KEYS[2], '*', unpack(fields))
  redis.call('ZREM', KEYS[1], member)
  local _, added = split_fields(fields, true)
  local at, queue = find_head(KEYS[3], added.origin)
  if at and at:match('^delayed/') then put_head(KEYS[3], queue, added.origin, where(true, id)) end
end
local seen = tonumber(redis.call('HGET', KEYS[4], 'seen') or '0')
if now - seen > TOLERANCE then
  redis.pcall('HSET', KEYS[4], 'seen', string.format('%.3f', now)) -- a full server refuses that, and it can wait
end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local next_ms = head[2] and math.max(0, math.ceil(head[2] - now)) or -1
return {#due, next_ms, string.format('%.3f', now), string.format('%.3f', offset), '0'}
