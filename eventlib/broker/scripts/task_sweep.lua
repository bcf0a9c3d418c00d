-- Take over tasks whose worker has been silent for a lease. Only one worker of the queue sweeps at a time. A task that
-- may be what ends its workers, a suspect (see `sweep`), is not taken over: it waits in the queue without its slots,
-- and `task_dispatch` hands it out. So no slot is held until a worker has time for a suspect alone. A worker that has a
-- suspect takes nothing over: it may be about to end. A task that has had all attempts is taken over, and given up.
-- KEYS  the keys of the queue, in their order
-- ARGV  group, consumer, lease in ms, count, ms between sweeps, the group's time that is expected in ms ('' if
--       unknown), ms that this script may run late, attempts that each task is allowed, attempts that some task is
--       allowed
-- Returns whether there may be more; and id, fields and values, deliveries for each entry taken over.
local group, consumer, lease, attempts_max = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[8])
local now, _, unexpected = group_time(sweep, ARGV[6], ARGV[7])
if now < tonumber(redis.call('HGET', sweep, 'due') or '0') or unexpected ~= 0 then -- as in `sweep`
  return {0, {}}
end
local function attempts_of(fields)
  local _, added = split_fields(fields, true)
  return added.attempts, added.origin
end
for _, pending in ipairs(taken_over_by(group, consumer)) do
  local found = redis.call('XRANGE', retry, pending[1], pending[1])[1]
  if found and is_suspect((attempts_of(found[2])), pending[4], attempts_max) then return {0, {}} end
end

local function set_aside(entry, id, record, deliveries)
  drop(group, entry)
  if record.cancel then
    finish(id, record, 'cancelled', now)
    return
  end
  free_slots(id, record)
  record.entry, record.deliveries = nil, deliveries
  block(id, record, virtual_time(record.priority), SUSPECTS)
  ring = true
end

local taken, entries, more = {}, claim_idle(retry, sweep, 'at2', group, consumer, lease, ARGV[4])
for _, entry in ipairs(entries) do
  local id, fields = entry[1], entry[2]
  local deliveries = deliveries_of(retry, group, id)
  local attempts, origin = attempts_of(fields)
  local has_attempts = (tonumber(attempts) or 0) + deliveries <= tonumber(ARGV[9])
  local record = has_attempts and is_suspect(attempts, deliveries, attempts_max) and running_record(origin, id)
  if record then
    set_aside(id, origin, record, deliveries - 1)
  else -- among them suspects whose records were deleted by hand
    taken[#taken + 1] = {id, fields, deliveries}
  end
end
next_sweep(sweep, more and now or now + ARGV[5])
forget_silent(retry, group, consumer, lease)
tell()
return {more and 1 or 0, taken}
