-- Add a schedule, or change one, if it still is as the caller saw it and no slot is left to decide about until now. It
-- is declared now, so it is no orphan any more.
-- KEYS  the keys of the queue, in their order, schedules, held_back, schedule, queued, history
-- ARGV  name, the revision that the caller saw ('' if there was none), the new revision, spec, its next slot in ms (''
--       if there is none, = if it stays as it is), 1 if slots that are due may be dropped or 0
-- Returns 1; 0 if another caller has changed it, slots are due, or the time of its next slot has come meanwhile.
local name, seen, new, spec, next_slot, may_drop = unpack(ARGV)
local revision = redis.call('HGET', schedule, 'revision') or ''
if revision == new then return 1 end -- an earlier try did it
if revision ~= seen then return 0 end
local now = group_time(sweep)
if seen ~= '' and may_drop == '0' then
  local due_at = tonumber(redis.call('ZSCORE', schedules, name) or 'inf')
  if due_at <= now or (tonumber(next_slot) or math.huge) <= now then return 0 end
end
redis.call('HSET', schedule, 'spec', spec, 'revision', new)
if seen == '' then redis.call('HSET', schedule, 'added', whole(now)) end
redis.call('HDEL', schedule, 'orphaned')
if next_slot ~= '=' then redis.call('ZADD', schedules, next_slot == '' and '+inf' or next_slot, name) end
hold_back(name)
return 1
