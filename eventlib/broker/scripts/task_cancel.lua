-- Cancel a task. One that waits ends. One that runs is marked, and its worker hears of it.
-- KEYS  the keys of the queue, in their order
-- ARGV  id
-- Returns the state that the task has now, 'cancelling' if it runs, '' if it is not known; and 1 if it had ended
-- before.
local id = ARGV[1]
local record = read_record(id)
if not record then return {'', 1} end
if has_ended(record) then return {record.state, 1} end
if take_out(id, record) then
  finish(id, record, 'cancelled', (group_time(sweep)))
  tell()
  return {'cancelled', 0}
end
record.cancel = 1
write_record(id, record)
redis.call('SADD', cancelling, id)
redis.call('XADD', cancels, 'MAXLEN', '~', 1000, '*', 'id', id)
tell()
return {'cancelling', 0}
