-- Acknowledge entries, except those that another consumer has taken over: their new owner's outcome counts. An entry of
-- the retry stream belongs to the group alone and is deleted too. If an entry is the head of a per-key queue, the next
-- entry of the queue becomes its head.
-- KEYS  stream, retry, key_queue_heads, key_queues
-- ARGV  group, consumer, n, n ids in stream, m, m ids in retry, m origin ids of those
-- Returns the ids that another consumer has taken over, in stream and in retry.
local group, consumer, n = ARGV[1], ARGV[2], tonumber(ARGV[3])
local m = tonumber(ARGV[4 + n])
local has_queues = redis.call('EXISTS', KEYS[3]) == 1

local function acknowledge(source, first, last, to_origin)
  local own, lost, held = {}, {}, {}
  if last > first then -- one look at what the consumer holds, oldest first, is cheaper than one look for each id
    local most = math.min(2 * (last - first + 1), 2000)
    for _, pending in ipairs(redis.call('XPENDING', source, group, '-', '+', most, consumer)) do
      held[pending[1]] = true
    end
  end
  for i = first, last do
    local pending = not held[ARGV[i]] and redis.call('XPENDING', source, group, ARGV[i], ARGV[i], 1)[1]
    local list = pending and pending[2] ~= consumer and lost or own -- an entry that is not pending is acknowledged
    list[#list + 1] = ARGV[i]
    if has_queues and list == own then
      release(KEYS[3], KEYS[4], KEYS[2], ARGV[i + to_origin], where(source == KEYS[2], ARGV[i]))
    end
  end
  for i = 1, #own, 1000 do
    local last_own = math.min(i + 999, #own)
    redis.call('XACK', source, group, unpack(own, i, last_own))
    if source == KEYS[2] then redis.call('XDEL', source, unpack(own, i, last_own)) end
  end
  return lost
end
return {acknowledge(KEYS[1], 4, 3 + n, 0), acknowledge(KEYS[2], 5 + n, 4 + n + m, m)}
