-- Let a group's time go on as if the server's clock had not jumped. All leases of the group begin anew: a jump back
-- hides how long an entry has been idle, and a jump forward makes entries look idle that are not.
-- KEYS  stream, retry, sweep
-- ARGV  group, offset before the jump, ms that the clock jumped forward (negative: back), the group's time that is
--       expected in ms ('' if unknown), ms that this script may run late
-- Returns 1; 0 if the caller has to look again: another consumer has done it, the clock has jumped again, or this ran
-- late; -1 if other consumers saw no jump.
local group, jump, expected = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local now, offset, unexpected, seen = group_time(KEYS[3], expected and expected + jump, ARGV[5])
if math.abs(offset - ARGV[2]) > TOLERANCE or expected and unexpected ~= 0 then
  return 0
end
-- Since they saw a later time than now, the clock has gone back.
if math.abs(now - seen) < math.abs(jump) / 2 and (jump > 0 or seen <= now) then
  return -1
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
