-- Append a batch once, however often it is sent: a producer numbers what it sends to a stream, and numbers at or below
-- the last one seen were appended by an earlier try whose reply got lost.
-- KEYS  stream, producer     ARGV  number of the first body, lifetime of the producer key in ms, body...
-- Returns how many were appended.
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local number = tonumber(ARGV[1])
local added = 0
for i = 3, #ARGV do
  if number > last then
    redis.call('XADD', KEYS[1], '*', 'event', ARGV[i])
    added = added + 1
  end
  number = number + 1
end
redis.call('SET', KEYS[2], string.format('%.0f', math.max(last, number - 1)), 'PX', ARGV[2])
return added
