-- How a queue stands, seen at one moment.
-- KEYS  the keys of the queue, in their order
-- ARGV  group, how many limits to look at, a worker that was silent for more ms is not alive
-- Returns how many wait in each priority; the age in ms of the oldest in each (-1: none waits; of tenants, 100 are
-- looked at); running; delayed; blocked; dead; workers that are alive; rates: names with their time, and numbers; the
-- time of the server; limits: name, slots in use, and how many wait for each; 1 if the queue is paused, else 0.
local limits_max, silent_max = tonumber(ARGV[2]), tonumber(ARGV[3])
local now = math.floor(server_time())
local depths, ages = {}, {}
for priority = 1, 4 do
  depths[priority] = redis.call('ZCARD', waiting[priority]) + redis.call('ZCARD', woken[priority])
  local oldest = math.huge
  local ids = redis.call('ZRANGE', woken[priority], 0, 99)
  for _, tenant in ipairs(depths[priority] > 0 and redis.call('ZRANGE', tenants[priority], 0, 99) or {}) do
    local from, to = '[' .. tenant .. ' ', '(' .. tenant .. '!'
    local member = redis.call('ZRANGEBYLEX', waiting[priority], from, to, 'LIMIT', 0, 1)[1]
    if member then ids[#ids + 1] = member:match('(%S+)$') end
  end
  for _, id in ipairs(ids) do
    local record = read_record(id)
    if record then oldest = math.min(oldest, record.enqueued) end
  end
  ages[priority] = oldest < math.huge and math.max(0, now - oldest) or -1
end
local running, alive = 0, 0
if redis.call('EXISTS', retry) == 1 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', retry)) do
    if info[2] == ARGV[1] then
      running = redis.call('XPENDING', retry, ARGV[1])[1]
      for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', retry, ARGV[1])) do
        if consumer[6] <= silent_max then alive = alive + 1 end
      end
    end
  end
end
local limits, seen = {}, {}
for _, set in ipairs({1, 2}) do
  for _, name in ipairs(set == 1 and limits_in(slots, '', limits_max) or limits_in(blocked, '', limits_max)) do
    if not seen[name] and #limits < limits_max then
      seen[name] = true
      local limit = {name = name}
      limits[#limits + 1] = {
        name, redis.call('ZLEXCOUNT', slots, within(limit)), redis.call('ZLEXCOUNT', blocked, within(limit))}
    end
  end
end
return {
  depths, ages, running, redis.call('ZCARD', due), redis.call('ZCARD', blocked), redis.call('XLEN', dead_letters),
  alive, redis.call('HGETALL', rates), now, limits, redis.call('HGET', sweep, 'paused') and 1 or 0,
}
