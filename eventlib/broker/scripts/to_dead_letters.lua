-- Move an entry to the group's dead-letter queue, if this consumer still owns it. Each published field becomes
-- raw.NAME. If there are more than 3,500 of them, or one is named `packed`, one field, raw.packed, holds all of them.
-- KEYS  source (stream or retry), retry, dead_letters, key_queue_heads, key_queues
-- ARGV  group, consumer, id, 1 if this attempt counts or 0, 'origin', origin id, then fields and values that say why...
-- Returns how many dead letters the queue holds now; 0 if this consumer no longer owns the entry; -1 if the entry
-- itself is gone (a dead letter with its reason is kept).
local source, group, id = KEYS[1], ARGV[1], ARGV[3]
local owner = redis.call('XPENDING', source, group, id, id, 1)[1]
if not owner or owner[2] ~= ARGV[2] then
  return 0
end
local dead_letter = {unpack(ARGV, 5)}
local function add(name, value)
  dead_letter[#dead_letter + 1], dead_letter[#dead_letter + 2] = name, value
end
local entry = redis.call('XRANGE', source, id, id)[1]
local published, added = split_fields(entry and entry[2] or {}, source == KEYS[2])
add('attempts', (added.attempts or 0) + earlier_deliveries(owner[4]) + ARGV[4])
local now = redis.call('TIME')
add('failed', added.failed or string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
for _, name in ipairs({'replays', 'edited'}) do
  if added[name] then add(name, added[name]) end
end
if #published > TOO_MANY or value_index(published, 'packed') then
  add('raw.packed', cmsgpack.pack(published))
else
  for i = 1, #published, 2 do add('raw.' .. published[i], published[i + 1]) end
end
redis.call('XADD', KEYS[3], '*', unpack(dead_letter))
redis.call('XACK', source, group, id)
if source == KEYS[2] then
  redis.call('XDEL', source, id)
end
release(KEYS[4], KEYS[5], KEYS[2], ARGV[6], where(source == KEYS[2], id))
return entry and redis.call('XLEN', KEYS[3]) or -1
