-- A worker begins an act of a saga, if it owns the message about it and the message is not out of date. Its mark stays
-- until the act's outcome is stored. A worker that finds another mark knows that the outcome is unknown.
-- KEYS  source (retry), saga
-- ARGV  group, consumer, id of the message, the worker's mark, seq of the act
-- Returns 0 if this consumer no longer owns the message; else the fields and values of the saga, none if it is gone.
-- The field `prior` is the mark that was found, '' if there was none.
local owner = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not owner or owner[2] ~= ARGV[2] then
  return 0
end
local seq, mark = unpack(redis.call('HMGET', KEYS[2], 'seq', 'mark'))
if seq == ARGV[5] and mark ~= ARGV[4] then -- it is the own one if the reply to an earlier try was lost
  redis.call('HSET', KEYS[2], 'prior', mark or '', 'mark', ARGV[4], 'waits', '')
  redis.call('HINCRBY', KEYS[2], 'begun', 1)
  redis.call('HINCRBY', KEYS[2], 'revision', 1)
end
return redis.call('HGETALL', KEYS[2])
