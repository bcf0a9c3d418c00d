-- Move a task to the group's dead-letter queue, if this consumer still owns it. A task that is to be cancelled ends so.
-- KEYS  the keys of the queue, in their order
-- ARGV  group, consumer, its id in retry, 1 if this attempt counts or 0, 'origin', id, then fields and values that say
--       why, with 'reason' and 'error' first...
-- Returns how many dead letters the queue holds now; 0 if this consumer no longer owns the task; -1 if it is not dead:
-- its entry is gone, or it was cancelled.
local group, consumer, entry, id = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local deliveries = owned(group, consumer, entry)
if not deliveries then return 0 end
local now = group_time(sweep)
local found, record = redis.call('XRANGE', retry, entry, entry)[1], running_record(id, entry)
local dead = found and not (record and record.cancel)
if dead then
  local fields = {unpack(ARGV, 5)}
  if record then
    fields[#fields + 1], fields[#fields + 2] = 'raw.task', cjson.encode(record) -- for a replay after it is forgotten
  end
  local dead_letter = dead_letter_of(fields, found[2], true, earlier_deliveries(deliveries) + ARGV[4])
  local dead_letter_id = redis.call('XADD', dead_letters, '*', unpack(dead_letter))
  if record then
    record.reason, record.error, record.dead_letter = ARGV[8], ARGV[10], dead_letter_id
    record.attempts = whole((record.attempts or 0) + earlier_deliveries(deliveries) + ARGV[4])
  end
end
if record then finish(id, record, record.cancel and 'cancelled' or 'failed', now) end
drop(group, entry)
tell()
return dead and redis.call('XLEN', dead_letters) or -1
