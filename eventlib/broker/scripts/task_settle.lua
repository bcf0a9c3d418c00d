-- What the scripts that settle tasks share. This is not a script of its own: it stands, after `task_queue`, before
-- them.

-- The pending entry if this consumer owns it: how often it was delivered. Else nil.
local function owned(group, consumer, entry)
  local pending = redis.call('XPENDING', retry, group, entry, entry, 1)[1]
  return pending and pending[2] == consumer and pending[4] or nil
end

local function drop(group, entry)
  redis.call('XACK', retry, group, entry)
  redis.call('XDEL', retry, entry)
end

-- The record of a task that runs as this entry. nil if it was deleted by hand.
local function running_record(id, entry)
  local record = read_record(id)
  return record and record.entry == entry and record or nil
end

-- A task does not run any more and waits again: now, at its old place, or from `due_at` on.
local function put_back(id, record, due_at)
  free_slots(id, record)
  record.entry = nil
  if due_at then
    record.state, record.due = 'delayed', math.floor(due_at)
    redis.call('ZADD', due, exact(due_at), id)
  else
    line_up(id, record)
  end
  write_record(id, record)
end

