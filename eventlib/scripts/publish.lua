-- Append a batch once, however often it is sent: a producer numbers what it sends to a stream, and numbers at or below
-- the last one seen were appended by an earlier try whose reply got lost. A body with a key of its own is left out
-- while that key lives: somebody has published its id. All is appended or nothing.
-- KEYS  stream, producer, then one for each body that wants to be unique...
-- ARGV  number of the first body, lifetime of the producer key in ms, for each of those keys: which body (from 1) and
--       lifetime in ms..., then the bodies...
-- Returns how many were appended.
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local number = tonumber(ARGV[1])
local uniques = #KEYS - 2
local skipped = 2 + 2 * uniques
local key_of, lifetime_of = {}, {}
for i = 1, uniques do
  key_of[tonumber(ARGV[1 + 2 * i])] = 2 + i
  lifetime_of[2 + i] = ARGV[2 + 2 * i]
end
local added = 0
for i = skipped + 1, #ARGV do
  local unique = key_of[i - skipped]
  if number > last and not (unique and redis.call('EXISTS', KEYS[unique]) == 1) then
    redis.call('XADD', KEYS[1], '*', 'event', ARGV[i]) -- may fail, at the first one only: so it comes before any SET
    added = added + 1
    if unique then
      redis.call('SET', KEYS[unique], '', 'PX', lifetime_of[unique])
    end
  end
  number = number + 1
end
redis.call('SET', KEYS[2], string.format('%.0f', math.max(last, number - 1)), 'PX', ARGV[2])
return added
