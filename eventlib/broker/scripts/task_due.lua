-- Tasks whose time has come. This is not a script of its own: it stands before scripts that let them wait for a worker.

-- Let due tasks, and tasks whose rate allows it, wait for a worker: a limited number. Each is added there before it is
-- removed here. Returns how many, and the ms until the next one is due (-1: none).
local function promote(limit, now)
  local ready = redis.call('ZRANGEBYSCORE', due, '-inf', exact(now), 'LIMIT', 0, limit)
  for _, id in ipairs(ready) do
    local record = read_record(id)
    if record then
      record.due = nil
      line_up(id, record)
      write_record(id, record)
    end
    redis.call('ZREM', due, id)
  end
  local next_at = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
  local timer_at = look_at_timers(now)
  next_at = math.min(tonumber(next_at or math.huge), tonumber(timer_at or math.huge))
  return #ready, next_at < math.huge and math.max(0, math.ceil(next_at - now)) or -1
end

