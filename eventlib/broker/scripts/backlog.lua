-- What the group still has to do, seen at one moment.
-- KEYS  stream, retry, delayed, dead_letters, key_queues
-- ARGV  group, the lag from which on the server's lag is used: a server whose lag is wrong reports too many
-- Returns waiting (never delivered), pending (delivered, not acknowledged), retrying (their wait is over), delayed,
-- dead, parked (behind another entry of their key), the age in ms of the oldest entry that is not settled (-1: none),
-- and two ids. If the ids are not '', the caller has to count the waiting entries between them.
local waiting, pending, after, last = 0, 0, '', ''
local oldest = math.huge
local function look_at(id)
  if id then oldest = math.min(oldest, tonumber(id:match('^(%d+)%-%d+$') or oldest)) end
end
local function origin(fields)
  local found
  for i = 1, #fields, 2 do
    if fields[i] == 'origin' then found = fields[i + 1] end
  end
  return found
end
local function map(flat)
  local made = {}
  for i = 1, #flat, 2 do made[flat[i]] = flat[i + 1] end
  return made
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  local stream, delivered, lag = map(redis.call('XINFO', 'STREAM', KEYS[1])), '0-0', nil
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = map(flat)
    if group.name == ARGV[1] then
      pending, delivered, lag = group.pending, group['last-delivered-id'], group.lag
      look_at((redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1)[1] or {})[1])
    end
  end
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  local next_one = redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', 1)[1]
  if next_one then
    look_at(next_one[1])
    if next_one[1] == first[1] then -- the group has read nothing that is still there, so its lag does not matter
      waiting = stream.length
    elseif lag and lag >= tonumber(ARGV[2]) then
      waiting = math.min(lag, stream.length)
    else -- no server knows: entries were deleted, or the group's position was set by hand
      after, last = '(' .. delivered, stream['last-generated-id']
    end
  end
end
-- The oldest may be among those due last, which failed most often, or among those due first, which may be overlooked.
for _, list in ipairs({redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 100),
                       redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 100)}) do
  for _, entry in ipairs(list) do look_at(origin(entry[2]) or entry[1]) end
end
for _, list in ipairs({redis.call('ZRANGE', KEYS[3], 0, 99), redis.call('ZRANGE', KEYS[3], -100, -1)}) do
  for _, member in ipairs(list) do look_at(origin(cmsgpack.unpack(member))) end
end
local now = redis.call('TIME')
local age = oldest < math.huge and math.max(0, now[1] * 1000 + math.floor(now[2] / 1000) - oldest) or -1
return {waiting, pending, redis.call('XLEN', KEYS[2]), redis.call('ZCARD', KEYS[3]), redis.call('XLEN', KEYS[4]),
        redis.call('ZCARD', KEYS[5]), age, after, last}
