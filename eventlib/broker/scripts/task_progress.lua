-- Keep how far a task is, if it runs as this entry.
-- KEYS  the keys of the queue, in their order
-- ARGV  id, its id in retry, progress (JSON)
-- Returns 1; 0 if it does not run as this entry any more.
local record = read_record(ARGV[1])
if not record or record.entry ~= ARGV[2] then return 0 end
redis.call('HSET', progress, ARGV[1], ARGV[3])
return 1
