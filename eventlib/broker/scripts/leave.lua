-- A consumer leaves. Entries that it still holds go back to the group at once, without counting an attempt. Then the
-- consumer's name is deleted.
-- KEYS  stream, retry, key_queue_heads, key_queues     ARGV  group, consumer
-- Returns how many entries went back.
local group, consumer = ARGV[1], ARGV[2]
local returned = 0
for source = 1, 2 do
  local page
  repeat
    page = redis.call('XPENDING', KEYS[source], group, '-', '+', 1000, consumer)
    for _, pending in ipairs(page) do
      local id, entry = pending[1], redis.call('XRANGE', KEYS[source], pending[1], pending[1])[1]
      if entry then
        local published, added = split_fields(entry[2], source == 2)
        added.attempts = (added.attempts or 0) + earlier_deliveries(pending[4])
        added.origin = added.origin or id
        local new_id = redis.call('XADD', KEYS[2], '*', unpack(join_fields(published, added)))
        move_head(KEYS[3], added.origin, where(source == 2, id), where(true, new_id))
        returned = returned + 1
      elseif source == 1 then
        release(KEYS[3], KEYS[4], KEYS[2], id, where(false, id))
      end
      redis.call('XACK', KEYS[source], group, id)
      if source == 2 then redis.call('XDEL', KEYS[2], id) end
    end
  until #page < 1000
  redis.call('XGROUP', 'DELCONSUMER', KEYS[source], group, consumer)
end
return returned
