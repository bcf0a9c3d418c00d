-- Add a schedule, or change one, if it still is as the caller saw it. It is declared now, so it is no orphan any more.
-- KEYS  the keys of the queue, in their order, schedules, held_back, schedule, queued, history
-- ARGV  name, the revision that the caller saw ('' if there was none), the new revision, spec, its next slot in ms (''
--       if there is none, = if it stays as it is)
-- Returns 1; 0 if it was added, changed or removed by another caller.
local name, seen, new, spec, next_slot = unpack(ARGV)
local revision = redis.call('HGET', schedule, 'revision') or ''
if revision == new then return 1 end -- an earlier try did it
if revision ~= seen then return 0 end
redis.call('HSET', schedule, 'spec', spec, 'revision', new)
if seen == '' then redis.call('HSET', schedule, 'added', whole((group_time(sweep)))) end
redis.call('HDEL', schedule, 'orphaned')
if next_slot ~= '=' then redis.call('ZADD', schedules, next_slot == '' and '+inf' or next_slot, name) end
hold_back(name)
return 1
