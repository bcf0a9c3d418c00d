-- What the scripts of schedules share. This is not a script of its own: it stands, after `task_queue`, before them.
-- A schedule is a hash: spec (JSON), revision (a name that each change makes anew), added (when, in ms), paused and
-- orphaned (since when, in ms), task and slot (of the last slot that ran), runs, skipped, and `skipped REASON`. Its
-- score in `schedules` is its next slot: the first one that nothing is decided about; infinite if there is none.
local schedules, held_back, schedule, queued, history = unpack(KEYS, 33, 37)
local HISTORY = 1000 -- about how many records of a schedule's slots are kept

local function note(...)
  redis.call('XADD', history, 'MAXLEN', '~', HISTORY, '*', ...)
end

-- Record that slots do not run. Slots that follow others of the same reason make one record with them.
local function note_skipped(first, last, number, reason)
  redis.call('HINCRBY', schedule, 'skipped', number)
  redis.call('HINCRBY', schedule, 'skipped ' .. reason, number)
  local before = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)[1]
  if before and before[2][2] == 'skipped' and before[2][10] == reason then
    first, number = before[2][4], whole(before[2][8] + number)
    redis.call('XDEL', history, before[1])
  end
  note('outcome', 'skipped', 'slot', first, 'last', last, 'count', number, 'reason', reason)
end

-- Whether the task of the last slot that ran has not ended.
local function still_runs()
  local id = redis.call('HGET', schedule, 'task')
  local record = id and read_record(id)
  return record and not has_ended(record)
end

-- Slots that wait start when this task has ended. `held_back` tells schedulers which task that is.
local function hold_back(name)
  local halted = redis.call('HEXISTS', schedule, 'paused') + redis.call('HEXISTS', schedule, 'orphaned') > 0
  if redis.call('LLEN', queued) > 0 and not halted then
    redis.call('HSET', held_back, name, redis.call('HGET', schedule, 'task') or '')
  else
    redis.call('HDEL', held_back, name)
  end
end

