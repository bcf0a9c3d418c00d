-- Count entries of a stream, a bounded number at a time.
-- KEYS  stream     ARGV  first id, or '(' and the id before it; last id; how many at most
-- Returns how many there are, and where to continue ('' at the end).
local page = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#page, #page == tonumber(ARGV[3]) and '(' .. page[#page][1] or ''}
