-- Keep a failed entry, with all of its fields, for its next attempt, if this consumer still owns it.
-- KEYS  source (stream or retry), stream, retry, delayed, key_queue_heads, key_queues, sweep
-- ARGV  group, consumer, id, origin id, 1 if this attempt counts or 0, delay in ms, the group's time that is
--       expected in ms ('' if unknown), ms that this script may run late
-- Returns 1; 0 if this consumer no longer owns the entry; -1 if the entry itself is gone (trimmed or deleted).
local source, group, id = KEYS[1], ARGV[1], ARGV[3]
local owner = redis.call('XPENDING', source, group, id, id, 1)[1]
if not owner or owner[2] ~= ARGV[2] then
  return 0
end
local entry = redis.call('XRANGE', source, id, id)[1]
local moved_to
if entry then
  local published, added = split_fields(entry[2], source == KEYS[3])
  -- By the server's count: the consumer's own is too low if another one held the entry for a moment.
  local attempts = (added.attempts or 0) + earlier_deliveries(owner[4]) + ARGV[5]
  added.attempts, added.origin = string.format('%.0f', attempts), ARGV[4]
  if attempts > 0 and not added.failed then -- a snooze is no failure
    added.failed = string.format('%.0f', math.floor(server_time())) -- rounded down, as in the ids of streams
  end
  local fields = join_fields(published, added)
  if tonumber(ARGV[6]) <= 0 then
    moved_to = where(true, redis.call('XADD', KEYS[3], '*', unpack(fields)))
  else
    -- By the group's time: consumers' clocks differ. After a jump that is not put right yet, it is as expected.
    local now, _, unexpected = group_time(KEYS[7], ARGV[7], ARGV[8])
    local due = string.format('%.3f', now - unexpected + ARGV[6])
    redis.call('ZADD', KEYS[4], due, cmsgpack.pack(fields))
    moved_to = 'delayed/' .. due
  end
end
redis.call('XACK', source, group, id)
if source == KEYS[3] then
  redis.call('XDEL', source, id)
end
local here = where(source == KEYS[3], id)
if entry then
  move_head(KEYS[5], ARGV[4], here, moved_to)
else
  release(KEYS[5], KEYS[6], KEYS[3], ARGV[4], here)
end
return entry and 1 or -1
