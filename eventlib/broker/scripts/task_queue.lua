-- The state of a task queue. This is not a script of its own: it stands before the scripts of tasks. All of these take
-- the same KEYS, those of the queue in their order, so that these names are the same in all of them.
-- A task has a record, a JSON object, from when it is enqueued until its result is forgotten:
-- name, priority (1 to 4: critical to low), tenant, keep (ms that its result is kept), unique and until (its unique key,
-- and when that is free again: `start`, `end` or `time`), limits (name and at_once, or name, starts and within ms);
-- state, enqueued, started and ended (ms since 1970), seq (its place among its tenant's tasks), attempts used up, failed,
-- replays and edited as in an entry; of a task that runs: entry (its id in the retry stream), cancel (it is to end); of
-- one that waits: due, blocked (its member there), woken (by which limit); of one that failed: reason, error, dead_letter.
local retry, dead_letters, sweep, due, blocked, slots, starts, timers, records, bodies, results, progress, expiries,
  unique, cancelling, counters, rates, bell, cancels, finished = unpack(KEYS, 1, 20)
local waiting, tenants, woken = {unpack(KEYS, 21, 24)}, {unpack(KEYS, 25, 28)}, {unpack(KEYS, 29, 32)}
local ended_ids, ring = {}, false -- told to others when the script ends

local function exact(number) -- Lua's own form of a number is rounded
  return string.format('%.17g', number)
end

local function whole(number)
  return string.format('%.0f', math.floor(number))
end

local function read_record(id)
  local text = redis.call('HGET', records, id)
  return text and cjson.decode(text)
end

local function write_record(id, record)
  redis.call('HSET', records, id, cjson.encode(record))
end

local function has_ended(record)
  return record.state == 'succeeded' or record.state == 'failed' or record.state == 'cancelled'
end

-- Count for the rates of the last minute: by five seconds, and what is older is deleted when a new count begins.
local function count(kind, number)
  if number == 0 then return end
  local now = math.floor(redis.call('TIME')[1] / 5)
  if redis.call('HINCRBY', rates, kind .. ' ' .. now, number) == number then
    for _, field in ipairs(redis.call('HKEYS', rates)) do
      if tonumber(field:match('%d+')) < now - 12 then redis.call('HDEL', rates, field) end
    end
  end
end

local function virtual_time(priority)
  return tonumber(redis.call('HGET', counters, 'virtual ' .. priority) or '0')
end

local function waiting_member(id, record)
  return record.tenant .. ' ' .. string.format('%016.0f', record.seq) .. ' ' .. id
end

-- Let a task wait among those of its tenant: at its old place if it had one, else behind them.
local function line_up(id, record)
  local priority = record.priority
  record.state = 'waiting'
  record.seq = record.seq or redis.call('HINCRBY', counters, 'seq', 1)
  redis.call('ZADD', waiting[priority], 0, waiting_member(id, record))
  redis.call('ZADD', tenants[priority], 'NX', exact(virtual_time(priority)), record.tenant)
  ring = true
end

-- Let the first task that waits for a limit be tried again. Returns whether there was one.
local function wake(limit)
  while true do
    local member = redis.call('ZRANGEBYLEX', blocked, '[' .. limit .. ' ', '(' .. limit .. '!', 'LIMIT', 0, 1)[1]
    if not member then return false end
    redis.call('ZREM', blocked, member)
    local priority, tag, id = member:match('^%S+ (%d) (%S+) %d+ (%S+)$')
    local record = read_record(id)
    if record then -- else it was deleted by hand
      priority = tonumber(priority)
      record.state, record.blocked, record.woken = 'waiting', nil, limit
      redis.call('ZADD', woken[priority], exact(tonumber(tag)), id)
      write_record(id, record)
      ring = true
      return true
    end
  end
end

-- What a task that ran held: its slots go to the tasks that wait for them.
local function free_slots(id, record)
  for _, limit in ipairs(record.limits or {}) do
    if limit.at_once and redis.call('ZREM', slots, limit.name .. ' ' .. id) == 1 then wake(limit.name) end
  end
end

local function free_unique(id, record)
  if record.unique and redis.call('HGET', unique, record.unique) == id then
    redis.call('HDEL', unique, record.unique)
  end
end

-- Take a task that does not run out of where it waits. Returns whether it waited.
local function take_out(id, record)
  if record.state == 'delayed' then
    redis.call('ZREM', due, id)
  elseif record.state == 'blocked' then
    redis.call('ZREM', blocked, record.blocked)
  elseif record.state == 'waiting' then
    redis.call('ZREM', waiting[record.priority], waiting_member(id, record))
    if redis.call('ZREM', woken[record.priority], id) == 1 and record.woken then wake(record.woken) end
  else
    return false
  end
  record.due, record.blocked, record.woken = nil, nil, nil
  return true
end

-- A task has ended, in one of three states. `now` is the group's time.
local function finish(id, record, state, now)
  free_slots(id, record)
  if record['until'] ~= 'time' then free_unique(id, record) end
  if record.cancel then redis.call('SREM', cancelling, id) end
  record.state, record.ended, record.entry, record.cancel = state, math.floor(server_time()), nil, nil
  redis.call('HDEL', bodies, id)
  redis.call('ZADD', expiries, exact(now + record.keep), 'task ' .. id)
  write_record(id, record)
  ended_ids[#ended_ids + 1] = id
end

-- Forget what was kept for long enough: a bounded number of tasks and of unique keys.
local function forget(limit, now)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', exact(now), 'LIMIT', 0, limit)) do
    local kind, name = member:match('^(%a+) (.*)$')
    local record = kind == 'task' and read_record(name)
    if kind == 'key' then
      local held = redis.call('HGET', unique, name)
      local till = held and held:match(' (%S+)$')
      if till and tonumber(till) <= now then redis.call('HDEL', unique, name) end
    elseif record and has_ended(record) then
      redis.call('HDEL', records, name)
      redis.call('HDEL', results, name)
      redis.call('HDEL', progress, name)
    end
    redis.call('ZREM', expiries, member)
  end
end

-- To be called last: tell those who wait for a task, or for its end.
local function tell()
  if #ended_ids > 0 then
    count('ended', #ended_ids)
    redis.call('XADD', finished, 'MAXLEN', '~', 1000, '*', 'ids', table.concat(ended_ids, ' '))
  end
  if ring then redis.call('XADD', bell, 'MAXLEN', 1, '*', 'ready', '') end
end

