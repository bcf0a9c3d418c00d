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
local taken, more, left = {}, false, 0
for source = 1, 2 do
  local entries, others = claim_idle(KEYS[source], KEYS[3], 'at' .. source, group, consumer, lease, count)
  more = more or others
  for _, entry in ipairs(entries) do
    local id, fields = entry[1], entry[2]
    local deliveries = deliveries_of(KEYS[source], group, id)
    local _, added = split_fields(fields, source == 2)
    if is_suspect(added.attempts, deliveries, attempts_max) then
      redis.call('XCLAIM', KEYS[source], group, SUSPECTS, 0, id, 'RETRYCOUNT', deliveries - 1, 'JUSTID')
    else
      taken[#taken + 1] = {source, id, fields, deliveries}
    end
  end
end
for source = 1, 2 do
  for _, pending in ipairs(redis.call('XPENDING', KEYS[source], group, '-', '+', 1000, SUSPECTS)) do
    local id = pending[1]
    local entry = may_take_suspect and not more and #taken == 0
      and redis.call('XCLAIM', KEYS[source], group, consumer, 0, id)[1] -- none if it was deleted
    if entry then
      taken[1] = {source, id, entry[2], deliveries_of(KEYS[source], group, id)}
    else
      left = left + 1
    end
  end
end
next_sweep(KEYS[3], (more or left > 0) and now or now + ARGV[5])

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

for source = 1, 2 do forget_silent(KEYS[source], group, consumer, lease) end
return {more and 1 or 0, taken, left}
