-- Move an entry to the group's dead-letter queue, if this consumer still owns it, with all of its raw fields
-- (in one field, raw.packed, where they are over 3,500).
-- KEYS  source (stream or retry), retry, dlq, heads, lanes
-- ARGV  group, consumer, id, 'origin', origin id, then fields and values that say why...
-- Returns 1; 0 where the claim was lost; -1 where the entry itself is gone (its reason is kept all the same).
local source, group, id = KEYS[1], ARGV[1], ARGV[3]
local owner = redis.call('XPENDING', source, group, id, id, 1)[1]
if not owner or owner[2] ~= ARGV[2] then
  return 0
end
local fields = {unpack(ARGV, 4)}
local entry = redis.call('XRANGE', source, id, id)[1]
if entry and #entry[2] > 7000 then -- more than Lua can pass on: no entry of ours
  fields[#fields + 1] = 'raw.packed'
  fields[#fields + 1] = cmsgpack.pack(entry[2])
elseif entry then
  for i = 1, #entry[2], 2 do
    local name = entry[2][i]
    if source ~= KEYS[2] or (name ~= 'attempts' and name ~= 'origin') then
      fields[#fields + 1] = 'raw.' .. name
      fields[#fields + 1] = entry[2][i + 1]
    end
  end
end
redis.call('XADD', KEYS[3], '*', unpack(fields))
redis.call('XACK', source, group, id)
if source == KEYS[2] then
  redis.call('XDEL', source, id)
end
release(KEYS[4], KEYS[5], KEYS[2], ARGV[5], where(source == KEYS[2], id))
return entry and 1 or -1
