-- The group is done with these entries, except with those that another consumer has claimed: their new owner's outcome
-- counts. A retried entry belongs to the group alone and is deleted too. Behind the head of a lane the lane goes on.
-- KEYS  stream, retry, key_queue_heads, key_queues
-- ARGV  group, consumer, n, n ids in stream, m, m ids in retry, m origin ids of those
-- Returns the ids that another consumer has claimed, in stream and in retry.
local group, consumer, n = ARGV[1], ARGV[2], tonumber(ARGV[3])
local m = tonumber(ARGV[4 + n])
local has_lanes = redis.call('EXISTS', KEYS[3]) == 1

local function acknowledge(source, first, last, to_origin)
  local mine, lost, owned = {}, {}, {}
  if last > first then -- one look at what the consumer holds, oldest first, is cheaper than one for each id
    local most = math.min(2 * (last - first + 1), 2000)
    for _, pending in ipairs(redis.call('XPENDING', source, group, '-', '+', most, consumer)) do
      owned[pending[1]] = true
    end
  end
  for i = first, last do
    local pending = not owned[ARGV[i]] and redis.call('XPENDING', source, group, ARGV[i], ARGV[i], 1)[1]
    local list = pending and pending[2] ~= consumer and lost or mine -- what nobody holds is acknowledged already
    list[#list + 1] = ARGV[i]
    if has_lanes and list == mine then
      release(KEYS[3], KEYS[4], KEYS[2], ARGV[i + to_origin], where(source == KEYS[2], ARGV[i]))
    end
  end
  for i = 1, #mine, 1000 do
    local last_mine = math.min(i + 999, #mine)
    redis.call('XACK', source, group, unpack(mine, i, last_mine))
    if source == KEYS[2] then redis.call('XDEL', source, unpack(mine, i, last_mine)) end
  end
  return lost
end
return {acknowledge(KEYS[1], 4, 3 + n, 0), acknowledge(KEYS[2], 5 + n, 4 + n + m, m)}
