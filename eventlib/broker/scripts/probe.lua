-- Find out whether the server's lag is right after unread entries were trimmed. In 7.0 it is wrong (redis/redis#13957).
-- KEYS  probe (deleted again at the end)
-- Returns 1 or 0.
local read_one = {'XREADGROUP', 'GROUP', 'probe', 'probe', 'COUNT', 1, 'STREAMS', KEYS[1], '>'}
for id = 1, 4 do
  if id == 3 then redis.call(unpack(read_one)) end
  redis.call('XADD', KEYS[1], id .. '-1', 'event', '')
  if id == 1 then redis.call('XGROUP', 'CREATE', KEYS[1], 'probe', '0') end
end
redis.call('XTRIM', KEYS[1], 'MINID', '=', '3-1') -- entry 2 had not been read
redis.call(unpack(read_one))
local group = redis.call('XINFO', 'GROUPS', KEYS[1])[1]
local right = 1
for i = 1, #group, 2 do
  if group[i] == 'lag' and group[i + 1] and group[i + 1] ~= 1 then right = 0 end
end
redis.call('DEL', KEYS[1])
return right
