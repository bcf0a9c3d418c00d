-- Store an edited event beside a dead letter. The dead letter itself stays as it is.
-- KEYS  dead_letters, edits     ARGV  id, event
-- Returns 1; 0 if the dead letter is gone.
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then
  return 0
end
local now = redis.call('TIME')
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f ', now[1] * 1000 + math.floor(now[2] / 1000)) .. ARGV[2])
return 1
