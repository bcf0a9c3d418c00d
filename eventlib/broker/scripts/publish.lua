-- Append a batch once, however often it is sent: a producer numbers what it sends to a stream, and numbers at or below
-- the last one seen were appended by an earlier try whose reply got lost. A body with a key of its own is left out
-- while that key lives: somebody has published its id. All is appended or nothing.
-- KEYS  stream, producer, then one for each body that wants to be unique...
-- ARGV  number of the first body, lifetime of the producer key in ms, for each of those keys: which body (from 1) and
--       lifetime in ms..., then the bodies...
-- Returns how many were appended.
local last, number = tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[1])
local uniques = #KEYS - 2
local first = 3 + 2 * uniques -- where the bodies begin
local key_of, lifetime_of -- by where the body is; made only where one is to be unique, which is rare
if uniques > 0 then
  key_of, lifetime_of = {}, {}
  for i = 1, uniques do
    local at = first - 1 + tonumber(ARGV[1 + 2 * i])
    key_of[at], lifetime_of[at] = 2 + i, ARGV[2 + 2 * i]
  end
end
local added = 0
for i = first, #ARGV do
  local unique = key_of and key_of[i]
  if number > last and not (unique and redis.call('EXISTS', KEYS[unique]) == 1) then
    redis.call('XADD', KEYS[1], '*', 'event', ARGV[i]) -- may fail, at the first one only: so it comes before any SET
    added = added + 1
    if unique then
      redis.call('SET', KEYS[unique], '', 'PX', lifetime_of[i])
    end
  end
  number = number + 1
end
local newest = ARGV[1] -- as it came, where it can be: writing a number anew is a fifth of what one event costs
if first ~= #ARGV or number - 1 < last then
  newest = string.format('%.0f', math.max(last, number - 1))
end
redis.call('SET', KEYS[2], newest, 'PX', ARGV[2])
return added
