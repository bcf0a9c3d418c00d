-- Read a schedule.
-- KEYS  the keys of the queue, in their order, schedules, held_back, schedule, queued, history
-- ARGV  name
-- Returns its fields and values, its next slot in ms ('inf' if there is none), how many slots wait, and the first of
-- them in ms ('' if none).
return {
  redis.call('HGETALL', schedule), redis.call('ZSCORE', schedules, ARGV[1]) or 'inf', redis.call('LLEN', queued),
  redis.call('LINDEX', queued, 0) or '',
}
