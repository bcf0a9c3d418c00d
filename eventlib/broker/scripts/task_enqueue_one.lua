-- How one task is enqueued. This is not a script of its own: it stands, after `task_queue`, before scripts that
-- enqueue.

-- The id of the task that has a unique key. nil if it is free, also where its task has ended, or is gone.
local function holder_of(key, now)
  local held = redis.call('HGET', unique, key)
  if not held then return nil end
  local id, till = held:match('^(%S+) ?(%S*)$')
  if till ~= '' then return tonumber(till) > now and id or nil end
  local record = read_record(id)
  if not record or has_ended(record) then return nil end
  if record.state == 'running' and #redis.call('XRANGE', retry, record.entry, record.entry) == 0 then return nil end
  return id
end

-- `record` is a JSON object: all that the enqueuer says of the task. The caller writes its event. `due_at` is '' for
-- now, '+' and ms from now, or '=' and ms since 1970 by the server's clock. `till` is '', `start`, `end`, or for how
-- many ms the key is taken. Returns whether it was enqueued: no task is enqueued again while its id is known.
local function enqueue(id, record, due_at, key, till, now, offset)
  if is_known(id) then return false end
  if key ~= '' then
    local for_ms = tonumber(till)
    redis.call('HSET', unique, key, for_ms and id .. ' ' .. exact(now + for_ms) or id)
    if for_ms then redis.call('ZADD', expiries, exact(now + for_ms), 'key ' .. key) end
  end
  record = cjson.decode(record)
  record.enqueued = time_now()
  local at = now
  if due_at ~= '' then
    at = due_at:sub(1, 1) == '+' and now + due_at:sub(2) or due_at:sub(2) - offset
  end
  if at > now then
    record.state, record.due = 'delayed', math.floor(at + offset)
    local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
    ring = ring or not first or at < tonumber(first)
    redis.call('ZADD', due, exact(at), id)
  else
    line_up(id, record)
  end
  write_record(id, record)
  return true
end

