-- Free per-key queues whose head is gone: it was deleted or trimmed while its consumer was dead, or an operator removed
-- it. The next entry of the queue becomes its head.
-- KEYS  stream, retry, delayed, key_queue_heads, key_queues, sweep
-- ARGV  group, about how many heads and queues to look at
-- Returns how many queues had lost their head.
local stream, retry, delayed, heads, queues, sweep = unpack(KEYS)
local group, looks_max, freed = ARGV[1], tonumber(ARGV[2]), 0
if redis.call('EXISTS', heads, queues) == 0 then return 0 end

local from = redis.call('HGET', sweep, 'heads') or '0' -- continue where the last look stopped
local page = redis.call('HSCAN', heads, from, 'COUNT', 2 * looks_max)
redis.call('HSET', sweep, 'heads', page[1])
for i = 1, #page[2], 2 do
  local origin = page[2][i]:match('^head (%S+)$')
  local at = origin and find_head(heads, origin)
  if at and not is_alive(stream, retry, delayed, group, origin, at) then
    release(heads, queues, retry, origin, at)
    freed = freed + 1
  end
end

from = redis.call('HGET', sweep, 'lanes') or '-'
for _ = 1, looks_max do
  local member = redis.call('ZRANGEBYLEX', queues, from, '+', 'LIMIT', 0, 1)[1]
  from = '-'
  if not member then break end
  local queue = member:match('^(%S+) ')
  if redis.call('HEXISTS', heads, 'lane ' .. queue) == 0 then
    advance(heads, queues, retry, queue)
    freed = freed + 1
  end
  from = '(' .. queue .. '!'
end
redis.call('HSET', sweep, 'lanes', from)
return freed
