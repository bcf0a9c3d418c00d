-- Move entries whose wait is over to the group's retry stream.
-- KEYS  delayed, retry, key_queue_heads     ARGV  limit
-- Returns how many were moved, and the ms until the next one is due (-1: none waits).
local now = redis.call('TIME')
now = now[1] * 1000 + now[2] / 1000
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.3f', now), 'LIMIT', 0, ARGV[1])
for _, member in ipairs(due) do
  local fields = cmsgpack.unpack(member)
  local id = redis.call('XADD', KEYS[2], '*', unpack(fields))
  redis.call('ZREM', KEYS[1], member)
  local _, added = split_fields(fields, true)
  local at, queue = find_head(KEYS[3], added.origin)
  if at and at:match('^delayed/') then put_head(KEYS[3], queue, added.origin, where(true, id)) end
end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {#due, head[2] and math.max(0, math.ceil(head[2] - now)) or -1}
