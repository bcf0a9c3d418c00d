-- Append a batch once, however often it is sent. A producer numbers the bodies that it sends to a stream. Bodies with
-- numbers up to the last one seen were appended by an earlier try whose reply was lost. A body may have a unique key:
-- the body is left out while that key exists, because its id was published before. All bodies are appended or none.
-- Where a try is repeated and the producer's key is gone, because the server's clock jumped past its lifetime, bodies
-- are looked for among the stream's entries since the first try, up to 50,000 and about 64 MiB.
-- KEYS  stream, producer, then one for each body that has to be unique...
-- ARGV  number of the first body, lifetime of the producer key in ms, the server's time at the first try in ms (''
--       if this is the first one, or it is unknown), for each of those keys: which body (from 1) and lifetime in
--       ms..., then the bodies...
-- Returns how many were appended.
local known, number = redis.call('GET', KEYS[2]), tonumber(ARGV[1])
local last = tonumber(known or '0')
local uniques = #KEYS - 2
local first = 4 + 2 * uniques -- where the bodies begin
local key_of, lifetime_of -- by the body's place in ARGV; only made if a body has to be unique, which is rare
if uniques > 0 then
  key_of, lifetime_of = {}, {}
  for i = 1, uniques do
    local at = first - 1 + tonumber(ARGV[2 + 2 * i])
    key_of[at], lifetime_of[at] = 2 + i, ARGV[3 + 2 * i]
  end
end
local found -- bodies that an earlier try appended
if not known and ARGV[3] ~= '' then
  local wanted, till, looks, bytes, count, page = {}, '+', 0, 0, 10, nil
  for i = first, #ARGV do wanted[ARGV[i]] = true end
  found = {}
  repeat
    page = redis.call('XREVRANGE', KEYS[1], till, ARGV[3], 'COUNT', count)
    for _, entry in ipairs(page) do
      local body = entry[2][2]
      if wanted[body] then found[body] = true end
      till, bytes = '(' .. entry[1], bytes + #body
    end
    looks = looks + #page
    local done = #page < count or looks >= 50000 or bytes >= 2^26
    count = math.max(1, math.min(500, math.floor(2^20 / (1 + bytes / math.max(1, looks))))) -- of about 1 MiB
  until done
end
local added = 0
for i = first, #ARGV do
  local unique = key_of and key_of[i]
  if number > last and not (found and found[ARGV[i]]) and not (unique and redis.call('EXISTS', KEYS[unique]) == 1) then
    redis.call('XADD', KEYS[1], '*', 'event', ARGV[i]) -- only the first can fail, so it comes before any SET
    added = added + 1
    if unique then
      redis.call('SET', KEYS[unique], '', 'PX', lifetime_of[i])
    end
  end
  number = number + 1
end
local newest = ARGV[1] -- as received if possible: formatting the number takes a fifth of the time of one event
if first ~= #ARGV or number - 1 < last then
  newest = string.format('%.0f', math.max(last, number - 1))
end
redis.call('SET', KEYS[2], newest, 'PX', ARGV[2])
return added
