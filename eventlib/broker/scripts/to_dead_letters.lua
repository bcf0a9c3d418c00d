-- Move an entry to the group's dead-letter queue, if this consumer still owns it: each of its own fields as raw.NAME.
-- Where they are over 3,500, or one is named `packed`, all of them are in one field, raw.packed.
-- KEYS  source (stream or retry), retry, dead_letters, key_queue_heads, key_queues
-- ARGV  group, consumer, id, 'origin', origin id, then fields and values that say why...
-- Returns how many the queue holds now; 0 where the claim was lost; -1 where the entry itself is gone (its reason is
-- kept all the same).
local source, group, id = KEYS[1], ARGV[1], ARGV[3]
local owner = redis.call('XPENDING', source, group, id, id, 1)[1]
if not owner or owner[2] ~= ARGV[2] then
  return 0
end
local letter = {unpack(ARGV, 4)}
local function add(name, value)
  letter[#letter + 1], letter[#letter + 2] = name, value
end
local entry = redis.call('XRANGE', source, id, id)[1]
local theirs, ours = parted(entry and entry[2] or {}, source == KEYS[2])
local now = redis.call('TIME')
add('failed', ours.failed or string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
for _, name in ipairs({'replays', 'edited'}) do
  if ours[name] then add(name, ours[name]) end
end
if #theirs > TOO_MANY or place_of(theirs, 'packed') then
  add('raw.packed', cmsgpack.pack(theirs))
else
  for i = 1, #theirs, 2 do add('raw.' .. theirs[i], theirs[i + 1]) end
end
redis.call('XADD', KEYS[3], '*', unpack(letter))
redis.call('XACK', source, group, id)
if source == KEYS[2] then
  redis.call('XDEL', source, id)
end
release(KEYS[4], KEYS[5], KEYS[2], ARGV[5], where(source == KEYS[2], id))
return entry and redis.call('XLEN', KEYS[3]) or -1
