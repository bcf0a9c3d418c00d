-- Enqueue tasks: all of them, or none if the unique key of one is in use. A task whose id is known is not enqueued again.
-- KEYS  the keys of the queue, in their order
-- ARGV  for each task: id, event, record (a JSON object without its last brace), priority (1 to 4), tenant, due time
--       ('' for now, '+' and ms from now, '=' and ms since 1970), unique key ('' for none), until when it is taken
--       (start, end, or for how many ms)
-- Returns how many were enqueued; or, if a unique key is in use, which task it is of (from 1) and who has the key.
local now, offset = group_time(sweep)
local taken = {}
for i = 1, #ARGV, 8 do
  local id, key = ARGV[i], ARGV[i + 6]
  if key ~= '' and redis.call('HEXISTS', records, id) == 0 then
    local holder = taken[key] or holder_of(key, now)
    if holder and holder ~= id then return {(i + 7) / 8, holder} end
    taken[key] = id
  end
end
local enqueued = 0
for i = 1, #ARGV, 8 do
  local id, event, record, priority, tenant, due_at, key, till = unpack(ARGV, i, i + 7)
  if enqueue(id, event, record, priority, tenant, due_at, key, till, now, offset) then enqueued = enqueued + 1 end
end
count('enqueued', enqueued)
forget(2 * enqueued, now)
tell()
return {enqueued}
