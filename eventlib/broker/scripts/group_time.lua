-- The time of a group. It goes on as if the server's clock never jumped. This is not a script of its own: it stands
-- before scripts that keep or compare times. In the sweep hash, `offset` says by how many ms the server's clock is
-- ahead of the group's time, and `seen` is the last time of the group that a consumer saw.
local TOLERANCE = 1000 -- ms: a smaller jump changes little, and replies that are a little late look like one

local function server_time() -- ms
  local now = redis.call('TIME')
  return now[1] * 1000 + now[2] / 1000
end

-- The group's time in ms, the offset, and by how much the time is not what it should be: 0 if it is about `expected`
-- ms, or later by `late` ms at most, or, without `expected`, not before the time seen last. Then that time, 0 if none.
local function group_time(sweep, expected, late)
  local offset, seen = unpack(redis.call('HMGET', sweep, 'offset', 'seen'))
  offset = tonumber(offset or '0')
  local now = server_time() - offset
  seen = tonumber(seen or '0')
  expected = tonumber(expected) or math.max(now, seen)
  local as_expected = now - expected >= -TOLERANCE and now - expected <= TOLERANCE + (tonumber(late) or 0)
  return now, offset, as_expected and 0 or now - expected, seen
end
