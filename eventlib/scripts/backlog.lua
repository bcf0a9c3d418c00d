-- What the group has still to do, seen at one moment.
-- KEYS  stream, retry, delayed, dlq, lanes     ARGV  group
-- Returns waiting (never delivered), pending (delivered, not acked), retrying (their wait is over), delayed, dead,
-- parked (behind another of their key).
local waiting, pending = 0, 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  waiting = redis.call('XLEN', KEYS[1])
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = {}
    for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
    if group.name == ARGV[1] then
      pending = group.pending
      waiting = group.lag and math.min(group.lag, waiting) -- after a trim a server may count what is gone
      if not waiting then -- the server does not know after deletions: count
        waiting = 0
        local from = '(' .. group['last-delivered-id']
        repeat
          local page = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1000)
          waiting = waiting + #page
          from = #page > 0 and '(' .. page[#page][1] or from
        until #page < 1000
      end
    end
  end
end
local delayed, parked = redis.call('ZCARD', KEYS[3]), redis.call('ZCARD', KEYS[5])
return {waiting, pending, redis.call('XLEN', KEYS[2]), delayed, redis.call('XLEN', KEYS[4]), parked}
