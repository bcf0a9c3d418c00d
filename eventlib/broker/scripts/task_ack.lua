-- Acknowledge tasks that have ended, and keep what they returned. A task that another worker has taken over is left to
-- it, and so is one that this worker does not run any more.
-- KEYS  the keys of the queue, in their order
-- ARGV  group, consumer, then for each task: its id in retry, id, state (succeeded or cancelled), result ('' for none)
-- Returns the ids in retry that another consumer has taken over.
local group, consumer = ARGV[1], ARGV[2]
local now = group_time(sweep)
local held, lost = {}, {}
if #ARGV > 6 then -- one look at what the consumer holds is cheaper than one look for each id
  for _, pending in ipairs(redis.call('XPENDING', retry, group, '-', '+', math.min(#ARGV / 2, 2000), consumer)) do
    held[pending[1]] = pending[4]
  end
end
local ids, done, kept = {}, {}, {}
for i = 4, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end
read_ahead(ids)
for i = 3, #ARGV, 4 do
  local entry, id, state, result = unpack(ARGV, i, i + 3)
  local pending = not held[entry] and redis.call('XPENDING', retry, group, entry, entry, 1)[1]
  if pending and pending[2] ~= consumer then
    lost[#lost + 1] = entry
  elseif held[entry] or pending then
    local record = running_record(id, entry)
    if record then
      if result ~= '' then kept[#kept + 1], kept[#kept + 2] = id, result end
      finish(id, record, state, now)
    end
    done[#done + 1] = entry
    let_suspects_follow(held[entry] or pending[4])
  end
end
for first = 1, #done, LIMIT do -- first: a full server lets a script go on that began with giving memory back
  local last = math.min(first + LIMIT - 1, #done)
  redis.call('XACK', retry, group, unpack(done, first, last))
  redis.call('XDEL', retry, unpack(done, first, last))
end
call_with('HSET', results, kept)
tell()
return lost
