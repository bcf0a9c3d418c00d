-- Create the group if it is missing: at its durable cursor if the cursor belongs to this stream, else at the beginning.
-- KEYS  stream, retry, sweep     ARGV  group
-- Returns 1 if the group was missing on the stream, else 0; and 1 if the group is paused, else 0.
local function sortable(id) -- ids are pairs of 64-bit numbers, more than Lua's numbers hold
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. string.rep('0', 20 - #seq) .. seq
end
local start = redis.call('HGET', KEYS[3], 'cursor') or '0-0'
local entries_added = 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  local flat, stream = redis.call('XINFO', 'STREAM', KEYS[1]), {}
  for i = 1, #flat, 2 do stream[flat[i]] = flat[i + 1] end
  entries_added = stream['entries-added']
  if sortable(stream['last-generated-id']) < sortable(start) then start = '0-0' end
end
-- A stream that was deleted and created again has had fewer entries. With a cursor above the stream's end, the group
-- would get no entry for a long time.
if entries_added < tonumber(redis.call('HGET', KEYS[3], 'added') or '0') then start = '0-0' end
local made = 0
for source = 1, 2 do
  local reply = redis.pcall('XGROUP', 'CREATE', KEYS[source], ARGV[1], source == 1 and start or '0-0', 'MKSTREAM')
  if type(reply) == 'table' and reply.err then
    if not reply.err:find('BUSYGROUP', 1, true) then return reply end
  elseif source == 1 then
    made = 1
  end
end
return {made, redis.call('HGET', KEYS[3], 'paused') and 1 or 0}
