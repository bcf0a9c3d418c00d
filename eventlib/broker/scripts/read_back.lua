-- A page of a stream, newest first. It holds at least one entry if there is one, and ends after `count` or `bytes`.
-- KEYS  stream     ARGV  from (the newest id, '(' before it if the page begins below), to (the oldest id), count, bytes
-- Returns the id of the last entry ('' if no older one is left) and the event of each entry ('' for none).
local page, size, from, last = {}, 0, ARGV[1], ''
while #page < tonumber(ARGV[3]) and size < tonumber(ARGV[4]) do
  local entry = redis.call('XREVRANGE', KEYS[1], from, ARGV[2], 'COUNT', 1)[1]
  if not entry then return {'', page} end
  local event = ''
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'event' then event = entry[2][i + 1] end
    size = size + #entry[2][i] + #entry[2][i + 1]
  end
  page[#page + 1], last = event, entry[1]
  from = '(' .. last
end
return {last, page}
