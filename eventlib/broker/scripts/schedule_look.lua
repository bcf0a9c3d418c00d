-- Look which schedules of a queue are due, and which have a slot that waited for a task that has ended. If the group's
-- time is not as expected, none is told.
-- KEYS  the keys of the queue, in their order, schedules, held_back
-- ARGV  how many schedules at most, the group's time that is expected in ms ('' if unknown), ms that this may run late,
--       a new name for the queue's data, given to it if it has none ('' gives it none)
-- Returns the group's time in ms, by how many ms it is not as expected; the ms until the next slot that is not due yet
-- (-1: there is none); how many schedules have slots that wait; names and slots of those that are due, oldest slot
-- first; names of those whose slot need not wait any more; the name of the queue's data, another one after a loss.
local schedules, held_back = unpack(KEYS, 33, 34)
local now, _, unexpected = group_time(sweep, ARGV[2], ARGV[3])
local times = {string.format('%.3f', now), string.format('%.3f', unexpected)}
if unexpected ~= 0 then return {times[1], times[2], -1, 0, {}, {}, ''} end
local born = redis.call('HGET', counters, 'born')
if not born and ARGV[4] ~= '' then
  redis.pcall('HSET', counters, 'born', ARGV[4]) -- a full server refuses that, and it can wait
  born = redis.call('HGET', counters, 'born')
end
local limit, at = tonumber(ARGV[1]), whole(now)
local found = redis.call('ZRANGEBYSCORE', schedules, '-inf', at, 'WITHSCORES', 'LIMIT', 0, limit)
local next_at = redis.call('ZRANGEBYSCORE', schedules, '(' .. at, '(+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
local ready, waits = {}, redis.call('HGETALL', held_back)
for i = 1, #waits, 2 do
  local record = read_record(waits[i + 1])
  if not (record and not has_ended(record)) and #ready < limit then ready[#ready + 1] = waits[i] end
end
return {times[1], times[2], next_at and math.ceil(next_at - now) or -1, #waits / 2, found, ready, born or ''}
