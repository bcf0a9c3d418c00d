-- Enqueue tasks: all of them, or none if the unique key of one is in use. A task whose id is known is not enqueued
-- again.
-- KEYS  the keys of the queue, in their order
-- ARGV  for each task: id, event, record (a JSON object), due time ('' for now, '+' and ms from now, '=' and ms since
--       1970), unique key ('' for none), until when it is taken (start, end, or for how many ms)
-- Returns how many were enqueued; or, if a unique key is in use, which task it is of (from 1) and who has the key.
local now, offset = group_time(sweep)
local ids, taken, events = {}, {}, {}
for i = 1, #ARGV, 6 do ids[#ids + 1] = ARGV[i] end
read_ahead(ids)
for i = 1, #ARGV, 6 do
  local id, key = ARGV[i], ARGV[i + 4]
  if key ~= '' and not texts[id] then
    local holder = taken[key] or holder_of(key, now)
    if holder and holder ~= id then return {(i + 5) / 6, holder} end
    taken[key] = id
  end
end
for i = 1, #ARGV, 6 do
  local id, event, record, due_at, key, till = unpack(ARGV, i, i + 5)
  if enqueue(id, record, due_at, key, till, now, offset) then
    events[#events + 1], events[#events + 2] = id, event
  end
end
call_with('HSET', bodies, events)
count('enqueued', #events / 2)
forget(#events, now)
tell()
return {#events / 2}
