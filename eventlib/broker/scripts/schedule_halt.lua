-- Let a schedule run nothing, or let it go on. It goes on only when nothing is left to decide about slots until now.
-- KEYS  the keys of the queue, in their order, schedules, held_back, schedule, queued, history
-- ARGV  name, the new revision, what is set or deleted (paused, orphaned), 1 to halt or 0 to go on
-- Returns 1; 0 if slots are due that have to be decided about before; -1 if there is no such schedule.
local name, revision, why = unpack(ARGV, 1, 3)
if redis.call('EXISTS', schedule) == 0 then return -1 end
local halted = redis.call('HEXISTS', schedule, why) == 1
if halted == (ARGV[4] == '1') then return 1 end
local now = group_time(sweep)
if halted then
  if tonumber(redis.call('ZSCORE', schedules, name) or 'inf') <= now then return 0 end
  redis.call('HSET', schedule, 'revision', revision)
  redis.call('HDEL', schedule, why)
else
  redis.call('HSET', schedule, 'revision', revision, why, whole(now))
end
hold_back(name)
return 1
