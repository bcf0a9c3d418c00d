-- The group is done with these entries. A retried entry belongs to the group alone and is deleted too. The head of a
-- lane is done only if this consumer still owns it: who took it over may be at work on it; then the lane goes on.
-- KEYS  stream, retry, heads, lanes
-- ARGV  group, consumer, n, n ids in stream, m, m ids in retry, m origin ids of those
-- Returns how many were still pending.
local group, consumer, n = ARGV[1], ARGV[2], tonumber(ARGV[3])
local m = tonumber(ARGV[4 + n])

local function chunks(first, last, call)
  local total = 0
  for i = first, last, 1000 do
    total = total + call(unpack(ARGV, i, math.min(i + 999, last)))
  end
  return total
end

local function ack_all(source, first, last)
  return chunks(first, last, function(...)
    local done = redis.call('XACK', KEYS[source], group, ...)
    if source == 2 then redis.call('XDEL', KEYS[2], ...) end
    return done
  end)
end

if redis.call('EXISTS', KEYS[3]) == 0 then
  return ack_all(1, 4, 3 + n) + ack_all(2, 5 + n, 4 + n + m)
end

local acked = 0
local function ack(source, at, origin)
  local id = ARGV[at]
  local here = where(source == 2, id)
  if find_head(KEYS[3], origin) ~= here then -- of no lane
    acked = acked + ack_all(source, at, at)
    return
  end
  local owner = redis.call('XPENDING', KEYS[source], group, id, id, 1)[1]
  if owner and owner[2] == consumer then
    acked = acked + ack_all(source, at, at)
    release(KEYS[3], KEYS[4], KEYS[2], origin, here)
  end
end
for i = 4, 3 + n do ack(1, i, ARGV[i]) end
for i = 5 + n, 4 + n + m do ack(2, i, ARGV[i + m]) end
return acked
