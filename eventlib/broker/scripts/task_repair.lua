-- Give back slots of tasks that do not run: their entries were deleted by hand. Let tasks go that wait for a limit that
-- has room. Both happen at once where a task ends or starts later, so this only mends what else went wrong.
-- KEYS  the keys of the queue, in their order
-- ARGV  about how many slots, and how many limits, to look at
-- Returns how many slots were given back.
local most, freed = tonumber(ARGV[1]), 0
local now = group_time(sweep)
local from = redis.call('HGET', counters, 'slots seen')
local members = redis.call('ZRANGEBYLEX', slots, from and from ~= '' and '(' .. from or '-', '+', 'LIMIT', 0, most)
for _, member in ipairs(members) do
  local name, id = member:match('^(%S+) (%S+)$')
  local record = read_record(id)
  if not (record and record.entry and #redis.call('XRANGE', retry, record.entry, record.entry) > 0) then
    redis.call('ZREM', slots, member)
    wake(name)
    freed = freed + 1
  end
end
redis.call('HSET', counters, 'slots seen', #members == most and members[#members] or '')
local names = limits_in(blocked, redis.call('HGET', counters, 'limits seen') or '', most)
for _, name in ipairs(names) do
  local limit = first_blocked(name)
  if limit and limit.at_once and room(limit, now) > 0 then
    wake(name)
  elseif limit and limit.starts then
    local _, next_at = room(limit, now)
    redis.call('ZADD', timers, 'NX', exact(next_at), name)
  end
end
redis.call('HSET', counters, 'limits seen', #names == most and names[#names] or '')
tell()
return freed
