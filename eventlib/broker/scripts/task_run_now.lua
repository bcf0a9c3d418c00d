-- Let a task that waits for its time start as soon as a worker is free.
-- KEYS  the keys of the queue, in their order
-- ARGV  id
-- Returns the state that the task has now; '' if it is not known.
local id = ARGV[1]
local record = read_record(id)
if not record then return '' end
if record.state == 'delayed' then
  take_out(id, record)
  line_up(id, record)
  write_record(id, record)
  tell()
end
return record.state
