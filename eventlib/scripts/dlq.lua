-- How the dead-letter queue stands, without its letters.
-- KEYS  dlq
-- Returns the server's time in ms, the queue's length, and the first and the last id ('' where it is empty).
local now = redis.call('TIME')
local first, last = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1], nil
if first then last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1] end
return {
  string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)),
  redis.call('XLEN', KEYS[1]),
  first and first[1] or '',
  last and last[1] or '',
}
