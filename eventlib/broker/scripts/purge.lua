-- Delete dead letters and their edits.
-- KEYS  dead_letters, edits     ARGV  id...
-- Returns the ids that were there.
local purged = {}
for _, id in ipairs(ARGV) do
  if redis.call('XDEL', KEYS[1], id) == 1 then purged[#purged + 1] = id end
  redis.call('HDEL', KEYS[2], id)
end
return purged
