-- Let a task that failed wait for its next attempt, if this consumer still owns it. A task that is to be cancelled
-- ends.
-- KEYS  the keys of the queue, in their order
-- ARGV  group, consumer, its id in retry, id, 1 if this attempt counts or 0, delay in ms, the group's time that is
--       expected in ms ('' if unknown), ms that this script may run late
-- Returns 1; 0 if this consumer no longer owns the task; -1 if the entry itself is gone (deleted).
local group, consumer, entry, id = unpack(ARGV, 1, 4)
local deliveries = owned(group, consumer, entry)
if not deliveries then return 0 end
local found, record = redis.call('XRANGE', retry, entry, entry)[1], running_record(id, entry)
local now, _, unexpected = group_time(sweep, ARGV[7], ARGV[8])
now = now - unexpected -- after a jump that is not put right yet, it is as expected
if record and (record.cancel or not found) then
  finish(id, record, record.cancel and 'cancelled' or 'failed', now)
elseif record then
  local attempts = (record.attempts or 0) + earlier_deliveries(deliveries) + ARGV[5]
  record.attempts = whole(attempts)
  if attempts > 0 and not record.failed then record.failed = whole(time_now()) end -- a snooze is no failure
  put_back(id, record, tonumber(ARGV[6]) > 0 and now + ARGV[6] or nil)
end
drop(group, entry)
tell()
return found and 1 or -1
