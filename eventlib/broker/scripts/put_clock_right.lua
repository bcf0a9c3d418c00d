-- Let a group's time go on as if the server's clock had not jumped. All leases of the group begin anew: a jump back
-- hides how long an entry has been idle, and a jump forward makes entries look idle that are not.
-- KEYS  stream, retry, sweep
-- ARGV  group, offset before the jump, ms that the clock jumped forward (negative: back)
-- Returns 1; 0 if another consumer has done it, or if other consumers saw no jump.
local group, jump = ARGV[1], tonumber(ARGV[3])
local now, offset = group_time(KEYS[3])
local seen = tonumber(redis.call('HGET', KEYS[3], 'seen') or '0')
if math.abs(offset - ARGV[2]) > TOLERANCE or math.abs(now - seen) < math.abs(jump) / 2 then
  return 0
end
redis.call('HSET', KEYS[3], 'offset', string.format('%.3f', offset + jump), 'seen', string.format('%.3f', now - jump))
for source = 1, 2 do
  local from, page = '-', nil
  repeat
    page = redis.call('XPENDING', KEYS[source], group, from, '+', 1000)
    local held = {}
    for _, pending in ipairs(page) do
      local ids = held[pending[2]] or {}
      held[pending[2]], ids[#ids + 1] = ids, pending[1]
    end
    for consumer, ids in pairs(held) do
      ids[#ids + 1] = 'JUSTID' -- without it, the delivery count would rise
      redis.call('XCLAIM', KEYS[source], group, consumer, 0, unpack(ids))
    end
    from = #page > 0 and '(' .. page[#page][1] or from
  until #page < 1000
end
return 1
