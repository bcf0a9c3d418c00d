-- Renew the lease of entries that a consumer holds, except those that it has lost.
-- KEYS  source (stream or retry)     ARGV  group, consumer, id...
-- Returns the ids that the consumer no longer holds.
local group, consumer = ARGV[1], ARGV[2]
local held, own, lost = {}, {}, {}
local from = '-'
repeat
  local page = redis.call('XPENDING', KEYS[1], group, from, '+', 1000, consumer)
  for _, pending in ipairs(page) do held[pending[1]] = true end
  from = #page > 0 and '(' .. page[#page][1] or from
until #page < 1000
for i = 3, #ARGV do
  local list = held[ARGV[i]] and own or lost
  list[#list + 1] = ARGV[i]
end
for i = 1, #own, 1000 do
  local args = {unpack(own, i, math.min(i + 999, #own))}
  args[#args + 1] = 'JUSTID' -- without it, the delivery count would rise and the bodies would be sent
  redis.call('XCLAIM', KEYS[1], group, consumer, 0, unpack(args))
end
return lost
