-- Hand out the tasks that start next, to one worker: each goes to the retry stream and is read from there, pending in
-- the worker's name. Tasks that are due, and dead letters that were replayed, are let in before. A suspect (see
-- `task_sweep`) goes to a worker that holds nothing that was taken over, and one at a time.
-- KEYS  the keys of the queue, in their order
-- ARGV  group, consumer, count, bytes after which to stop ('' for no limit), the pattern of the priorities' turns
--       (digits 1 to 4), weights of tenants (a JSON object), 1 to let in due tasks or 0, the group's time that is
--       expected in ms ('' if unknown), ms that this script may run late
-- Returns whether there may be more; the id of the last entry of bell; the ms until the next task is due (-1: none);
-- id, fields and values for each task handed out, and how often it was delivered if it is a suspect.
local LOOKS = 100 -- tasks that are looked at and not handed out, and tenants that are dropped: other clients wait
local group, consumer, most, bytes, pattern = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local weights = cjson.decode(ARGV[6])
local now, _, unexpected = group_time(sweep, ARGV[8], ARGV[9])
now = now - unexpected -- after a jump that is not put right yet, it is as expected

-- Dead letters that were replayed are in the retry stream. They wait for their turn as other tasks do.
local function let_in_replayed()
  local reply = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', LOOKS, 'STREAMS', retry, '>')
  local entries = reply and reply[1][2] or {}
  for _, entry in ipairs(entries) do
    local published, added = split_fields(entry[2], true)
    local event_at, task_at = value_index(published, 'event'), value_index(published, 'task')
    local id = added.origin or entry[1]
    local known, record = pcall(cjson.decode, task_at and published[task_at])
    record = read_record(id) or known and record or {name = '', priority = 3, tenant = '', keep = 900000}
    local old = {'entry', 'ended', 'due', 'reason', 'error', 'dead_letter', 'unique', 'until', 'deliveries'}
    for _, name in ipairs(old) do
      record[name] = nil
    end
    for _, name in ipairs({'attempts', 'failed', 'replays', 'edited'}) do record[name] = added[name] end
    redis.call('HSET', bodies, id, event_at and published[event_at] or '')
    redis.call('ZREM', expiries, 'task ' .. id)
    line_up(id, record)
    write_record(id, record)
    redis.call('XACK', retry, group, entry[1])
    redis.call('XDEL', retry, entry[1])
  end
  return #entries
end

local looks, more = let_in_replayed(), false
if looks == LOOKS then -- others may be unread in the stream
  tell()
  return {1, '', -1, {}}
end
local next_ms = -1
if ARGV[7] == '1' and unexpected == 0 then _, next_ms = promote(LOOKS, now) end

-- Whether this worker may have a suspect: it holds nothing that was taken over. Asked only where suspects wait.
local free
local function may_have_suspect()
  if free == nil then free = #taken_over_by(group, consumer) == 0 end
  return free
end

if suspects_wait() and may_have_suspect() then wake(SUSPECTS.name) end

flush()

local sizes, woken_sizes, virtual, heads, events = {}, {0, 0, 0, 0}, {}, {}, {}
for priority = 1, 4 do
  sizes[priority], virtual[priority] = redis.call('ZCARD', waiting[priority]), virtual_time(priority)
end
local function look_at_woken()
  for priority = 1, 4 do
    local size = redis.call('ZCARD', woken[priority])
    sizes[priority] = sizes[priority] + size - woken_sizes[priority]
    woken_sizes[priority] = size
  end
end
look_at_woken()

-- The tenant whose turn it is in a priority: its tag, when another one's turn comes, and some of its tasks, read at
-- once.
local function head_of(priority, handed_out)
  while looks < LOOKS do
    local first = redis.call('ZRANGE', tenants[priority], 0, 1, 'WITHSCORES')
    if not first[1] then return nil end
    local tenant, tag = first[1], math.max(virtual[priority], tonumber(first[2]))
    local many = first[3] and 1 or most - handed_out
    local from, to = '[' .. tenant .. ' ', '(' .. tenant .. '!'
    local members = redis.call('ZRANGEBYLEX', waiting[priority], from, to, 'LIMIT', 0, many)
    if members[1] then
      local ids = {}
      for i, member in ipairs(members) do ids[i] = member:match('(%S+)$') end
      read_ahead(ids)
      for i, event in ipairs(redis.call('HMGET', bodies, unpack(ids))) do events[ids[i]] = event end
      return {tenant = tenant, tag = tag, members = members, ids = ids, at = 0,
        step = 1 / (weights[tenant] or 1)}
    end
    redis.call('ZREM', tenants[priority], tenant) -- it has had nothing to do since its last task
    virtual[priority], looks = tag, looks + 1
  end
end

-- Write how far a tenant has come.
local function put_head_back(priority)
  local head = heads[priority]
  if not head then return end
  heads[priority] = nil
  if head.at == 0 then return end
  redis.call('ZREM', waiting[priority], unpack(head.members, 1, head.at))
  redis.call('ZADD', tenants[priority], exact(head.tag), head.tenant)
end

-- Take the next task of a priority out of where it waits. Returns its id and its start tag; nil if none was found.
local function take(priority, handed_out)
  local head = heads[priority] or head_of(priority, handed_out)
  local back = woken_sizes[priority] > 0 and redis.call('ZRANGE', woken[priority], 0, 0, 'WITHSCORES') or {}
  if back[1] and not (head and head.tag < tonumber(back[2])) then
    heads[priority] = head
    woken_sizes[priority] = woken_sizes[priority] - 1
    redis.call('ZREM', woken[priority], back[1])
    return back[1], tonumber(back[2])
  end
  if not head then return nil end
  head.at = head.at + 1
  local tag = head.tag
  head.tag, heads[priority] = tag + head.step, head
  if head.at == #head.members then put_head_back(priority) end
  return head.ids[head.at], tag
end

local turn = tonumber(redis.call('HGET', counters, 'turn') or '0')
local function next_priority()
  for step = 0, #pattern - 1 do
    local place = (turn + step) % #pattern
    local priority = tonumber(pattern:sub(place + 1, place + 1))
    if sizes[priority] > 0 then return priority, (place + 1) % #pattern end
  end
end

local suspect
local function hand_out(id, record, event)
  if record['until'] == 'start' then free_unique(id, record) end
  local fields = {'event', event, 'attempts', record.attempts or '0', 'origin', id}
  for _, name in ipairs({'failed', 'replays', 'edited'}) do
    if record[name] then fields[#fields + 1], fields[#fields + 2] = name, record[name] end
  end
  record.state, record.woken, record.started = 'running', nil, time_now()
  record.entry = redis.call('XADD', retry, '*', unpack(fields))
  if record.deliveries then
    suspect, free = {id = record.entry, deliveries = record.deliveries + 1}, false
    record.deliveries = nil
  end
  write_record(id, record)
end

local size, handed_out, rang = 0, 0, ring
ring = false
while handed_out < most and not (bytes and size >= bytes) do
  local priority, following = next_priority()
  if not priority then break end
  local id, tag = take(priority, handed_out)
  if not id then
    if looks >= LOOKS then more = true break end
    sizes[priority] = 0
  else
    sizes[priority] = sizes[priority] - 1
    local record, event = read_record(id), events[id] or redis.call('HGET', bodies, id)
    if record and event then -- else it was deleted by hand
      local limit, next_at
      if record.deliveries and not may_have_suspect() then
        limit, rang = SUSPECTS, true -- another worker may have it
      else
        limit, next_at = acquire(id, record, now)
      end
      if limit then
        block(id, record, tag, limit, next_at)
        look_at_woken() -- another task may have been let go instead
        looks = looks + 1
        if looks >= LOOKS then more = true break end
      else
        hand_out(id, record, event)
        turn, virtual[priority] = following, math.max(virtual[priority], tag)
        handed_out, size = handed_out + 1, size + #event
      end
    end
  end
end
more = more or ring or handed_out == most or bytes and size >= bytes
ring = ring or rang

for priority = 1, 4 do put_head_back(priority) end
for priority = 1, 4 do -- where none waits any more, the next task of any tenant may start at once
  if redis.call('ZCARD', waiting[priority]) + redis.call('ZCARD', woken[priority]) == 0 then
    local last = redis.call('ZRANGE', tenants[priority], -1, -1, 'WITHSCORES')[2]
    if last then
      virtual[priority] = math.max(virtual[priority], tonumber(last))
      redis.call('UNLINK', tenants[priority])
    end
  end
end
redis.call('HSET', counters, 'turn', turn, 'virtual 1', exact(virtual[1]), 'virtual 2', exact(virtual[2]),
  'virtual 3', exact(virtual[3]), 'virtual 4', exact(virtual[4]))
count('started', handed_out)
tell()
local entries = {}
if handed_out > 0 then
  entries = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', handed_out, 'STREAMS', retry, '>')[1][2]
end
if suspect then
  redis.call('XCLAIM', retry, group, consumer, 0, suspect.id, 'RETRYCOUNT', suspect.deliveries, 'JUSTID')
  for _, entry in ipairs(entries) do
    if entry[1] == suspect.id then entry[3] = suspect.deliveries end
  end
end
local last = redis.call('XREVRANGE', bell, '+', '-', 'COUNT', 1)[1]
return {more and 1 or 0, last and last[1] or '0-0', next_ms, entries}
