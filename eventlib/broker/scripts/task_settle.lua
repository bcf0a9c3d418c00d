-- What the scripts that settle tasks share. This is not a script of its own: it stands, after `task_queue`, before
-- them.

-- This worker is done with a task. If it was taken over, a suspect may follow it.
local function let_suspects_follow(deliveries)
  if deliveries > 1 and suspects_wait() then ring = true end
end

-- The pending entry if this consumer owns it, and is about to drop it: how often it was delivered. Else nil.
local function owned(group, consumer, entry)
  local pending = redis.call('XPENDING', retry, group, entry, entry, 1)[1]
  if not pending or pending[2] ~= consumer then return nil end
  let_suspects_follow(pending[4])
  return pending[4]
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

