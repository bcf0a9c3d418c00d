-- Take over entries whose consumer has been silent for a lease. Only one consumer of the group sweeps at a time.
-- KEYS  stream, retry, sweep     ARGV  group, consumer, lease in ms, count, ms between sweeps
-- Returns whether there may be more, and {1 for stream or 2 for retry, id, fields and values, deliveries} for each
-- entry taken over.
local group, consumer, lease, count = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local due = tonumber(redis.call('HGET', KEYS[3], 'due') or '0')
if now < due and due <= now + 2 * ARGV[5] then -- if it is due later than that, the server's clock was put back
  return {0, {}}
end
local taken, more = {}, false
for source = 1, 2 do
  local at = 'at' .. source -- XAUTOCLAIM looks at 10 x COUNT entries a call: continue where the last sweep stopped
  local from, reply, looks = redis.call('HGET', KEYS[3], at) or '0-0', nil, 0
  repeat
    reply = redis.call('XAUTOCLAIM', KEYS[source], group, consumer, lease, from, 'COUNT', count)
    from, looks = reply[1], looks + 1
  until #reply[2] > 0 or from == '0-0' or looks == 20 -- so that other clients are served soon
  redis.call('HSET', KEYS[3], at, from)
  more = more or reply[1] ~= '0-0'
  for _, entry in ipairs(reply[2]) do
    local pending = redis.call('XPENDING', KEYS[source], group, entry[1], entry[1], 1)[1]
    taken[#taken + 1] = {source, entry[1], entry[2], pending[4]}
  end
end
redis.call('HSET', KEYS[3], 'due', string.format('%.0f', more and now or now + ARGV[5]))

-- The cursor is where this group must start again if it is deleted: before its oldest pending entry.
local summary = redis.call('XPENDING', KEYS[1], group)
local cursor
if summary[1] > 0 then
  local ms, seq = summary[2]:match('(%d+)-(%d+)')
  if seq == '0' then
    cursor = string.format('%.0f-18446744073709551615', ms - 1)
  else
    cursor = string.format('%s-%.0f', ms, seq - 1)
  end
else
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if info[2] == group then cursor = info[8] end
  end
end
local flat, stream = redis.call('XINFO', 'STREAM', KEYS[1]), {}
for i = 1, #flat, 2 do stream[flat[i]] = flat[i + 1] end
-- `added` is how many entries the stream has had. The cursor does not apply to a stream that has had fewer.
redis.call('HSET', KEYS[3], 'cursor', cursor, 'added', stream['entries-added'])

-- Consumers that ended without leaving keep their names: delete those that hold nothing and have long been silent.
for source = 1, 2 do
  local forgotten = 0
  for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[source], group)) do
    if info[4] == 0 and info[6] > 10 * lease and info[2] ~= consumer and forgotten < 500 then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[source], group, info[2])
      forgotten = forgotten + 1
    end
  end
end
return {more and 1 or 0, taken}
