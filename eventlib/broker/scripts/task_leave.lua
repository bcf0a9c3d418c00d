-- A worker leaves. Tasks that it still holds go back to the places that they had, without counting an attempt; those
-- that are to be cancelled end. Then the worker's name is deleted.
-- KEYS  the keys of the queue, in their order
-- ARGV  group, consumer
-- Returns how many went back.
local group, consumer, returned, page = ARGV[1], ARGV[2], 0, nil
local now = group_time(sweep)
repeat
  page = redis.call('XPENDING', retry, group, '-', '+', 1000, consumer)
  for _, pending in ipairs(page) do
    local entry = pending[1]
    local found = redis.call('XRANGE', retry, entry, entry)[1]
    if found then
      local _, added = split_fields(found[2], true)
      local record = running_record(added.origin, entry)
      if record and record.cancel then
        finish(added.origin, record, 'cancelled', now)
      elseif record then
        record.attempts = whole((record.attempts or 0) + earlier_deliveries(pending[4]))
        put_back(added.origin, record)
      end
      returned = returned + 1
    end
    drop(group, entry)
  end
until #page < 1000
redis.call('XGROUP', 'DELCONSUMER', retry, group, consumer)
tell()
return returned
