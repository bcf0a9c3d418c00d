-- Look at a task. One that ran, and whose entry was deleted by hand, has failed.
-- KEYS  the keys of the queue, in their order
-- ARGV  group, id, 1 with its result or 0
-- Returns its record ('' if it is not known), its progress and its result ('' for none), who runs it ('' if no worker).
local id = ARGV[2]
local text = redis.call('HGET', records, id)
if not text or text == '' then return {'', '', '', ''} end
local record, worker = cjson.decode(text), ''
if record.entry then
  local pending = redis.pcall('XPENDING', retry, ARGV[1], record.entry, record.entry, 1)
  worker = pending[1] and pending[1][2] or ''
  if not pending[1] and #redis.call('XRANGE', retry, record.entry, record.entry) == 0 then
    record.reason, record.error = 'lost', 'its entry was deleted from the retry stream'
    finish(id, record, 'failed', (group_time(sweep)))
    tell()
    text = redis.call('HGET', records, id)
  end
end
local result = ARGV[3] == '1' and redis.call('HGET', results, id)
return {text, redis.call('HGET', progress, id) or '', result or '', worker}
