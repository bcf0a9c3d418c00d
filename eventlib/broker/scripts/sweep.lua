-- Take over entries whose consumer has been silent for a lease. Only one consumer of the group sweeps at a time. An
-- entry that may be what ends its consumers, a suspect, is taken over alone and after all others: consumers that end
-- beside it would count as failures of others. A suspect was taken over before, or this is its last attempt. Suspects
-- wait in the name of `(suspects)`, without counting a delivery.
-- KEYS  stream, retry, sweep
-- ARGV  group, consumer, lease in ms, count, ms between sweeps, the group's time that is expected in ms ('' if
--       unknown), ms that this script may run late, attempts that the group allows, 1 if the consumer may take a
--       suspect (it holds nothing that was taken over) or 0
-- Returns whether there may be more, {1 for stream or 2 for retry, id, fields and values, deliveries} for each entry
-- taken over, and how many suspects were left.
local SUSPECTS = '(suspects)'
local group, consumer, lease, count = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local attempts_max, may_take_suspect = tonumber(ARGV[8]), ARGV[9] == '1'
local now, _, unexpected = group_time(KEYS[3], ARGV[6], ARGV[7])
local due = tonumber(redis.call('HGET', KEYS[3], 'due') or '0')
if now < due or unexpected ~= 0 then -- by a clock that jumped, leases seem to have ended, or not to end
  return {0, {}, 0}
end
local function is_suspect(source, fields, deliveries)
  local _, added = split_fields(fields, source == 2)
  return deliveries > 2 or (tonumber(added.attempts) or 0) + deliveries >= attempts_max
end
local function deliveries_of(source, id)
  return redis.call('XPENDING', KEYS[source], group, id, id, 1)[1][4]
end
local taken, more, left = {}, false, 0
for source = 1, 2 do
  local at = 'at' .. source -- XAUTOCLAIM looks at 10 x COUNT entries a call: continue where the last sweep stopped
  local from, reply, looks = redis.call('HGET', KEYS[3], at) or '0-0', nil, 0
  repeat
    reply = redis.call('XAUTOCLAIM', KEYS[source], group, consumer, lease, from, 'COUNT', count)
    from, looks = reply[1], looks + 1
  until #reply[2] > 0 or from == '0-0' or looks == 20 -- so that other clients are served soon
  more = more or from ~= '0-0'
  for _, entry in ipairs(reply[2]) do
    local id, fields = entry[1], entry[2]
    local deliveries = deliveries_of(source, id)
    if is_suspect(source, fields, deliveries) then
      redis.call('XCLAIM', KEYS[source], group, SUSPECTS, 0, id, 'RETRYCOUNT', deliveries - 1, 'JUSTID')
    else
      taken[#taken + 1] = {source, id, fields, deliveries}
    end
  end
  redis.call('HSET', KEYS[3], at, from)
end
for source = 1, 2 do
  for _, pending in ipairs(redis.call('XPENDING', KEYS[source], group, '-', '+', 1000, SUSPECTS)) do
    local id = pending[1]
    local entry = may_take_suspect and not more and #taken == 0
      and redis.call('XCLAIM', KEYS[source], group, consumer, 0, id)[1] -- none if it was deleted
    if entry then
      taken[1] = {source, id, entry[2], deliveries_of(source, id)}
    else
      left = left + 1
    end
  end
end
local next_due = (more or left > 0) and now or now + ARGV[5] -- rounded up, one at once would come too soon
redis.call('HSET', KEYS[3], 'due', string.format('%.0f', math.floor(next_due)))

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
return {more and 1 or 0, taken, left}
