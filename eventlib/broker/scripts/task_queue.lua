-- The state of a task queue. This is not a script of its own: it stands before the scripts of tasks. All of these take
-- the same KEYS, those of the queue in their order, so that these names are the same in all of them.
-- A task has a record, a JSON object, from when it is enqueued until its result is forgotten. If that is sooner than
-- ID_KEPT after its end, the record is '' for the rest of that time. The object has:
-- name, priority (1 to 4: critical to low), tenant, keep (ms that its result is kept), unique and until (its unique
-- key, and when that is free again: `start`, `end` or `time`), limits (name and at_once, or name, starts and within
-- ms); state, enqueued, started and ended (ms since 1970), seq (its place among its tenant's tasks), attempts used up,
-- failed, replays and edited as in an entry; of a task that runs: entry (its id in the retry stream), cancel (it is to
-- end); of one that waits: due, blocked (its member there), woken (by which limit); of one that failed: reason, error,
-- dead_letter; of a suspect, which waits (see `task_sweep`): deliveries, those that have ended with their workers.
local retry, dead_letters, sweep, due, blocked, slots, starts, timers, records, bodies, results, progress, expiries,
  unique, cancelling, counters, rates, bell, cancels, finished = unpack(KEYS, 1, 20)
local waiting, tenants, woken = {unpack(KEYS, 21, 24)}, {unpack(KEYS, 25, 28)}, {unpack(KEYS, 29, 32)}
local ring = false -- whether a task has become ready, which others are told when the script ends

-- Many tasks in one call cost far less than a call for each. So these are gathered, and written by `flush`.
local texts, known, changed = {}, {}, {} -- records by id: as read, as objects, and which ids are to be written
local lined_up, lined_tenants, ended_ids, expiring, numbered = {{}, {}, {}, {}}, {{}, {}, {}, {}}, {}, {}, nil
local LIMIT = 1000 -- arguments of one call: Lua cannot pass on any number
local ID_KEPT = 60000 -- ms from a task's end for which its id is known at least: an enqueue may be repeated

local function exact(number) -- Lua's own form of a number is rounded
  return string.format('%.17g', number)
end

local function whole(number)
  return string.format('%.0f', math.floor(number))
end

local clock
local function time_now() -- of the server, in whole ms
  clock = clock or math.floor(server_time())
  return clock
end

-- Call a command with many arguments, in parts.
local function call_with(command, key, arguments)
  for first = 1, #arguments, LIMIT do
    redis.call(command, key, unpack(arguments, first, math.min(first + LIMIT - 1, #arguments)))
  end
end

-- Read many records at once: `read_record` finds them here.
local function read_ahead(ids)
  for first = 1, #ids, LIMIT do
    local last = math.min(first + LIMIT - 1, #ids)
    local found = redis.call('HMGET', records, unpack(ids, first, last))
    for i, text in ipairs(found) do texts[ids[first + i - 1]] = text end
  end
end

local function read_record(id)
  if not known[id] then
    local text = texts[id]
    if text == nil then text = redis.call('HGET', records, id) end
    texts[id] = text
    known[id] = text and text ~= '' and cjson.decode(text) or nil
  end
  return known[id]
end

local function is_known(id) -- also if its result is forgotten
  return read_record(id) or texts[id] == ''
end

local function write_record(id, record)
  known[id], changed[id] = record, true
end

local function has_ended(record)
  return record.state == 'succeeded' or record.state == 'failed' or record.state == 'cancelled'
end

-- Count for the rates of the last minute: by five seconds, and what is older is deleted when a new count begins.
local function count(kind, number)
  if number == 0 then return end
  local now = math.floor(time_now() / 5000)
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
  local line = lined_up[record.priority]
  record.state = 'waiting'
  if not record.seq then
    numbered = (numbered or tonumber(redis.call('HGET', counters, 'seq') or '0')) + 1
    record.seq = numbered
  end
  line[#line + 1], line[#line + 2] = '0', waiting_member(id, record)
  lined_tenants[record.priority][record.tenant] = true
  ring = true
end

-- Write what was gathered.
local function flush()
  local pairs_of = {}
  for id in pairs(changed) do
    pairs_of[#pairs_of + 1], pairs_of[#pairs_of + 2] = id, cjson.encode(known[id])
  end
  call_with('HSET', records, pairs_of)
  changed = {}
  for priority = 1, 4 do
    if #lined_up[priority] > 0 then
      call_with('ZADD', waiting[priority], lined_up[priority])
      local tag = exact(virtual_time(priority))
      for tenant in pairs(lined_tenants[priority]) do redis.call('ZADD', tenants[priority], 'NX', tag, tenant) end
      lined_up[priority], lined_tenants[priority] = {}, {}
    end
  end
  if numbered then redis.call('HSET', counters, 'seq', whole(numbered)) end
  call_with('HDEL', bodies, ended_ids)
  call_with('ZADD', expiries, expiring)
  expiring = {}
end

-- Let the first task of a priority that waits for a limit be tried again. Returns whether there was one.
local function wake_first(limit, priority)
  while true do
    local line = limit .. ' ' .. priority
    local member = redis.call('ZRANGEBYLEX', blocked, '[' .. line .. ' ', '(' .. line .. '!', 'LIMIT', 0, 1)[1]
    if not member then return false end
    redis.call('ZREM', blocked, member)
    local tag, id = member:match('^%S+ %d (%S+) %d+ (%S+)$')
    local record = read_record(id)
    if record then -- else it was deleted by hand
      record.state, record.blocked, record.woken = 'waiting', nil, limit
      redis.call('ZADD', woken[priority], exact(tonumber(tag)), id)
      write_record(id, record)
      ring = true
      return true
    end
  end
end

-- Let tasks that wait for a limit be tried again: the first one of each priority, and whose turn it is gets the room.
-- If only the most urgent one were let go, the others could wait for ever. Returns whether there was one.
local function wake(limit)
  local found = false
  for priority = 1, 4 do found = wake_first(limit, priority) or found end
  return found
end

-- Suspects wait as if for a limit of this name, which is no limit's: names of tasks begin otherwise.
local SUSPECTS = {name = '(suspects)'}

local function suspects_wait()
  return #redis.call('ZRANGEBYLEX', blocked, '[(suspects) ', '((suspects)!', 'LIMIT', 0, 1) > 0
end

-- What a worker holds that was taken over: as XPENDING tells. A suspect that was handed out counts as such.
local function taken_over_by(group, consumer)
  local found = {}
  for _, pending in ipairs(redis.call('XPENDING', retry, group, '-', '+', 10000, consumer)) do
    if pending[4] > 1 then found[#found + 1] = pending end
  end
  return found
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
  record.state, record.ended, record.entry, record.cancel = state, time_now(), nil, nil
  expiring[#expiring + 1], expiring[#expiring + 2] = exact(now + record.keep), 'task ' .. id
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
      redis.call('HDEL', results, name)
      redis.call('HDEL', progress, name)
      if record.keep < ID_KEPT then
        redis.call('HSET', records, name, '')
        redis.call('ZADD', expiries, exact(now + ID_KEPT - record.keep), 'id ' .. name)
        known[name], texts[name] = nil, ''
      else
        redis.call('HDEL', records, name)
        known[name], texts[name] = nil, false
      end
    elseif kind == 'id' and redis.call('HGET', records, name) == '' then
      redis.call('HDEL', records, name)
      texts[name] = false
    end
    redis.call('ZREM', expiries, member)
  end
end

-- To be called last: write what was gathered, and tell those who wait for a task, or for its end.
local function tell()
  flush()
  if #ended_ids > 0 then
    count('ended', #ended_ids)
    redis.call('XADD', finished, 'MAXLEN', '~', 1000, '*', 'ids', table.concat(ended_ids, ' '))
  end
  if ring then redis.call('XADD', bell, 'MAXLEN', 1, '*', 'ready', '') end
end

