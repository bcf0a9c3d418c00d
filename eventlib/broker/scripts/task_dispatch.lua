-- Hand out the tasks that start next, to one worker: each goes to the retry stream and is read from there, pending in
-- the worker's name. Tasks that are due, and dead letters that were replayed, are let in before.
-- KEYS  the keys of the queue, in their order
-- ARGV  group, consumer, count, bytes after which to stop ('' for no limit), the pattern of the priorities' turns (digits
--       1 to 4), weights of tenants (a JSON object), 1 to let in due tasks or 0, the group's time that is expected in ms
--       ('' if unknown), ms that this script may run late
-- Returns whether there may be more; the id of the last entry of bell; the ms until the next task is due (-1: none); id,
-- fields and values for each task handed out.
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
    for _, name in ipairs({'entry', 'ended', 'due', 'reason', 'error', 'dead_letter', 'unique', 'until'}) do
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
if looks == LOOKS then return {1, '', -1, {}} end -- others may be unread in the stream
local next_ms = -1
if ARGV[7] == '1' and unexpected == 0 then _, next_ms = promote(LOOKS, now) end

local sizes, virtual = {}, {}
local function look_at_sizes()
  for priority = 1, 4 do
    sizes[priority] = redis.call('ZCARD', waiting[priority]) + redis.call('ZCARD', woken[priority])
  end
end
look_at_sizes()
for priority = 1, 4 do virtual[priority] = virtual_time(priority) end

-- Take the next task of a priority out of where it waits. Returns its id and its start tag; nil if none was found.
local function take(priority)
  while looks < LOOKS do
    local first = redis.call('ZRANGE', tenants[priority], 0, 0, 'WITHSCORES')
    local back = redis.call('ZRANGE', woken[priority], 0, 0, 'WITHSCORES')
    if back[1] and not (first[1] and tonumber(first[2]) < tonumber(back[2])) then
      redis.call('ZREM', woken[priority], back[1])
      return back[1], tonumber(back[2])
    end
    local tenant, tag = first[1], math.max(virtual[priority], tonumber(first[2] or '0'))
    if not tenant then return nil end
    local member = redis.call('ZRANGEBYLEX', waiting[priority], '[' .. tenant .. ' ', '(' .. tenant .. '!', 'LIMIT', 0, 1)[1]
    if member then
      redis.call('ZREM', waiting[priority], member)
      redis.call('ZADD', tenants[priority], exact(tag + 1 / (weights[tenant] or 1)), tenant)
      return member:match('(%S+)$'), tag
    end
    redis.call('ZREM', tenants[priority], tenant) -- it has had nothing to do since its last task
    virtual[priority], looks = tag, looks + 1
  end
end

local turn = tonumber(redis.call('HGET', counters, 'turn') or '0')
local function next_priority()
  for step = 0, #pattern - 1 do
    local place = (turn + step) % #pattern
    local priority = tonumber(pattern:sub(place + 1, place + 1))
    if sizes[priority] > 0 then return priority, (place + 1) % #pattern end
  end
end

local function hand_out(id, record, event)
  if record['until'] == 'start' then free_unique(id, record) end
  record.state, record.woken, record.started = 'running', nil, math.floor(server_time())
  record.entry = nil
  local fields = {'event', event, 'task', cjson.encode(record), 'attempts', record.attempts or '0', 'origin', id}
  for _, name in ipairs({'failed', 'replays', 'edited'}) do
    if record[name] then fields[#fields + 1], fields[#fields + 2] = name, record[name] end
  end
  record.entry = redis.call('XADD', retry, '*', unpack(fields))
  redis.call('HDEL', bodies, id)
  write_record(id, record)
end

local size, handed_out, rang = 0, 0, ring
ring = false
while handed_out < most and not (bytes and size >= bytes) do
  local priority, following = next_priority()
  if not priority then break end
  local id, tag = take(priority)
  if not id then
    if looks >= LOOKS then more = true break end
    sizes[priority] = 0
  else
    sizes[priority] = sizes[priority] - 1
    local record, event = read_record(id), redis.call('HGET', bodies, id)
    if record and event then -- else it was deleted by hand
      local limit, next_at = acquire(id, record, now)
      if limit then
        block(id, record, tag, limit, next_at)
        look_at_sizes() -- another task may be let go instead
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

for priority = 1, 4 do -- where none waits any more, the next task of any tenant may start at once
  if redis.call('ZCARD', waiting[priority]) + redis.call('ZCARD', woken[priority]) == 0 then
    local last = redis.call('ZRANGE', tenants[priority], -1, -1, 'WITHSCORES')[2]
    if last then
      virtual[priority] = math.max(virtual[priority], tonumber(last))
      redis.call('UNLINK', tenants[priority])
    end
  end
end
redis.call('HSET', counters, 'turn', turn)
for priority = 1, 4 do
  if virtual[priority] > 0 then redis.call('HSET', counters, 'virtual ' .. priority, exact(virtual[priority])) end
end
count('started', handed_out)
tell()
local entries = {}
if handed_out > 0 then
  entries = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', handed_out, 'STREAMS', retry, '>')[1][2]
end
local last = redis.call('XREVRANGE', bell, '+', '-', 'COUNT', 1)[1]
return {more and 1 or 0, last and last[1] or '0-0', next_ms, entries}
