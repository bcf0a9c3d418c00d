-- The group is done with these entries. A retried entry belongs to the group alone and is deleted too.
-- KEYS  stream, retry     ARGV  group, n, n ids in stream, ids in retry...
-- Returns how many were still pending.
local function chunks(first, last, call)
  local total = 0
  for i = first, last, 1000 do
    total = total + call(unpack(ARGV, i, math.min(i + 999, last)))
  end
  return total
end
local group, n = ARGV[1], tonumber(ARGV[2])
local acked = chunks(3, 2 + n, function(...) return redis.call('XACK', KEYS[1], group, ...) end)
acked = acked + chunks(3 + n, #ARGV, function(...)
  local done = redis.call('XACK', KEYS[2], group, ...)
  redis.call('XDEL', KEYS[2], ...)
  return done
end)
return acked
