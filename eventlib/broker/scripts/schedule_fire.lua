-- Carry out what was decided about slots of a schedule that are due: enqueue their tasks, or record that they are
-- skipped. All is done, or nothing if another scheduler has decided about them or the schedule was changed. So any
-- number of schedulers may try, and a try may be repeated.
-- KEYS  the keys of the queue, in their order, schedules, held_back, schedule, queued, history
-- ARGV  name, revision, overlap (allow, skip, queue), how many slots may wait, the next slot in ms ('' if the steps
--       are of other slots), the slot that follows them in ms ('' if none), the group's time that is expected in ms, ms
--       that this script may run late; then the steps:
--       run, slot in ms, and what task_enqueue takes for the task
--       skip, first slot in ms, last slot in ms, how many, reason
--       queued, slot in ms, and what task_enqueue takes: this slot waited, and its task runs if it need not any more
--       now, '', and what task_enqueue takes: no slot, an operator's wish
-- Returns 1; or 0 if this is not, or not any more, to be done; -1 if the group's time is not as expected. Then, for a
-- wish that the unique key of another task forbids, the id of that task, else ''.
local name, revision, overlap, waiting_most, next_slot, following = unpack(ARGV, 1, 6)
local now, offset, unexpected = group_time(sweep, ARGV[7], ARGV[8])
if unexpected ~= 0 then return {-1, ''} end
if redis.call('HGET', schedule, 'revision') ~= revision then return {0, ''} end
if next_slot ~= '' and redis.call('ZSCORE', schedules, name) ~= next_slot then return {0, ''} end
local enqueued, forbidden_by = 0, ''

-- Enqueue the task that is described from ARGV[i] on, unless its unique key is in use. Returns who has the key.
local function start(i)
  local id, event, record, due_at, key, till = unpack(ARGV, i, i + 5)
  local holder = key ~= '' and not is_known(id) and holder_of(key, now)
  if holder then return holder end
  if enqueue(id, record, due_at, key, till, now, offset) then
    redis.call('HSET', bodies, id, event)
    enqueued = enqueued + 1
  end
end

local function start_slot(slot, i)
  if start(i) then return note_skipped(slot, slot, 1, 'unique_key') end
  redis.call('HSET', schedule, 'task', ARGV[i], 'slot', slot)
  redis.call('HINCRBY', schedule, 'runs', 1)
  note('outcome', 'ran', 'slot', slot, 'task', ARGV[i], 'late', whole(math.max(0, now - slot)))
end

-- Whether slots are to be decided about whose time has not come.
local function too_early()
  local i = 9
  while i <= #ARGV do
    local last = ARGV[i] == 'skip' and ARGV[i + 2] or ARGV[i + 1]
    if (tonumber(last) or 0) > now then return true end
    i = i + (ARGV[i] == 'skip' and 5 or 8)
  end
end

local steps = {}
function steps.run(i)
  local slot, waiting = ARGV[i], redis.call('LLEN', queued)
  if overlap == 'allow' or (waiting == 0 and not still_runs()) then
    start_slot(slot, i + 1)
  elseif overlap == 'skip' then
    note_skipped(slot, slot, 1, 'overlap')
  elseif waiting < tonumber(waiting_most) then
    redis.call('RPUSH', queued, slot)
  else
    note_skipped(slot, slot, 1, 'queue_full')
  end
  return i + 7
end

function steps.skip(i)
  note_skipped(unpack(ARGV, i, i + 3))
  return i + 4
end

function steps.queued(i)
  if redis.call('LINDEX', queued, 0) == ARGV[i] and not still_runs() then
    redis.call('LPOP', queued)
    start_slot(ARGV[i], i + 1)
  end
  return i + 7
end

function steps.now(i)
  if not is_known(ARGV[i + 1]) then
    forbidden_by = start(i + 1) or ''
    if forbidden_by == '' then note('outcome', 'by_hand', 'slot', whole(now), 'task', ARGV[i + 1], 'late', 0) end
  end
  return i + 7
end

if too_early() then return {0, ''} end
local i = 9
while i <= #ARGV do i = steps[ARGV[i]](i + 1) end
if next_slot ~= '' then redis.call('ZADD', schedules, following == '' and '+inf' or following, name) end
if overlap == 'queue' or next_slot == '' then hold_back(name) end
count('enqueued', enqueued)
forget(2 * enqueued, now)
tell()
return {1, forbidden_by}
