-- Renew the lease of everything a consumer holds, and of nothing it has lost.
-- KEYS  source (stream or retry)     ARGV  group, consumer, id...
-- Returns the ids that are no longer this consumer's.
local group, consumer = ARGV[1], ARGV[2]
local owned, mine, lost = {}, {}, {}
local from = '-'
repeat
  local page = redis.call('XPENDING', KEYS[1], group, from, '+', 1000, consumer)
  for _, pending in ipairs(page) do owned[pending[1]] = true end
  from = #page > 0 and '(' .. page[#page][1] or from
until #page < 1000
for i = 3, #ARGV do
  local list = owned[ARGV[i]] and mine or lost
  list[#list + 1] = ARGV[i]
end
for i = 1, #mine, 1000 do
  local args = {unpack(mine, i, math.min(i + 999, #mine))}
  args[#args + 1] = 'JUSTID' -- or the delivery count would rise and the bodies be sent
  redis.call('XCLAIM', KEYS[1], group, consumer, 0, unpack(args))
end
return lost
