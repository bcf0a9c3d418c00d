-- Remove a schedule, its slots that wait and its history. Tasks that it has enqueued stay.
-- KEYS  the keys of the queue, in their order, schedules, held_back, schedule, queued, history
-- ARGV  name
-- Returns 1 if it was there, else 0.
redis.call('ZREM', schedules, ARGV[1])
redis.call('HDEL', held_back, ARGV[1])
local there = redis.call('DEL', schedule)
redis.call('DEL', queued, history)
return there
