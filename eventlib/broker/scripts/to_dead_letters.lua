-- Move an entry to the group's dead-letter queue, if this consumer still owns it.
-- KEYS  source (stream or retry), retry, dead_letters, key_queue_heads, key_queues
-- ARGV  group, consumer, id, 1 if this attempt counts or 0, 'origin', origin id, then fields and values that say why...
-- Returns how many dead letters the queue holds now; 0 if this consumer no longer owns the entry; -1 if the entry
-- itself is gone (a dead letter with its reason is kept).
local source, group, id = KEYS[1], ARGV[1], ARGV[3]
local owner = redis.call('XPENDING', source, group, id, id, 1)[1]
if not owner or owner[2] ~= ARGV[2] then
  return 0
end
local entry = redis.call('XRANGE', source, id, id)[1]
local dead_letter = dead_letter_of(
  {unpack(ARGV, 5)}, entry and entry[2] or {}, source == KEYS[2], earlier_deliveries(owner[4]) + ARGV[4])
redis.call('XADD', KEYS[3], '*', unpack(dead_letter))
redis.call('XACK', source, group, id)
if source == KEYS[2] then
  redis.call('XDEL', source, id)
end
release(KEYS[4], KEYS[5], KEYS[2], ARGV[6], where(source == KEYS[2], id))
return entry and redis.call('XLEN', KEYS[3]) or -1
